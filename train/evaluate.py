"""evaluate: how well the models predict held-out text, and what they write.

Exact bits per byte of the base and of the chat model, in all and by language, beside an order-3 modified Kneser-Ney
n-gram over the same tokenizer fitted on the whole training text; some continuations and answers. Writes evaluation.json
and samples.md. Text written by the models comes from redacted text.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from corpus.config import measured
from corpus.stage import CorpusStage, Inputs, Job
from train.numerics import ENVIRONMENT

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from model.decoder import Decoder
    from packer.bpe import Tokenizer
    from packer.rows import Documents


PROMPTS = ("Il comune di", "La legge prevede che", "C'era una volta", "The purpose of this document", "In the morning")
QUESTIONS = ("Ciao, chi sei?", "Come si fa il pane?", "What is a contract?")


@dataclass(frozen=True)
class EvaluateConfig:
    stride: int = measured(0, "new tokens per window; 0: half a window")
    ngram_order: int = measured(3, "order of the n-gram beside the model; 0: none")
    prompts: tuple[str, ...] = measured(PROMPTS, "texts that are continued")
    questions: tuple[str, ...] = measured(QUESTIONS, "put to the chat model")
    max_tokens: int = measured(96, "tokens of a sample, at most")
    temperature: float = measured(0.7, "of the samples")
    top_p: float = measured(0.9, "of the samples")
    repetition_penalty: float = measured(1.1, "of the samples")
    seed: int = measured(0, "of the samples")


def build(config: EvaluateConfig, inputs: Inputs, folder: Path, job: Job) -> dict[str, Any]:
    """Score, compare, sample, write."""
    from model.inference import prepare
    from model.state import load
    from packer.bpe import Tokenizer
    from packer.rows import Documents
    from train.numerics import resolve

    tokenizer = Tokenizer.load(inputs.artifacts["tokenizer"].path)
    held_out = Documents(inputs.views["pack"], "val")
    languages = dict(zip(*(inputs.views["pack"].table()[c].to_pylist() for c in ("id", "lang")), strict=True))
    numerics = resolve(job.device, "auto", "off", 0)
    names = [name for name in ("pretrain", "sft") if name in inputs.artifacts]
    evaluation: dict[str, Any] = {"val_documents": len(held_out), "val_bytes": held_out.bytes, "numerics": numerics.record(), "bpb": {}}
    samples = ["# Samples", ""]
    for number, name in enumerate(names):
        import torch

        model = load(inputs.artifacts[name].path, numerics.device, getattr(torch, numerics.dtype))
        if len(held_out):
            evaluation["bpb"][name] = _model_bpb(model, held_out, languages, config.stride, job, number, len(names))
        samples += _samples(config, name, prepare(model), tokenizer)
    if config.ngram_order and len(held_out):
        job.progress(len(names), len(names) + 1, f"n-gram of order {config.ngram_order}")
        train = Documents(inputs.views["pack"], "train")
        evaluation["bpb"][f"ngram{config.ngram_order}"] = _ngram_bpb(config.ngram_order, tokenizer, train, held_out, languages)
    (folder / "evaluation.json").write_text(json.dumps(evaluation, indent=1, sort_keys=True) + "\n", "utf-8")
    (folder / "samples.md").write_text("\n".join(samples) + "\n", "utf-8")
    job.progress(1, 1)
    figures = {f"val_bpb_{name}": found["all"] for name, found in evaluation["bpb"].items()}
    return {**figures, "val_documents": len(held_out), "val_bytes": held_out.bytes}


def _model_bpb(
    model: Decoder, held_out: Documents, languages: dict[str, str], stride: int, job: Job, number: int, models: int
) -> dict[str, Any]:
    from train.bpb import document_nats

    def report(document: int) -> None:
        job.progress(number + (document + 1) / len(held_out), models + 1, "scoring held-out text")

    return _by_language(document_nats(model, held_out, model.config.max_seq_len, stride, report=report), held_out, languages)


def _ngram_bpb(order: int, tokenizer: Tokenizer, train: Documents, held_out: Documents, languages: dict[str, str]) -> dict[str, Any]:
    import numpy as np

    from model.ngram import NGram

    def stream(documents: Documents) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        pieces = [documents.read(i, 1) for i in range(len(documents))]  # without the token that begins a document
        lengths = np.array([len(p) for p in pieces], np.int64)
        return np.concatenate(pieces).astype(np.int64), np.cumsum(lengths) - lengths

    tokens, starts = stream(train)
    ngram = NGram.fit(tokens, order, tokenizer.vocab_size, np.unique(starts))
    tokens, starts = stream(held_out)
    bits = -np.asarray(ngram.score(tokens, np.unique(starts)), np.float64)
    which = np.repeat(np.arange(len(held_out)), held_out.n_tokens - 1)
    return _by_language(np.bincount(which, bits, len(held_out)) * np.log(2), held_out, languages)


def _by_language(nats: NDArray[Any], documents: Documents, languages: dict[str, str]) -> dict[str, Any]:
    """Bits per byte of all documents and of each language."""
    import numpy as np

    from train.bpb import bits_per_byte

    of = np.array([languages.get(i) or "und" for i in documents.ids])
    found = {"all": bits_per_byte(nats.sum(), documents.bytes)}
    return found | {lang: bits_per_byte(nats[of == lang].sum(), documents.n_bytes[of == lang].sum()) for lang in sorted(set(of.tolist()))}


def _samples(config: EvaluateConfig, name: str, model: Decoder, tokenizer: Tokenizer) -> list[str]:
    """Markdown of what the model writes: answers for the chat model, continuations for the base model."""
    from model.generation import Sampling, generate

    chat = name == "sft"
    asked = config.questions if chat else config.prompts
    if not asked:
        return []
    if chat:
        prompts = [tokenizer.encode_chat([{"role": "user", "content": question}], reply=True)[0] for question in asked]
    else:
        prompts = [[tokenizer.bos, *tokenizer.encode(prompt)] for prompt in asked]
    sampling = Sampling(
        max_tokens=config.max_tokens,
        temperature=config.temperature,
        top_p=config.top_p,
        repetition_penalty=config.repetition_penalty,
        seed=config.seed,
        stop=(tokenizer.bos, tokenizer.im_start, tokenizer.im_end, tokenizer.pad),
    )
    lines = [f"## {name}", ""]
    for prompt, ids in zip(asked, generate(model, prompts, sampling), strict=True):
        text = tokenizer.decode(ids)
        written = f"**{prompt}**\n\n{text}" if chat else f"**{prompt}**{text}"
        lines += ["\n".join("> " + line for line in written.splitlines()), ""]
    return lines


STAGE = CorpusStage(
    name="evaluate",
    version=1,
    config=EvaluateConfig(),
    doc="bits per byte on held-out text, beside an n-gram, and samples",
    engines=("torch",),
    inputs=("pretrain", "sft", "tokenizer", "pack", "split"),
    optional=("sft",),
    reads=("text", "split", "held", "lang", "form"),
    build=build,
    environment=ENVIRONMENT,
)
