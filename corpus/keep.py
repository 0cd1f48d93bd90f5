"""What stays in a workspace and what may go: `verify` and `gc`.

gc keeps what the last three runs, the current model and the pins use, and for every stage its newest view (with the shelf
under it) or artifact. It never touches what is used, and with `dry_run` it only tells what would go, with sizes.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corpus.store import TEMPORARY, problems, read_record
from corpus.workspace import Workspace

RUNS = 3


@dataclass(frozen=True)
class Waste:
    """A folder nothing needs."""

    path: Path
    bytes: int
    why: str


def records(workspace: Workspace) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every recorded folder of the store: parts, views, artifacts."""
    for path in sorted(workspace.store.glob("*/**/record.json")):
        if TEMPORARY not in path.parts and (record := read_record(path.parent)):
            yield path.parent, record


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


def collect(workspace: Workspace, dry_run: bool = False) -> list[Waste]:
    """Remove what nothing needs; returns it. The caller holds the workspace's lock."""
    used = _used(workspace)
    newest: dict[str, tuple[float, Path]] = {}
    everything = list(records(workspace))
    for folder, record in everything:
        stage = record["stage"]
        if record.get("kind") != "part" and (stage not in newest or record["created"] > newest[stage][0]):
            newest[stage] = (record["created"], folder)
    keep = used | {folder for _, folder in newest.values()}
    shelves = {folder.parent for folder in keep}
    waste = []
    for folder, record in everything:
        if record.get("kind") == "part":
            if folder.parent not in shelves:
                waste.append(Waste(folder, _size(folder), "a shelf that no kept run reads"))
        elif folder not in keep:
            waste.append(
                Waste(folder, _size(folder), "an older view" if record.get("kind") == "view" else "an artifact that no kept run uses")
            )
    waste += [Waste(work, _size(work), "an interrupted build") for work in workspace.store.glob("*/work-*") if _abandoned(work, everything)]
    if not dry_run:
        for w in waste:
            shutil.rmtree(w.path)
        for shelf in {w.path.parent for w in waste}:
            if shelf != workspace.store and not any(shelf.iterdir()):
                shelf.rmdir()
    return waste


def _used(workspace: Workspace) -> set[Path]:
    folders = [s.get("folder") for id in workspace.run_ids()[-RUNS:] for s in workspace.run(id).stages.values()]
    folders += [last["folder"] for last in workspace.last_stages().values()]
    folders += [pin["folder"] for pin in workspace.pins().values()]
    current = workspace.path / "current"
    if current.is_file():
        folders += list(json.loads(current.read_text("utf-8")).get("artifacts", {}).values())
    used = {workspace.store / f for f in folders if f}
    for folder in list(used):  # a view is read through the views it came from
        record = read_record(folder)
        while record and record.get("upstream"):
            folder = workspace.store / record["upstream"]
            used.add(folder)
            record = read_record(folder)
    return used


def _abandoned(work: Path, everything: list[tuple[Path, dict[str, Any]]]) -> bool:
    """A build's working folder is of use only until its artifact exists, or a newer artifact of the stage does."""
    begun = work.stat().st_mtime
    return any(r["stage"] == work.parent.name and r.get("kind") is None and r["created"] > begun for _, r in everything)


def _size(folder: Path) -> int:
    return sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
