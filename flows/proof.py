"""`athanor verify --forgotten`: a search of everything in the workspace, and of its exports, for what was forgotten.

Nothing is taken on trust: every file is read, tables with all their columns, shards token by token with their own tokenizer
(and no token may lie outside the rows). An id counts wherever it stands. A table or a shard counts as holding a text when it
has half of the word runs that are known of it; anywhere else one such run is enough, since only the forgotten document had it.

Limits: those of corpus/traces.py; models and n-grams are not searched for texts (what was fitted on one is named instead).
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq

from corpus.forget import finish, tainted
from corpus.outcome import Stop
from corpus.part import ROWS
from corpus.store import RECORD, halves
from corpus.tombstones import KEY, Tombstones
from corpus.traces import HELD, Found, Search
from corpus.workspace import Workspace
from flows import tables
from flows.cli import answer
from packer.shards import FILE as SHARD
from packer.shards import open_shard

if TYPE_CHECKING:
    from packer.bpe import Tokenizer

KINDS = {
    ".parquet": "tables",
    ".json": "records",
    ".jsonl": "logs",
    ".log": "logs",
    ".html": "reports",
    ".db": "databases",
    ".bin": "shards",
}
BLOCK = 256  # documents decoded at a time


@dataclass
class Proof:
    """What was searched, by kind, and what was found: (file, what)."""

    files: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)
    bytes: Counter[str] = field(default_factory=Counter)
    found: list[tuple[str, str]] = field(default_factory=list)


def forgotten(args: argparse.Namespace) -> int:
    """The command; 1 when something is found."""
    workspace = Workspace.open(args.workspace)
    out = sys.stderr if args.json else sys.stdout
    with workspace.locked("verify"):
        tombstones = Tombstones.of(workspace)
        if tombstones.pending:
            print("A `forget` was interrupted: erasing what it left.", file=out)
            if readers := finish(workspace).put_off:
                raise Stop(f"{readers} reads the workspace: let it end, and verify again.")
            tombstones = Tombstones.of(workspace)
        proof = search(workspace, tombstones) if tombstones else Proof()
    fitted = tainted(workspace, tombstones)
    if not tombstones:
        print("Nothing was forgotten in this workspace.", file=out)
    else:
        kinds = [[k, f"{n:,}", f"{proof.rows[k]:,}" if proof.rows[k] else "", tables.size(proof.bytes[k])] for k, n in proof.files.items()]
        tables.show(("searched", "files", "rows", "bytes"), sorted(kinds), out, right={"files", "rows", "bytes"})
        for where, what in proof.found:
            print(f"{where}: {what}", file=out)
        says = f"{len(proof.found):,} files hold something of it" if proof.found else "none of it is left"
        print(f"{len(tombstones):,} forgotten, {says}.", file=out)
        if proof.found:
            print("Remove the files named above, or run `athanor forget` on it again.", file=out)
        if fitted:
            print(f"Fitted on it before: {', '.join(fitted)}; --refit makes each anew.", file=out)
    if args.json:
        searched = {k: {"files": n, "rows": proof.rows[k], "bytes": proof.bytes[k]} for k, n in sorted(proof.files.items())}
        found = [{"file": where, "what": what} for where, what in proof.found]
        status = "failed" if found else "done"
        answer("verify", status, forgotten=len(tombstones), searched=searched, found=found, tainted=list(fitted))
    return int(bool(proof.found))


def search(workspace: Workspace, tombstones: Tombstones) -> Proof:
    """Search every file of the workspace and of its exports."""
    return _Searcher(workspace, tombstones).all()


class _Searcher:
    def __init__(self, workspace: Workspace, tombstones: Tombstones) -> None:
        self.workspace, self.search, self.proof = workspace, Search(tombstones), Proof()

    def all(self) -> Proof:
        for path in self._files():
            kind = KINDS.get(path.suffix, "other files")
            self.proof.files[kind] += 1
            self.proof.bytes[kind] += path.stat().st_size
            where = str(path.relative_to(self.workspace.path)) if path.is_relative_to(self.workspace.path) else str(path)
            try:
                says = self._look(path, kind)
            except (OSError, ValueError) as error:
                says = [f"cannot be read ({type(error).__name__}), so nobody knows"]
            self.proof.found += [(where, what) for what in says]
        return self.proof

    def _files(self) -> Iterator[Path]:
        exports = [(self.workspace.path / e["path"]).resolve() for e in self.workspace.memory.get("exports", ())]
        outside = [f for e in exports for f in (e, *halves(e)) if not e.is_relative_to(self.workspace.path)]
        for folder in [self.workspace.path, *outside]:
            yield from (p for p in sorted(folder.rglob("*")) if p.is_file() and not p.is_symlink() and p.name != KEY)

    def _look(self, path: Path, kind: str) -> list[str]:
        if kind == "tables":
            found, rows = self.search.table(path)
            self.proof.rows[kind] += rows
            return self._says(found, HELD)
        says = self._says(self.search.file(path), 0.0)
        if path.name == SHARD and (path.parent / ROWS).is_file():
            says += self._shard(path)
        return says

    def _says(self, found: Found, least: float) -> list[str]:
        says = [f"holds {len(found.ids)} forgotten id{'s' if len(found.ids) > 1 else ''}"] if found.ids else []
        share = self.search.share(found)
        return says + ([f"holds {share:.0%} of the known word runs of a forgotten text"] if share > 0 and share >= least else [])

    def _shard(self, path: Path) -> list[str]:
        """Tokens that no row points to, and what the documents in a shard say."""
        tokens = open_shard(path)
        columns = [c for c in ("offset", "n_tokens", "held_tokens", "tokenizer") if c in pq.read_schema(path.parent / ROWS).names]
        rows = pq.read_table(path.parent / ROWS, columns=columns).to_pylist()
        spans = sorted((r["offset"], r["offset"] + r["n_tokens"] + (r.get("held_tokens") or 0)) for r in rows if r["offset"] is not None)
        self.proof.rows["shards"] += len(spans)
        ends = [0, *(end for _, end in spans)]
        if [begin for begin, _ in spans] + [len(tokens)] != ends:
            return ["has tokens that belong to no document"]
        hashes = {r["tokenizer"] for r in rows if r["tokenizer"]}
        if not hashes:
            return []
        tokenizer = self._tokenizers.get(hashes.pop())
        if tokenizer is None:
            return ["its tokenizer is gone, so nobody can read it; `athanor gc` removes what nothing uses"]
        found = Found()
        for start in range(0, len(spans), BLOCK):
            texts = [tokenizer.decode(np.asarray(tokens[a:b]).tolist()) for a, b in spans[start : start + BLOCK]]
            found |= self.search.text(texts)
        return self._says(found, HELD)

    @cached_property
    def _tokenizers(self) -> dict[str, Tokenizer]:
        from packer.bpe import Tokenizer

        found: dict[str, Any] = {}
        for path in sorted(self.workspace.store.glob("*/*/tokenizer.json")):
            if (path.parent / RECORD).is_file():
                tokenizer = Tokenizer.load(path.parent)
                found[tokenizer.hash] = tokenizer
        return found
