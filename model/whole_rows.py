"""Attention over whole rows for training on a CPU, forward and backward, by compiled code (`whole_rows.cpp`): in bf16 by matrix
tiles (Intel AMX), in fp32 by vectors.

A query sees the keys from a first one to its own: all before it, those of its document, or a window. What it does not see is left
out, block by block, so that documents and windows save time. bf16 gradients of a key that several query heads share are added up in
fp32: they are closer to fp32's than the library's.

Limits: heads of a multiple of 32, no score softcap. The threads share rows and key/value heads: where there are fewer of those, and in
everything else, `attention.attend` is the way.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

import torch
from torch import Tensor

from model.attention import Attention
from model.compiled import Unavailable, library
from model.decoder import Decoder

SOURCE = Path(__file__).with_name("whole_rows.cpp")


class _View(ctypes.Structure):
    _fields_ = (("at", ctypes.c_void_p), *((name, ctypes.c_int64) for name in ("row", "head", "token")))


class _Task(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int64) for name in ("rows", "heads", "kv_heads", "length", "d_head", "threads", "is_narrow")),
        ("first", ctypes.c_void_p),
        ("first_row", ctypes.c_int64),
        ("scale", ctypes.c_float),
        *((name, _View) for name in ("q", "k", "v", "o", "sums", "d_o", "d_q", "d_k", "d_v")),
    )


def there(dtype: torch.dtype) -> bool:
    """Whether this machine has a compiler and, for bf16, the tiles. The first call compiles (seconds)."""
    try:
        code = library(SOURCE)
    except Unavailable:
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and bool(code.tiles()))


def attach(model: Decoder) -> None:
    """Let the layers that can train this way. Only where it is `there`."""
    for module in model.modules():
        if isinstance(module, Attention) and not module.d_head % 32 and not module.softcap:
            module.whole, module.whole_from = attend, -(-torch.get_num_threads() // module.n_kv_head)


def attend(q: Tensor, k: Tensor, v: Tensor, first: Tensor | None, scale: float) -> Tensor:
    """bf16 or fp32 [B, Hq, T, dh], [B, Hk, T, dh] x2 -> [B, Hq, T, dh]; query i sees the keys from first [B or 1, T] int32 to i."""
    return torch.ops.athanor.attention(q, k, v, first, scale)[0]  # type: ignore[no-any-return]


@torch.library.custom_op("athanor::attention", mutates_args=(), device_types="cpu")
def attention(q: Tensor, k: Tensor, v: Tensor, first: Tensor | None, scale: float) -> tuple[Tensor, Tensor]:
    """What comes out of the heads, and log sum exp of each one's scores, [B, Hq, T] fp32."""
    found = _like(q), q.new_empty(q.shape[:3], dtype=torch.float32)
    _call("forward", first, scale, (*_read(q, k, v), *found))
    return found


@attention.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, first: Tensor | None, scale: float) -> tuple[Tensor, Tensor]:
    return _like(q), q.new_empty(q.shape[:3], dtype=torch.float32)


@torch.library.custom_op("athanor::attention_backward", mutates_args=(), device_types="cpu")
def backward(
    d_o: Tensor, q: Tensor, k: Tensor, v: Tensor, first: Tensor | None, o: Tensor, sums: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients with respect to q, k and v."""
    found = _like(q), _like(k), _like(v)
    _call("backward", first, scale, (*_read(q, k, v, o), sums, *_read(d_o), *found))
    return found


@backward.register_fake
def _(
    d_o: Tensor, q: Tensor, k: Tensor, v: Tensor, first: Tensor | None, o: Tensor, sums: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    return _like(q), _like(k), _like(v)


def _call(name: str, first: Tensor | None, scale: float, tensors: tuple[Tensor, ...]) -> None:
    q, k, *_ = tensors
    first_at, first_row = (None, 0) if first is None else (first.data_ptr(), first.stride(0) if len(first) > 1 else 0)
    views = [_View(t.data_ptr(), *t.stride()[:3]) for t in tensors]
    sizes = len(q), q.shape[1], k.shape[1], q.shape[2], q.shape[3], torch.get_num_threads(), q.dtype == torch.bfloat16
    if getattr(library(SOURCE), name)(ctypes.byref(_Task(*sizes, first_at, first_row, scale, *views))):
        raise MemoryError("there is no memory for attention")


def _read(*tensors: Tensor) -> list[Tensor]:
    """As the code can read them: a head's values side by side."""
    return [t if t.stride(-1) == 1 else t.contiguous() for t in tensors]


def _like(x: Tensor) -> Tensor:
    """An empty [B, H, T, dh] whose tokens' heads lie side by side, as projections read and write them."""
    return x.new_empty(x.shape[0], x.shape[2], x.shape[1], x.shape[3]).transpose(1, 2)


def _keep(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    q, k, v, first, ctx.scale = inputs
    ctx.save_for_backward(q, k, v, first, *output)
    ctx.mark_non_differentiable(output[1])


def _gradient(ctx, d_o, d_sums):  # type: ignore[no-untyped-def]
    return (*torch.ops.athanor.attention_backward(d_o, *ctx.saved_tensors, ctx.scale), None, None)


attention.register_autograd(_gradient, setup_context=_keep)
