"""Where and how exactly the arithmetic happens: device, dtype, compiled or not. Results repeat within one such class.

'auto' compiles when a C++ compiler is there and the run is long enough to earn back the compilation; the choice is made
from the amount of work, never from a clock, so that the same run makes it again.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass

WORTH_COMPILING = 1e14  # training FLOPs; about half a minute of compilation earned back on two cores

# For processes that train on CPU; none changes a result. Freed blocks are kept: activations of the same sizes come and go
# at every step (+35% tokens/s). Threads that wait spin for a tenth of a millisecond, then sleep: never to spin costs 15% on a
# quiet machine, to spin for long 40% where others use the cores too.
ENVIRONMENT = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "17179869184",
    "MALLOC_TOP_PAD_": "268435456",
    "GOMP_SPINCOUNT": "2000",
}


@dataclass(frozen=True)
class Numerics:
    """One numerics class. `note` says why it is not the faster one, where that is so."""

    device: str
    dtype: str
    torch: str
    compiled: bool
    threads: int
    note: str = ""
    own_attention: bool = False  # by model/whole_rows.py

    def record(self) -> dict[str, str | bool | int]:
        return asdict(self)


def resolve(device: str, dtype: str, compile: str, flops: float) -> Numerics:
    """Settle device ('auto', 'cpu', 'cuda'), dtype ('auto', 'bfloat16', 'float32') and compile ('auto', 'on', 'off').

    flops: of the training; 0: nothing is trained.
    """
    import torch

    from model import whole_rows

    if device in ("auto", ""):
        device = default_device()
    if dtype == "auto":
        dtype = "bfloat16" if _fast_bfloat16(device) else "float32"
    if dtype not in ("bfloat16", "float32"):
        raise ValueError(f"dtype must be auto, bfloat16 or float32, not {dtype!r}")
    if compile not in ("auto", "on", "off"):
        raise ValueError(f"compile must be auto, on or off, not {compile!r}")
    compiler = any(shutil.which(name) for name in ("c++", "g++", "clang++", "icpx"))
    note = ""
    if compile == "off":
        note = "eager: compilation is off"
    elif not compiler:
        note = "eager: there is no C++ compiler (about 1.5 x slower)"
    elif compile == "auto" and device == "cpu" and flops < WORTH_COMPILING:
        note = "eager: too short a run to earn back compilation"
    own = flops > 0 and device == "cpu" and whole_rows.there(getattr(torch, dtype))
    return Numerics(device, dtype, torch.__version__, not note, torch.get_num_threads(), note, own)


def default_device() -> str:
    """'cuda' where there is one, else 'cpu'."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _fast_bfloat16(device: str) -> bool:
    import torch

    if device.startswith("cuda"):
        return torch.cuda.is_available() and torch.cuda.get_device_capability()[0] >= 8
    return bool(torch.backends.cpu.get_cpu_capability() == "AVX512" and torch.ops.mkldnn._is_mkldnn_bf16_supported())
