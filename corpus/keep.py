"""What stays in a workspace and what may go: `verify` and `gc`.

gc keeps what the last three runs, the run whose model is current and the pins use, and for every stage its newest view,
artifact and shelf: so for every document ever measured its newest measurement. A view is kept with the views it is read
through, a shelf whole. Then small parts of the kept shelves are merged (corpus/compact.py).

Nothing goes while somebody reads: writers are kept out by the workspace's lock, readers by `Workspace.reading`. The records
of runs, their logs and reports stay: they are small, and are the history of the corpus.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from corpus.compact import Merge, merge, mergeable, size_of
from corpus.store import RECORD, TEMPORARY, discard, problems, read_record
from corpus.workspace import Workspace

RUNS = 3
Records = dict[Path, dict[str, Any]]


@dataclass(frozen=True)
class Waste:
    """A folder nothing needs."""

    path: Path
    bytes: int
    why: str


@dataclass(frozen=True)
class Collected:
    """What gc did, or would do."""

    removed: list[Waste] = field(default_factory=list)
    merged: list[Merge] = field(default_factory=list)
    put_off: str = ""  # who reads: nothing was done

    @property
    def bytes(self) -> int:
        """Bytes removed; what merging saves is not counted."""
        return sum(w.bytes for w in self.removed)


def records(workspace: Workspace) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every recorded folder of the store: parts, views, artifacts."""
    for folder in _folders(workspace, "*", "part-*", "view-*"):
        if record := read_record(folder):
            yield folder, record


def verify(workspace: Workspace) -> tuple[int, list[str]]:
    """(folders checked, what is wrong): every file against the sha256 it was recorded with."""
    wrong: list[str] = []
    count = 0
    for folder, _ in records(workspace):
        count += 1
        wrong += [f"store/{folder.relative_to(workspace.store)}: {problem}" for problem in problems(folder)]
    for stage, pin in workspace.pins().items():
        if read_record(workspace.store / pin["folder"]) is None:
            wrong.append(f"pins.json: the artifact of '{stage}' is gone; `athanor run --refit {stage}` makes it anew")
    return count, wrong


def collect(workspace: Workspace, dry_run: bool = False, quick: bool = False, wait: bool = False) -> Collected:
    """Remove what nothing needs and merge small parts; tells what. The caller holds the workspace's lock, and does not read.

    `dry_run` only tells; `quick` merges in steps, as after every run; `wait` waits until nobody reads, else the work is put off.
    """
    removed, shelves = _waste(workspace)
    merged = [m for shelf in shelves for m in mergeable(shelf, quick)]
    if dry_run or not (removed or merged):
        return Collected(removed, merged)
    with workspace.unread(wait) as readers:
        if readers:
            return Collected(removed, merged, readers)
        for w in removed:
            discard(workspace.store, w.path)
            if w.path.parent.parent.parent == workspace.store and not any(w.path.parent.iterdir()):
                w.path.parent.rmdir()
        return Collected(removed, [merge(workspace.store, m) for m in merged])


def _waste(workspace: Workspace) -> tuple[list[Waste], list[Path]]:
    """(what may go, shelves that stay). Reads the records of views and artifacts, of parts only when they go."""
    parts = _folders(workspace, "part-*")
    known = {p: r for p in _folders(workspace, "*", "view-*") if (r := read_record(p))}
    keep = _kept(workspace, known)
    newest_part = {p.parent.parent: p for p in sorted(parts, key=lambda p: p.name)}
    shelves = {p.parent for p in [*keep, *newest_part.values()]}
    waste = []
    for folder, record in known.items():
        if folder not in keep:
            why = "an older view" if record.get("kind") == "view" else "an artifact that no kept run uses"
            waste.append(Waste(folder, size_of(record), why))
    for part in parts:
        if part.parent not in shelves:
            waste.append(Waste(part, size_of(read_record(part) or {"files": {}}), "a shelf that no kept run reads"))
    for work in sorted(workspace.store.glob("*/work-*")):
        if _abandoned(work, known):
            waste.append(Waste(work, sum(f.stat().st_size for f in work.rglob("*") if f.is_file()), "an interrupted build"))
    return waste, sorted({p.parent for p in parts} & shelves)


def _kept(workspace: Workspace, known: Records) -> set[Path]:
    folders = [last["folder"] for last in workspace.last_stages().values()]
    folders += [pin["folder"] for pin in workspace.pins().values()]
    runs = list(islice((run for id in reversed(workspace.run_ids()) if (run := workspace.run(id)).stages), RUNS))
    current = workspace.path / "current"
    if current.is_file():
        model = json.loads(current.read_text("utf-8"))
        folders += list(model.get("artifacts", {}).values())
        runs += [workspace.run(model["run"])] if model.get("run") in workspace.run_ids() else []
    folders += [s.get("folder") for run in runs for s in run.stages.values()]
    keep = {workspace.store / f for f in folders if f}
    newest: dict[tuple[str, str], Path] = {}
    for folder, record in sorted(known.items(), key=lambda item: item[1]["created"]):
        newest[record["stage"], record.get("kind") or ""] = folder
    keep |= set(newest.values())
    for folder in list(keep):  # a view is read through the views it came from
        while upstream := known.get(folder, {}).get("upstream"):
            folder = workspace.store / upstream
            keep.add(folder)
    return keep


def _abandoned(work: Path, known: Records) -> bool:
    """A build's working folder is of use only until its artifact exists, or a newer artifact of the stage does."""
    begun = work.stat().st_mtime
    return any(r["stage"] == work.parent.name and r.get("kind") is None and r["created"] > begun for r in known.values())


def _folders(workspace: Workspace, *names: str) -> list[Path]:
    """Recorded folders in name order: artifacts ('*') at the second level of the store, parts and views at the third."""
    patterns = [f"*/{'' if name == '*' else '*/'}{name}/{RECORD}" for name in names]
    found = (path.parent for pattern in patterns for path in workspace.store.glob(pattern))
    return sorted(folder for folder in found if TEMPORARY not in folder.parts)
