"""What the decision head learns, and how good it is: a class for some rows of a batch, none for the others.

    L = 0.5 * sum_b w_y CE_b / sum_b w_y  +  0.2 * mean_b |p - onehot|^2        over rows with a label

The second term (Brier, a proper score) keeps the probabilities honest; what is still too sure after training is corrected
by one temperature, fitted on rows the training has not seen. Measures are macro-F1, the expected calibration error and how
much can be decided at a wanted precision.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from model.loss import IGNORED

COOLEST, HOTTEST = 0.05, 20.0  # a temperature beyond says only that the rows are too few or separable


class Decisions(NamedTuple):
    """The labels of a batch of rows."""

    labels: Tensor  # [B] int64, IGNORED: none
    positions: Tensor | None = None  # [B] the token whose state decides; None: the row's last
    class_weights: Tensor | None = None  # [classes] fp32; None: all 1

    def row_weights(self) -> Tensor:
        """[B] fp32: what each row counts in the cross-entropy, 0 without a label."""
        labelled = self.labels != IGNORED
        weights = None if self.class_weights is None else self.class_weights[self.labels.clamp(min=0)]
        return labelled.float() if weights is None else labelled * weights


def class_weights(counts: Tensor) -> Tensor:
    """[classes] rows of each class -> weights ~ 1/sqrt(count) of mean 1 over the classes there are, kept within [0.2, 5].

    A class without rows gets 1. fp32.
    """
    there = counts > 0
    weights = torch.where(there, counts.clamp(min=1).float().rsqrt(), 0)
    return torch.where(there, (weights * there.sum() / weights.sum()).clamp(0.2, 5.0), 1.0)


def decision_terms(logits: Tensor, decisions: Decisions) -> dict[str, Tensor]:
    """[B, classes] fp32 -> 'decision', the weighted mean of -log p_y in nats, and 'calibration', the mean Brier score (0 to 2).

    Both 0, with zero gradients, where no row has a label.
    """
    weights, wanted = decisions.row_weights(), decisions.labels.clamp(min=0)
    labelled = (decisions.labels != IGNORED).float()
    nats = F.cross_entropy(logits, wanted, reduction="none")
    brier = (logits.softmax(-1) - F.one_hot(wanted, logits.shape[-1])).square().sum(-1)
    return {
        "decision": (weights * nats).sum() / weights.sum().clamp(min=1e-9),
        "calibration": (labelled * brier).sum() / labelled.sum().clamp(min=1),
    }


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature under which held-out rows [N, classes] are most likely (Guo et al. 2017), within [0.05, 20].

    The likelihood is concave in 1/temperature: its slope is bisected. ValueError without labelled rows;
    `DecisionHead.temperature.fill_` takes the result.
    """
    labelled = labels != IGNORED
    if not labelled.any():
        raise ValueError("a temperature is fitted on rows with labels, and there are none")
    z, y = logits[labelled].detach().double().cpu(), labels[labelled].cpu()
    said = z.gather(1, y[:, None])[:, 0].mean()
    low, high = 1 / HOTTEST, 1 / COOLEST
    for _ in range(60):
        middle = (low + high) / 2
        expected = ((z * middle).softmax(-1) * z).sum(-1).mean()
        low, high = (middle, high) if expected < said else (low, middle)
    return 2 / (low + high)


def macro_f1(chosen: Tensor, labels: Tensor) -> float:
    """Mean F1 = 2 TP / (2 TP + FP + FN) over the classes that occur among labels or choices; IGNORED labels do not count."""
    chosen, labels = chosen[labels != IGNORED], labels[labels != IGNORED]
    scores = []
    for c in torch.cat((chosen, labels)).unique():
        said, meant = chosen == c, labels == c
        scores.append(2 * float((said & meant).sum()) / float(said.sum() + meant.sum()))
    return sum(scores) / max(1, len(scores))


def calibration_error(confidence: Tensor, right: Tensor, bins: int = 15) -> float:
    """ECE: |mean confidence - share of right ones|, averaged over bins that hold equally many rows.

    confidence [N], right [N] bool. Rows of equal confidence are in one bin: the result depends on no order.
    """
    confidence, right = confidence.double(), right.double()
    if not len(confidence):
        return 0.0
    below = torch.searchsorted(confidence.sort().values, confidence)  # [N] how many are less sure
    place = below * bins // len(confidence)
    gaps = torch.zeros(bins, dtype=torch.float64, device=place.device).index_add_(0, place, confidence - right)
    return float(gaps.abs().sum() / len(confidence))


def coverage(confidence: Tensor, right: Tensor, precision: float = 0.9) -> float:
    """The largest share of rows that a threshold on confidence lets through with at least this share of them right."""
    if not len(confidence):
        return 0.0
    order = confidence.argsort(descending=True, stable=True)
    sure, let_through = confidence[order], torch.arange(1, len(order) + 1, device=order.device)
    last_of_its_kind = torch.cat((sure[1:] != sure[:-1], sure.new_ones(1, dtype=torch.bool)))
    enough = right[order].double().cumsum(0) >= precision * let_through - 1e-9
    return float((let_through * (enough & last_of_its_kind)).max()) / len(order)
