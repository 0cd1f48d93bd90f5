"""What a training step minimises: the next-token loss and, where the decoder has them, the terms beside it.

    L = CE_1 + mtp * mean(CE_2..CE_K) + decision * CE_d + calibration * Brier_d + balance * router balance + z * router logits

CE_1 is *the* loss; the other terms are told apart in the curve and never part of a validation. Each is a mean over what it
counts in the whole step: rows that are only a part of a step are given the `share` they hold of every count, and then terms
and gradients of the parts add up to those of the step.

Limit: the router balance of a step in parts is the mean of the parts' balances, which is not that of the whole.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from model.decoder import Decoder
from model.loss import IGNORED
from model.mtp import targets_ahead
from model.routed import RouterStats, balance_loss, z_loss
from train.decision import Decisions, decision_terms


@dataclass(frozen=True)
class TermWeights:
    """How much the terms beside the next-token loss count."""

    mtp: float = 0.3  # DeepSeek-V3; follows the learning rate down to nothing at the end of a run
    balance: float = 0.01  # Switch
    z: float = 1e-3  # ST-MoE
    decision: float = 0.5
    calibration: float = 0.2


def terms(
    model: Decoder,
    inputs: Tensor,
    targets: Tensor,
    weights: Tensor | None,
    documents: Tensor | None,
    images: Tensor | None = None,
    decisions: Decisions | None = None,
    share: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Every term of this model, unweighted: 'loss', and 'mtp', 'balance', 'z', 'decision', 'calibration' where there is such a thing.

    inputs, targets [B, T]; weights [B, T] of the targets; documents [B, T], -1: padding; images [B, C, H, W] before every row.
    `share` tells what part of each of the step's `amounts` lies in these rows; None: all of it.
    """

    def of_step(name: str, value: Tensor) -> Tensor:
        return value if share is None else value * share[name]

    h = model.trunk(inputs, documents, images=images)
    normed = model.norm(h)
    found = {"loss": of_step("loss", model.nats(normed, targets, weights))}
    if model.config.mtp_k > 1:
        later = []
        for ahead, state in enumerate(model.ahead(h, inputs, documents), 2):
            wanted, weigh = _ahead(model, inputs, targets, weights, documents, ahead)
            # a head's loss keeps a gradient of the whole table until the backward pass: with `recompute` one head's at a time
            nats = functools.partial(checkpoint, _nats, use_reentrant=False) if model.recompute else _nats
            later.append(of_step(f"mtp {ahead}", nats(model, state, wanted, weigh)))
        found["mtp"] = torch.stack(later).mean()
    if decisions is not None:
        if model.decision is None:
            raise ValueError("this decoder has no decision head: labels cannot be learnt")
        logits = model.decision(normed, decisions.positions, documents)
        found |= {name: of_step(name, term) for name, term in decision_terms(logits, decisions).items()}
    if stats := router_stats(model):
        found |= {"balance": of_step("router", balance_loss(stats)), "z": of_step("router", z_loss(stats))}
    return found


def amounts(
    model: Decoder,
    inputs: Tensor,
    targets: Tensor,
    weights: Tensor | None,
    documents: Tensor | None,
    images: Tensor | None = None,
    decisions: Decisions | None = None,
) -> dict[str, Tensor]:
    """What the terms of these rows are divided by: the weight of the targets that count, of the labels, and the tokens read."""
    found = {"loss": _amount(targets, weights)}
    for ahead in range(2, model.config.mtp_k + 1):
        found[f"mtp {ahead}"] = _amount(*_ahead(model, inputs, targets, weights, documents, ahead))
    if decisions is not None:
        found |= {"decision": decisions.row_weights().sum(), "calibration": (decisions.labels != IGNORED).float().sum()}
    chart = model.config.chart_encoder
    prefix = (chart.size // chart.patch) ** 2 if chart is not None and images is not None else 0
    found["router"] = torch.tensor(float(len(inputs) * (inputs.shape[1] + prefix)), device=inputs.device)
    return found


def router_stats(model: nn.Module) -> list[RouterStats]:
    """What the routers of the last forward did, layer by layer."""
    return [m.stats for m in model.modules() if isinstance(getattr(m, "stats", None), RouterStats)]


def weighted(found: Mapping[str, Tensor], weigh: TermWeights, scale: float, shared_head: bool) -> Tensor:
    """The weighted sum. `scale` is the schedule's multiplier. With a shared head the weights of all K targets sum to 1."""
    value, mtp = found["loss"], weigh.mtp * scale
    if "mtp" in found:
        value = value + mtp * found["mtp"]
        value = value / (1 + mtp) if shared_head else value
    beside = {name: getattr(weigh, name) for name in ("decision", "calibration", "balance", "z") if name in found}
    for name, weight in beside.items():
        value = value + weight * found[name]
    return value


def _ahead(
    model: Decoder, inputs: Tensor, targets: Tensor, weights: Tensor | None, documents: Tensor | None, ahead: int
) -> tuple[Tensor, Tensor | None]:
    """The targets that many tokens ahead and their weights, which move with them."""
    wanted = targets_ahead(inputs, targets, documents, ahead, model.config.bos_id)
    return wanted, None if weights is None else weights.roll(1 - ahead, 1)  # what is rolled around the row's end is IGNORED


def _nats(model: Decoder, state: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
    return model.nats(model.norm(state), targets, weights)


def _amount(targets: Tensor, weights: Tensor | None) -> Tensor:
    counted = (targets != IGNORED).float()
    return (counted if weights is None else counted * weights).sum()
