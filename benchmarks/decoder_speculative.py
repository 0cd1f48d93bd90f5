"""Drafts by the decoder's own extra heads and by its 8-bit sketch: how many tokens a check gives, what that gains, and that no token
changes.

For each kind of head a small decoder (d 256, 5 layers) trains from nothing for some minutes with K = 4 on the same text, by the
trainer's own loop; then it continues held-out prompts, greedily or at a --temperature, without drafts and with them by turns. `length`
is the mean number of tokens a check gives (1: no draft was ever right), `gain` the median time of a plain call over that of a drafted
one, `same` the rows that are the same to the last token.

The text is --corpus, a folder of `*_train.jsonl.gz` and `*_val.jsonl.gz` (rows with id and text), or, without it, sentences that this
benchmark makes up from a few hundred invented words: that shows that drafting works, not what real text gives.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from decoder_worker import Contestant, Failed
from decoder_worker import arguments as common

K, LENGTH, ROWS = 4, 256, 16
WAYS = ("heads", "sketch")


def arguments(parser: argparse.ArgumentParser) -> None:
    common(parser)
    parser.add_argument("--corpus", type=Path, default=None)
    parser.add_argument("--minutes", type=float, default=5.0, help="of training, for each kind of head; compilation counts")
    parser.add_argument("--compile", default="auto")
    parser.add_argument("--vocab", type=int, default=4096, help="tokens of the tokenizer, at most")
    parser.add_argument("--kinds", nargs="+", default=["mlp", "deepseek"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 16], help="prompts at once")
    parser.add_argument("--prompt", type=int, default=64)
    parser.add_argument("--new", type=int, default=128)
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--dtype", default="float32", help="of the activations when it generates")


def run(given: argparse.Namespace) -> None:
    from train.numerics import default_device

    device = default_device()
    source = "made-up sentences" if given.corpus is None else "the corpus"
    print(f"speculative: {source}, {given.minutes:g} minutes each, {device}, {given.threads} threads, {given.dtype}, {given.turns} turns")
    print(
        f"{'heads':12}{'updates':>9}{'loss':>8}{'batch':>7}{'by':>8}{'plain/s':>9}{'drafted/s':>11}{'gain':>7}{'length':>8}{'same':>10}",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        packed(read(given.corpus) if given.corpus is not None else made_up(), given, folder)
        asked = ("minutes", "compile", "batches", "new", "dtype", "temperature")
        for kind in given.kinds:
            task = {name: getattr(given, name) for name in asked} | {"folder": str(folder), "kind": kind, "device": device}
            contestant = Contestant("decoder_speculative:turns", given.threads, **task)
            try:
                trained = contestant.ask()
                found = [contestant.ask() for _ in range(given.turns)]
            except Failed as error:
                print(f"{kind:12}  failed: {error}")
                continue
            finally:
                contestant.close()
            for batch, way in itertools.product(map(str, given.batches), WAYS):
                plain, drafted = (statistics.median(turn[batch][w]["seconds"] for turn in found) for w in ("off", way))
                tokens, last = int(batch) * given.new, found[-1][batch][way]
                speeds = f"{tokens / plain:9,.0f}{tokens / drafted:11,.0f}{plain / drafted:7.2f}{last['length']:8.2f}"
                same = f"{last['same']} of {batch}"
                print(f"{kind:12}{trained['updates']:9,}{trained['loss']:8.3f}{batch:>7}{way:>8}{speeds}{same:>10}", flush=True)


def read(corpus: Path) -> dict[str, list[str]]:
    """Split -> texts."""
    from pretrain import read

    texts: dict[str, list[str]] = {"train": [], "val": []}
    for split, text in read(corpus).values():
        texts[split].append(text)
    return texts


def made_up(documents: int = 4000) -> dict[str, list[str]]:
    """Texts of invented words: fixed phrases in a random order about a few things that each document keeps to."""
    draw = random.Random(0)
    syllables = [a + b for a in "bcdfglmnprstv" for b in "aeiou"]
    words = ["".join(draw.choices(syllables, k=draw.randint(1, 4))) for _ in range(600)]
    phrases = [[draw.choice(words) if draw.random() < 0.8 else None for _ in range(draw.randint(5, 14))] for _ in range(80)]

    def document() -> str:
        things = [draw.choice(words).title() for _ in range(3)]
        chosen = draw.choices(phrases, weights=[1 / (n + 1) for n in range(len(phrases))], k=draw.randint(5, 30))
        return " ".join(" ".join(word or draw.choice(things) for word in phrase).capitalize() + "." for phrase in chosen)

    texts = [document() for _ in range(documents)]
    return {"train": texts[64:], "val": texts[:64]}


def packed(texts: dict[str, list[str]], given: argparse.Namespace, folder: Path) -> None:
    """Training tokens in a row and prompts from held-out texts, in `folder`."""
    import numpy as np

    from packer import bpe

    bpe.save(bpe.train(texts["train"][:20_000], given.vocab, 3), folder)
    tokenizer = bpe.Tokenizer.load(folder)
    rows = [[tokenizer.bos, *tokens] for tokens in tokenizer.encode_batch(texts["train"])]
    held = [[tokenizer.bos, *tokens] for tokens in tokenizer.encode_batch(texts["val"][:2000])]
    prompts = [tokens[: given.prompt] for tokens in held if len(tokens) >= given.prompt][: max(given.batches)]
    if len(prompts) < max(given.batches) or sum(map(len, rows)) <= LENGTH:
        raise SystemExit(f"too little text: {len(prompts)} prompts of {given.prompt} tokens, {sum(map(len, rows)):,} tokens to train on")
    np.save(folder / "tokens.npy", np.concatenate([np.array(row, np.int64) for row in rows]))
    facts = {"prompts": prompts, "vocab_size": tokenizer.vocab_size, "bos": tokenizer.bos}
    (folder / "facts.json").write_text(json.dumps(facts), "utf-8")


def turns(
    folder: str, kind: str, minutes: float, compile: str, batches: list[int], new: int, dtype: str, temperature: float, device: str
) -> Iterator[dict[str, Any]]:
    """The job for one kind of head: trains, then every turn times all ways for every batch."""
    import torch

    from model.config import DecoderConfig
    from model.decoder import Decoder
    from model.generation import Sampling, Speculation, generate
    from model.inference import prepare
    from train.loop import Regime, train
    from train.numerics import resolve

    facts = json.loads((Path(folder) / "facts.json").read_text("utf-8"))
    numerics = resolve(device, "auto", compile, 1e18)
    shape = DecoderConfig(
        facts["vocab_size"], 256, 5, 4, 768, n_kv_head=2, max_seq_len=2 * LENGTH, bos_id=facts["bos"], mtp_k=K, mtp_kind=kind
    )
    model = Decoder(shape, getattr(torch, numerics.dtype)).init_weights(0)
    regime = Regime(10**7, weight_decay=0.1, decay=0.6, validate_every=0, max_seconds=minutes * 60)
    with tempfile.TemporaryDirectory() as scratch:
        done = train(model, Text(Path(folder) / "tokens.npy"), regime, numerics, Path(scratch), checkpoint_every=10**9)
    yield {"updates": done.steps, "loss": done.loss}

    model.dtype = getattr(torch, dtype)
    model = prepare(model)
    sampling = Sampling(max_tokens=new, temperature=temperature)
    for batch, way in itertools.product(batches, WAYS):  # warm
        generate(model, facts["prompts"][:batch], sampling, speculative=way)
    while True:
        found: dict[str, dict[str, Any]] = {}
        for batch in batches:
            prompts, plain = facts["prompts"][:batch], []
            found[str(batch)] = {}
            for way in ("off", *WAYS):
                stats, begun = Speculation(), time.perf_counter()
                tokens = generate(model, prompts, sampling, speculative=way, stats=stats)
                seconds, plain = time.perf_counter() - begun, plain or tokens
                same = sum(a == b for a, b in zip(plain, tokens, strict=True))
                found[str(batch)][way] = {"seconds": seconds, "length": stats.mean_length, "same": same}
        yield found


class Text:
    """Batches of random stretches of the text; which, follows from how many went before."""

    def __init__(self, path: Path) -> None:
        import numpy as np

        self.tokens, self.at = np.load(path), 0

    def next(self) -> Any:
        import numpy as np
        import torch

        from train.batch import Batch

        starts = np.random.default_rng(self.at).integers(0, len(self.tokens) - LENGTH, ROWS)
        self.at += 1
        rows = torch.from_numpy(np.stack([self.tokens[s : s + LENGTH + 1] for s in starts]))
        return Batch(rows[:, :-1].contiguous(), rows[:, 1:].contiguous())

    def cursor(self) -> Any:
        return self.at

    def seek(self, cursor: Any) -> None:
        self.at = cursor
