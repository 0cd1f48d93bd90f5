"""Compaction: many small parts of a shelf become few.

Every increment adds a part to every shelf, and reading in id order takes a few rows from each part. So when a shelf has more
than `MANY` parts below the target, the smallest are merged. Two ways:

  in full     all small parts, into parts of about the target
  in steps    only so many of the smallest that each row at least doubles the size of the part it lies in: a row is moved
              at most log2(target) times in its life, however many increments come. This is what a run does when it ends.

Rows that a newer part supersedes are dropped on the way. Nothing else changes: no look-up, no digest, no row of training.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from corpus.part import ROWS
from corpus.store import found_parts, read_record, rewrite

MANY = 8
ROWS_TARGET, BYTES_TARGET = 1 << 16, 256 << 20  # a part that has as many rows, or bytes on the disk, is left alone


@dataclass(frozen=True)
class Merge:
    """Small parts of a shelf that are made one."""

    shelf: Path
    parts: tuple[Path, ...]
    rows: int
    bytes: int  # before,
    after: int | None = field(default=None, compare=False)  # and after; None: not done


@dataclass(frozen=True)
class _Small:
    path: Path
    rows: int
    bytes: int


def size_of(record: dict[str, Any]) -> int:
    """Bytes of a recorded folder's files, by its record."""
    return sum(f["bytes"] for f in record["files"].values())


def mergeable(shelf: Path, in_steps: bool) -> list[Merge]:
    """What is to be merged on a shelf, the smallest parts first."""
    parts = found_parts(shelf)
    if len(parts) <= MANY:
        return []
    small = sorted((s for p in parts if (s := _small(p))), key=lambda s: (s.rows, s.path))
    if len(small) <= MANY:
        return []
    if in_steps:
        small = small[: _doubling([s.rows for s in small])]
    merges, group = [], list[_Small]()
    for s in small:
        group.append(s)
        if sum(g.rows for g in group) >= ROWS_TARGET or sum(g.bytes for g in group) >= BYTES_TARGET:
            merges.append(group)
            group = []
    merges.append(group)
    return [
        Merge(shelf, tuple(sorted(g.path for g in group)), sum(g.rows for g in group), sum(g.bytes for g in group))
        for group in merges
        if len(group) > 1
    ]


def merge(store: Path, planned: Merge) -> Merge:
    """Do it. The caller holds the workspace's lock, and nobody reads."""
    made = rewrite(store, planned.parts)
    record = read_record(made) if made else None
    return Merge(planned.shelf, planned.parts, planned.rows, planned.bytes, size_of(record) if record else 0)


def _small(part: Path) -> _Small | None:
    record = read_record(part)
    if record is None or (set(record["files"]) != {ROWS} and not record.get("bulk")):  # as rewrite wants it
        return None
    size = size_of(record)
    return _Small(part, record["rows"], size) if record["rows"] < ROWS_TARGET and size < BYTES_TARGET else None


def _doubling(rows: list[int]) -> int:
    """How many of these sizes, smallest first, are at most as large as all before them together: the last such one counts."""
    count = total = 0
    for n, size in enumerate(rows):
        if n and size <= total:
            count = n + 1
        total += size
    return count
