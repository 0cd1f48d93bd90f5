"""One part of a shelf on the disk: `rows.parquet`, in id order, written and read in small groups of rows.

Documents are read in id order, and every part may span all ids: a block of a thousand documents then takes a few rows from
each part. So a group is about `GROUP_BYTES` of rows, only the groups that hold the wanted rows are read, and the last
`CACHE_BYTES` of them are kept, whatever the number of parts. A read of many groups at once goes by the cache.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROWS = "rows.parquet"
GROUP_BYTES = 1 << 20  # of rows, uncompressed, in a group,
GROUP_ROWS = (64, 8192)  # within these bounds
CACHE_BYTES = 512 << 20
MANY = 8  # groups missing at once: read together, not kept


class _Sized(Protocol):
    @property
    def nbytes(self) -> int:
        """Bytes it takes in memory."""


K = TypeVar("K", bound=Hashable)
V = TypeVar("V", bound=_Sized)


def write_rows(tables: Iterable[pa.Table], folder: Path) -> int:
    """Write `rows.parquet` of these tables (at least one), one after the other; returns the number of rows."""
    tables = iter(tables)
    first = next(tables)
    size = int(np.clip(GROUP_BYTES * first.num_rows // max(1, first.nbytes), *GROUP_ROWS))
    count = 0
    with pq.ParquetWriter(folder / ROWS, first.schema, compression="zstd") as writer:
        for table in _regrouped(chain([first], tables), size):
            writer.write_table(table, row_group_size=size)
            count += table.num_rows
    return count


def read_all(part: Path, columns: list[str] | None = None, threads: bool = True) -> pa.Table:
    """These columns (or all) of every row of a part."""
    with pq.ParquetFile(part / ROWS, memory_map=True) as file:
        return file.read(columns, use_threads=threads)


def read_rows(part: Path, rows: np.ndarray, columns: list[str] | None = None) -> pa.Table:
    """These columns (or all) of these rows of a part, in the order asked for."""
    foot = _FEET.get(part, partial(_Foot, part))
    group_of = np.searchsorted(foot.begins, rows, "right") - 1
    groups = np.unique(group_of)
    keys = [(part, g, None if columns is None else tuple(columns)) for g in groups.tolist()]
    if sum(k not in _GROUPS for k in keys) > MANY:
        table = foot.read(groups.tolist(), columns)
    else:
        table = pa.concat_tables([_GROUPS.get(k, partial(foot.read, [k[1]], columns)) for k in keys])
    sizes = foot.sizes[groups]
    shift = np.cumsum(sizes) - sizes - foot.begins[groups]
    return table.take(pa.array(rows + shift[np.searchsorted(groups, group_of)]))


def gathered(parts: Sequence[Path], numbers: np.ndarray, rows: np.ndarray, columns: list[str] | None = None) -> pa.Table:
    """For every i, in order, row `rows[i]` of `parts[numbers[i]]`."""
    if not len(rows):
        return pa.table({c: [] for c in columns or []})
    by_part = np.argsort(numbers, kind="stable")
    used, begins = np.unique(numbers[by_part], return_index=True)
    pieces = np.split(rows[by_part], begins[1:])
    table = pa.concat_tables([read_rows(parts[n], piece, columns) for n, piece in zip(used.tolist(), pieces, strict=True)])
    if len(used) == 1:
        return table
    back = np.empty(len(rows), np.int64)
    back[by_part] = np.arange(len(rows))
    return table.take(pa.array(back))


def row_bytes(part: Path) -> float:
    """Mean size of a row, uncompressed."""
    foot = _FEET.get(part, partial(_Foot, part))
    return sum(foot.metadata.row_group(g).total_byte_size for g in range(len(foot.sizes))) / max(1, foot.metadata.num_rows)


def _regrouped(tables: Iterable[pa.Table], size: int) -> Iterator[pa.Table]:
    """The same rows in tables whose length is a multiple of `size`, but for the last."""
    waiting: pa.Table | None = None
    for table in tables:
        waiting = table if waiting is None else pa.concat_tables([waiting, table])
        whole = waiting.num_rows - waiting.num_rows % size
        if whole:
            yield waiting.slice(0, whole)
            waiting = waiting.slice(whole)
    if waiting is not None:
        yield waiting


class _Recent(Generic[K, V]):
    """What was asked for last, within a number of bytes. Parts never change, so what is kept stays true."""

    def __init__(self, limit: int) -> None:
        self.limit, self.bytes = limit, 0
        self._kept: OrderedDict[K, V] = OrderedDict()
        self._lock = threading.RLock()

    def __contains__(self, key: K) -> bool:
        return key in self._kept

    def get(self, key: K, make: Callable[[], V]) -> V:
        """The value of this key, made when it is not here."""
        with self._lock:
            if key not in self._kept:
                self._kept[key] = value = make()
                self.bytes += value.nbytes
                while self.bytes > self.limit and len(self._kept) > 1:
                    self.bytes -= self._kept.popitem(last=False)[1].nbytes
            self._kept.move_to_end(key)
            return self._kept[key]


class _Foot:
    """Where the groups of a part begin, and the metadata to read them with."""

    def __init__(self, part: Path) -> None:
        self.part = part
        self.metadata = pq.read_metadata(part / ROWS, memory_map=True)
        self.sizes = np.array([self.metadata.row_group(g).num_rows for g in range(self.metadata.num_row_groups)], np.int64)
        self.begins = np.cumsum(self.sizes) - self.sizes
        self.nbytes = 4 * self.metadata.serialized_size  # about what it takes in memory

    def read(self, groups: list[int], columns: list[str] | None) -> pa.Table:
        with pq.ParquetFile(self.part / ROWS, metadata=self.metadata, memory_map=True) as file:
            return file.read_row_groups(groups, columns=columns)


_FEET: _Recent[Path, _Foot] = _Recent(CACHE_BYTES // 8)
_GROUPS: _Recent[tuple[Path, int, tuple[str, ...] | None], pa.Table] = _Recent(CACHE_BYTES)
