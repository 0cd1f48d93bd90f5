"""Products of many rows in fp32 by matrix tiles (Intel AMX), by compiled code (`pieces.cpp`): each number in three bfloat16 pieces.

Errors are those of the library's fp32 (0.7–1.2 times as large), up to 2.5 times where values of a sum differ by many orders of magnitude.
It takes long prompts to pay: a row of the matrix is cut into pieces anew at every product, so that no second copy of it lies in memory.

Limits: a CPU that has the tiles; no gradients. Every other product is the library's.
"""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path

import torch
from torch import Tensor

from model import layers
from model.compiled import Unavailable, library

SOURCE = Path(__file__).with_suffix(".cpp")
MANY = 256  # rows from which on it pays


def product(x: Tensor, weight: Tensor) -> Tensor:
    """As `layers.product`: x [..., in], weight [out, in] -> [..., out]."""
    code = _code() if fits(x, weight) else None
    if code is None:
        return layers.product(x, weight)
    x, weight = x.contiguous(), weight.contiguous()
    y = x.new_empty(*x.shape[:-1], len(weight))
    pointers = [ctypes.c_void_p(t.data_ptr()) for t in (x, weight, y)]
    sizes = (x.numel() // x.shape[-1], *weight.shape, torch.get_num_threads())
    if code.product(*pointers, *map(ctypes.c_int64, sizes)):
        raise MemoryError("there is no memory for a product")
    return y


def fits(x: Tensor, weight: Tensor) -> bool:
    """Whether this is such a product, if the machine has tiles."""
    plain = x.device.type == "cpu" and x.dtype == weight.dtype == torch.float32 and not weight.is_mkldnn and weight.numel() > 0
    learned = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    return plain and not learned and x.numel() >= MANY * x.shape[-1]


@functools.cache
def _code() -> ctypes.CDLL | None:
    try:
        code = library(SOURCE)
    except Unavailable:
        return None
    return code if code.tiles() else None
