"""Ingest as the engine runs it: from the files of the sources to members, each with its id and the places it was found.

The ingest stage's `measure` opens one file and lists the members in it; its shelf is keyed by the file's hash, so a file
renamed, copied or touched is not opened again. Everything else here is bookkeeping on paths, which are nobody's identity:
the same bytes in two places are one member with two locators. Tables that lie beside the view:

    files     source, path, file, size, members, status, reason, detail
    locators  id, source, path, inner, locator ('b.mbox!/3!/c.zip!/c.docx', with 'source:' in front when there are several)
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa

from corpus.document import MEMBER
from corpus.sources import File
from corpus.store import Shelf
from corpus.view import OUTCOME

SCHEMA = pa.schema([*(pa.field(f.name, f.type) for f in OUTCOME), *(pa.field(f.name, f.type) for f in MEMBER if f.name != "id")])
FILES = pa.schema(
    [(n, pa.string()) for n in ("source", "path", "file")]
    + [("size", pa.int64()), ("members", pa.int64())]
    + [(n, pa.string()) for n in ("status", "reason", "detail")]
)
LOCATORS = pa.schema([(n, pa.string()) for n in ("id", "source", "path", "inner", "locator")])


def curated(path: str, places: Iterable[str]) -> bool:
    """Whether a path lies in one of the configured chat places: a folder ('chat/') or a pattern ('**/dialoghi*.jsonl')."""
    return any(path.startswith(p) if p.endswith("/") else fnmatch.fnmatch(path, p) for p in places)


def members(
    files: list[File], shelf: Shelf, circumstances: dict[str, tuple[str, str]], places: tuple[str, ...], sample: int | None
) -> tuple[pa.Table, pa.Table, pa.Table]:
    """(view, files, locators) of what was found. With `sample`, only the members with the smallest ids."""
    opened = _opened(files, shelf)
    found: dict[str, dict[str, Any]] = {}
    where: list[dict[str, Any]] = []
    listed: list[dict[str, Any]] = []
    several = len({f.source for f in files}) > 1
    for f in files:
        status, reason, detail, inside = f.status, f.reason, f.detail, []
        if f.file:
            if f.file in opened:
                status, reason, detail, inside = opened[f.file]
            elif f.file in circumstances:
                status, (reason, detail) = "failed", circumstances[f.file]
            else:
                continue  # a plan has not opened it
        if not inside and status != "kept":
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
        chat = curated(f.path, places)
        for m in inside:
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
                },
            )
            row["curated"] = row["curated"] or chat
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


def paths(files: Iterable[File]) -> dict[tuple[str, str], Path]:
    """Where each listed file can be opened in this run."""
    return {(f.source, f.path): f.real for f in files}
