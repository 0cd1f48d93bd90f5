"""What a training stage leaves behind: model.safetensors and config.json, the loss curve, eval.json, and its metrics."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model.decoder import Decoder
    from train.loop import Finished
    from train.numerics import Numerics


def write(
    folder: Path, scratch: Path, model: Decoder, metrics: dict[str, Any], done: Finished, numerics: Numerics, **about: Any
) -> dict[str, Any]:
    """Write the artifact; returns the metrics with the speed, which is no part of it. `about` goes into the model's file."""
    from model.state import save

    save(model, folder, **about)
    shutil.copyfile(scratch / "loss.jsonl", folder / "loss.jsonl")
    (folder / "eval.json").write_text(json.dumps(metrics, indent=1, sort_keys=True) + "\n", "utf-8")
    speed = {"seconds": round(done.seconds, 2), "tokens_per_second": round(done.tokens / max(done.train_seconds, 1e-9), 1)}
    return {**metrics, **speed, "numerics": numerics.record()}
