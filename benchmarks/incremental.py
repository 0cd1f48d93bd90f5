"""What it costs to go on: look-ups and compaction of the store, a plan without changes, a corpus that grows.

    python benchmarks/incremental.py store [--rows 1000000] [--parts 50]
    python benchmarks/incremental.py plan  [--documents 1000000]
    python benchmarks/incremental.py grow  --corpus FOLDER [--documents 10000] [--add 0.01] [--increments 10]

`store` makes shelves whose parts each span all ids. `plan` takes ten JSONL files in through the real ingest and three toy
stages (one line read, upper case, length), and times `Engine.plan()` in a new process. `grow` writes the documents of
FOLDER/*.jsonl.gz (objects with `text`, cut into pieces of at most --max-bytes) as one file each and takes the real way up to
`pack` with the engine alone: once, with 1% more, and from scratch with the same pins; then one increment after the other,
and gc. Everything is written below --work and removed at the end. Goals stand beside the figures; 1 when one is missed.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import toys  # noqa: E402

from corpus.compact import merge, mergeable  # noqa: E402
from corpus.engine import Engine  # noqa: E402
from corpus.keep import collect  # noqa: E402
from corpus.result import StageResult  # noqa: E402
from corpus.stage import Stage  # noqa: E402
from corpus.store import Shelf, read_record, write_json  # noqa: E402
from corpus.view import ViewReader  # noqa: E402
from corpus.workspace import Workspace  # noqa: E402

LOOK_UP, READING, PLAN = 2.0, 2.0, 5.0  # seconds; times the speed of one part; seconds
CALLS, TIME = 0.012, 0.10  # of a first run, for 1% more


class Table:
    """Lines of figure and goal; knows whether a goal was missed."""

    def __init__(self) -> None:
        self.missed = False

    def line(self, what: str, figure: str, goal: str = "", met: bool = True) -> None:
        """One line, at once."""
        self.missed |= not met
        print(f"{what:<70} {figure:>16}   {goal:<22}{'' if met else '  MISSED'}", flush=True)


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """(seconds, what it gave)."""
    begun = time.perf_counter()
    result = work()
    return time.perf_counter() - begun, result


def cpu(since: float) -> str:
    """CPU seconds of this process since then, all threads: what a busy machine does not change."""
    return f"{time.process_time() - since:.2f} s of CPU"


# -- store -------------------------------------------------------------------------------------------------------------


def hashes(chance: np.random.Generator, count: int) -> np.ndarray:
    """Sorted ids as documents have them: 32 hexadecimal digits."""
    digits = chance.bytes(16 * count).hex()
    return np.sort(np.array([digits[i : i + 32] for i in range(0, len(digits), 32)]))


def shelf_of(store: Path, name: str, ids: np.ndarray, parts: int, column: Callable[[np.ndarray], pa.Array], stage: Any) -> Shelf:
    """A shelf of so many parts, every one of which spans all ids; `of` is the id."""
    shelf = Shelf(store, stage.name, name)
    for number in range(parts):
        rows = np.arange(number, len(ids), parts)
        empty = pa.array([""] * len(rows))
        columns = [pa.array(ids[rows])] * 2 + [empty, empty, column(rows)]
        shelf.add(pa.table(columns, names=["id", "of", "failure", "failure_detail", *stage.measures.names]), stage, {})
    return Shelf(store, stage.name, name)


def in_order(shelf: Shelf, ids: np.ndarray) -> int:
    """Read the texts of all ids in id order, in blocks of 1024; returns their characters."""
    wanted = pa.chunked_array([pa.array(ids)])
    at = shelf.locate(wanted, wanted)
    blocks = (shelf.take(at.slice(start, 1024), ["text"])["text"] for start in range(0, len(ids), 1024))
    return sum(len(text) for block in blocks for text in block.to_pylist())


def store(given: argparse.Namespace, table: Table) -> None:
    """Look-ups, reading in id order, compaction."""
    chance = np.random.default_rng(0)
    ids = hashes(chance, given.rows)
    shelf = shelf_of(given.work, "small", ids, given.parts, lambda rows: pa.array(rows), toys.LENGTH)
    wanted = pa.chunked_array([pa.array(ids)])
    since = time.process_time()
    seconds, at = timed(lambda: shelf.locate(wanted, wanted))
    assert at.null_count == 0
    table.line(
        f"look up {given.rows:,} ids on {given.parts} parts, cold ({cpu(since)})", f"{seconds:.2f} s", f"< {LOOK_UP:g} s", seconds < LOOK_UP
    )
    ids = ids[: given.rows // 10]
    pool = " ".join(random.Random(0).choices([w.hex() for w in (chance.bytes(3) for _ in range(5000))], k=200_000))
    sizes, starts = np.clip(chance.lognormal(8, 0.8, len(ids)), 50, 60_000).astype(int), chance.integers(0, len(pool) // 2, len(ids))

    def texts(rows: np.ndarray) -> pa.Array:
        return pa.array([pool[starts[i] : starts[i] + sizes[i]] for i in rows])

    one = shelf_of(given.work, "one", ids, 1, texts, toys.READ)
    many = shelf_of(given.work, "many", ids, given.parts, texts, toys.READ)
    seconds, characters = timed(lambda: in_order(one, ids))
    table.line(f"read {len(ids):,} documents ({characters / 1e6:.0f} MB) from 1 part", f"{seconds:.2f} s")
    slower, same = timed(lambda: in_order(many, ids))
    assert characters == same
    goal = f"< {READING:g} x one part"
    table.line(f"the same from {given.parts} parts", f"{slower:.2f} s ({slower / seconds:.1f} x)", goal, slower < READING * seconds)
    seconds, merged = timed(lambda: [merge(given.work, m) for m in mergeable(many.folder, in_steps=False)])
    moved = sum(m.bytes for m in merged) / 1e6
    table.line(f"merge {sum(len(m.parts) for m in merged)} parts ({moved:.0f} MB on the disk) into {len(merged)}", f"{seconds:.2f} s")
    seconds, same = timed(lambda: in_order(Shelf(given.work, "read", "many"), ids))
    assert characters == same
    table.line("read them again", f"{seconds:.2f} s")


# -- plan --------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=16)
def lines(path: str) -> list[bytes]:
    """The lines of a file, kept: documents are read in the order of their ids."""
    return Path(path).read_bytes().split(b"\n")


def read_line(config: Any, inputs: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Toy extraction: the text of one JSONL row."""
    return lambda document: {"text": json.loads(lines(document["path"])[int(document["inner"]) - 1])["text"]}


def short_way() -> tuple[Stage, ...]:
    """The real ingest and three toys."""
    from extractors import ingest

    return (ingest.STAGE, replace(toys.READ, measure=read_line), toys.UPPER, toys.LENGTH)


def plan(given: argparse.Namespace, table: Table) -> None:
    """A plan when nothing changed."""
    workspace = given.work / "workspace"
    if not given.again:
        chance = random.Random(0)
        words = ["".join(chance.choices("aeiloprst", k=chance.randint(2, 9))) for _ in range(3000)]
        raw = given.work / "raw"
        raw.mkdir()
        for number in range(10):
            with open(raw / f"{number}.jsonl", "w", encoding="utf-8") as f:
                f.writelines(json.dumps({"text": " ".join(chance.choices(words, k=20))}) + "\n" for _ in range(given.documents // 10))
        made = Workspace.create(workspace)
        made.add_source(raw)
        for result in Engine(made, short_way(), workers=0).run():
            assert result.calls and not result.failed
            table.line(f"first run, {result.name}: {result.kept:,} kept", f"{result.seconds:.1f} s")
        command = [sys.executable, __file__, "plan", "--again", "--work", str(given.work), "--documents", str(given.documents)]
        table.missed = bool(subprocess.run(command, check=False).returncode)
        return
    since = time.process_time()
    seconds, results = timed(lambda: Engine(Workspace.open(workspace), short_way(), workers=0).plan())
    assert {r.status for r in results} == {"cached"}
    table.line(
        f"plan without a change on {results[0].kept:,} documents ({cpu(since)})", f"{seconds:.2f} s", f"< {PLAN:g} s", seconds < PLAN
    )


# -- grow --------------------------------------------------------------------------------------------------------------


def pieces(corpus: Path, most: int) -> Iterator[str]:
    """The documents of the corpus in pieces of at most so many bytes, cut between lines where there are any."""
    for path in sorted(corpus.glob("*.jsonl.gz")):
        for row in gzip.decompress(path.read_bytes()).splitlines():
            piece, room = "", most
            for line in json.loads(row)["text"].splitlines(keepends=True):
                line = line.encode()[:most].decode("utf-8", "ignore")
                size = len(line.encode())
                if size > room:
                    yield piece
                    piece, room = "", most
                piece, room = piece + line, room - size
            yield piece


def recorded(workspace: Workspace, results: list[StageResult]) -> None:
    """What `athanor run` leaves of a run, as far as gc reads it."""
    id = workspace.new_run_id()
    (workspace.runs / id).mkdir()
    write_json(workspace.runs / id / "run.json", {"id": id, "status": "finished", "stages": [r.json() for r in results]})


def essence(workspace: Workspace, results: list[StageResult]) -> dict[str, str]:
    """Per stage the digest of its view or artifact; and a hash of one epoch of training rows."""
    from packer.rows import Rows

    found = {r.name: (read_record(workspace.store / r.folder) or {})["digest"] for r in results if r.folder}
    rows = Rows(ViewReader(workspace.store, next(r.folder for r in results if r.name == "pack")), seed=1, length=512)
    h = hashlib.blake2b(digest_size=16)
    for start in range(0, rows.rows_per_epoch, 64):
        h.update(rows.next(min(64, rows.rows_per_epoch - start)).tokens.tobytes())
    return found | {"stream of training rows": h.hexdigest()}


def size(folder: Path) -> int:
    """Bytes of the files below a folder."""
    return sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())


def grow(given: argparse.Namespace, table: Table) -> None:
    """A corpus that grows by 1%, and again."""
    from flows.pipeline import WAY

    names = [s.name for s in WAY]
    way = WAY[: names.index("pack") + 1]
    more = max(1, round(given.documents * given.add))
    texts = sorted({t for t in pieces(given.corpus, given.max_bytes) if t.strip()}, key=lambda t: hashlib.sha256(t.encode()).digest())
    if len(texts) < given.documents + more * given.increments:
        raise SystemExit(f"{given.corpus} gives {len(texts):,} documents; ask for fewer, or lower --max-bytes")
    raw = given.work / "raw"
    raw.mkdir()
    written = 0

    def write(count: int) -> None:
        nonlocal written
        for number in range(written, written + count):
            (raw / f"{number:06d}.txt").write_text(texts[number], "utf-8")
        written += count

    def run(workspace: Workspace) -> tuple[float, list[StageResult]]:
        seconds, results = timed(lambda: Engine(workspace, way, workers=given.workers).run())
        recorded(workspace, results)
        return seconds, results

    workspace = Workspace.create(given.work / "workspace")
    workspace.add_source(raw)
    write(given.documents)
    full, first = run(workspace)
    write(more)
    again, second = run(workspace)
    print(f"{given.documents:,} documents ({size(raw) / 1e6:.1f} MB), then {more:,} more; {given.workers} workers")
    print(f"{'stage':<12} {'kept':>8} {'calls':>8} {'seconds':>9}   {'calls':>8} {'seconds':>9} {'of calls':>9}")
    for a, b in zip(first, second, strict=True):
        share = b.calls / a.calls if a.calls else 0.0
        missed = a.unit == "documents" and share > CALLS * given.add / 0.01
        table.missed |= missed
        shown = f"{share:>9.2%}" if a.unit == "documents" else f"{b.status:>9}"
        print(f"{a.name:<12} {a.kept:>8,} {a.calls:>8,} {a.seconds:>9.1f}   {b.calls:>8,} {b.seconds:>9.1f} {shown}{'  MISSED' * missed}")
    table.line("time of the second run", f"{again:.1f} s ({again / full:.1%})", f"< {TIME:.0%} of {full:.1f} s", again < TIME * full)

    fresh = Workspace.create(given.work / "fresh")
    fresh.add_source(raw)
    fresh.take_pins(workspace)
    seconds, scratch = run(fresh)
    mine, theirs = essence(workspace, second), essence(fresh, scratch)
    different = [name for name in theirs if mine.get(name) != theirs[name]]
    table.line(
        f"from scratch with the same pins ({seconds:.1f} s)",
        f"{len(theirs)} digests",
        f"different: {', '.join(different) or 'none'}",
        not different,
    )

    results = second
    for _ in range(given.increments - 1):
        write(more)
        again, results = run(workspace)
    table.line(
        f"increment number {given.increments}, {more:,} documents",
        f"{again:.1f} s ({again / full:.1%})",
        f"< {TIME:.0%} of {full:.1f} s",
        again < TIME * full,
    )
    print("  seconds by stage: " + ", ".join(f"{r.name} {r.seconds:.1f}" for r in results))
    before, of = size(workspace.store), size(raw)
    planned = Engine(workspace, way, workers=given.workers)
    plans, _ = timed(planned.plan)
    seconds, done = timed(lambda: collect(workspace))
    after = size(workspace.store)
    table.line("store before gc, per byte of raw text", f"{before / of:.2f}")
    table.line(f"gc: {len(done.removed)} folders removed, {sum(len(m.parts) for m in done.merged)} parts merged", f"{seconds:.1f} s")
    table.line("store after gc, per byte of raw text", f"{after / of:.2f}")
    print("  by stage: " + ", ".join(f"{s.name} {size(workspace.store / s.name) / of:.2f}" for s in way))
    table.line("plan without a change, before gc and after", f"{plans:.2f} s, {timed(planned.plan)[0]:.2f} s")
    kept = essence(workspace, results)
    calls = sum(r.calls for r in run(workspace)[1])
    table.line("after gc: the same digests, calls of a run", f"{calls} calls", "0", not calls and kept == essence(workspace, results))


def main() -> int:
    """See the module's head."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name, work in (("store", store), ("plan", plan), ("grow", grow)):
        p = commands.add_parser(name)
        p.set_defaults(function=work)
        p.add_argument("--work", type=Path, help="a folder to work in (default: a temporary one)")
        if name == "store":
            p.add_argument("--rows", type=int, default=1_000_000)
            p.add_argument("--parts", type=int, default=50)
        else:
            p.add_argument("--documents", type=int, default=1_000_000 if name == "plan" else 10_000)
    p.add_argument("--corpus", type=Path, required=True, help="a folder with *.jsonl.gz, objects with `text`")
    p.add_argument("--add", type=float, default=0.01, help="share of new documents in an increment")
    p.add_argument("--increments", type=int, default=10)
    p.add_argument("--max-bytes", type=int, default=20_000, help="longest document")
    p.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    commands.choices["plan"].add_argument("--again", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    table = Table()
    if getattr(given, "again", False):
        given.function(given, table)
        return int(table.missed)
    if given.work:
        given.work.mkdir(parents=True, exist_ok=True)
    given.work = Path(tempfile.mkdtemp(prefix="athanor-", dir=given.work))
    try:
        given.function(given, table)
    finally:
        shutil.rmtree(given.work, ignore_errors=True)
    return int(table.missed)


if __name__ == "__main__":
    sys.exit(main())
