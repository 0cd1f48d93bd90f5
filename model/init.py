"""Initial weights: each tensor from a stream of its own, keyed by seed and name.

So the same seed gives the same bits whatever else the model has: adding a head moves no other tensor. Normals are drawn by
NumPy's Philox generator, whose integers are the same on every machine.

    zero_out    fan-in scaled normals cut at 3 s, zero where a branch joins the stream: blocks are the identity at first
    glorot      normals of variance 2/(in+out); 0.02/sqrt(2L) where a branch joins
    orthogonal  orthogonal matrices, zero where a branch joins, a table of 0.005

With zero_out and a head of its own the first loss is ln V exactly. With a tied table it is ln V while 0.02*d_model is well
below ln V (widths to about 200): beyond, each token predicts itself at first, which a few steps undo.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.config import DecoderConfig
from model.schema import beginning

LANES = (1.1, 1.1, 1.0, 1.0, 1.0, 1.0)  # both lanes kept, each branch into both


@torch.no_grad()
def init_weights(model: nn.Module, config: DecoderConfig, seed: int) -> None:
    """Fill every parameter (fp32, on CPU or moved there). KeyError for one the schema does not know."""
    for name, p in model.named_parameters():
        p.copy_(initial(name, tuple(p.shape), config, seed))
    for buffer in model.buffers():  # temperatures
        buffer.fill_(1)


def initial(name: str, shape: tuple[int, ...], config: DecoderConfig, seed: int) -> Tensor:
    """The beginning of one parameter, fp32."""
    rule, c = beginning(name), config
    if rule == "mix":  # all of the stream, nothing of the embedding; the scalar form moves from one to the other with depth
        return _mix(name, shape, c)
    if rule == "lanes":
        return torch.tensor(LANES)
    constants = {"zero": 0.0, "one": 1.0, "qk_gain": c.qk_gain}
    if rule in constants or rule.replace(".", "").isdigit():
        return torch.full(shape, constants.get(rule) if rule in constants else float(rule))
    rng = np.random.Generator(np.random.Philox(int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:16], "little")))
    _, fan_out, fan_in = _as_matrices(shape)
    if rule == "uniform":
        return torch.from_numpy(rng.random(shape, np.float32) * 2 - 1) * (3 / c.d_model) ** 0.5
    if rule == "value_gate":
        return torch.from_numpy(rng.random(shape, np.float32)) * 0.02
    if rule == "gate":  # narrow gates begin at nothing, wide ones nearly so
        return torch.zeros(shape) if c.attn_gate in ("attn_out", "sparse") else _normal(rng, shape, 0.01)
    if rule.endswith(" normal"):
        return _normal(rng, shape, float(rule.split()[0]))
    if rule == "head":
        return torch.zeros(shape) if c.init != "glorot" else _normal(rng, shape, 0.02)
    if rule == "table":
        return _normal(rng, shape, 0.005 if c.init == "orthogonal" else 0.02)
    if rule == "out":
        return torch.zeros(shape) if c.init != "glorot" else _normal(rng, shape, 0.02 / (2 * c.n_layer) ** 0.5)
    if c.init == "glorot":
        return _normal(rng, shape, (2 / (fan_in + fan_out)) ** 0.5)
    if c.init == "orthogonal":
        return _orthogonal(rng, shape)
    return _normal(rng, shape, fan_in**-0.5, cut=3.0)


def _normal(rng: np.random.Generator, shape: tuple[int, ...], std: float, cut: float = 0.0) -> Tensor:
    values = rng.standard_normal(shape, np.float32)
    if cut:
        while len(beyond := np.flatnonzero(np.abs(values.reshape(-1)) > cut)):
            values.reshape(-1)[beyond] = rng.standard_normal(len(beyond), np.float32)
    return torch.from_numpy(values).mul_(std)


def _orthogonal(rng: np.random.Generator, shape: tuple[int, ...]) -> Tensor:
    drawn: NDArray[np.float32] = rng.standard_normal(_as_matrices(shape), np.float32)
    tall = drawn.shape[1] >= drawn.shape[2]
    q, r = np.linalg.qr(drawn if tall else drawn.transpose(0, 2, 1))
    q = q * np.sign(np.diagonal(r, axis1=1, axis2=2))[:, None, :]
    return torch.from_numpy(np.ascontiguousarray(q if tall else q.transpose(0, 2, 1)).reshape(shape))


def _as_matrices(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """How many matrices, their outputs and inputs: [out, in], a stack [n, out, in], a convolution [out, channels, k, k]."""
    if len(shape) == 3:
        return shape[0], shape[1], shape[2]
    return 1, shape[0], int(np.prod(shape[1:]))


def _mix(name: str, shape: tuple[int, ...], c: DecoderConfig) -> Tensor:
    if len(shape) == 2:
        return torch.stack((torch.ones(shape[1]), torch.zeros(shape[1])))
    depth = int(name.split(".")[1]) / max(1, c.n_layer - 1)
    return torch.tensor([1.15 - 0.10 * depth, 0.20 - 0.15 * depth])
