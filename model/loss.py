"""Cross-entropy of the head, in chunks of tokens: the logits of a whole batch are never in memory.

The gradients with respect to states and table are formed in the forward pass, chunk by chunk, while the logits are there:
no product is computed twice, and what is kept is as large as the states and the table. Between the products everything is
fp32; eager on a CPU that is done a few tokens at a time, in cache, and a chunk's logits are overwritten with their gradients.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from model import fused

IGNORED = -100
CHUNK = 1 << 25  # logits alive at a time
CACHED = 32  # tokens whose logits are in the cache: 2 x as fast as all at once


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, table: Tensor, targets: Tensor, weights: Tensor, scale: float, softcap: float) -> Tensor:
        rows, d_hidden, d_table = table.to(hidden.dtype), torch.empty_like(hidden), None
        total = torch.zeros((), dtype=weights.dtype, device=hidden.device)
        for part in _chunks(len(hidden), len(table)):
            h, weight = hidden[part], weights[part, None]
            losses, slopes = _descent(h @ rows.T, targets[part, None].clamp(min=0), scale, softcap)
            total += (losses * weight).sum()
            d_hidden[part] = (slopes @ rows) * (weight * scale)
            gradient = slopes.T @ (h * (weight * scale)).to(h.dtype)
            d_table = gradient if d_table is None else d_table.to(weights.dtype).add_(gradient)
        ctx.save_for_backward(d_hidden, torch.zeros_like(table) if d_table is None else d_table.to(table.dtype))
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor | None, ...]:
        d_hidden, d_table = ctx.saved_tensors
        return d_hidden * above.to(d_hidden.dtype), d_table * above.to(d_table.dtype), None, None, None, None


def _descent(logits: Tensor, targets: Tensor, scale: float, softcap: float) -> tuple[Tensor, Tensor]:
    """[n, V], [n, 1] -> -log p of the targets [n, 1] in fp32, its gradients with respect to the scaled logits [n, V]."""
    if fused.fits(logits) and len(logits) > CACHED:
        losses = torch.cat([_descent(*few, scale, softcap)[0] for few in zip(logits.split(CACHED), targets.split(CACHED), strict=True)])
        return losses, logits
    z = _capped(_wide(logits), scale, softcap)
    steepness = 1 - (z / softcap).square() if softcap else None
    z = torch.log_softmax(z, -1)
    losses = -z.gather(1, targets)
    if torch.compiler.is_compiling():
        slopes = z.exp() - (torch.arange(z.shape[1], device=z.device) == targets).to(z.dtype)
    else:
        slopes = z.exp_().scatter_add_(1, targets, torch.full_like(losses, -1))
    return losses, logits.copy_(slopes if steepness is None else slopes * steepness)


def linear_cross_entropy(
    hidden: Tensor, table: Tensor, targets: Tensor, weights: Tensor | None = None, scale: float = 1.0, softcap: float = 0.0
) -> Tensor:
    """Weighted mean of -log softmax(cap(hidden table^T * scale))[target], in nats, over targets that are not IGNORED.

    hidden [..., d], table [V, d], targets [...] int64, weights [...] fp32 or None (all 1). 0 where nothing counts.
    """
    states, wanted = hidden.reshape(-1, hidden.shape[-1]), targets.reshape(-1)
    counted = (wanted != IGNORED).to(torch.promote_types(hidden.dtype, torch.float32))
    if weights is not None:
        counted = counted * weights.reshape(-1)
    share = counted / counted.sum().clamp(min=1e-9)
    if torch.is_grad_enabled():
        return _LinearCrossEntropy.apply(states, table, wanted, share, scale, softcap)  # type: ignore[no-any-return]
    return (token_losses(states, table, wanted, scale, softcap) * share).sum()


def token_losses(hidden: Tensor, table: Tensor, targets: Tensor, scale: float = 1.0, softcap: float = 0.0) -> Tensor:
    """-log p of each target in nats, [N] fp32, 0 where it is IGNORED. hidden [N, d], table [V, d]. Without gradients."""
    rows, found = table.to(hidden.dtype), torch.empty(len(hidden), device=hidden.device)
    for part in _chunks(len(hidden), len(table)):
        logits = _capped((hidden[part] @ rows.T).float(), scale, softcap)
        found[part] = logits.logsumexp(-1) - logits.gather(1, targets[part].clamp(min=0)[:, None])[:, 0]
    return found.masked_fill_(targets == IGNORED, 0)


def _capped(logits: Tensor, scale: float, softcap: float) -> Tensor:
    logits = logits * scale if scale != 1 else logits
    return softcap * torch.tanh(logits / softcap) if softcap else logits


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _chunks(tokens: int, vocabulary: int) -> list[slice]:
    """Equal parts of so many tokens: CHUNK logits each, but not fewer than 64 tokens nor more than 8192."""
    most = max(64, min(8192, CHUNK // vocabulary))
    size = -(-tokens // -(-tokens // most)) if tokens else 1
    return [slice(at, at + size) for at in range(0, tokens, size)]
