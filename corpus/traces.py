"""Looking for traces of what was forgotten, with nothing but its tombstones.

An id is any 32 hexadecimal digits whose keyed hash is a tombstone, wherever they stand. A text is found by its sampled word
runs: `share` is the largest part of a forgotten text's runs that a piece of data holds.

Limits: an id in another spelling than hexadecimal digits, and a text that is encrypted or compressed in a way nobody here
reads, are not found.
"""

from __future__ import annotations

import html
import json
import mmap
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from corpus.tombstones import Tombstones, runs, words_of

_HEX = re.compile(rb"[0-9a-fA-F]{32,}")
_TAGS = re.compile(r"<[^>]*>")
_CLEAN = 2_000_000  # ids found clean that are remembered
_BATCH = 128  # rows of a table read at a time
HELD = 0.5  # part of a text's known runs from which on a table holds it
_PIECE = 4 << 20  # characters of text looked at in one go


@dataclass
class Found:
    """What one file holds of what was forgotten: ids, and the runs of each fingerprint (by its number)."""

    ids: set[str] = field(default_factory=set)
    runs: dict[int, set[int]] = field(default_factory=lambda: defaultdict(set))

    def __or__(self, other: Found) -> Found:
        both = Found(self.ids | other.ids)
        for number, values in chain(self.runs.items(), other.runs.items()):
            both.runs[number] |= values
        return both


class Search:
    """Tombstones made ready for searching."""

    def __init__(self, tombstones: Tombstones) -> None:
        self.tombstones = tombstones
        self._clean: set[str] = set()
        prints = [p for p in tombstones.prints() if len(p.runs)]
        self._totals = [len(p.runs) for p in prints]
        self._of: dict[int, list[int]] = defaultdict(list)  # run -> fingerprints
        self._sorted = {s: np.unique(np.concatenate([p.runs for p in prints if p.size == s])) for s in {p.size for p in prints}}
        for number, p in enumerate(prints):
            for run in p.runs.tolist():
                self._of[run].append(number)

    def share(self, found: Found) -> float:
        """The largest part of one forgotten text's runs, 0..1."""
        return max((len(values) / self._totals[number] for number, values in found.runs.items()), default=0.0)

    # -- ids -----------------------------------------------------------------------------------------------------

    def ids(self, data: Any) -> set[str]:
        """Forgotten ids in these bytes (or mapped file)."""
        found: set[str] = set()
        for match in _HEX.finditer(data):
            digits = match.group().decode().lower()
            found |= self.among(digits[i : i + 32] for i in range(len(digits) - 31))
        return found

    def among(self, ids: Iterable[str | None]) -> set[str]:
        """Those of these that are forgotten ids."""
        new = {i for i in ids if i and i not in self._clean}
        found = self.tombstones.among(new)
        if len(self._clean) > _CLEAN:
            self._clean.clear()
        self._clean |= new - found
        return found

    # -- texts ---------------------------------------------------------------------------------------------------

    def text(self, pieces: Iterable[str]) -> Found:
        """Runs of forgotten texts in these pieces of text, none across two pieces."""
        found = Found()
        if not self._sorted:
            return found
        for block in _blocks(pieces):
            words = [words_of(piece) for piece in block]
            hashes = self.tombstones.words.of([w for piece in words for w in piece])
            owner = np.repeat(np.arange(len(words)), [len(piece) for piece in words])
            for size, known in self._sorted.items():
                here = runs(hashes, size)
                if len(here):
                    here = here[owner[: len(here)] == owner[size - 1 :]]
                    at = np.minimum(np.searchsorted(known, here), len(known) - 1)
                    for run in set(here[known[at] == here].tolist()):
                        for number in self._of[run]:
                            found.runs[number].add(run)
        return found

    # -- files ---------------------------------------------------------------------------------------------------

    def table(self, path: Path) -> tuple[Found, int]:
        """What a Parquet file holds, every column that can hold letters decoded, and its rows."""
        found = Found()
        for cells in _cells(path):
            found.ids |= self.ids("\n".join(cells).encode("utf-8", "surrogatepass"))
            found |= self.text(cells)
        return found, pq.read_metadata(path).num_rows

    def identifiers(self, path: Path) -> set[str]:
        """The same for ids alone."""
        return set().union(*(self.ids("\n".join(cells).encode("utf-8", "surrogatepass")) for cells in _cells(path)))

    def file(self, path: Path) -> Found:
        """What any other file holds: its bytes; where it is text, its words, JSON strings and HTML decoded."""
        if path.stat().st_size == 0:
            return Found()
        with open(path, "rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as data:
            found = Found(self.ids(data))
            if b"\0" in data[:8192] and not data[:16].startswith(b"SQLite format"):
                return found
            text = data[:].decode("utf-8", "replace")
        found |= self.text([text])
        if path.suffix == ".html":
            found |= self.text([html.unescape(_TAGS.sub(" ", text))])
        elif path.suffix in (".json", ".jsonl"):
            found |= self.text(_json(text))
        return found


def _cells(path: Path) -> Iterator[list[str]]:
    """A table's rows, in batches: the strings of each in one piece."""
    with pq.ParquetFile(path, memory_map=True) as file:
        for key, value in (file.schema_arrow.metadata or {}).items():
            yield [(key + b"\n" + value).decode("utf-8", "replace")]
        names = [f.name for f in file.schema_arrow if _speaks(f.type)]
        for batch in file.iter_batches(_BATCH, columns=names):
            yield ["\n".join(chain.from_iterable(map(_strings, row.values()))) for row in batch.to_pylist()]


def _blocks(pieces: Iterable[str]) -> Iterator[list[str]]:
    block: list[str] = []
    size = 0
    for piece in pieces:
        block.append(piece)
        size += len(piece)
        if size > _PIECE:
            yield block
            block, size = [], 0
    if block:
        yield block


def _speaks(kind: pa.DataType) -> bool:
    """Whether values of this type can hold letters or bytes."""
    if pa.types.is_dictionary(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _speaks(kind.value_type)
    if pa.types.is_map(kind):
        return _speaks(kind.key_type) or _speaks(kind.item_type)
    if pa.types.is_struct(kind):
        return any(_speaks(kind.field(i).type) for i in range(kind.num_fields))
    return any(test(kind) for test in (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)) or (
        pa.types.is_fixed_size_binary(kind) or pa.types.is_string_view(kind) or pa.types.is_binary_view(kind)
    )


def _strings(value: Any) -> Iterator[str]:
    """Every string in a nested value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, bytes):
        yield value.decode("utf-8", "replace")
    elif isinstance(value, dict):
        for pair in value.items():
            yield from _strings(pair)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _strings(item)


def _json(text: str) -> Iterator[str]:
    """The strings of JSON, or of JSON lines, with their escapes undone."""
    try:
        yield "\n".join(_strings(json.loads(text)))
    except ValueError:
        for line in text.splitlines():
            try:
                yield "\n".join(_strings(json.loads(line)))
            except ValueError:
                continue
