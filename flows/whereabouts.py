"""From what a person names to members: a file, a folder, a place inside a container, an id or the beginning of one.

Every ingest view the store still has is asked, not the newest alone: what lay at a path before it was edited or removed is
still on the shelves. The same bytes in two places are one member, so a member comes with all its places.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from corpus.outcome import Misuse
from corpus.part import read_all
from corpus.sources import File, hashed
from corpus.store import RECORD, found_parts, read_record
from corpus.tombstones import Tombstones
from corpus.workspace import Workspace

INSIDE = "!/"
_ID = re.compile(r"[0-9a-f]{8,32}")


@dataclass
class Target:
    """What is meant: member ids with all their places, and the ids of whole files that hold them."""

    places: dict[str, list[str]] = field(default_factory=dict)  # id -> locators, the newest listing's first
    files: set[str] = field(default_factory=set)  # hashes of containers named as a whole
    before: list[str] = field(default_factory=list)  # arguments that were forgotten earlier

    @property
    def ids(self) -> set[str]:
        """Everything that gets a tombstone."""
        return set(self.places) | self.files


class Whereabouts:
    """Where the members of a workspace are and were."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace

    @cached_property
    def listings(self) -> list[tuple[pa.Table, pa.Table]]:
        """(files, locators) of every ingest view, newest first."""
        found = []
        for path in self.workspace.store.glob(f"*/*/view-*/{RECORD}"):
            record = read_record(path.parent)
            if record and (path.parent / "locators.parquet").is_file():
                found.append((record["created"], path.parent))
        return [(pq.read_table(p / "files.parquet"), pq.read_table(p / "locators.parquet")) for _, p in sorted(found, reverse=True)]

    def resolve(self, given: list[str], tombstones: Tombstones) -> Target:
        """What these arguments mean together. Misuse, with the nearest known place, for what is not known."""
        target = Target()
        for text in given:
            ids, files = self._at(text)
            if not ids | files and _ID.fullmatch(text.lower()):
                ids = self._named(text.lower())
            if not ids | files:
                if tombstones and self._was_forgotten(text, tombstones):
                    target.before.append(text)
                    continue
                raise Misuse(self._unknown(text))
            target.files |= files - ids
            target.places |= {i: [] for i in ids}
        for _, locators in self.listings:
            here = locators.filter(pc.is_in(locators["id"], pa.array(sorted(target.places), pa.string())))
            for id, place in zip(here["id"].to_pylist(), here["locator"].to_pylist(), strict=True):
                if place not in target.places[id]:
                    target.places[id].append(place)
        return target

    def places(self, ids: set[str]) -> dict[str, str]:
        """One place of each of these, as the newest listing that knows it has it."""
        found: dict[str, str] = {}
        for _, locators in reversed(self.listings):
            here = locators.filter(pc.is_in(locators["id"], pa.array(sorted(ids), pa.string()))).to_pylist()
            found.update({row["id"]: row["locator"] for row in reversed(here)})
        return found

    def _at(self, text: str) -> tuple[set[str], set[str]]:
        """(members, whole files) at a place."""
        ids: set[str] = set()
        whole: set[str] = set()
        for source, path, inner in self._readings(text):
            for files, locators in self.listings:
                ids |= set(locators.filter(_within(locators, source, path, inner))["id"].to_pylist())
                if not inner:
                    whole |= set(files.filter(_within(files, source, path, ""))["file"].to_pylist()) - {""}
        return ids, whole

    def _readings(self, text: str) -> Iterator[tuple[str, str, str]]:
        """(source, path, inner) that a text may mean."""
        outer, _, inner = text.partition(INSIDE)
        sources = self.workspace.sources()
        for name, root in sources.items():
            if outer.startswith(f"{name}:"):
                yield name, _shown(outer[len(name) + 1 :]), inner
            for path in {Path(os.path.abspath(outer)), Path(outer).resolve()}:
                if path.is_relative_to(root):
                    yield name, _shown(path.relative_to(root).as_posix()), inner
            if not os.path.isabs(outer):
                yield name, _shown(os.path.normpath(outer)), inner

    def _named(self, beginning: str) -> set[str]:
        """The one member whose id begins so."""
        found: set[str] = set()
        for _, locators in self.listings:
            found |= set(locators.filter(pc.starts_with(locators["id"], beginning))["id"].to_pylist())
        for shelf in {p.parent.parent for p in self.workspace.store.glob(f"*/*/part-*/{RECORD}")}:
            for part in found_parts(shelf):
                table = read_all(part, ["id"])
                found |= set(table.filter(pc.starts_with(table["id"], beginning))["id"].to_pylist())
        if len(found) > 1:
            raise Misuse(f"'{beginning}' is the beginning of {len(found)} ids; give more digits: {', '.join(sorted(found)[:3])}.")
        return found

    def _was_forgotten(self, text: str, tombstones: Tombstones) -> bool:
        path = Path(text)
        if tombstones.has(text.lower()):
            return True
        return path.is_file() and tombstones.has(hashed([_file(path)], Path(os.devnull), False)[0].file)

    def _unknown(self, text: str) -> str:
        root = next((r for r in self.workspace.sources().values() if Path(text).resolve().is_relative_to(r)), None)
        if root is not None and Path(text.partition(INSIDE)[0]).exists() and INSIDE not in text:
            return f"'{text}' has not been taken in yet: nothing here knows it. Move it out of the source, or `athanor run` first."
        known = set().union(*(set(locators["locator"].to_pylist()) | set(files["path"].to_pylist()) for files, locators in self.listings))
        near = difflib.get_close_matches(text, sorted(known)[:100_000], 1, 0.5)
        hint = f" Did you mean '{near[0]}'?" if near else " `athanor inspect` shows ids and places."
        return f"This workspace knows no document '{text}'.{hint}"


def _within(table: pa.Table, source: str, path: str, inner: str) -> pa.Array:
    """Rows of a listing that lie at this place or below it."""
    exact = pc.equal(table["path"], path)
    if inner:
        exact = pc.and_(exact, pc.or_(pc.equal(table["inner"], inner), pc.starts_with(table["inner"], inner + INSIDE)))
    else:
        exact = pc.or_(exact, pa.scalar(True) if path == "." else pc.starts_with(table["path"], path + "/"))
    return pc.and_(pc.equal(table["source"], source), exact)


def _shown(path: str) -> str:
    """A path as listings have it."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _file(path: Path) -> File:
    s = path.stat()
    return File("", "", path, s.st_size, s.st_mtime_ns, s.st_ino)
