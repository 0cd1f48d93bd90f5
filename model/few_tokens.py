"""The layers for a few new tokens behind what a cache holds, by one call of compiled code (`few_tokens.cpp`).

Written out in Python a token costs as much for the code between two products as for the products; here it costs what reading the
weights once does. Weights are read where they are: nothing is copied, cast or packed. A token's result is the same, to the bit,
whatever is computed beside it, in a batch or as a draft.

Reading the weights is what a token waits for, so there is a way to read fewer: matrices quantized to 8 bits, with a factor for each
row. What they say is near, not equal: it serves as a draft that the true weights check (`speculative.py`).

Weights of fp32 that are too many for a cache go through the processor's matrix tiles in pieces, where it has any (`tiles.h`): up to 16
tokens then take hardly longer than one.

Limits: a CPU; weights in fp32 or bf16; the plain layer of the presets (grouped and windowed attention, QK norms, rotations of any kind,
score softcap, scaled norms, loops; swiglu and the squared kinds). Every other option is left to the modules.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from model.attention import Attention, Step
from model.cache import KVCache
from model.compiled import Unavailable, library
from model.config import DecoderConfig
from model.decoder import Decoder
from model.ffn import Squared, SwiGLU
from model.stream import Block

SOURCE = Path(__file__).with_suffix(".cpp")
NAMES = {torch.float32: "float", torch.bfloat16: "bfloat16"}  # of the types in the source
LARGE = 512 << 20  # bytes of fp32 weights that come from memory at every token, where a processor's caches hold fewer


class _Shape(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int64) for name in ("d", "heads", "kv_heads", "d_head", "d_ff", "half", "normed", "positions", "threads")),
        *((name, ctypes.c_float) for name in ("eps", "scale", "softcap", "branch", "slope")),
    )


class _Matrix(ctypes.Structure):
    _fields_ = (("w", ctypes.c_void_p), ("factor", ctypes.c_void_p))


class _Layer(ctypes.Structure):
    _fields_ = (
        *((name, _Matrix) for name in ("q", "k", "v", "o", "gate", "up", "down")),
        *((name, ctypes.c_void_p) for name in ("attention_gain", "ffn_gain", "head_gain", "keys", "values")),
        *((name, ctypes.c_int64) for name in ("capacity", "window", "ring")),
    )


class _Places(ctypes.Structure):
    _fields_ = (("n", ctypes.c_int64), *((name, ctypes.c_void_p) for name in ("row", "position", "rope")))


def plain(c: DecoderConfig) -> bool:
    """Whether the layers of this shape are such as `few_tokens.cpp` computes."""
    return (
        c.ffn_kind in ("swiglu", "relu2", "leakyrelu2")
        and not (c.ternary_attn or c.xsa_last_n or c.value_residual or c.branch_scale or c.backout)
        and c.value_embed is None
        and (c.attn_gate, c.resid_mix, c.unet_skips, c.parallel_from) == ("none", "none", "none", -1)
        and not (c.d_model % 2 or c.d_ff % 2 or c.n_head * c.d_head % 2)
    )


class FewTokens:
    """The layers and the head of a decoder, whose tensors must stay where they are. Use `of`."""

    def __init__(self, model: Decoder, code: ctypes.CDLL, quantized: bool) -> None:
        c, name = model.config, NAMES[model.dtype]
        in_pieces = model.dtype == torch.float32 and code.tiles() and sum(p.nbytes for p in model.parameters()) >= LARGE
        self.quantized, self.weights = quantized, "int8_t" if quantized else "in_pieces" if in_pieces else name
        self.through_code: Callable[..., int] = getattr(code, f"through_{self.weights}_{name}")
        self.linear_code: Callable[..., int] = getattr(code, f"linear_{self.weights}_{name}")
        self.dtype, self.d, self.rope, self.held = model.dtype, c.d_model, model.rope, list[Tensor]()
        order = c.unrolled(model.looping)
        every = [self._layer(block) for block in model.blocks]  # type: ignore[arg-type]
        self.layers = (_Layer * len(order))(*(every[layer] for layer in order))
        self.table, self.tokens = self._matrix(model.table), len(model.table)
        block: Block = model.blocks[0]  # type: ignore[assignment]
        sizes = (c.d_model, c.n_head, c.n_kv_head, c.d_head, c.d_ff, c.rope_dims // 2, c.qk_norm != "none", 0, 0)
        slope = block.ffn.slope if isinstance(block.ffn, Squared) else 0.0
        self.shape = _Shape(*sizes, c.norm_eps, c.scale, c.attn_softcap, block.branch, slope)

    @classmethod
    def of(cls, model: Decoder, quantized: bool = False) -> FewTokens | None:
        """None where the shape or the machine is not such as this needs. quantized: by copies of the matrices with 8 bits."""
        weights = [p for name, p in model.named_parameters() if p.dim() > 1]
        if not plain(model.config) or any(p.device.type != "cpu" or p.dtype != model.dtype or not p.is_contiguous() for p in weights):
            return None
        try:
            return cls(model, library(SOURCE), quantized) if model.dtype in NAMES else None
        except Unavailable:
            return None

    def fits(self, step: Step) -> bool:
        """Whether this forward adds a few real tokens to each row of a cache that is not empty."""
        cache = step.cache
        return cache is not None and cache.longest > 0 and cache.few and cache.dtype == self.dtype

    def through(self, x: Tensor, cache: KVCache) -> Tensor:
        """[B, T, d] embedded tokens that `cache` was told of -> the stream behind the last layer; the cache holds them then."""
        B, T, _ = x.shape
        positions = cache.reserve()  # [B, T]
        rows = torch.arange(B)[:, None].expand(B, T).contiguous()
        rope = self.rope.table(cache.longest + T, x.device)
        self.shape.positions, self.shape.threads = rope.shape[1], torch.get_num_threads()
        for layer, window, keys, values in zip(self.layers, cache.windows, cache.keys, cache.values, strict=True):
            layer.keys, layer.values, layer.capacity = keys.data_ptr(), values.data_ptr(), keys.shape[2]
            layer.window, layer.ring = window, cache.ring(window)
        places = _Places(B * T, rows.data_ptr(), positions.data_ptr(), rope.data_ptr())
        wide = x.to(torch.float32, memory_format=torch.contiguous_format, copy=True)
        sizes, layers = ctypes.byref(self.shape), ctypes.c_int64(len(self.layers))
        _checked(self.through_code(sizes, self.layers, layers, ctypes.byref(places), ctypes.c_void_p(wide.data_ptr())))
        return wide.to(x.dtype)

    def scores(self, hidden: Tensor) -> Tensor:
        """Normed states [..., d] times the head's rows, [..., V] in fp32."""
        x = hidden.contiguous()
        y = torch.empty(*x.shape[:-1], self.tokens)
        pointers = [ctypes.c_void_p(t.data_ptr()) for t in (x, y)]
        outs, ins, rows, threads = map(ctypes.c_int64, (self.tokens, self.d, x.numel() // self.d, torch.get_num_threads()))
        _checked(self.linear_code(ctypes.byref(self.table), outs, pointers[0], ins, rows, pointers[1], threads))
        return y

    def _layer(self, block: Block) -> _Layer:
        a, f, layer = block.attention, block.ffn, _Layer()
        matrices: dict[str, nn.Module] = {"q": a.q, "k": a.k, "v": a.v, "o": a.o, "up": f.up, "down": f.down}
        if isinstance(f, SwiGLU):
            matrices["gate"] = f.gate
        for name, module in matrices.items():
            setattr(layer, name, self._matrix(module.weight))  # type: ignore[arg-type]
        ones = torch.ones(self.d)
        vectors = {
            "attention_gain": block.norm_scale * (ones if block.attention_norm.weight is None else block.attention_norm.weight),
            "ffn_gain": block.norm_scale * (ones if block.ffn_norm is None or block.ffn_norm.weight is None else block.ffn_norm.weight),
            "head_gain": head_gains(a),
        }
        for name, vector in vectors.items():
            setattr(layer, name, self._held(vector.detach().float().contiguous()))
        return layer

    def _matrix(self, weight: Tensor) -> _Matrix:
        if not self.quantized:
            return _Matrix(self._held(weight), None)
        whole, factors = eight_bits(weight)
        return _Matrix(self._held(whole), self._held(factors))

    def _held(self, tensor: Tensor) -> int:
        """Where it lies, for as long as this is there."""
        self.held.append(tensor)
        return tensor.data_ptr()


@torch.no_grad()
def eight_bits(weight: Tensor) -> tuple[Tensor, Tensor]:
    """[out, in] -> int8 [out, in] and fp32 [out], whose product by rows is nearest to it."""
    wide = weight.float()
    factors = wide.abs().amax(1).clamp(min=1e-30) / 127
    return (wide / factors[:, None]).round_().to(torch.int8), factors


def head_gains(a: Attention) -> Tensor:
    """[Hq + Hk, dh]: what normed queries and keys are multiplied with; a factor of a whole head passes through the rotation."""
    gains = torch.ones(a.n_head + a.n_kv_head, a.d_head, device=a.o.weight.device)
    for norm, part in ((a.q_norm, gains[: a.n_head]), (a.k_norm, gains[a.n_head :])):
        part *= 1 if norm is None or norm.weight is None else norm.weight
    gains[: a.n_head] *= 1 if a.gain is None else a.gain[:, None]
    return gains


def _checked(failed: int) -> None:
    if failed:
        raise MemoryError("there is no memory for a token's activations")
