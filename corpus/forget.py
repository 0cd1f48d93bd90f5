"""Forgetting: the tombstones stand first, then nothing in the workspace may hold what they stand for.

`erase` goes through everything: parts of shelves are written again without the rows, views and artifacts that hold an id
are removed, so are scratch folders and the reports of runs whose views are gone; logs and records lose the lines, Prefect's
history goes when it holds anything. It finds its victims by testing every id it meets against the tombstones, so it needs to
be told nothing, and after a kill it is simply done again. A view that only passed on what came after a removed one is tied
to the view of the same content that stands beside it.

What was fitted on it is tainted (corpus/taint.py): named, remembered, and not touched.

Limits: reports written elsewhere (`report -o`), and copies of the workspace, are not known here.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from corpus.part import ROWS, read_rows, write_rows
from corpus.store import RECORD, committed, discard, found_parts, halves, read_record, rewrite, successor, write_file, write_json
from corpus.taint import artifacts, fitted, in_use, tainted
from corpus.tombstones import KEY, STONES, Tombstones
from corpus.traces import HELD, Search
from corpus.workspace import Workspace

__all__ = ["Erased", "Tombstones", "erase", "finish", "tainted"]

LINES = (".jsonl", ".log", ".md", ".txt", ".csv", ".yaml", ".yml")
GONE = "forgotten"


@dataclass
class Erased:
    """What `erase` did, or would do."""

    parts: int = 0  # of shelves, written again or removed
    views: int = 0
    artifacts: int = 0
    files: list[str] = field(default_factory=list)  # others, cleaned or removed, relative to the workspace
    exports: list[str] = field(default_factory=list)  # removed; relative to the workspace
    held: list[str] = field(default_factory=list)  # artifacts in use that hold an id or a text: only --refit renews them
    tainted: list[str] = field(default_factory=list)  # artifacts fitted on it, 'stage/key'
    put_off: str = ""  # who reads: nothing was done

    def __bool__(self) -> bool:
        return bool(self.parts or self.views or self.artifacts or self.files or self.exports)


def erase(workspace: Workspace, tombstones: Tombstones | None = None, dry: bool = False) -> Erased:
    """Remove every trace of what is forgotten. The caller holds the lock, and does not read. `dry`: only say what would be done.

    While somebody else reads nothing is removed: it is put off, and stays pending.
    """
    tombstones = tombstones or Tombstones.of(workspace)
    done = Erased()
    if dry and tombstones:
        _erase(workspace, tombstones, done, dry)
    elif tombstones:
        with workspace.unread() as done.put_off:
            if not done.put_off:
                _erase(workspace, tombstones, done, dry)
    return done


def finish(workspace: Workspace) -> Erased:
    """What an interrupted `forget` left to do. Cheap when there is nothing. The caller holds the lock, and does not read."""
    tombstones = Tombstones.of(workspace)
    return erase(workspace, tombstones) if tombstones.pending else Erased()


def _erase(workspace: Workspace, tombstones: Tombstones, done: Erased, dry: bool) -> None:
    eraser = _Eraser(workspace, tombstones, done, dry)
    parts, victims = eraser.parts(), eraser.victims()
    stages = {p.parent.parent.name for p in parts} | {v.split("/")[0] for v in victims}
    done.tainted = sorted({*tombstones.tainted, *fitted(workspace, victims, stages)})
    if not dry:
        tombstones.tainted, tombstones.pending = done.tainted, True
        tombstones.save()  # while the views still tell
    eraser.exports(victims)
    eraser.shelves(parts)
    eraser.views(victims)
    eraser.artifacts()
    eraser.scratch()
    eraser.files()
    if not dry:
        tombstones.pending = False
        tombstones.save()


class _Eraser:
    """One pass over a workspace."""

    def __init__(self, workspace: Workspace, tombstones: Tombstones, done: Erased, dry: bool) -> None:
        self.workspace, self.store, self.done, self.dry = workspace, workspace.store, done, dry
        self.search = Search(tombstones)

    # -- the store -----------------------------------------------------------------------------------------------

    def victims(self) -> set[str]:
        """Views that hold a forgotten id in any of their tables."""
        return {f for f in self._views() if any(self.search.identifiers(t) for t in sorted((self.store / f).glob("*.parquet")))}

    def parts(self) -> dict[Path, set[str]]:
        """Parts of shelves with the forgotten ids they hold."""
        shelves = sorted({p.parent.parent for p in self.store.glob(f"*/*/part-*/{RECORD}")})
        every = {part: self.search.identifiers(part / ROWS) for shelf in shelves for part in found_parts(shelf)}
        return {part: found for part, found in every.items() if found}

    def shelves(self, parts: dict[Path, set[str]]) -> None:
        """Parts with forgotten rows are written again without them; lists of members lose theirs."""
        self.done.parts = len(parts)
        for part, found in parts.items() if not self.dry else ():
            self._rewrite(part, found)

    def _rewrite(self, part: Path, forgotten: set[str]) -> None:
        try:
            written = rewrite(self.store, [part], forgotten)
        except ValueError:  # files of an older version that nobody knows how to read: its documents are measured again
            return discard(self.store, part)
        if written is None or not self.search.identifiers(written / ROWS):
            return None
        record = read_record(written) or {}
        target = successor(written)
        with committed(self.store, target, {k: v for k, v in record.items() if k not in ("files", "created")}) as folder:
            write_rows([_without_members(read_rows(written, np.arange(record["rows"])), forgotten)], folder)
        discard(self.store, written)
        if self.search.identifiers(target / ROWS):  # in a column nobody foresaw
            discard(self.store, target)
        return None

    def views(self, victims: set[str]) -> None:
        """Victims go. What came after one is tied to its equal, or goes with it."""
        everything = self._views()
        moved: dict[str, str] = {}
        gone = set(victims)
        while True:
            orphans = {f for f, r in everything.items() if f not in gone and r["upstream"] in gone}
            moved = {f: e for f in orphans if (e := self._equal(everything, everything[f]["upstream"], gone))}
            if orphans <= set(moved):
                break
            gone |= orphans - set(moved)
        self.done.views += len(gone)
        if self.dry:
            return
        for folder, upstream in moved.items():
            write_json(self.store / folder / RECORD, everything[folder] | {"upstream": upstream})
        for folder in sorted(gone):
            discard(self.store, self.store / folder)

    def _equal(self, everything: dict[str, dict[str, Any]], folder: str, gone: set[str]) -> str | None:
        record = everything[folder]
        for other, r in everything.items():
            if other not in gone and (r["stage"], r["digest"]) == (record["stage"], record["digest"]):
                return other
        return None

    def _views(self) -> dict[str, dict[str, Any]]:
        found = {}
        for path in sorted(self.store.glob(f"*/*/view-*/{RECORD}")):
            if record := read_record(path.parent):
                found[str(path.parent.relative_to(self.store))] = record
        return found

    def artifacts(self) -> None:
        """Artifacts with an id or a text in their files: removed, or named when they are in use."""
        used = in_use(self.workspace)
        for folder in artifacts(self.workspace):
            if any(self._holds(f) for f in _files(self.store / folder)):
                if folder in used:
                    self.done.held.append(folder)
                    continue
                self.done.artifacts += 1
                if not self.dry:
                    discard(self.store, self.store / folder)

    def scratch(self) -> None:
        """Working folders of interrupted builds, what has no record, the remembered hashes of files."""
        for work in sorted(self.store.glob("*/work-*")):
            self._removed(work)
        for folder in sorted([*self.store.glob("*/*/part-*"), *self.store.glob("*/*/view-*")]):
            if read_record(folder) is None:
                self._removed(folder)
        for path in sorted(p for p in self.store.glob("*/*") if p.is_file()):
            self._clean(path)

    # -- everything else -----------------------------------------------------------------------------------------

    def files(self) -> None:
        """Runs, Prefect's history, and whatever else lies in the workspace."""
        for run in self.workspace.run_ids():
            stages = self.workspace.run(run).stages.values()
            report = self.workspace.runs / run / "report.html"
            lost = any(s["folder"] and s["unit"] == "documents" and read_record(self.store / s["folder"]) is None for s in stages)
            if report.is_file() and lost:
                self._removed(report)
        prefect = self.workspace.path / "prefect"
        if any(self._holds(f) for f in _files(prefect)):
            self._removed(prefect)
        exports = [place for _, place in self._exports()]
        for path in _files(self.workspace.path):
            apart = [self.store, prefect, *exports]
            if path.name not in (KEY, STONES) and not any(path.is_relative_to(place) for place in apart):
                self._clean(path)

    def exports(self, victims: set[str]) -> None:
        """Exports of a removed view, or that hold something: removed, whatever lies there beside them is left."""
        digests = {(read_record(self.store / v) or {}).get("digest") for v in victims}
        for entry in self.workspace.memory.get("exports", ()):  # what a killed export left beside its place
            place = (self.workspace.path / entry["path"]).resolve()
            for half in halves(place):
                if half.is_dir() and not self.dry:
                    shutil.rmtree(half)
        for path, place in self._exports():
            record = read_record(place) or {}
            if record.get("digest", "") not in digests and not any(self._holds(f) for f in _files(place)):
                continue
            self.done.exports.append(path)
            if self.dry:
                continue
            for name in [*record.get("files", ()), RECORD]:
                (place / name).unlink(missing_ok=True)
            for folder in sorted((f for f in [place, *place.rglob("*")] if f.is_dir()), reverse=True):
                if not any(folder.iterdir()):
                    folder.rmdir()
            left = [e for e in self.workspace.memory["exports"] if e["path"] != path]
            self.workspace.remember(exports=left)

    def _clean(self, path: Path) -> None:
        """A file that holds something: its lines, rows or strings go; what cannot be taken apart goes whole."""
        if not self._holds(path):
            return
        self.done.files.append(self._name(path))
        if self.dry:
            return
        if path.suffix == ".parquet":
            _without_rows(path, self.search.identifiers(path))
        elif path.suffix in LINES:
            self._lines(path)
        elif path.suffix == ".json":
            self._strings(path)
        if path.is_file() and self._holds(path):
            path.unlink()

    def _lines(self, path: Path) -> None:
        kept = [line for line in path.read_bytes().splitlines(keepends=True) if not self._said(line.decode("utf-8", "replace"))]
        write_file(path, b"".join(kept))

    def _strings(self, path: Path) -> None:
        def clean(value: Any) -> Any:
            if isinstance(value, str):
                return GONE if self._said(value) else value
            if isinstance(value, dict):
                return {(GONE if self._said(k) else k): clean(v) for k, v in value.items()}
            return [clean(v) for v in value] if isinstance(value, list) else value

        try:
            write_json(path, clean(json.loads(path.read_text("utf-8"))))
        except ValueError:
            path.unlink()

    def _said(self, text: str) -> bool:
        return bool(self.search.ids(text.encode("utf-8", "surrogatepass")) or self.search.text([text]).runs)

    def _exports(self) -> list[tuple[str, Path]]:
        """Exports that the workspace remembers and that are still there."""
        paths = [e["path"] for e in self.workspace.memory.get("exports", ())]
        return [(p, place) for p in paths if (place := (self.workspace.path / p).resolve()).is_dir()]

    def _holds(self, path: Path) -> bool:
        if path.suffix == ".parquet":
            found, _ = self.search.table(path)
            return bool(found.ids) or self.search.share(found) >= HELD
        found = self.search.file(path)
        return bool(found.ids or found.runs)

    def _removed(self, path: Path) -> None:
        self.done.files.append(self._name(path))
        if not self.dry:
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _name(self, path: Path) -> str:
        return str(path.relative_to(self.workspace.path))


def _without_members(rows: pa.Table, ids: set[str]) -> pa.Table:
    """Rows of ingest's shelf, whose lists of members lose these."""
    for name in rows.column_names:
        kind = rows.schema.field(name).type
        if pa.types.is_list(kind) and pa.types.is_struct(kind.value_type):
            lists = [None if list_ is None else [m for m in list_ if m.get("id") not in ids] for list_ in rows[name].to_pylist()]
            rows = rows.set_column(rows.column_names.index(name), rows.schema.field(name), pa.array(lists, kind))
    return rows


def _without_rows(path: Path, ids: set[str]) -> None:
    """A table without the rows that name one of these ids in any column of strings."""
    table = pq.read_table(path)
    named = pa.array([False] * table.num_rows)
    for column in table.schema:
        if ids and pa.types.is_string(column.type):
            named = pc.or_(named, pc.fill_null(pc.match_substring_regex(table[column.name], "|".join(sorted(ids))), False))
    sink = pa.BufferOutputStream()
    pq.write_table(table.filter(pc.invert(named)), sink, compression="zstd")
    write_file(path, sink.getvalue().to_pybytes())


def _files(folder: Path) -> Iterator[Path]:
    if folder.is_file():
        yield folder
    elif folder.is_dir():
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.is_symlink():
                yield path
