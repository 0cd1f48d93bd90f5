"""A routed FFN: E low-rank SwiGLU experts, k of them per token, no token ever dropped (Shazeer 2017, Switch, MegaBlocks).

    p = softmax(W_r x);   y = sum over the k largest p_e of  w_e * Expert_e(x)

w_e = p_e for k = 1 (without the factor the router would get no gradient); for k > 1 the k are renormalised to sum 1. Tokens are
sorted by expert, so an expert is one contiguous slice and each of its matrices one product; no result depends on the order of
threads. Slices vary from step to step, shapes do not, and the products are operators of their own: a compiled graph neither breaks
nor is compiled again.

Limits: outside bf16 the sizes of the slices are read on the host, which on a GPU waits for them at every product. A layer that runs
more than once in a forward keeps the statistics of its last run. All experts live on one device.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.ffn import swiglu


class RouterStats(NamedTuple):
    """How a routed layer spread the tokens of one forward. Over ranks or micro-batches of equal size: average them, sum `load`."""

    fraction: Tensor  # [E] share of the tokens whose most probable expert is e; no gradient
    probability: Tensor  # [E] mean of p_e
    z: Tensor  # [] mean of logsumexp(W_r x)^2
    load: Tensor  # [E] tokens that e serves, k per token in all; no gradient


class RoutedLowRankSwiGLU(nn.Module):
    """E experts W_d (silu(W_g x) * W_u x), every matrix A[out, r] B[r, in], and the router W_r [E, d], which runs in fp32.

    In training `stats` describes the last forward, with gradients for `balance_loss` and `z_loss`; else it is None.
    """

    def __init__(self, d_model: int, d_ff: int, rank: int, experts: int, top_k: int = 1) -> None:
        super().__init__()
        self.experts, self.top_k = experts, top_k
        self.router = nn.Linear(d_model, experts, bias=False)
        self.gate_a, self.gate_b = _stack(experts, d_ff, rank), _stack(experts, rank, d_model)
        self.up_a, self.up_b = _stack(experts, d_ff, rank), _stack(experts, rank, d_model)
        self.down_a, self.down_b = _stack(experts, d_model, rank), _stack(experts, rank, d_ff)
        self.stats: RouterStats | None = None

    def forward(self, x: Tensor) -> Tensor:
        tokens, k = x.reshape(-1, x.shape[-1]), self.top_k  # [N, d]
        logits = _WideLinear.apply(tokens, self.router.weight)  # [N, E]
        p = logits.softmax(-1)
        weights, chosen = p.topk(k, -1)  # [N, k] twice, most probable first
        if k > 1:
            weights = weights / weights.sum(-1, keepdim=True)

        order = chosen.flatten().argsort(stable=True)  # [Nk] token-choices, expert by expert
        place = torch.empty_like(order).scatter_(0, order, torch.arange(order.numel(), device=order.device))  # where each went
        load = _count(chosen, self.experts)
        ends = load.cumsum(0).to(torch.int32)

        rows = _Spread.apply(tokens, order, place, k)  # [Nk, d]
        gate = grouped_linear(grouped_linear(rows, self.gate_b, ends), self.gate_a, ends)  # [Nk, f]
        up = grouped_linear(grouped_linear(rows, self.up_b, ends), self.up_a, ends)
        low = grouped_linear(swiglu(gate, up), self.down_b, ends)  # [Nk, r]
        low = (low * _Spread.apply(weights.reshape(-1, 1), order, place, 1)).to(x.dtype)  # weighted where rows are narrow
        y = _Gather.apply(grouped_linear(low, self.down_a, ends), order, place, k)

        self.stats = None
        if self.training:
            fraction = _count(chosen[:, 0], self.experts) / len(chosen)
            self.stats = RouterStats(fraction, p.mean(0), logits.logsumexp(-1).square().mean(), load)
        return y.view(x.shape)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "stats": None}  # what holds a graph cannot be copied


def balance_loss(stats: Sequence[RouterStats]) -> Tensor:
    """E * sum_e F_e P_e, mean over layers: 1 when every expert gets its share, E when one gets all (Switch, Fedus et al. 2022)."""
    return torch.stack([len(s.load) * (s.fraction * s.probability).sum() for s in stats]).mean()


def z_loss(stats: Sequence[RouterStats]) -> Tensor:
    """Mean of logsumexp(logits)^2 over tokens and layers: keeps the router's logits small (ST-MoE, Zoph et al. 2022)."""
    return torch.stack([s.z for s in stats]).mean()


def load_entropy(stats: Sequence[RouterStats]) -> Tensor:
    """Entropy of the experts' load over ln E, of the worst layer: 1 is even, 0 is one expert for all."""
    shares = [s.load / s.load.sum() for s in stats]
    return torch.stack([torch.special.entr(share).sum() / math.log(max(2, len(share))) for share in shares]).min()


def max_over_mean(stats: Sequence[RouterStats]) -> Tensor:
    """Load of the busiest expert over the mean load, of the worst layer: 1 is even, E is one expert for all."""
    return torch.stack([s.load.max() / s.load.float().mean() for s in stats]).max()


def grouped_linear(x: Tensor, weight: Tensor, ends: Tensor) -> Tensor:
    """Rows [N, in], sorted by expert, times their expert's matrix [E, out, in] -> [N, out]; expert e owns the rows before ends[e]."""
    weight = weight.to(x.dtype)
    # the kernel's limits: bf16 where it is compiled, rows of whole 16 bytes
    if x.dtype == torch.bfloat16 and weight.shape[1] % 8 == 0 == weight.shape[2] % 8:
        return F.grouped_mm(x, weight.transpose(1, 2), offs=ends)
    return torch.ops.athanor.grouped_linear(x, weight, ends)


torch.library.define("athanor::grouped_linear", "(Tensor x, Tensor weight, Tensor ends) -> Tensor")  # [N, in] [E, out, in] -> [N, out]
torch.library.define("athanor::grouped_outer", "(Tensor y, Tensor x, Tensor ends) -> Tensor")  # [N, out] [N, in] -> [E, out, in]


@torch.library.impl("athanor::grouped_linear", "default")
def _linear(x: Tensor, weight: Tensor, ends: Tensor) -> Tensor:
    out = x.new_empty(x.shape[0], weight.shape[1])
    for rows, w, y in zip(_slices(x, ends), weight, _slices(out, ends), strict=True):
        torch.mm(rows, w.t(), out=y)
    return out


@torch.library.impl("athanor::grouped_outer", "default")
def _outer(y: Tensor, x: Tensor, ends: Tensor) -> Tensor:
    out = x.new_empty(len(ends), y.shape[1], x.shape[1])
    for left, right, w in zip(_slices(y, ends), _slices(x, ends), out, strict=True):
        torch.mm(left.t(), right, out=w)
    return out


@torch.library.register_fake("athanor::grouped_linear")
def _(x: Tensor, weight: Tensor, ends: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], weight.shape[1])


@torch.library.register_fake("athanor::grouped_outer")
def _(y: Tensor, x: Tensor, ends: Tensor) -> Tensor:
    return x.new_empty(ends.shape[0], y.shape[1], x.shape[1])


def _keep(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _linear_gradient(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
    x, weight, ends = ctx.saved_tensors
    back = torch.ops.athanor.grouped_linear(grad, weight.transpose(1, 2), ends) if ctx.needs_input_grad[0] else None
    return back, torch.ops.athanor.grouped_outer(grad, x, ends) if ctx.needs_input_grad[1] else None, None


torch.library.register_autograd("athanor::grouped_linear", _linear_gradient, setup_context=_keep)


class _WideLinear(torch.autograd.Function):
    """x W^T in fp32. The wide copy of a narrow x is made again for the gradient: it would be the widest thing kept of a token."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        return F.linear(wide, weight.to(wide.dtype))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        return (grad @ weight.to(grad.dtype)).to(x.dtype), (grad.t() @ x.to(grad.dtype)).to(weight.dtype)


class _Spread(torch.autograd.Function):
    """Rows of tokens [N, n] -> rows of their choices [Nk, n], expert by expert. Its gradient is `_Gather`, and the other way round:
    both read rows, neither adds into one place from several threads."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, order: Tensor, place: Tensor, k: int) -> Tensor:
        ctx.save_for_backward(order, place)
        ctx.k = k
        return _spread(x, order, k)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        return _gather(grad, ctx.saved_tensors[1], ctx.k), None, None, None


class _Gather(torch.autograd.Function):
    """Rows of choices [Nk, n] -> per token the sum of its own [N, n]."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, order: Tensor, place: Tensor, k: int) -> Tensor:
        ctx.save_for_backward(order, place)
        ctx.k = k
        return _gather(y, place, k)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        return _spread(grad, ctx.saved_tensors[0], ctx.k), None, None, None


def _spread(x: Tensor, order: Tensor, k: int) -> Tensor:
    return x.index_select(0, order // k if k > 1 else order)


def _gather(y: Tensor, place: Tensor, k: int) -> Tensor:
    rows = y.index_select(0, place)
    return rows.view(-1, k, y.shape[1]).sum(1) if k > 1 else rows


def _slices(x: Tensor, ends: Tensor) -> list[Tensor]:
    stops = ends.tolist()
    return [x[start:stop] for start, stop in zip([0, *stops], stops, strict=False)]


def _count(chosen: Tensor, experts: int) -> Tensor:
    return (chosen.reshape(-1, 1) == torch.arange(experts, device=chosen.device)).sum(0)


def _stack(experts: int, n_out: int, n_in: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(experts, n_out, n_in) * n_in**-0.5)
