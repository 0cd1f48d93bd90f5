"""The store: folders that appear whole or not at all, and shelves made of them.

Everything kept on disk is a folder with a `record.json`: a part of a shelf, a view, an artifact. It is written under a
temporary name inside the store, its files are hashed and flushed, the record is written last, and one rename makes it
exist. What has no record does not exist: a kill leaves only a temporary folder, swept when the workspace is next opened.

A *shelf* is the memory of a document stage under one fingerprint: immutable parts, one row a measured document, looked
up by (id, of), `of` being the hash of the fields the stage read. A row with a non-empty `failure` is a remembered verdict.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from corpus.stage import DocumentStage

RECORD = "record.json"
TEMPORARY = ".tmp"
_KEYS = [
    pa.field("id", pa.string()),
    pa.field("of", pa.string()),
    pa.field("failure", pa.string()),
    pa.field("failure_detail", pa.string()),
]


def read_record(folder: Path) -> dict[str, Any] | None:
    """The record of a folder, or None: then the folder does not exist as far as anybody is concerned."""
    try:
        return json.loads((folder / RECORD).read_text("utf-8"))
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def committed(store: Path, target: Path, record: dict[str, Any]) -> Iterator[Path]:
    """A folder to write into, which becomes `target` when the block ends without an error.

    `record` may still be filled inside the block; `files` (sha256 and bytes of each) and `created` are added. An
    existing `target` is replaced.
    """
    temporary = store / TEMPORARY / f"{os.getpid()}-{secrets.token_hex(6)}"
    temporary.mkdir(parents=True)
    try:
        yield temporary
        record["files"] = {str(f.relative_to(temporary)): _sealed(f) for f in sorted(temporary.rglob("*")) if f.is_file()}
        record["created"] = round(time.time(), 3)
        write_file(temporary / RECORD, json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False).encode())
        _sync(temporary)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            os.rename(target, temporary.with_suffix(".old"))
        os.rename(temporary, target)
        _sync(target.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(temporary.with_suffix(".old"), ignore_errors=True)


def write_file(path: Path, data: bytes) -> None:
    """Write a file and flush it to the disk, through a temporary name when it may exist already."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "wb") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """A small JSON file, atomically."""
    write_file(path, (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode())


def problems(folder: Path) -> list[str]:
    """What is wrong with a recorded folder: files missing, added or altered since they were written."""
    record = read_record(folder)
    if record is None:
        return ["no record"]
    wrong = []
    for name, expected in record["files"].items():
        path = folder / name
        if not path.is_file():
            wrong.append(f"{name} is missing")
        elif path.stat().st_size != expected["bytes"] or sha256(path) != expected["sha256"]:
            wrong.append(f"{name} is altered")
    return wrong


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _sealed(path: Path) -> dict[str, Any]:
    with open(path, "rb") as f:
        os.fsync(f.fileno())
    return {"sha256": sha256(path), "bytes": path.stat().st_size}


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Shelf:
    """The parts of one document stage under one fingerprint."""

    def __init__(self, store: Path, stage: str, fingerprint: str) -> None:
        self.store = store
        self.folder = store / stage / fingerprint
        self._parts: list[Path] | None = None
        self._index: pa.Table | None = None

    def parts(self) -> list[Path]:
        """Folders of the parts that exist, in name order."""
        if self._parts is None:
            found = sorted(self.folder.glob("part-*")) if self.folder.is_dir() else []
            self._parts = [p for p in found if (p / RECORD).is_file()]
        return self._parts

    def index(self) -> pa.Table:
        """key (id+of), failure, failure_detail, part, row of every row on the shelf, newest part first: of equal keys the newest counts."""
        if self._index is None:
            tables = []
            for number, part in reversed(list(enumerate(self.parts()))):
                table = pq.read_table(part / "rows.parquet", columns=[f.name for f in _KEYS], memory_map=True)
                rows = pa.array(range(table.num_rows), pa.int32())
                columns = [row_keys(table["id"], table["of"]), table["failure"], table["failure_detail"]]
                columns += [pa.array([number] * table.num_rows, pa.int32()), rows]
                tables.append(pa.table(columns, names=["key", "failure", "failure_detail", "part", "row"]))
            empty = pa.schema(
                [("key", pa.string()), ("failure", pa.string()), ("failure_detail", pa.string()), ("part", pa.int32()), ("row", pa.int32())]
            )
            self._index = pa.concat_tables(tables) if tables else empty.empty_table()
        return self._index

    def locate(self, ids: pa.ChunkedArray, ofs: pa.ChunkedArray) -> pa.Array:
        """For each (id, of) its position in `index()`, null when it was never measured."""
        found = pc.index_in(row_keys(ids, ofs), value_set=self.index()["key"])
        return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found

    def take(self, positions: pa.Array, columns: list[str]) -> pa.Table:
        """The rows at these positions of the index, in that order, with these columns."""
        spots = self.index().select(["part", "row"]).take(positions)
        parts, rows = spots["part"].to_numpy(), spots["row"].to_numpy()
        tables, order = [], []
        for number in sorted(set(parts.tolist())):
            (where,) = (parts == number).nonzero()
            tables.append(_part_rows(self.parts()[number] / "rows.parquet", tuple(columns)).take(pa.array(rows[where])))
            order.append(where)
        if not tables:
            return pa.table({c: [] for c in columns})
        back = pa.array([0] * len(rows), pa.int64()).to_numpy(zero_copy_only=False).copy()
        position = 0
        for where in order:
            back[where] = range(position, position + len(where))
            position += len(where)
        return pa.concat_tables(tables).take(pa.array(back))

    def add(self, rows: pa.Table, stage: DocumentStage, fingerprint: dict[str, Any]) -> Path:
        """One more part. `rows` has id, of, failure, failure_detail and the stage's measurements."""
        rows = rows.sort_by("id")
        name = f"part-{time.time_ns():020d}-{secrets.token_hex(3)}"
        record = {"kind": "part", "stage": stage.name, "fingerprint": fingerprint, "rows": rows.num_rows, "sensitive": stage.sensitive}
        with committed(self.store, self.folder / name, record) as folder:
            table = stage.write_part(rows, folder) if stage.write_part else rows
            pq.write_table(table, folder / "rows.parquet", compression="zstd", row_group_size=4096)
        self._parts = self._index = None
        return self.folder / name


def shelf_schema(stage: DocumentStage) -> pa.Schema:
    """Columns of the rows given to `Shelf.add`."""
    return pa.schema(_KEYS + list(stage.measures))


def row_keys(ids: Any, ofs: Any) -> Any:
    """id and of joined: the key of a row."""
    return pc.binary_join_element_wise(ids, ofs, "")


@lru_cache(maxsize=8)
def _part_rows(path: Path, columns: tuple[str, ...]) -> pa.Table:
    """Columns of an immutable part; a few are kept because documents are read in id order, in blocks."""
    return pq.read_table(path, columns=list(columns), memory_map=True)
