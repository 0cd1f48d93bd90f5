"""One step over rows with an image and rows without: two buckets, so that shapes stay as they are, one gradient.

Rows of a bucket go through the decoder together, or a few at a time. Every term is divided by what it counts in the whole
step, not in its bucket, so a row weighs the same whichever others it meets; what is left in the gradients is that of the
step, ready for one update.

Limit: the amounts are counted before the first forward, so all rows of a step are in memory (their activations are not).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from model.decoder import Decoder
from train.batch import Batch
from train.decision import Decisions
from train.objective import TermWeights, amounts, terms, weighted


@dataclass(frozen=True)
class MixedBatch:
    """Rows of text; images [n, C, H, W] and image_of [B], the one before each row, -1: none; labels for the decision head."""

    rows: Batch
    images: Tensor | None = None
    image_of: Tensor | None = None
    decisions: Decisions | None = None

    def parts(self, at_once: int = 0) -> Iterator[tuple[Batch, Tensor | None, Decisions | None]]:
        """Rows without an image, then rows with one, at most `at_once` together (0: as many as there are)."""
        pictured = torch.zeros(len(self.rows.inputs), dtype=torch.bool) if self.image_of is None else self.image_of >= 0
        if bool(pictured.any()) and self.images is None:
            raise ValueError("image_of names images, and there are none")
        for bucket in ((~pictured).nonzero()[:, 0], pictured.nonzero()[:, 0]):
            for which in bucket.split(at_once or max(1, len(bucket))):
                if len(which):
                    shown = self.image_of is not None and bool(pictured[which[0]])
                    images = self.images[self.image_of[which]] if shown else None  # type: ignore[index]
                    yield self.rows[which], images, None if self.decisions is None else _of(self.decisions, which)


def mixed_step(
    model: Decoder, batch: MixedBatch, weigh: TermWeights | None = None, scale: float = 1.0, at_once: int = 0
) -> dict[str, Tensor]:
    """Add the gradient of the step's weighted loss to the parameters; returns its terms, without gradients.

    weigh and scale as in `objective.weighted`. ValueError for images or labels this decoder has no head for.
    """
    parts = list(batch.parts(at_once))
    counted = [amounts(model, *_fields(rows), images, decisions) for rows, images, decisions in parts]
    whole = {name: torch.stack([c[name] for c in counted]).sum().clamp(min=1e-9) for name in counted[0]}
    step: dict[str, Tensor] = {}
    for (rows, images, decisions), here in zip(parts, counted, strict=True):
        share = {name: amount / whole[name] for name, amount in here.items()}
        found = terms(model, *_fields(rows), images, decisions, share)
        weighted(found, weigh or TermWeights(), scale, model.config.mtp_kind == "shared").backward()
        step = {name: step.get(name, 0) + term.detach() for name, term in found.items()}
    return step


def _fields(rows: Batch) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    return rows.inputs, rows.targets, rows.weights, rows.documents


def _of(decisions: Decisions, rows: Tensor) -> Decisions:
    positions = None if decisions.positions is None else decisions.positions[rows]
    return Decisions(decisions.labels[rows], positions, decisions.class_weights)
