"""sft: the pretrained decoder learns to answer, from the ChatML conversations among the documents.

Loss on what the assistant says and on its <|im_end|> (which weighs more: an answer must end), nothing else; rows hold
whole conversations that do not see each other. Writes the same files as pretrain. Conversations longer than the model's
window are cut to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from corpus.chatml import parse
from corpus.config import how, measured
from corpus.outcome import Skip
from corpus.stage import CorpusStage, Inputs, Job, View
from train import artifact
from train.numerics import ENVIRONMENT

if TYPE_CHECKING:
    from packer.bpe import Tokenizer
    from train.conversations import Encoded


@dataclass(frozen=True)
class SftConfig:
    epochs: int = measured(3, "times the conversations are read")
    min_steps: int = measured(150, "updates, at least: a handful of conversations is learnt by heart")
    max_steps: int = measured(3000, "updates, at most")
    tokens_per_step: int = measured(4096, "tokens in an update, at most")
    matrix_lr: float = measured(0.006, "peak learning rate of the blocks' matrices (Muon)")
    embed_lr: float = measured(0.003, "peak learning rate of the token table (AdamW): the specials are learnt here")
    vector_lr: float = measured(0.001, "peak learning rate of the gains (AdamW)")
    end_boost: float = measured(3.0, "weight of the assistant's <|im_end|> in the loss, other tokens weigh 1")
    seed: int = measured(0, "of the order of the conversations")
    checkpoint_every: int = how(100, "updates between checkpoints")
    dtype: str = how("auto", "of the activations: bfloat16, float32 or auto")
    compile: str = how("auto", "on, off or auto: compiled where a C++ compiler is there and the run is long enough")


def encoded_conversations(view: View, split: str, tokenizer: Tokenizer) -> tuple[list[Encoded], int]:
    """The conversations of a split in id order, and how many chat documents could not be parsed."""
    chosen = [r["id"] for r in view.table().select(["id", "form", "split"]).to_pylist() if r["form"] == "chat" and r["split"] == split]
    found: list[Encoded] = []
    broken = 0
    for document in view.documents("text", ids=chosen) if chosen else ():
        try:
            found.append(tokenizer.encode_chat(parse(document["text"])))
        except ValueError:
            broken += 1
    return found, broken


def build(config: SftConfig, inputs: Inputs, folder: Path, job: Job) -> dict[str, Any]:
    """Train on the conversations, validate, write."""
    import torch

    from model.decoder import Decoder
    from model.state import load
    from packer.bpe import Tokenizer
    from train.batch import TableSource
    from train.conversations import conversation_rows
    from train.loop import Regime, train
    from train.numerics import resolve

    tokenizer = Tokenizer.load(inputs.artifacts["tokenizer"].path)
    conversations, broken = encoded_conversations(inputs.views["split"], "train", tokenizer)
    if not conversations:
        unparsed = f" ({broken} could not be parsed)" if broken else ""
        raise Skip(f"no chat documents: put conversations in ChatML in the chat folder{unparsed}")
    model = load(inputs.artifacts["pretrain"].path)
    length = model.config.max_seq_len
    table = conversation_rows(conversations, length, tokenizer.pad, tokenizer.im_end, config.end_boost)
    if not len(table.inputs):
        raise Skip(f"no chat documents: in none of the {len(conversations)} conversations the assistant speaks within {length} tokens")
    rows = min(max(1, config.tokens_per_step // length), len(table.inputs))
    steps = min(config.max_steps, max(config.min_steps, config.epochs * -(-len(table.inputs) // rows)))
    flops = float(steps * rows * length * model.config.flops_per_token(length))
    numerics = resolve(job.device, config.dtype, config.compile, flops)
    model.dtype = getattr(torch, numerics.dtype)

    held_out, _ = encoded_conversations(inputs.views["split"], "val", tokenizer)
    val = conversation_rows(held_out, length, tokenizer.pad, tokenizer.im_end, 1.0)

    @torch.no_grad()
    def validate(model: Decoder) -> dict[str, float]:
        total = targets = 0.0
        for at in range(0, len(val.inputs), rows):
            batch = val[torch.arange(at, min(at + rows, len(val.inputs)))].to(numerics.device)
            counted = int((batch.targets != -100).sum())
            total += float(model.loss(batch.inputs, batch.targets, batch.weights, batch.documents)) * counted
            targets += counted
        return {"val_loss": total / targets} if targets else {}

    before = validate(model.to(numerics.device))
    regime = Regime(
        steps=steps,
        matrix_lr=config.matrix_lr,
        embed_lr=config.embed_lr,
        vector_lr=config.vector_lr,
        warmup=min(10, steps // 4),
        decay=0.9,
        momentum_warmup=0,
        validate_every=max(1, steps // 5),
    )
    source = TableSource(table, rows, config.seed)
    done = train(model, source, regime, numerics, job.scratch, validate, job.progress, checkpoint_every=config.checkpoint_every)
    metrics: dict[str, Any] = {
        "params": model.config.param_count(),
        "steps": done.steps,
        "tokens": done.tokens,
        "conversations": len(conversations),
        "unparsed": broken,
        "learnt_tokens": int((table.targets != -100).sum()),
        "loss": done.loss,
        **done.validation,
    }
    if before:
        metrics |= {"val_loss_before": before["val_loss"], "val_conversations": len(held_out)}
    return artifact.write(folder, job.scratch, model, metrics, done, numerics, tokenizer_sha=tokenizer.hash, seed=config.seed, chat=True)


STAGE = CorpusStage(
    name="sft",
    version=2,
    config=SftConfig(),
    doc="teaches the decoder to answer, from the conversations",
    engines=("torch",),
    inputs=("pretrain", "tokenizer", "split"),
    reads=("text", "split", "form"),
    build=build,
    pinned=True,
    environment=ENVIRONMENT,
)
