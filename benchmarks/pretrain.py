"""The decoder against n-grams of the same text, after so many minutes of training. Prints one table.

    python benchmarks/pretrain.py --corpus FOLDER [--minutes 10] [--threads 2] [--vocab 4096] [--size 5m] [--work FOLDER]

FOLDER holds `*_train.jsonl.gz` and `*_val.jsonl.gz` (rows with id and text). A byte-level BPE is trained on the training
text, everything is packed, and a decoder trains for the given wall-clock minutes (compilation counts). Then, on the whole
validation text, bits per byte of

    the decoder
    the order-3 modified Kneser-Ney n-gram over the decoder's tokens, fitted on exactly the rows the decoder has trained on
    the same over bytes, fitted on the bytes of those rows
    the n-gram over tokens fitted on all the training text (several times more than the decoder has seen)

`--work` keeps the packed text between runs.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from corpus.canonical import digest_text
from corpus.stage import Inputs
from packer import tokenizer as tokenizer_stage
from packer.bpe import Tokenizer, n_bytes
from packer.rows import Documents, Rows
from packer.shards import write_shard
from train.numerics import ENVIRONMENT

PART = 2000  # documents in a part


class Packed:
    """The packed text as the engine would show it: a table of documents and the parts they lie in."""

    def __init__(self, texts: dict[str, tuple[str, str]], folder: Path) -> None:
        self.texts, self.folder = texts, folder
        self.ids = sorted(texts)

    def table(self) -> pa.Table:
        return pa.table({"id": self.ids, "split": [self.texts[i][0] for i in self.ids]})

    def documents(self, *fields: str, ids: list[str] | None = None) -> Iterator[dict[str, Any]]:
        for i in self.ids if ids is None else ids:
            yield {"id": i, "split": self.texts[i][0], "text": self.texts[i][1]}

    def parts(self) -> list[tuple[Path, pa.Table]]:
        import pyarrow.parquet as pq

        return [(f.parent, pq.read_table(f)) for f in sorted(self.folder.glob("part-*/rows.parquet"))]

    def pack(self, tokenizer: Tokenizer) -> None:
        import pyarrow.parquet as pq

        for start in range(0, len(self.ids), PART):
            ids = self.ids[start : start + PART]
            tokens = [[tokenizer.bos, *t] for t in tokenizer.encode_batch([self.texts[i][1] for i in ids])]
            sizes = pa.chunked_array([pa.array([n_bytes(self.texts[i][1]) for i in ids], pa.int64())])
            part = self.folder / f"part-{start:06d}"
            part.mkdir(parents=True)
            column = pa.chunked_array([pa.array(tokens, pa.list_(pa.uint32()))])
            hashes, vocabulary = (pa.chunked_array([pa.array([value] * len(ids))]) for value in (tokenizer.hash, tokenizer.vocab_size))
            offsets = write_shard(part, column, hashes, vocabulary, sizes)
            none_held = {name: pa.array([0] * len(ids), pa.int64()) for name in ("held_tokens", "held_bytes")}
            pq.write_table(
                pa.table({"id": ids, "offset": offsets, "n_tokens": pa.array([len(t) for t in tokens]), "n_bytes": sizes, **none_held}),
                part / "rows.parquet",
            )


def read(corpus: Path) -> dict[str, tuple[str, str]]:
    """id -> (split, text)."""
    found = {}
    for path in sorted(corpus.glob("*_train.jsonl.gz")) + sorted(corpus.glob("*_val.jsonl.gz")):
        split = path.name.removesuffix(".jsonl.gz").rpartition("_")[2]
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                found[digest_text(path.name + "\0" + row["id"])] = (split, row["text"])
    return found


def said(message: str, since: float) -> None:
    print(f"{time.monotonic() - since:7.1f} s  {message}", file=sys.stderr, flush=True)


def prepare(arguments: argparse.Namespace, work: Path, begun: float) -> tuple[Packed, Tokenizer]:
    """Tokenizer and packed text, made or found again."""
    view = Packed(read(arguments.corpus), work / f"packed-{arguments.vocab}")
    said(f"{len(view.ids):,} documents read", begun)
    folder = work / f"tokenizer-{arguments.vocab}"
    job = SimpleNamespace(scratch=work, workers=arguments.threads, device="cpu", progress=lambda *_: None)
    if not (folder / "token_bytes.npy").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        config = tokenizer_stage.TokenizerConfig(vocab_size=arguments.vocab, sample_bytes=20_000_000)
        tokenizer_stage.build(config, Inputs(views={"split": view}), folder, job)  # type: ignore[dict-item]
    tokenizer = Tokenizer.load(folder)
    said("tokenizer ready", begun)
    if not (view.folder / "done").is_file():
        view.pack(tokenizer)
        (view.folder / "done").touch()
    said("text packed", begun)
    return view, tokenizer


def pretrain(arguments: argparse.Namespace, view: Packed, tokenizer: Tokenizer, begun: float) -> tuple[Any, Any, dict[str, Any], Any]:
    """The trained decoder, what its run came to, its recipe and its numerics class."""
    import torch

    from model.config import DecoderConfig
    from model.decoder import Decoder
    from train.batch import TextSource
    from train.loop import Regime, train
    from train.numerics import resolve
    from train.recipe import RecipeConfig
    from train.recipe import resolve as resolve_recipe

    settings = {name: type(getattr(RecipeConfig(), name))(json.loads(value)) for name, value in (s.split("=", 1) for s in arguments.set)}
    recipe = resolve_recipe(RecipeConfig(size=arguments.size, **settings), tokenizer.vocab_size, Documents(view, "train").tokens, "cpu")  # type: ignore[arg-type]
    numerics = resolve("cpu", "auto", arguments.compile, 1e18)
    model = Decoder(DecoderConfig.from_dict(recipe["decoder"]), getattr(torch, numerics.dtype)).init_weights(0)
    bounds = {"steps": arguments.steps or 10**7, "max_seconds": 0.0 if arguments.steps else arguments.minutes * 60}
    regime = Regime(**{**recipe["regime"], "momentum_warmup": 300, "warmup": 20, "validate_every": 0, **bounds})

    def report(done: float, total: float, note: str) -> None:
        if done in (1, 10) or done % 100 == 0:
            said(f"step {done:,.0f} of about {total:,.0f}: {note}", begun)

    source = TextSource(Rows(view, "train", 0, recipe["length"]), recipe["rows_per_step"], recipe["document_mask"])  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as scratch:
        done = train(model, source, regime, numerics, Path(scratch), None, report, checkpoint_every=10**9)
    return model, done, recipe, numerics


def trained_rows(view: Packed, length: int, rows: int, bos: int) -> list[np.ndarray]:
    """What the decoder was given, document by document within each row, without the tokens that begin a document."""
    stream = Rows(view, "train", 0, length)  # type: ignore[arg-type]
    pieces = []
    for _ in range(min(rows, stream.rows_per_epoch)):
        row = stream.next(1).tokens[0]
        pieces += [p[p != bos] for p in np.split(row, np.flatnonzero(row == bos))]
    return [p for p in pieces if len(p)]


def whole(documents: Documents) -> list[np.ndarray]:
    return [np.asarray(documents.read(i, 1), np.int64) for i in range(len(documents))]


def ngram_bits(train: list[np.ndarray], test: list[np.ndarray], vocab_size: int) -> float:
    """Bits of `test` under the order-3 n-gram fitted on `train`."""
    from model.ngram import NGram

    def stream(pieces: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        lengths = np.array([len(p) for p in pieces])
        return np.concatenate(pieces).astype(np.int64), np.unique(np.cumsum(lengths) - lengths)

    tokens, starts = stream(train)
    ngram = NGram.fit(tokens, 3, vocab_size, starts)
    tokens, starts = stream([p for p in test if len(p)])
    return float(-np.sum(ngram.score(tokens, starts), dtype=np.float64))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--steps", type=int, default=0, help="train so many updates instead of minutes")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--vocab", type=int, default=4096)
    parser.add_argument("--size", default="5m")
    parser.add_argument("--compile", default="auto")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the recipe")
    parser.add_argument("--work", type=Path, default=None)
    parser.add_argument("--no-ngrams", action="store_true", help="print the decoder's line only")
    arguments = parser.parse_args()
    if any(os.environ.get(name) != value for name, value in ENVIRONMENT.items()):
        environment = {**os.environ, **ENVIRONMENT, "OMP_NUM_THREADS": str(arguments.threads)}
        os.execve(sys.executable, [sys.executable, *sys.argv], environment)

    from train.bpb import bits_per_byte, document_nats

    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        view, tokenizer = prepare(arguments, arguments.work or Path(temporary), begun)
        train, val = Documents(view, "train"), Documents(view, "val")  # type: ignore[arg-type]
        model, done, recipe, numerics = pretrain(arguments, view, tokenizer, begun)
        said(f"trained: {done.tokens:,} tokens; scoring", begun)
        model_bpb = bits_per_byte(document_nats(model, val, recipe["length"]).sum(), val.bytes)
        share = train.bytes / train.tokens
        print(f"validation: {len(val)} documents, {val.bytes:,} bytes; training text {train.bytes:,} bytes, {train.tokens:,} tokens")
        print(f"decoder: {recipe['params']:,} parameters, vocabulary {tokenizer.vocab_size:,}, window {recipe['length']}")
        print(f"run: {done.steps:,} updates, {done.seconds:.0f} s, {done.tokens / done.seconds:,.0f} tokens/s")
        print(f"numerics: {json.dumps(numerics.record())}")
        print(f"{'':58}{'fitted on, bytes':>18}{'bits per byte':>15}")
        print(f"{'decoder':58}{int(done.tokens * share):18,}{model_bpb:15.4f}", flush=True)
        if arguments.no_ngrams:
            return
        test = whole(val)
        seen = trained_rows(view, recipe["length"], done.steps * recipe["rows_per_step"], tokenizer.bos)
        bits = ngram_bits(seen, test, tokenizer.vocab_size)
        size = int(sum(tokenizer.token_bytes[p].astype(np.int64).sum() for p in seen))
        print(f"{'n-gram, order 3, over tokens, on what the decoder has seen':58}{size:18,}{bits / val.bytes:15.4f}", flush=True)

        def as_bytes(pieces: list[np.ndarray]) -> list[np.ndarray]:
            decoded = (tokenizer.decode(p.tolist()).replace("\ufffd", "").encode() for p in pieces)  # characters cut by a row's edge
            return [np.frombuffer(b, np.uint8) for b in decoded if b]

        bits = ngram_bits(as_bytes(seen), as_bytes(test), 256)
        print(f"{'n-gram, order 3, over bytes, on the same bytes':58}{size:18,}{bits / val.bytes:15.4f}", flush=True)
        del seen
        bits = ngram_bits(whole(train), test, tokenizer.vocab_size)
        print(f"{'n-gram, order 3, over tokens, on all the text':58}{train.bytes:18,}{bits / val.bytes:15.4f}", flush=True)


if __name__ == "__main__":
    main()
