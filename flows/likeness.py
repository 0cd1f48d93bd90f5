"""What resembles a document that is to be forgotten: copies in other bytes, near duplicates, documents that hold it.

Every text of every document in the newest views is read once and compared by its runs of five words: `alike` is the Jaccard
similarity of the two sets, exact and not estimated, of whichever texts of the two documents are most alike; `holds` is the
part of the forgotten document's runs that the other one has. The same pass finds the word runs that documents which stay
have in common with it: they are no fingerprint of it.

Limits: about 10 MB of text a second; texts of fewer than five words are compared whole.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow.compute as pc

from corpus.store import read_record
from corpus.tombstones import Runs, Tombstones, runs, words_of
from corpus.view import ViewReader
from corpus.workspace import Workspace

SHINGLE = 5  # words
ALIKE = 0.5  # Jaccard similarity from which on a document is a near duplicate
HOLDS = 0.8  # part of a forgotten text from which on a document is said to hold it
BLOCK = 256  # documents read at a time

Texts = dict[str, list[str]]


@dataclass(frozen=True)
class Near:
    """A document that stays unless somebody says otherwise."""

    id: str
    like: str  # the forgotten document it resembles most
    alike: float  # 0..1
    holds: float  # 0..1

    @property
    def duplicate(self) -> bool:
        """A near duplicate; else it only holds the text."""
        return self.alike >= ALIKE


@dataclass
class Likeness:
    """What a scan found: near duplicates, most alike first, and per document the sampled runs that it shares."""

    near: list[Near] = field(default_factory=list)
    shared: dict[str, list[Runs]] = field(default_factory=dict)


def text_views(workspace: Workspace, newest: bool = False) -> list[ViewReader]:
    """Views of the store that make a text, in the order they were made; with `newest`, only what each stage last was."""
    if newest:
        folders = [last["folder"] for last in workspace.last_stages().values() if last["folder"]]
    else:
        folders = [str(p.relative_to(workspace.store)) for p in sorted(workspace.store.glob("*/*/view-*"))]
    records = [(f, read_record(workspace.store / f)) for f in folders]
    views = [(r["created"], ViewReader(workspace.store, f)) for f, r in records if r and r.get("kind") == "view" and r["text"]]
    return [view for _, view in sorted(views, key=lambda pair: pair[0])]


def texts_of(workspace: Workspace, ids: set[str]) -> Texts:
    """Every text these documents have had, as far as the store still makes it."""
    found: dict[str, dict[str, None]] = {}
    for view in text_views(workspace):
        with contextlib.suppress(Exception):  # a view of an older version, whose functions are no more: one spelling less to search
            for id, text in _texts(view, lambda id: id in ids):
                if text:
                    found.setdefault(id, {})[text] = None
    return {id: list(texts) for id, texts in found.items()}


def resembling(workspace: Workspace, tombstones: Tombstones, texts: Texts, progress: Callable[[int], None] | None = None) -> Likeness:
    """Compare all other documents with these texts."""
    result, best = Likeness(), dict[str, Near]()
    if not any(texts.values()):
        return result
    owners = [id for id, versions in texts.items() for _ in versions]
    sets = [_shingles(tombstones.words.of(words_of(t))) for versions in texts.values() for t in versions]
    sizes = np.array([len(s) for s in sets])
    grams = np.concatenate(sets)
    order = np.argsort(grams, kind="stable")
    grams, of = grams[order], np.repeat(np.arange(len(sets)), sizes)[order]
    prints = [p for versions in texts.values() for t in versions if (p := tombstones.candidates(t))]
    sampled = {size: np.unique(np.concatenate([p.runs for p in prints if p.size == size])) for size in {p.size for p in prints}}

    seen = 0
    for view in text_views(workspace, newest=True):
        for id, text in _texts(view, lambda id: id not in texts):
            hashes = tombstones.words.of(words_of(text))
            seen += 1
            if progress and seen % 500 == 0:
                progress(seen)
            for size, known in sampled.items():
                here = np.intersect1d(runs(hashes, size), known)
                if len(here):
                    result.shared.setdefault(id, []).append(here)
            mine = _shingles(hashes)
            first, last = np.searchsorted(grams, mine, "left"), np.searchsorted(grams, mine, "right")
            if not len(mine) or not (last > first).any():
                continue
            hits = np.concatenate([of[a:b] for a, b in zip(first.tolist(), last.tolist(), strict=True) if b > a])
            common = np.bincount(hits, minlength=len(sets))
            alike, holds = common / np.maximum(1, sizes + len(mine) - common), common / np.maximum(1, sizes)
            most = int(alike.argmax())
            if alike[most] >= ALIKE or holds.max() >= HOLDS:
                like = most if alike[most] >= ALIKE else int(holds.argmax())
                found = Near(id, owners[like], round(float(alike[like]), 3), round(float(holds[like]), 3))
                best[id] = max(best.get(id, found), found, key=lambda n: (n.alike, n.holds))
    result.near = sorted(best.values(), key=lambda n: (-n.alike, -n.holds, n.id))
    return result


def _shingles(hashes: Runs) -> Runs:
    return np.unique(runs(hashes, min(SHINGLE, len(hashes)))) if len(hashes) else np.zeros(0, np.uint64)


def _texts(view: ViewReader, wanted: Callable[[str], bool]) -> Iterator[tuple[str, str]]:
    """(id, text after this stage) where the stage made one; at the first of them what it rejected, too."""
    table = view.outcomes()
    first = view.upstream is None or not _has_text(view.upstream)
    table = table.filter(pc.not_equal(table["status"], "failed") if first else pc.equal(table["status"], "kept"))
    ids, hashes = table["id"].to_pylist(), table["text_hash"].to_pylist()
    before = {}
    if view.upstream is not None and not first:
        old = view.upstream.outcomes()
        before = dict(zip(old["id"].to_pylist(), old["text_hash"].to_pylist(), strict=True))
    chosen = [i for i, h in zip(ids, hashes, strict=True) if wanted(i) and before.get(i) != h]
    for start in range(0, len(chosen), BLOCK):
        block = chosen[start : start + BLOCK]
        for id, text in zip(block, view.texts(block), strict=True):
            yield id, text or ""


def _has_text(view: ViewReader) -> bool:
    return bool(view.record["text"]) or (view.upstream is not None and _has_text(view.upstream))
