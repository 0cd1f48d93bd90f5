"""`athanor export KIND`: what a workspace made, as a folder that stands alone.

Each kind has its module; here is what they share. A folder is written under a temporary name beside its place, its
files are hashed and flushed, `record.json` comes last and one rename makes it exist: a kill leaves nothing that looks
finished, and the next export to the same place sweeps what it left. The workspace remembers where its exports went
(`exports` in workspace.json), before the first byte is written, so that what is forgotten can be taken out of them.

Limits: the folder's disk must hold it twice while an earlier export is replaced. A folder that was moved by hand is no longer known.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from corpus.outcome import Misuse
from corpus.store import RECORD, halves, read_record, sealed, write_file
from corpus.workspace import Workspace

MODELS = ("hf", "qwen3", "llama", "gguf")
KINDS = {"corpus": "flows.export_corpus", **dict.fromkeys(MODELS, "flows.export_model")}  # kind -> the module whose `export` does it
FORMAT = 1


def export(args: argparse.Namespace) -> int:
    """The command."""
    return importlib.import_module(KINDS[args.kind]).export(args)


@contextlib.contextmanager
def exported(workspace: Workspace, out: Path, run: str, record: dict[str, Any]) -> Iterator[Path]:
    """A folder to write into, which becomes `out` when the block ends without an error; the caller holds the workspace's lock.

    `record` may still be filled inside the block; `files` (sha256 and bytes of each) is added. An export that was there is
    replaced. Raises Misuse when `out` cannot be the place.
    """
    out = out.resolve()
    _checked(workspace, out)
    temporary, old = halves(out)
    before = workspace.memory.get("exports", [])
    path = os.path.relpath(out, workspace.path)
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    workspace.remember(exports=[*(e for e in before if e["path"] != path), {"path": path, "run": run, "created": created}])
    try:
        _remove(temporary, old)
        temporary.mkdir(parents=True)
        yield temporary
        files = sorted(f for f in temporary.rglob("*") if f.is_file())
        record |= {"kind": "export", "format": FORMAT, "files": {str(f.relative_to(temporary)): sealed(f) for f in files}}
        write_file(temporary / RECORD, (json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode())
        if out.exists():
            os.rename(out, old)
        os.rename(temporary, out)
    except BaseException:
        if old.exists() and not out.exists():
            os.rename(old, out)
        workspace.remember(exports=before)
        raise
    finally:
        _remove(temporary, old)


def _checked(workspace: Workspace, out: Path) -> None:
    """Misuse when something is in the way, or the place is one that Athanor reads from or writes to itself."""
    place = workspace.path / "exports"
    if out.is_relative_to(workspace.path) and not (out != place and out.is_relative_to(place)):
        raise Misuse(f"'{out}' lies inside the workspace: choose a folder under '{place}', or one outside.")
    for name, raw in workspace.sources().items():
        if out.is_relative_to(raw):
            raise Misuse(f"'{out}' lies inside the source '{name}': the next run would take it in. Choose another folder.")
    if out.exists() and not out.is_dir():
        raise Misuse(f"'{out}' is a file; give a new folder.")
    if out.is_dir() and any(out.iterdir()) and not _ours(out):
        raise Misuse(f"'{out}' holds other things. Give a new or empty folder, or one with an earlier export and nothing else.")


def _ours(out: Path) -> bool:
    try:
        record = read_record(out) or {}
    except ValueError:
        return False
    there = {str(f.relative_to(out)) for f in out.rglob("*") if not f.is_dir()}
    return record.get("kind") == "export" and there <= {RECORD, *record["files"]}


def _remove(*folders: Path) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
