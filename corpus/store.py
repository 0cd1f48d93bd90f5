"""The store: folders that appear whole or not at all, and shelves made of them.

Everything kept on disk is a folder with a `record.json`: a part of a shelf, a view, an artifact. It is written under a
temporary name inside the store, its files are hashed and flushed, the record is written last, and one rename makes it
exist. What has no record does not exist: a kill leaves only a temporary folder, swept when the workspace is next opened.

A *shelf* is the memory of a document stage under one fingerprint: immutable parts, one row a measured document, looked
up by (id, of), `of` being the hash of the fields the stage read. A row with a non-empty `failure` is a remembered verdict.
Of equal keys the row in the newest part counts; parts sort by name, which begins with the time they were written.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Container, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from corpus.naming import reference, resolve
from corpus.part import ROWS, gathered, read_all, read_rows, row_bytes, write_rows
from corpus.stage import DocumentStage

RECORD = "record.json"
TEMPORARY = ".tmp"
BLOCK_ROWS, BLOCK_BYTES = 4096, 64 << 20  # moved at a time
_KEYS = pa.schema([(name, pa.string()) for name in ("id", "of", "failure", "failure_detail")])
_THREADS = ThreadPoolExecutor(4, "shelf")  # parts are read side by side


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
        record["files"] = {str(f.relative_to(temporary)): sealed(f) for f in sorted(temporary.rglob("*")) if f.is_file()}
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


def halves(place: Path) -> tuple[Path, Path]:
    """Beside a folder outside the store while it is written: the unfinished one, and the earlier one it replaces."""
    return place.with_name(f".{place.name}.partial"), place.with_name(f".{place.name}.replaced")


def discard(store: Path, folder: Path) -> None:
    """Remove a recorded folder in one step: a kill leaves it whole, or a temporary folder that the next lock sweeps."""
    temporary = store / TEMPORARY / f"gone-{secrets.token_hex(6)}"
    temporary.parent.mkdir(parents=True, exist_ok=True)
    os.rename(folder, temporary)
    shutil.rmtree(temporary)


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


def sealed(path: Path) -> dict[str, Any]:
    """What a record says of a file, which is flushed to the disk."""
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
            self._parts = found_parts(self.folder)
        return self._parts

    def index(self) -> pa.Table:
        """key (id+of), failure, failure_detail, part, row of every row on the shelf, newest part first: of equal keys the newest counts."""
        if self._index is None:
            parts = self.parts()
            tables = list(_THREADS.map(lambda part: read_all(part, _KEYS.names, threads=False), reversed(parts)))
            whole = pa.concat_tables(tables) if tables else _KEYS.empty_table()
            sizes = [t.num_rows for t in tables]
            part = np.repeat(np.arange(len(parts), dtype=np.int32)[::-1], sizes)
            row = np.concatenate([np.arange(n, dtype=np.int32) for n in (0, *sizes)])
            columns = [row_keys(whole["id"], whole["of"]), whole["failure"], whole["failure_detail"], part, row]
            self._index = pa.table(columns, names=["key", "failure", "failure_detail", "part", "row"])
        return self._index

    def locate(self, ids: pa.ChunkedArray, ofs: pa.ChunkedArray) -> pa.Array:
        """For each (id, of) its position in `index()`, null when it was never measured."""
        found = pc.index_in(row_keys(ids, ofs), value_set=self.index()["key"])
        return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found

    def take(self, positions: pa.Array, columns: list[str]) -> pa.Table:
        """The rows at these positions of the index, in that order, with these columns."""
        spots = self.index().select(["part", "row"]).take(positions)
        return gathered(self.parts(), spots["part"].to_numpy(), spots["row"].to_numpy(), columns)

    def add(self, rows: pa.Table, stage: DocumentStage, fingerprint: dict[str, Any]) -> Path:
        """One more part. `rows` has id, of, failure, failure_detail and the stage's measurements."""
        rows = rows.sort_by("id")
        name = f"part-{time.time_ns():020d}-{secrets.token_hex(3)}"
        record = {"kind": "part", "stage": stage.name, "fingerprint": fingerprint, "rows": rows.num_rows, "sensitive": stage.sensitive}
        if stage.write_part and stage.read_part:
            record["bulk"] = {"write": reference(stage.write_part), "read": reference(stage.read_part)}
        with committed(self.store, self.folder / name, record) as folder:
            write_rows([stage.write_part(rows, folder) if stage.write_part else rows], folder)
        self._parts = self._index = None
        return self.folder / name


def found_parts(shelf: Path) -> list[Path]:
    """Folders of the parts of a shelf that exist, oldest first."""
    return sorted(p for p in shelf.glob("part-*") if (p / RECORD).is_file())


def shelf_schema(stage: DocumentStage) -> pa.Schema:
    """Columns of the rows given to `Shelf.add`."""
    return pa.schema([*_KEYS, *stage.measures])


def row_keys(ids: Any, ofs: Any) -> Any:
    """id and of joined: the key of a row."""
    return pc.binary_join_element_wise(ids, ofs, "")


def rewrite(store: Path, parts: Sequence[Path], leave_out: Container[str] = frozenset()) -> Path | None:
    """One new part of a shelf in place of these recorded parts of it; None when no row is left.

    Rows stand in id order. Rows that a newer part of the shelf supersedes (one of these or another) are dropped, and so are
    the documents whose id is in `leave_out`. The new part takes the place of the newest of `parts` in the order of parts; a
    single part that would stay as it is stays. The new part exists before the old ones go: a kill between leaves rows twice,
    which changes no look-up; only documents left out may still be there, and the same call on the parts there are then
    finishes the work. The caller holds the workspace's lock, and nobody reads. ValueError when a part has files that its
    record does not say how to read.
    """
    parts = sorted(set(parts))
    if len({p.parent for p in parts}) != 1:
        raise ValueError("parts of one shelf are rewritten together, at least one")
    known = [_recorded(p) for p in parts]
    for part, record in zip(parts, known, strict=True):
        if set(record["files"]) != {ROWS} and not record.get("bulk"):
            raise ValueError(f"{part.name} keeps files beside its rows, and its record does not say how they are read")
    numbers, rows = _surviving(parts, leave_out)
    if len(parts) == 1 and len(rows) == known[0]["rows"]:
        return parts[0]
    target = None
    if len(rows):
        target = successor(parts[-1])
        record = {k: v for k, v in known[-1].items() if k not in ("files", "created")} | {"rows": len(rows)}
        with committed(store, target, record) as folder:
            bulk = [r.get("bulk") for r in known]
            write_rows(_with_bulk(parts, numbers, rows, bulk, folder) if any(bulk) else _blocks(parts, numbers, rows), folder)
    for part in parts:
        discard(store, part)
    return target


def _recorded(part: Path) -> dict[str, Any]:
    record = read_record(part)
    if record is None or record.get("kind") != "part":
        raise ValueError(f"{part.name} is no recorded part")
    return record


def successor(part: Path) -> Path:
    """The name that sorts right after a part and before the next newer one: `part-<time>-<hex>[-<number>]`, one higher."""
    stem = "-".join(part.name.split("-")[:3])
    taken = [int(p.name[len(stem) + 1 :]) for p in part.parent.glob(f"{stem}-*")]
    return part.with_name(f"{stem}-{max(taken, default=0) + 1:06d}")


def _surviving(parts: Sequence[Path], leave_out: Container[str]) -> tuple[np.ndarray, np.ndarray]:
    """(number in `parts`, row) of every row that stays, in the order of (id, of)."""
    newest_first = [p for p in reversed(found_parts(parts[0].parent)) if p >= parts[0]]
    tables = [read_all(p, ["id", "of"]) for p in newest_first]
    whole = pa.concat_tables(tables)
    keys = row_keys(whole["id"], whole["of"]).combine_chunks()
    first = pc.index_in(keys, value_set=keys).to_numpy() == np.arange(len(keys))
    sizes = [t.num_rows for t in tables]
    number = np.repeat([parts.index(p) if p in parts else -1 for p in newest_first], sizes)
    row = np.concatenate([np.arange(n) for n in sizes])
    stays = first & (number >= 0)
    if leave_out:
        stays[stays] = [i not in leave_out for i in whole["id"].filter(pa.array(stays)).to_pylist()]
    order = pc.sort_indices(whole.filter(pa.array(stays)), sort_keys=[("id", "ascending"), ("of", "ascending")]).to_numpy()
    return number[stays][order], row[stays][order]


def _blocks(parts: Sequence[Path], numbers: np.ndarray, rows: np.ndarray) -> Iterator[pa.Table]:
    size = max(64, min(BLOCK_ROWS, int(BLOCK_BYTES // max(1, *(row_bytes(p) for p in parts)))))
    for start in range(0, len(rows), size):
        yield gathered(parts, numbers[start : start + size], rows[start : start + size])


def _with_bulk(
    parts: Sequence[Path], numbers: np.ndarray, rows: np.ndarray, bulk: Sequence[dict[str, str] | None], folder: Path
) -> Iterator[pa.Table]:
    """The rows, their bulk columns moved from the old parts' files to those in `folder`: in one piece, as they were written."""
    tables, order = [], []
    for number in np.unique(numbers).tolist():
        (where,) = (numbers == number).nonzero()
        table, how = read_rows(parts[number], rows[where]), bulk[number]
        tables.append(resolve(how["read"])(table, parts[number]) if how else table)
        order.append(where)
    table = pa.concat_tables(tables).take(pa.array(np.argsort(np.concatenate(order))))
    yield resolve(bulk[-1]["write"])(table, folder) if bulk[-1] else table
