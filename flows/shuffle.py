"""A global shuffle out of core: rows in the order of a hash, so that their order is a function of the set and not of history.

Every row has a `key`, the hash of (seed, id). Rows come in any order and are spread over buckets, ranges of the key, on
disk; then bucket after bucket is read, sorted and handed out. A bucket that is too large is spread again, over the next
bits of the key, so memory holds one bucket whatever the size of the set. With a budget only the first rows that fit are
wanted: buckets that are sure to lie behind it are dropped while rows still come, so disk holds little more than the budget.

Limits: one row may be larger than a bucket, and is then held alone.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

BITS = 5  # of the key, a level: 32 buckets, as many open files
FAN = 1 << BITS
BUCKET = 64 << 20  # bytes of text that are sorted in memory
BATCH = 8 << 20  # bytes of text spread at once
KEYS = pa.schema([pa.field("key", pa.uint64()), pa.field("id", pa.string()), pa.field("n_bytes", pa.int64())])  # what rows must have


def key_of(seed: int, id: str) -> int:
    """The place of a row in the shuffle, 0..2^64: a hash of the seed and its id."""
    return int.from_bytes(hashlib.blake2b(f"{seed}\0{id}".encode(), digest_size=8).digest(), "big")


class Shuffle:
    """Takes tables with `key`, `id` and `n_bytes` among their columns; gives the same rows back in key order, up to `budget` bytes."""

    def __init__(self, folder: Path, schema: pa.Schema, budget: float = math.inf, bucket: int = BUCKET, level: int = 0) -> None:
        self._folder, self._schema, self._budget, self._bucket, self._level = folder, schema, budget, bucket, level
        self._shift = np.uint64(64 - BITS * (level + 1))
        self._bytes, self._rows = np.zeros(FAN, np.int64), np.zeros(FAN, np.int64)
        self._writers: dict[int, pa.ipc.RecordBatchStreamWriter] = {}
        self._last = FAN - 1  # buckets behind this one cannot be reached within the budget
        folder.mkdir(parents=True)

    @property
    def rows(self) -> int:
        """Rows that were added and not dropped."""
        return int(self._rows[: self._last + 1].sum())

    def wants(self, key: int) -> bool:
        """Whether a row with this key may still be handed out."""
        return key >> int(self._shift) <= self._last

    def add(self, table: pa.Table) -> None:
        """Spread these rows."""
        of = ((table["key"].to_numpy() >> self._shift) & np.uint64(FAN - 1)).astype(np.int64)
        for number in np.unique(of[of <= self._last]).tolist():
            piece = table.filter(pa.array(of == number))
            self._rows[number] += piece.num_rows
            self._bytes[number] += int(piece["n_bytes"].to_numpy().sum())
            if number not in self._writers:
                options = pa.ipc.IpcWriteOptions(compression="lz4")
                self._writers[number] = pa.ipc.new_stream(str(self._path(number)), self._schema, options=options)
            self._writers[number].write_table(piece)
        while self._last and self._bytes[: self._last].sum() > self._budget:
            if self._last in self._writers:
                self._writers.pop(self._last).close()
                self._path(self._last).unlink()
            self._last -= 1

    def tables(self) -> Iterator[pa.Table]:
        """The rows by (key, id), a table a bucket; ends before the first row that would pass the budget."""
        left = self._budget
        for table in self._ordered():
            sizes = np.cumsum(table["n_bytes"].to_numpy())
            fits = int(np.searchsorted(sizes, left, "right"))
            yield table.slice(0, fits)
            if fits < table.num_rows:
                return
            left -= int(sizes[-1])

    def _ordered(self) -> Iterator[pa.Table]:
        for number in sorted(self._writers):
            self._writers[number].close()
        for number in sorted(self._writers):
            path = self._path(number)
            if self._bytes[number] <= self._bucket or self._rows[number] == 1 or self._shift < BITS:
                table = pa.Table.from_batches(_batches(path), self._schema).sort_by([("key", "ascending"), ("id", "ascending")])
                path.unlink()
                yield table
            else:
                inner = Shuffle(self._folder / str(number), self._schema, bucket=self._bucket, level=self._level + 1)
                for table in _tables(path, self._bucket):
                    inner.add(table)
                path.unlink()
                yield from inner._ordered()

    def _path(self, number: int) -> Path:
        return self._folder / f"{number}.arrow"


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    with pa.OSFile(str(path), "rb") as file, pa.ipc.open_stream(file) as reader:
        yield from reader


def _tables(path: Path, size: int) -> Iterator[pa.Table]:
    """The batches of a file, joined to tables of this many bytes, so that what is spread again does not fall to crumbs."""
    waiting, held = [], 0
    for batch in _batches(path):
        waiting.append(batch)
        held += batch.nbytes
        if held >= size:
            yield pa.Table.from_batches(waiting).combine_chunks()
            waiting, held = [], 0
    if waiting:
        yield pa.Table.from_batches(waiting).combine_chunks()
