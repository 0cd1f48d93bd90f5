"""What was fitted on a document cannot be searched for it: it is named instead, until it is made anew.

Limits: a run that tells which views an artifact was made from decides. Where no run does any more, an artifact counts as
tainted when the stage it reads from has held the document: that may name too many, never too few.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from corpus.store import RECORD, TEMPORARY, read_record
from corpus.tombstones import Tombstones
from corpus.workspace import Workspace


def tainted(workspace: Workspace, tombstones: Tombstones | None = None) -> dict[str, list[str]]:
    """Artifacts in use that were fitted on something forgotten, or made with one that was: stage -> folders."""
    tombstones = tombstones or Tombstones.of(workspace)
    found: dict[str, list[str]] = {}
    for folder in heirs(workspace, tombstones.tainted) & in_use(workspace):
        if read_record(workspace.store / folder) is not None:
            found.setdefault(folder.split("/")[0], []).append(folder)
    return {stage: sorted(folders) for stage, folders in sorted(found.items())}


def in_use(workspace: Workspace) -> set[str]:
    """Folders of artifacts that are pinned, current, or what their stage last was."""
    folders = {p["folder"] for p in workspace.pins().values()} | {last["folder"] for last in workspace.last_stages().values()}
    current = workspace.path / "current"
    return folders | set(json.loads(current.read_text("utf-8")).get("artifacts", {}).values() if current.is_file() else ())


def artifacts(workspace: Workspace) -> dict[str, dict[str, Any]]:
    """Every artifact of the store: folder -> record."""
    found = {}
    for path in sorted(workspace.store.glob(f"*/*/{RECORD}")):
        record = read_record(path.parent)
        if TEMPORARY not in path.parts and record and record.get("kind") is None:
            found[str(path.parent.relative_to(workspace.store))] = record
    return found


def fitted(workspace: Workspace, views: set[str], stages: set[str]) -> set[str]:
    """Artifacts that had a document among their inputs: `views` hold it, `stages` have measured it at some time."""
    made_in = {
        s["folder"]: run.stages
        for run in map(workspace.run, workspace.run_ids())
        for s in run.stages.values()
        if s["unit"] == "artifact" and s["status"] == "ran"
    }
    found = set()
    for folder, record in artifacts(workspace).items():
        for stage in record.get("data", {}):
            then = made_in.get(folder, {}).get(stage, {}).get("folder")
            known = then and read_record(workspace.store / then) is not None
            if then in views if known else stage in stages:
                found.add(folder)
    return heirs(workspace, found)


def heirs(workspace: Workspace, folders: Iterable[str]) -> set[str]:
    """These artifacts and whatever was made with them."""
    every, found = artifacts(workspace), set(folders)
    while True:
        digests = {every[f]["digest"] for f in found if f in every} - {""}
        new = {f for f, r in every.items() if f not in found and digests & set(r.get("identity", {}).get("inputs", {}).values())}
        if not new:
            return found
        found |= new
