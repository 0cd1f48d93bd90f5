"""Rows: what a training step reads, as a function of the set of documents and of a seed.

In epoch e the documents stand in the order of a hash of (seed, e, id), end to end, `<|bos|>` before each. That stream is
cut every `length` tokens into rows of `length + 1` (inputs and, one further, targets), and the rows are visited with a
stride that shares no factor with their number, so that neighbours in a batch come from different documents. Parts,
workers and the history of the corpus play no role; the whole state is (epoch, rows consumed).

Limits: fewer than `length` tokens at the end of an epoch's stream are not read in it (another order, another end); a
corpus shorter than one row is repeated to fill it. Rows cross documents: `docs` tells them apart for a document mask.
Validation has no order and no stream: `windows` walks each document and scores every token after its first exactly once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from corpus.canonical import digest
from corpus.stage import View
from packer.shards import FILE, open_shard, read_header

GOLDEN = (math.sqrt(5) - 1) / 2


class Documents:
    """The packed documents of one split, in id order: ids, lengths, and their tokens through the maps of their shards.

    For 'val' these are the documents held out whole, and the blocks held out of training documents.

    ValueError when the parts come from different tokenizers or a row points outside its shard.
    """

    def __init__(self, view: View, split: str) -> None:
        table = view.table()
        of = dict(zip(table["id"].to_pylist(), table["split"].to_pylist(), strict=True))
        found: list[tuple[str, int, int, int, int]] = []  # id, shard, offset, tokens, bytes
        self._shards: list[np.ndarray] = []
        tokenizers: set[str] = set()
        for folder, rows in view.parts():
            columns = [rows[name].to_pylist() for name in ("id", "offset", "n_tokens", "n_bytes", "held_tokens", "held_bytes")]
            here = []
            for i, offset, tokens, size, held, held_size in zip(*columns, strict=True):
                if of.get(i) == split:
                    here.append((i, len(self._shards), offset, tokens, size))
                elif split == "val" and held and i in of:  # the block that a training document gives
                    here.append((i, len(self._shards), offset + tokens, held, held_size))
            if not here:
                continue
            header, _ = read_header(folder / FILE)
            tokenizers.add(header.tokenizer)
            self._shards.append(open_shard(folder / FILE))
            if any(offset < 0 or offset + n > header.count for _, _, offset, n, _ in here):
                raise ValueError(f"a row of {folder.name} points outside its shard")
            found += here
        if len(tokenizers) > 1:
            raise ValueError("the packed documents come from different tokenizers; run the way again")
        found.sort()
        self.tokenizer = tokenizers.pop() if tokenizers else ""
        self.ids = [entry[0] for entry in found]
        self._where = np.array([entry[1:3] for entry in found], np.int64).reshape(-1, 2)
        self.n_tokens = np.array([entry[3] for entry in found], np.int64)
        self.n_bytes = np.array([entry[4] for entry in found], np.int64)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def tokens(self) -> int:
        """Tokens of the split, `<|bos|>` included."""
        return int(self.n_tokens.sum())

    @property
    def bytes(self) -> int:
        """Bytes of text of the split."""
        return int(self.n_bytes.sum())

    def read(self, document: int, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Tokens start..stop of a document (its number in id order)."""
        shard, offset = self._where[document]
        n = int(self.n_tokens[document])
        return self._shards[shard][offset + start : offset + (n if stop is None else min(stop, n))]

    def digest(self) -> str:
        """Hash of the set: ids, lengths and tokenizer."""
        return digest([self.tokenizer, self.ids, self.n_tokens.tolist()])


@dataclass(frozen=True)
class Batch:
    """Rows of training. tokens (n, T+1) int64: inputs [:, :-1], targets [:, 1:]; docs (n, T+1) int32: number of the
    document within its row, from 0; bytes (n, T) int64: bytes of each target, zeros when no table was given."""

    tokens: NDArray[np.int64]
    docs: NDArray[np.int32]
    bytes: NDArray[np.int64]


class Rows:
    """The endless stream of training rows. ValueError when the split holds no tokens."""

    def __init__(
        self, view: View, split: str = "train", seed: int = 0, length: int = 512, token_bytes: NDArray[np.integer] | None = None
    ) -> None:
        self.documents = Documents(view, split)
        self.length, self.seed = length, seed
        if self.documents.tokens < 2:
            raise ValueError(f"there are no packed '{split}' documents")
        if length < 1:
            raise ValueError(f"a row needs at least one target, not {length}")
        self.rows_per_epoch = max(1, (self.documents.tokens - 1) // length)
        self.epoch, self.cursor = 0, 0
        self._bytes = token_bytes
        self._ids = np.array([_number(i) for i in self.documents.ids], np.uint64)
        self._identity = self.documents.digest()
        self._lay_out()

    def _lay_out(self) -> None:
        """The order of this epoch."""
        mixed = _mix(self._ids ^ _mix(np.array([self.seed], np.uint64) + _mix(np.array([self.epoch], np.uint64))))
        self._order = np.argsort(mixed, kind="stable")
        self._ends = np.cumsum(self.documents.n_tokens[self._order])
        n = self.rows_per_epoch
        stride = max(1, round(n * GOLDEN))
        while math.gcd(stride, n) != 1:
            stride += 1
        self._stride, self._first = stride, int(_mix(mixed[:1] + np.uint64(1))[0] % np.uint64(n))

    def next(self, n: int) -> Batch:
        """The next n rows."""
        tokens, docs = np.empty((n, self.length + 1), np.int64), np.empty((n, self.length + 1), np.int32)
        for i in range(n):
            if self.cursor == self.rows_per_epoch:
                self.epoch, self.cursor = self.epoch + 1, 0
                self._lay_out()
            row = (self._first + self.cursor * self._stride) % self.rows_per_epoch
            self._fill(row * self.length, tokens[i], docs[i])
            self.cursor += 1
        lengths = np.zeros((n, self.length), np.int64) if self._bytes is None else self._bytes[tokens[:, 1:]].astype(np.int64)
        return Batch(tokens, docs, lengths)

    def _fill(self, position: int, tokens: np.ndarray, docs: np.ndarray) -> None:
        """Read the epoch's stream from `position` on, around its end where a corpus is shorter than a row."""
        filled = number = 0
        place = int(np.searchsorted(self._ends, position, "right"))
        while filled < len(tokens):
            document = int(self._order[place])
            start = position - int(self._ends[place] - self.documents.n_tokens[document]) if not filled else 0
            piece = self.documents.read(document, start, start + len(tokens) - filled)
            tokens[filled : filled + len(piece)] = piece
            docs[filled : filled + len(piece)] = number
            filled, number, place = filled + len(piece), number + 1, (place + 1) % len(self._order)

    def state(self) -> dict[str, Any]:
        """Where the stream stands, in JSON terms; `seek` goes on from there exactly."""
        return {"epoch": self.epoch, "cursor": self.cursor, "seed": self.seed, "length": self.length, "documents": self._identity}

    def seek(self, state: dict[str, Any]) -> None:
        """Go to a state of this same stream. ValueError when it is of other documents, another seed or length."""
        for name, mine in (("documents", self._identity), ("seed", self.seed), ("length", self.length)):
            if state[name] != mine:
                raise ValueError(f"the state is of another row stream: its {name} differ ({state[name]}, here {mine})")
        self.epoch, self.cursor = int(state["epoch"]), int(state["cursor"])
        self._lay_out()


@dataclass(frozen=True)
class Windows:
    """Rows of validation. tokens (n, T+1) int64, padded with 0; scored (n, T) bool: targets that count here;
    documents (n,) int64: number of each row's document; bytes (n, T) int64 of each target, zeros without a table."""

    tokens: NDArray[np.int64]
    scored: NDArray[np.bool_]
    documents: NDArray[np.int64]
    bytes: NDArray[np.int64]


def windows(
    documents: Documents, length: int, rows: int, stride: int | None = None, token_bytes: NDArray[np.integer] | None = None
) -> Iterator[Windows]:
    """Every document cut into windows of at most `length` targets, `rows` at a time, in id order.

    Each token after a document's first is scored in exactly one window. With `stride` below `length` windows overlap and
    a target that is not among a document's first `length` has at least `length - stride` tokens of context.
    """
    stride = length if stride is None else stride
    if not 1 <= stride <= length:
        raise ValueError(f"the stride must lie between 1 and the length {length}, not {stride}")
    pending: list[tuple[int, np.ndarray, int]] = []
    for document in range(len(documents)):
        targets = int(documents.n_tokens[document]) - 1
        done = 0
        while done < targets:
            end = min(done + (stride if done else length), targets)
            start = max(0, end - length) if done else 0
            pending.append((document, documents.read(document, start, end + 1), done - start))
            done = end
            if len(pending) == rows:
                yield _padded(pending, length, token_bytes)
                pending = []
    if pending:
        yield _padded(pending, length, token_bytes)


def _padded(pending: list[tuple[int, np.ndarray, int]], length: int, token_bytes: NDArray[np.integer] | None) -> Windows:
    tokens, scored = np.zeros((len(pending), length + 1), np.int64), np.zeros((len(pending), length), bool)
    for i, (_, piece, context) in enumerate(pending):
        tokens[i, : len(piece)] = piece
        scored[i, context : len(piece) - 1] = True
    lengths = np.zeros(scored.shape, np.int64) if token_bytes is None else np.where(scored, token_bytes[tokens[:, 1:]], 0).astype(np.int64)
    return Windows(tokens, scored, np.array([entry[0] for entry in pending], np.int64), lengths)


def _number(document_id: str) -> int:
    return int(digest(document_id)[:16], 16)


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64: a bijection of 64-bit words that looks random."""
    with np.errstate(over="ignore"):
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))
