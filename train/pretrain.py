"""pretrain: the decoder learns the packed training text, as the recipe says.

Writes model.safetensors, config.json, loss.jsonl and eval.json. Checkpoints lie in the job's scratch folder: a run that
was killed goes on from the newest one, bit for bit within one numerics class (device, dtype, torch, compiled or not).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corpus.config import how, measured
from corpus.outcome import Skip
from corpus.stage import CorpusStage, Inputs, Job
from train import artifact
from train.numerics import ENVIRONMENT


@dataclass(frozen=True)
class PretrainConfig:
    seed: int = measured(0, "of the initial weights and of the order of the text")
    validate_every: int = measured(100, "updates between validations on a sample")
    validation_tokens: int = measured(20_000, "tokens of the sample that is validated on during the run")
    stride: int = measured(0, "new tokens per window of the final validation; 0: half a window")
    checkpoint_every: int = how(100, "updates between checkpoints")
    dtype: str = how("auto", "of the activations: bfloat16, float32 or auto")
    compile: str = how("auto", "on, off or auto: compiled where a C++ compiler is there and the run is long enough")


def build(config: PretrainConfig, inputs: Inputs, folder: Path, job: Job) -> dict[str, Any]:
    """Train, validate, write."""
    import torch

    from model.config import DecoderConfig
    from model.decoder import Decoder
    from packer.bpe import Tokenizer
    from packer.rows import Documents, Rows
    from train.batch import TextSource
    from train.bpb import Sample, bits_per_byte, document_nats
    from train.loop import Regime, train
    from train.numerics import resolve

    recipe = json.loads((inputs.artifacts["recipe"].path / "recipe.json").read_text("utf-8"))
    view, length = inputs.views["pack"], recipe["length"]
    tokenizer = Tokenizer.load(inputs.artifacts["tokenizer"].path)
    if Documents(view, "train").tokens < 2:
        raise Skip("there is no training text: no packed document has split 'train'")
    rows = Rows(view, "train", config.seed, length)
    numerics = resolve(job.device, config.dtype, config.compile, recipe["flops"])
    model = Decoder(DecoderConfig.from_dict(recipe["decoder"]), getattr(torch, numerics.dtype)).init_weights(config.seed)

    held_out = Documents(view, "val")
    sample = Sample.of(held_out, config.validation_tokens, 8 * length)
    sample_bytes = sample.bytes(tokenizer.token_bytes)

    def validate(model: Decoder) -> dict[str, float]:
        return {"val_bpb": bits_per_byte(document_nats(model, sample, length).sum(), sample_bytes)} if len(sample) else {}

    regime = Regime(**recipe["regime"], validate_every=config.validate_every)
    done = train(
        model,
        TextSource(rows, recipe["rows_per_step"], recipe["document_mask"]),
        regime,
        numerics,
        job.scratch,
        validate,
        job.progress,
        checkpoint_every=config.checkpoint_every,
    )
    metrics: dict[str, Any] = {
        "params": recipe["params"],
        "steps": done.steps,
        "tokens": done.tokens,
        "epochs": recipe["epochs"],
        "loss": done.loss,
        "skipped_updates": done.skipped,
    }
    if len(held_out):
        job.progress(done.steps, done.steps, "validating on all held-out text")
        nats = document_nats(model, held_out, length, config.stride)
        metrics |= {"val_bpb": bits_per_byte(nats.sum(), held_out.bytes), "val_documents": len(held_out), "val_bytes": held_out.bytes}
    about = {"tokenizer_sha": tokenizer.hash, "seed": config.seed, "trained_tokens": done.tokens}
    return artifact.write(folder, job.scratch, model, metrics, done, numerics, **about)


STAGE = CorpusStage(
    name="pretrain",
    version=2,
    config=PretrainConfig(),
    doc="trains the decoder on the packed text",
    engines=("torch",),
    inputs=("recipe", "tokenizer", "pack"),
    reads=("text", "split", "held"),
    build=build,
    pinned=True,
    environment=ENVIRONMENT,
)
