"""Checkpoints that exist whole or not at all, and hold everything a run needs to go on bit for bit.

    step-000200/  model.safetensors  optimizer.safetensors  state.json  manifest.json

Written under a temporary name; every file is flushed, the manifest (sha256 of each file) comes last, one rename makes
the folder exist. Reading takes the newest whose manifest holds and falls back to the one before. No pickle.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from train.optim import Optimizer


def save_checkpoint(folder: Path, model: nn.Module, optimizer: Optimizer, state: dict[str, Any], keep: int = 2) -> Path:
    """Write `step-<state['step']>` under `folder`, then remove all but the newest `keep`."""
    from safetensors.torch import save_file

    target = folder / f"step-{state['step']:08d}"
    temporary = folder / f".{target.name}.{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    save_file({k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}, temporary / "model.safetensors")
    save_file({k: v.detach().cpu().contiguous() for k, v in optimizer.state.items()}, temporary / "optimizer.safetensors")
    full = {**state, "updates": optimizer.updates, "rng": _rng_state()}
    (temporary / "state.json").write_text(json.dumps(full, sort_keys=True) + "\n", "utf-8")
    files = {f.name: _flushed(f) for f in sorted(temporary.iterdir())}
    (temporary / "manifest.json").write_text(json.dumps(files, indent=1, sort_keys=True) + "\n", "utf-8")
    _flushed(temporary / "manifest.json")
    _sync(temporary)
    shutil.rmtree(target, ignore_errors=True)
    os.rename(temporary, target)
    _sync(folder)
    for old in sorted(folder.glob("step-*"))[:-keep]:
        shutil.rmtree(old)
    return target


def load_checkpoint(folder: Path, model: nn.Module, optimizer: Optimizer, identity: str) -> dict[str, Any] | None:
    """Restore the newest whole checkpoint of this `identity` into model, optimizer and RNGs; its state, or None."""
    from safetensors.torch import load_file

    for found in sorted(folder.glob("step-*"), reverse=True):
        if not _whole(found):
            continue
        state = json.loads((found / "state.json").read_text("utf-8"))
        if state["identity"] != identity:
            continue
        model.load_state_dict(load_file(found / "model.safetensors"))
        saved = load_file(found / "optimizer.safetensors")
        for name, tensor in optimizer.state.items():
            tensor.copy_(saved[name])
        optimizer.updates = state["updates"]
        _restore_rng(state["rng"])
        return state
    return None


def _whole(folder: Path) -> bool:
    try:
        files = json.loads((folder / "manifest.json").read_text("utf-8"))
        return all(_sha256(folder / name) == expected for name, expected in files.items())
    except (OSError, ValueError):
        return False


def _rng_state() -> dict[str, Any]:
    kind, keys, position, has_gauss, gauss = np.random.get_state()  # type: ignore[misc]
    version, numbers, gauss_next = random.getstate()
    state: dict[str, Any] = {
        "torch": bytes(torch.get_rng_state().numpy().tobytes()).hex(),
        "numpy": [str(kind), np.asarray(keys).tolist(), int(position), int(has_gauss), float(gauss)],
        "python": [version, list(numbers), gauss_next],
    }
    if torch.cuda.is_available():
        state["cuda"] = bytes(torch.cuda.get_rng_state().numpy().tobytes()).hex()
    return state


def _restore_rng(state: dict[str, Any]) -> None:
    torch.set_rng_state(_bytes(state["torch"]))
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, np.array(keys, np.uint32), *rest))
    version, numbers, gauss_next = state["python"]
    random.setstate((version, tuple(numbers), gauss_next))
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(_bytes(state["cuda"]))


def _bytes(text: str) -> Tensor:
    return torch.frombuffer(bytearray.fromhex(text), dtype=torch.uint8)


def _flushed(path: Path) -> str:
    with open(path, "rb") as f:
        os.fsync(f.fileno())
    return _sha256(path)


def _sha256(path: Path) -> str:
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
