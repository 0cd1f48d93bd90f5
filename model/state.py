"""A decoder on disk: its tensors (`folders.py`) and `config.json`, which carries the shape, the fingerprint and what is known of it.

A folder whose tensors are not the ones that were saved is refused. Loading is strict: every tensor by name and shape. Fields
of the config can be overridden where the tensors still fit; where they do not, the sentence says which and why. Only heads
beside the trunk can be left out, by overriding their field: `mtp_k=1`, `decision_classes=0`, `chart_encoder=None`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from model.config import DecoderConfig
from model.decoder import Decoder
from model.folders import read_tensors, write_tensors

HEADS = {"mtp_k": "mtp.", "decision_classes": "decision.", "chart_encoder": "chart."}  # field -> its tensors


def fingerprint(state: nn.Module | Mapping[str, Tensor]) -> str:
    """SHA-256 of the state: names, dtypes, shapes and little-endian bytes in name order. Proves identity, not training."""
    h, tensors = hashlib.sha256(), state.state_dict() if isinstance(state, nn.Module) else state
    for name, tensor in sorted((n.removeprefix("_orig_mod."), t) for n, t in tensors.items()):
        value = tensor.detach().cpu().contiguous()
        named = (name, str(value.dtype).removeprefix("torch."), ",".join(map(str, value.shape)))
        h.update(b"".join(part.encode() + b"\0" for part in named))
        h.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return h.hexdigest()


def save(model: Decoder, folder: Path, **facts: Any) -> str:
    """Write model.safetensors and config.json (the shape, the fingerprint and these facts); returns the fingerprint."""
    return write(model, folder, {**described(model), "params": model.config.param_count(), **facts})


def load(folder: Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32, **overrides: Any) -> Decoder:
    """The decoder of a folder, with fields of its config replaced where `overrides` are given.

    ValueError when its tensors are not the ones that were saved, or do not fit the overridden shape.
    """
    about, state = read(folder)
    if "kind" in about:
        raise ValueError(f"this folder holds a model derived from a decoder ({about['kind']}): model.derived loads it")
    config = DecoderConfig.from_dict({**about["decoder"], **overrides})
    with torch.device("meta"):
        model = Decoder(config, dtype)
    fill(model, state, [prefix for field, prefix in HEADS.items() if field in overrides], overrides)
    model.looping = bool(about.get("looping", model.looping)) and config.loop is not None
    return model.to(device)


def described(model: Decoder) -> dict[str, Any]:
    """What config.json must say for the decoder to be built again."""
    looping = {"looping": model.looping} if model.config.loop is not None else {}
    return {"decoder": model.config.to_dict(), **looping}


def write(model: nn.Module, folder: Path, about: Mapping[str, Any]) -> str:
    """The tensors and config.json of any model; returns the fingerprint, which config.json holds too."""
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(model.state_dict().items(), folder)
    about = {**about, "model_state_sha256": fingerprint(model)}
    (folder / "config.json").write_text(json.dumps(about, indent=1, sort_keys=True) + "\n", "utf-8")
    return about["model_state_sha256"]


def read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What config.json says, and the tensors. ValueError when they are not the ones that were saved."""
    about, state = json.loads((folder / "config.json").read_text("utf-8")), read_tensors(folder)
    if fingerprint(state) != about["model_state_sha256"]:
        raise ValueError("model.safetensors does not hold the state that config.json names: the folder was altered")
    return about, state


def fill(model: nn.Module, state: dict[str, Tensor], left_out: Collection[str] = (), overrides: Mapping[str, Any] | None = None) -> None:
    """Give the model these tensors, every one; those with a prefix of `left_out` may be without a place. ValueError else."""
    wanted = {name: tuple(t.shape) for name, t in model.state_dict().items()}
    found = {name: tuple(t.shape) for name, t in state.items() if name in wanted or not name.startswith(tuple(left_out))}
    missing, surplus = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    other = sorted(name for name in wanted.keys() & found.keys() if wanted[name] != found[name])
    reasons = []
    if missing:
        reasons.append(f"{len(missing)} tensors are missing (the first: {missing[0]} {list(wanted[missing[0]])})")
    if surplus:
        reasons.append(f"{len(surplus)} have no place (the first: {surplus[0]} {list(found[surplus[0]])})")
    if other:
        reasons.append(f"{len(other)} have another shape (the first: {other[0]} {list(found[other[0]])}, wanted {list(wanted[other[0]])})")
    if reasons:
        changed = ", ".join(f"{name}={value!r}" for name, value in (overrides or {}).items())
        asked = f"with {changed} the saved tensors do not fit" if changed else "the saved tensors do not fit the config beside them"
        raise ValueError(f"{asked}: {'; '.join(reasons)}")
    model.load_state_dict({name: state[name] for name in found}, assign=True)
