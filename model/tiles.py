"""Causal attention for training in bf16 on a CPU with matrix tiles (Intel AMX): the backward pass is compiled code (`attention.cpp`).

The forward pass is the library's fused kernel, which leaves the log of each softmax's sum; its own backward pass takes seven times as long
as its forward pass, ours two. The gradients of a key that several query heads share are added up in fp32: they are closer to fp32's.

Limits: whole rows under nothing but causality; heads of a multiple of 32. Everything else goes the way of `attention.attend`.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

import torch
from torch import Tensor

from model.attention import Attention
from model.compiled import Unavailable, library
from model.decoder import Decoder

SOURCE = Path(__file__).with_name("attention.cpp")
NAMES = ("q", "k", "v", "o", "d_o", "d_q", "d_k", "d_v")


class _View(ctypes.Structure):
    _fields_ = (("at", ctypes.c_void_p), *((name, ctypes.c_int64) for name in ("row", "head", "token")))


class _Task(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int64) for name in ("rows", "heads", "kv_heads", "length", "d_head", "threads")),
        ("scale", ctypes.c_float),
        *((name, _View) for name in (*NAMES, "sums")),
    )


def there() -> bool:
    """Whether this machine has the tiles and a compiler that can use them. The first call compiles (seconds)."""
    if not torch.cpu._is_amx_tile_supported():
        return False
    try:
        library(SOURCE)
    except Unavailable:
        return False
    return True


def attach(model: Decoder) -> None:
    """Let the layers that can train this way. Only where it is `there`."""
    for module in model.modules():
        if isinstance(module, Attention) and model.dtype == torch.bfloat16 and not module.d_head % 32 and not module.softcap:
            module.whole = attend


def attend(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """bf16 [B, Hq, T, dh], [B, Hk, T, dh] x2 -> [B, Hq, T, dh], causal."""
    return torch.ops.athanor.causal_attention(q, k, v, scale)[0]  # type: ignore[no-any-return]


@torch.library.custom_op("athanor::causal_attention", mutates_args=(), device_types="cpu")
def causal_attention(q: Tensor, k: Tensor, v: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """What comes out of the heads, and log sum exp of each one's scores, [B, Hq, T] fp32."""
    y, sums = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, True, attn_mask=None, scale=scale)
    return y.transpose(1, 2).contiguous().transpose(1, 2), sums  # the kernel lays y out as q: a copy only where q is by heads


@causal_attention.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    return _like(q), q.new_empty(q.shape[0], q.shape[2], q.shape[1], dtype=torch.float32).transpose(1, 2)


@torch.library.custom_op("athanor::causal_attention_backward", mutates_args=(), device_types="cpu")
def backward(d_o: Tensor, q: Tensor, k: Tensor, v: Tensor, o: Tensor, sums: Tensor, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients with respect to q, k and v."""
    read = [t if t.stride(-1) == 1 else t.contiguous() for t in (q, k, v, o, d_o)]
    found = _like(q), _like(k), _like(v)
    views = [_View(t.data_ptr(), *t.stride()[:3]) for t in (*read, *found, sums)]
    task = _Task(len(q), q.shape[1], k.shape[1], q.shape[2], q.shape[3], torch.get_num_threads(), scale, *views)
    if library(SOURCE).backward(ctypes.byref(task)):
        raise MemoryError("there is no memory for the gradients of attention")
    return found


@backward.register_fake
def _(d_o: Tensor, q: Tensor, k: Tensor, v: Tensor, o: Tensor, sums: Tensor, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    return _like(q), _like(k), _like(v)


def _like(x: Tensor) -> Tensor:
    """An empty [B, H, T, dh] whose tokens' heads lie side by side, as projections read and write them."""
    return x.new_empty(x.shape[0], x.shape[2], x.shape[1], x.shape[3]).transpose(1, 2)


def _keep(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    q, k, v, ctx.scale = inputs
    ctx.save_for_backward(q, k, v, *output)
    ctx.mark_non_differentiable(output[1])


def _gradient(ctx, d_o, d_sums):  # type: ignore[no-untyped-def]
    return (*torch.ops.athanor.causal_attention_backward(d_o, *ctx.saved_tensors, ctx.scale), None)


causal_attention.register_autograd(_gradient, setup_context=_keep)
