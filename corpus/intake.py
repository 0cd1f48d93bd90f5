"""Ingest as the engine runs it: from the files of the sources to members, each with its id and the places it was found.

The ingest stage's `measure` opens one file and lists the members in it; its shelf is keyed by the file's hash, so a file
renamed, copied or touched is not opened again. Everything else here is bookkeeping on paths, which are nobody's identity:
the same bytes in two places are one member with two locators. Tables that lie beside the view:

    files     source, path, file, size, members, status, reason, detail
    locators  id, source, path, inner, locator ('b.mbox!/3!/c.zip!/c.docx', with 'source:' in front when there are several)
"""

from __future__ import annotations

import fnmatch
import time
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from corpus.canonical import digest
from corpus.document import MEMBER
from corpus.measuring import Circumstances, fingerprint_of, measure, seal, told
from corpus.outcome import Misuse, Stop
from corpus.reasons import changes, count_of
from corpus.result import StageResult, State
from corpus.sources import File, Places, hashed, scan
from corpus.stage import DocumentStage, Inputs, Measurements
from corpus.store import Shelf, read_record
from corpus.tombstones import Tombstones
from corpus.view import OUTCOME, ViewReader, describe, write_view
from corpus.walk import Walk

SCHEMA = pa.schema([*(pa.field(f.name, f.type) for f in OUTCOME), *(pa.field(f.name, f.type) for f in MEMBER if f.name != "id")])
FILES = pa.schema(
    [(n, pa.string()) for n in ("source", "path", "file")]
    + [("size", pa.int64()), ("members", pa.int64())]
    + [(n, pa.string()) for n in ("status", "reason", "detail")]
)
LOCATORS = pa.schema([(n, pa.string()) for n in ("id", "source", "path", "inner", "locator")])
FORGOTTEN = partial(File, path="", real=Path(), status="rejected", reason="forgotten", detail="kept out: it was forgotten")
FIFTH = 0.2  # of the files may vanish without being asked about


def ingest(walk: Walk, stage: DocumentStage) -> StageResult:
    """The first step of a walk: scan the sources, open what is new, list the members."""
    begun = time.monotonic()
    store = walk.workspace.store
    tombstones = Tombstones.of(walk.workspace)
    files = _scanned(walk, stage, tombstones)
    gone = _vanished(walk, stage, files)
    files = [FORGOTTEN(f.source) if tombstones.has(f.file) else f for f in files]
    chat = walk.workspace.chat_sources()
    fingerprint, identity = fingerprint_of(stage, Inputs())
    shelf = Shelf(store, stage.name, fingerprint)
    by_hash = {f.file: f for f in files if f.file}
    known = _known(shelf, sorted(by_hash))
    missing = sorted(by_hash.keys() - known)
    why = changes(stage, identity, walk.last.get(stage.name)) + gone + ([count_of(len(missing), "new file")] if missing else [])
    listing = [[f.source, f.path, f.file, f.reason] for f in files]
    key = digest([fingerprint, stage.decision(), listing, sorted(chat), tombstones.digest, walk.sample])
    folder = f"{stage.name}/{fingerprint}/view-{key}"
    record = read_record(store / folder)
    calls = len(missing)
    circumstances: Circumstances = {}

    def allowed(m: Measurements) -> Measurements:
        return {"members": [member for member in m["members"] if not tombstones.has(member["id"])]} if tombstones else m

    if calls and not walk.dry:
        walk.observer.started(stage.name, calls, why)
        given = ({"id": h, "of": "", "path": str(by_hash[h].real)} for h in missing)
        calls, circumstances = measure(walk, stage, Inputs(), shelf, identity, given, calls, allowed)
    walk.pending = len(missing) if walk.dry else 0
    cached = record is not None and record["complete"] and not missing
    if cached:
        reader = ViewReader(store, folder)
    else:
        config = stage.config
        places = (*getattr(config, "chat", ()), *(f"{name}:" for name in chat))
        view, listed, locators = members(files, shelf, circumstances, places, getattr(config, "named", {}), tombstones, walk.sample)
        made = describe(stage, fingerprint, None) | seal(stage, key, view, circumstances)
        if walk.dry:
            reader = ViewReader.of(store, made, view, None)
        else:
            write_view(store, store / folder, view, made, {"files": listed, "locators": locators})
            reader = ViewReader(store, folder)
    if not walk.dry:
        walk.places = Places(lambda: reader.beside("locators"), files)
    status: State = "cached" if cached else "would_run" if walk.dry else "ran"
    return told(walk, stage, reader, folder, identity, status, why or ([] if cached else ["the files changed"]), calls, begun)


def _scanned(walk: Walk, stage: DocumentStage, tombstones: Tombstones) -> list[File]:
    files: list[File] = []
    for name, root in walk.workspace.sources().items():
        if not root.is_dir():
            raise Misuse(f"The source '{name}' is not at '{root}' any more. Mount it, or `athanor source remove {name}`.")
        files += scan(name, root, walk.workspace.path, getattr(stage.config, "hidden", False), getattr(stage.config, "ignore", ()))
    cache = walk.workspace.store / stage.name / "stat.parquet"
    return hashed(files, cache, remember=not walk.dry, forgotten=tombstones.has, rehash=walk.rehash)


def _vanished(walk: Walk, stage: DocumentStage, files: list[File]) -> list[str]:
    """Law 5: an unmounted share must not empty a corpus."""
    last = walk.last.get(stage.name)
    view = ViewReader(walk.workspace.store, last["folder"]) if last else None
    if view is None or read_record(view.path) is None:
        return []
    names = set(walk.workspace.sources())
    rows = zip(*(view.beside("files")[c].to_pylist() for c in ("source", "path", "file")), strict=True)
    before = [row for row in rows if row[0] in names and row[1]]
    paths, hashes = {(f.source, f.path) for f in files}, {f.file for f in files}
    gone = sum((source, path) not in paths and file not in hashes for source, path, file in before)
    if not gone:
        return []
    said = f"{gone} of {count_of(len(before), 'file')} {'is' if gone == 1 else 'are'} gone"
    if gone > FIFTH * len(before) and not walk.allow_removals:
        if not walk.dry:
            raise Stop(f"{said} from the sources, more than a fifth: nothing was run. If that is meant, add --allow-removals.")
        said += ", `run` will want --allow-removals"
    return [said]


def _known(shelf: Shelf, hashes: list[str]) -> set[str]:
    at = shelf.locate(pa.chunked_array([pa.array(hashes, pa.string())]), pa.chunked_array([pa.array([""] * len(hashes), pa.string())]))
    return {h for h, spot in zip(hashes, at.to_pylist(), strict=True) if spot is not None}


def lies_in(source: str, path: str, places: Iterable[str]) -> bool:
    """Whether a file lies in one of these: a folder ('chat/'), a pattern ('**/dialoghi*.jsonl') or a whole source ('name:')."""
    return any(f"{source}:" == p or (path.startswith(p) if p.endswith("/") else fnmatch.fnmatchcase(path, p)) for p in places)


def members(
    files: list[File],
    shelf: Shelf,
    circumstances: Circumstances,
    chat: tuple[str, ...],
    named: Mapping[str, tuple[str, ...]],
    tombstones: Tombstones,
    sample: int | None,
) -> tuple[pa.Table, pa.Table, pa.Table]:
    """(view, files, locators) of what was found, without what is forgotten. With `sample`, only the members with the smallest ids."""
    opened = _opened(files, shelf)
    found: dict[str, dict[str, Any]] = {}
    where: list[dict[str, Any]] = []
    listed: list[dict[str, Any]] = []
    several = len({f.source for f in files}) > 1
    for f in files:
        status, reason, detail = f.status, f.reason, f.detail
        inside: list[dict[str, Any]] = []
        if f.file:
            if f.file in opened:
                status, reason, detail, inside = opened[f.file]
            elif f.file in circumstances:
                status, (reason, detail) = "failed", circumstances[f.file]
            else:
                continue  # a plan has not opened it
        if not inside and status != "kept" and reason != "forgotten":
            inside = [
                {"id": f.stable_id, "inner": "", "kind": "unknown", "size": f.size, "status": status, "reason": reason, "detail": detail}
            ]
        listed.append(
            {
                "source": f.source,
                "path": f.path,
                "file": f.file,
                "size": f.size,
                "members": len(inside),
                "status": status,
                "reason": reason,
                "detail": detail,
            }
        )
        curated = lies_in(f.source, f.path, chat)
        source = next((name for name, places in named.items() if lies_in(f.source, f.path, places)), f.source)
        for m in inside:
            if tombstones.has(m["id"]):
                continue
            locator = (f"{f.source}:" if several else "") + f.path + (f"!/{m['inner']}" if m["inner"] else "")
            where.append({"id": m["id"], "source": f.source, "path": f.path, "inner": m["inner"], "locator": locator})
            row = found.setdefault(
                m["id"],
                {
                    "id": m["id"],
                    "status": m.get("status") or "kept",
                    "reason": m.get("reason") or "",
                    "value": None,
                    "threshold": None,
                    "detail": m.get("detail") or "",
                    "of": f.file,
                    "text_hash": "",
                    "kind": m["kind"],
                    "size": m["size"],
                    "curated": False,
                    "source": source,
                },
            )
            row["curated"] = row["curated"] or curated
            row["source"] = min(row["source"], source)
            row["kind"] = max(row["kind"], m["kind"], key=lambda kind: (":" in kind, kind))  # the one that knows its column
    chosen = sorted(found)[:sample] if sample else sorted(found)
    view = pa.Table.from_pylist([found[i] for i in chosen], schema=SCHEMA)
    inside_sample = set(chosen)
    where = sorted((w for w in where if w["id"] in inside_sample), key=lambda w: (w["id"], w["locator"]))
    return view, pa.Table.from_pylist(listed, schema=FILES), pa.Table.from_pylist(where, schema=LOCATORS)


def _opened(files: list[File], shelf: Shelf) -> dict[str, tuple[str, str, str, list[dict[str, Any]]]]:
    hashes = sorted({f.file for f in files if f.file})
    at = shelf.locate(pa.chunked_array([pa.array(hashes, pa.string())]), pa.chunked_array([pa.array([""] * len(hashes), pa.string())]))
    here = [h for h, spot in zip(hashes, at.to_pylist(), strict=True) if spot is not None]
    entries = shelf.index().take(at.drop_null())
    inside = shelf.take(at.drop_null(), ["members"])["members"].to_pylist() if here else []
    result = {}
    for h, failure, detail, found in zip(here, entries["failure"].to_pylist(), entries["failure_detail"].to_pylist(), inside, strict=True):
        result[h] = ("failed" if failure else "kept", failure, detail, found or [])
    return result
