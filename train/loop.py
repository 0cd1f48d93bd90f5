"""The training loop: one function, readable from top to bottom, for every objective that is a sum of weighted terms.

Each pass: batch -> loss -> gradients -> clip -> learning rate from a pure function of the step -> update -> one line in
`loss.jsonl`. A checkpoint holds everything (train/checkpoint.py) and how long `loss.jsonl` then was: a run that was
killed cuts the curve back to its checkpoint and goes on bit for bit, within one numerics class. The curve holds no
times for that reason.

Limits: one process, one device; the whole batch in one piece (no accumulation).
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from corpus.canonical import digest
from corpus.outcome import Stop
from model import whole_rows
from model.decoder import Decoder
from train.batch import Source
from train.checkpoint import load_checkpoint, save_checkpoint
from train.numerics import Numerics
from train.objective import TermWeights, terms, weighted
from train.optim import Group, build_optimizer, clip_
from train.schedule import momentum, multiplier

PATIENCE = 20  # updates in a row that may be skipped because the gradient is not finite


@dataclass(frozen=True)
class Regime:
    """How a run is trained. Learning rates are peaks; `decay` is the fraction of the run over which they fall to `floor`."""

    steps: int
    matrix_lr: float = 0.02
    embed_lr: float = 0.006
    vector_lr: float = 0.006
    weight_decay: float = 0.0
    schedule: str = "wsd"
    warmup: int = 20
    decay: float = 0.5
    floor: float = 0.0
    clip: float = 1.0
    momentum: float = 0.95
    momentum_warmup: int = 300
    polar_steps: int = 5
    validate_every: int = 100
    terms: TermWeights = TermWeights()
    max_seconds: float = 0.0  # above 0: progress is the larger of steps and seconds, and the run no longer repeats exactly


@dataclass
class Finished:
    """What a run came to. `seconds` counts every attempt, validation included; `train_seconds` only the steps."""

    steps: int
    tokens: int
    seconds: float
    train_seconds: float
    loss: float
    skipped: int
    validation: dict[str, float]


def groups_of(regime: Regime) -> list[Group]:
    """Muon for the blocks' matrices, AdamW for the rest, each at its learning rate."""
    return [
        Group("matrix", "muon", regime.matrix_lr, regime.weight_decay, polar_steps=regime.polar_steps),
        Group("embed", "adamw", regime.embed_lr),
        Group("head", "adamw", regime.embed_lr),
        Group("vector", "adamw", regime.vector_lr),
    ]


def train(
    model: Decoder,
    source: Source,
    regime: Regime,
    numerics: Numerics,
    scratch: Path,
    validate: Callable[[Decoder], dict[str, float]] | None = None,
    report: Callable[[float, float, str], None] = lambda done, total, note: None,
    checkpoint_every: int = 100,
) -> Finished:
    """Train `model` in place for `regime.steps` updates, going on from the newest checkpoint in `scratch`.

    `validate` gives numbers for the curve; `report(done, total, note)` is told after every update.
    """
    model.to(numerics.device)
    if numerics.own_attention:
        whole_rows.attach(model)
    optimizer = build_optimizer(model, groups_of(regime))
    # another number of threads may round otherwise, but is no reason to throw a checkpoint away
    identity = digest({"regime": asdict(regime), "numerics": {k: v for k, v in numerics.record().items() if k not in ("note", "threads")}})
    start: dict[str, Any] = {"step": 0, "tokens": 0, "curve": 0, "seconds": 0.0, "train_seconds": 0.0}
    state = load_checkpoint(scratch / "checkpoints", model, optimizer, identity) or start
    if "cursor" in state:
        source.seek(state["cursor"])
    step, tokens, train_seconds = state["step"], state["tokens"], state["train_seconds"]
    loss, skipped, in_a_row = state.get("loss", math.nan), state.get("skipped", 0), 0
    validation: dict[str, float] = state.get("validation", {})
    compute = torch.compile(terms, dynamic=False) if numerics.compiled else terms
    loop, shared_head = model.config.loop, model.config.mtp_kind == "shared"
    parameters = list(model.parameters())
    begun, recent = time.monotonic() - state["seconds"], _Rate()

    def progress() -> float:
        done = step / regime.steps
        return max(done, (time.monotonic() - begun) / regime.max_seconds) if regime.max_seconds else done

    with _Curve(scratch / "loss.jsonl", state["curve"]) as curve:

        def checkpoint() -> None:
            save_checkpoint(
                scratch / "checkpoints",
                model,
                optimizer,
                {
                    "identity": identity,
                    "step": step,
                    "tokens": tokens,
                    "cursor": source.cursor(),
                    "curve": curve.flush(),
                    "seconds": time.monotonic() - begun,
                    "train_seconds": train_seconds,
                    "loss": loss,
                    "skipped": skipped,
                    "validation": validation,
                },
            )

        while step < regime.steps and progress() < 1:
            started = time.monotonic()
            batch = source.next().to(numerics.device)
            model.looping = loop is not None and progress() >= loop.start
            scale = multiplier(regime.schedule, step, progress(), regime.warmup, regime.decay, regime.floor)
            found = compute(model, batch.inputs, batch.targets, batch.weights, batch.documents)
            value = weighted(found, regime.terms, scale, shared_head)
            value.backward()
            norm, loss = clip_(parameters, regime.clip), found["loss"].item()
            if math.isfinite(norm) and math.isfinite(value.item()):
                optimizer.step(scale, momentum(step, end=regime.momentum, steps=regime.momentum_warmup))
                in_a_row = 0
            else:
                skipped, in_a_row = skipped + 1, in_a_row + 1
                if in_a_row > PATIENCE:
                    raise Stop(f"Training diverged: {in_a_row} gradients in a row were not finite. Set lower learning rates in recipe.")
            optimizer.zero_grad()
            step, tokens = step + 1, tokens + batch.inputs.numel()
            beside = {name: term.item() for name, term in found.items() if name != "loss"}
            beside |= {"looping": model.looping} if loop is not None else {}
            curve.line({"step": step, "tokens": tokens, "loss": loss, "scale": scale, "norm": norm, **beside})
            train_seconds += recent.add(batch.inputs.numel(), time.monotonic() - started)
            if validate is not None and regime.validate_every and (step % regime.validate_every == 0 or step == regime.steps):
                validation = validate(model)
                curve.line({"step": step, "tokens": tokens, **validation})
            if step % checkpoint_every == 0 or step == regime.steps:
                checkpoint()
            shown = "".join(f", {name} {number:.3f}" for name, number in validation.items())
            total = max(step, step / max(progress(), 1e-9)) if regime.max_seconds else regime.steps
            report(step, total, f"loss {loss:.3f}{shown}, {recent.per_second():,.0f} tokens/s")
        if step % checkpoint_every and step < regime.steps:
            checkpoint()  # stopped by the clock
    return Finished(step, tokens, time.monotonic() - begun, train_seconds, loss, skipped, validation)


class _Curve:
    """The lines of loss.jsonl, cut back to `length` bytes first."""

    def __init__(self, path: Path, length: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.file = path.open("ab")
        if self.file.seek(0, os.SEEK_END) < length:
            self.file.close()
            raise Stop(f"{path.name} is shorter than its checkpoint says. Remove the checkpoints beside it and run again.")
        self.file.truncate(length)

    def line(self, values: dict[str, Any]) -> None:
        self.file.write(json.dumps(values).encode() + b"\n")
        self.file.flush()

    def flush(self) -> int:
        """To the disk; returns the length in bytes."""
        self.file.flush()
        os.fsync(self.file.fileno())
        return os.fstat(self.file.fileno()).st_size

    def __enter__(self) -> _Curve:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()


class _Rate:
    """Tokens per second, exponentially smoothed and debiased."""

    def __init__(self) -> None:
        self.tokens = self.seconds = 0.0

    def add(self, tokens: int, seconds: float) -> float:
        self.tokens = 0.95 * self.tokens + tokens
        self.seconds = 0.95 * self.seconds + seconds
        return seconds

    def per_second(self) -> float:
        return self.tokens / max(self.seconds, 1e-9)
