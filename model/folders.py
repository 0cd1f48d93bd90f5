"""Folders of a model: they appear whole or not at all, and hold their tensors in one file or, above a limit, in several with
an index, under the names that transformers and the Hub give them.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
LIMIT = 5 * 10**9  # bytes of a file


@contextlib.contextmanager
def fresh(folder: Path) -> Iterator[Path]:
    """A folder to write into, which becomes `folder` when the block ends without an error. ValueError where something is."""
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise ValueError(f"{folder} holds something already: name a new or an empty folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        for file in temporary.iterdir():
            with file.open("rb") as f:
                os.fsync(f.fileno())
        if folder.exists():
            folder.rmdir()
        os.rename(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def write_tensors(tensors: Iterable[tuple[str, Tensor]], folder: Path, dtype: torch.dtype | None = None, limit: int = LIMIT) -> None:
    """model.safetensors; above `limit` bytes several files and their index. dtype: of floating tensors, cast one file at a time."""
    from safetensors.torch import save_file

    shards: list[list[tuple[str, Tensor]]] = [[]]
    sizes = [0]
    for name, tensor in tensors:
        size = tensor.numel() * _stored(tensor, dtype).itemsize
        if sizes[-1] and sizes[-1] + size > limit:
            shards.append([])
            sizes.append(0)
        shards[-1].append((name, tensor))
        sizes[-1] += size
    where: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        file = WEIGHTS if len(shards) == 1 else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        ready = {name: tensor.detach().to("cpu", _stored(tensor, dtype)).contiguous() for name, tensor in shard}
        save_file(ready, folder / file, {"format": "pt"})
        where |= dict.fromkeys(ready, file)
    if len(shards) > 1:
        write_json(folder / INDEX, {"metadata": {"total_size": sum(sizes)}, "weight_map": where})


def tensor_files(folder: Path) -> list[Path]:
    """The files that hold the tensors. ValueError for one that is missing."""
    index = folder / INDEX
    named = set(json.loads(index.read_text("utf-8"))["weight_map"].values()) if index.exists() else {WEIGHTS}
    files = [folder / Path(name).name for name in sorted(named)]
    for file in files:
        if not file.exists():
            raise ValueError(f"{folder} holds no {file.name}: only whole folders of safetensors are read")
    return files


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """Every tensor by name. ValueError as `tensor_files`."""
    from safetensors.torch import load_file

    return {name: tensor for file in tensor_files(folder) for name, tensor in load_file(file).items()}


def write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", "utf-8")


def _stored(tensor: Tensor, dtype: torch.dtype | None) -> torch.dtype:
    return dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype
