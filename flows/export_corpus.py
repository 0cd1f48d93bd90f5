"""`athanor export corpus`: the clean corpus of a run as Parquet files with a data card.

    OUT/train-00000-of-00002.parquet  val-…      prose
    OUT/chat-train-…  chat-val-…                 curated chat as lists of messages
    OUT/README.md  record.json                   the data card; hashes, seed, counts

Only what is after redaction leaves. The rows stand in the order of a hash of (seed, id), so the same corpus, seed and
options give the same bytes, and `--max-gb` takes the first so many bytes of train: a sample that a larger one includes.
Documents are read once, in id order, and shuffled out of core (flows/shuffle.py).

A document that gives a block to validation (`held`) has two rows with one id: the rest in train, the block in val.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from corpus import chatml
from corpus.document import Document, held_out
from corpus.outcome import Misuse, Stop
from corpus.tombstones import Tombstones
from corpus.view import ViewReader
from corpus.workspace import Run, Workspace
from flows import datacard, licences, results, tables
from flows.cli import answer
from flows.corpus_files import SMALL, Written
from flows.export import exported
from flows.progress import watcher
from flows.shuffle import BATCH, KEYS, Shuffle, key_of

SPLIT = "split"  # the stage whose view is the clean corpus
Progress = Callable[[float, float, str], None]


@dataclass(frozen=True)
class Options:
    """What decides the bytes of an export, beside the corpus."""

    seed: int = 0
    max_gb: float | None = None
    shard_mb: int = 256


def export(args: argparse.Namespace) -> int:
    """The command."""
    if args.max_gb is not None and not args.max_gb > 0:
        raise Misuse(f"--max-gb takes a number above 0, not {args.max_gb:g}.")
    options = Options(args.seed, args.max_gb, args.shard_mb)
    workspace = Workspace.open(args.workspace)
    with workspace.locked("export corpus", args.wait):
        run, view = chosen(workspace, args.run)
        out = args.out or workspace.path / "exports" / f"corpus-{run.id}"
        counts = write(workspace, run, view, out, options)
    shown = sys.stderr if args.json else sys.stdout
    rows = [[c["form"], c["split"], *(tables.number(c[k]) for k in ("files", "rows")), tables.size(c["bytes"])] for c in counts["parts"]]
    tables.show(("form", "split", "files", "rows", "text"), rows, shown, right={"files", "rows", "text"})
    print(out, file=shown)
    if args.json:
        answer("export corpus", "done", run.id, path=str(out), **asdict(options), counts=counts)
    return 0


def chosen(workspace: Workspace, id: str | None) -> tuple[Run, ViewReader]:
    """The run asked for, or the newest finished one with a clean corpus, and its view. Raises Misuse or Stop."""
    if id is not None:
        run = workspace.run(id)
        if not run.stage(SPLIT)["folder"]:
            raise Misuse(f"Run {id} has no clean corpus: its stage '{SPLIT}' was {run.stage(SPLIT)['status']}.")
    else:
        runs = (workspace.run(i) for i in reversed(workspace.run_ids()))
        done = (r for r in runs if r.record.get("status") == "finished" and r.stages.get(SPLIT, {}).get("folder"))
        found = next(done, None)
        if found is None:
            raise Misuse(f"No finished run of this workspace has a clean corpus. `athanor run -w {workspace.path}` makes one.")
        run = found
    if SPLIT not in results.views(run):
        raise Stop(f"The clean corpus of run {run.id} is no longer in the store. `athanor run` makes it again.")
    view = run.view(SPLIT)
    if results.sensitive(view):
        raise Stop(f"The corpus of run {run.id} is not redacted, and only what is may leave: run it with the stage that redacts.")
    if forgotten := Tombstones.of(workspace).among(view.table()["id"].to_pylist()):
        raise Stop(f"The corpus of run {run.id} holds {len(forgotten):,} documents that were forgotten. `athanor run` makes one without.")
    return run, view


def write(workspace: Workspace, run: Run, view: ViewReader, out: Path, options: Options) -> dict[str, Any]:
    """Write the folder `out`; returns the counts of its record. The caller holds the workspace's lock."""
    record: dict[str, Any] = {"export": "corpus", "run": run.id, "digest": view.digest, "options": asdict(options)}
    with exported(workspace, out, run.id, record) as folder:
        written = Written(folder, view.table().column_names, options.shard_mb * 1_000_000)
        with _watched("read") as progress:
            train, val = _shuffled(folder / ".shuffle", view, written, options, progress)
        with _watched("write") as progress:
            done = 0
            for split, shuffle in (("train", train), ("val", val)):
                for table in shuffle.tables():
                    written.add(split, table)
                    done += table.num_rows
                    progress(done, train.rows + val.rows, "")
        shutil.rmtree(folder / ".shuffle")
        counts = record["counts"] = written.close()
        if not any(part["rows"] for part in counts["parts"]):
            raise Stop(f"Nothing to export: not one document of run {run.id} fits.")
        (folder / "README.md").write_text(datacard.card(run, view, counts, written.columns, asdict(options)), "utf-8")
    return counts


def _shuffled(folder: Path, view: ViewReader, written: Written, options: Options, progress: Progress) -> tuple[Shuffle, Shuffle]:
    """The rows of train and val, shuffled."""
    schema = pa.unify_schemas([KEYS, pa.schema([("form", pa.string()), ("text", pa.string())]), written.small])
    train = Shuffle(folder / "train", schema, math.inf if options.max_gb is None else options.max_gb * 1e9)
    val = Shuffle(folder / "val", schema)
    waiting: dict[str, list[Document]] = {"train": [], "val": []}
    sizes = dict.fromkeys(waiting, 0)

    def spread(split: str) -> None:
        {"train": train, "val": val}[split].add(pa.Table.from_pylist(waiting[split], schema=schema))
        waiting[split], sizes[split] = [], 0

    there, whole = view.table().column_names, view.table().num_rows
    fields = [f for f in ("form", "metadata", "held", SPLIT, *SMALL) if f in there]
    for number, document in enumerate(view.documents(*fields, "text"), 1):
        key = key_of(options.seed, document["id"])
        for split, row in _rows(document, key, train.wants(key)):
            if row is None:
                written.left_out += 1
                continue
            waiting[split].append(row)
            sizes[split] += row["n_bytes"]
            if sizes[split] >= BATCH:
                spread(split)
        if number % 100 == 0 or number == whole:
            progress(number, whole, "")
    for split in waiting:
        spread(split)
    return train, val


def _rows(document: Document, key: int, wanted: bool) -> Iterator[tuple[str, Document | None]]:
    """The rows (split, row) of a document: one, or two when it gives a block; None for chat that cannot be read as messages.

    With `wanted` false the train row is not made: it would lie behind the budget.
    """
    split, held = document[SPLIT], document.get("held")
    text, block = held_out(document["text"], held)
    pieces = [(split, text)] if wanted or split != "train" else []
    pieces += [("val", block)] if block else []
    if not pieces:
        return
    row = {"key": key, **document, "form": document.get("form") or "prose", "held": held is not None}
    row["licences"] = licences.of_document(document["text"], document.get("metadata"))
    for where, piece in pieces:
        try:
            said = [m["content"] for m in chatml.parse(piece)] if row["form"] == "chat" else [piece]
        except ValueError:
            yield where, None
        else:
            yield where, row | {"text": piece, "n_chars": sum(map(len, said)), "n_bytes": sum(len(s.encode()) for s in said)}


@contextlib.contextmanager
def _watched(name: str) -> Iterator[Progress]:
    """A progress line for people."""
    people = watcher([name])
    try:
        yield lambda done, total, note: people.advanced(name, done, total, note)
    finally:
        if close := getattr(people, "close", None):
            close()
