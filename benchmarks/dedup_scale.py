"""Large sets of documents, from JSONL to JSONL, in processes of their own: seconds and memory.

    python benchmarks/dedup_scale.py athanor|datatrove|blanks SOURCE FOLDER     what `dedup.py scale` measures

Athanor here is the stage's own measure (in two worker processes) and elect; between them stands what the engine has, in
small: a table of measurements and an index that finds a text again.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import shutil
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import dedup_peers as peers
import dedup_texts as corpus

from corpus.stage import Inputs
from filters.dedup import stage

WORKERS = 2
SHARD = 25_000
TITLES = {"athanor": "athanor", "blanks": "datatrove, blanks", "datatrove": "datatrove"}
Piece = tuple[Path, int, int]  # file, first byte, last byte


class Watch:
    """Largest sum of the resident sets of a process and all its descendants, and the CPU seconds they were seen to use."""

    def __init__(self, pid: int) -> None:
        self.root, self.peak = psutil.Process(pid), 0
        self._cpu: dict[tuple[int, float], float] = {}

    def look(self) -> None:
        total = 0
        with contextlib.suppress(psutil.Error):
            for process in [self.root, *self.root.children(recursive=True)]:
                with contextlib.suppress(psutil.Error):
                    total += process.memory_info().rss
                    self._cpu[process.pid, process.create_time()] = sum(process.cpu_times()[:2])
        self.peak = max(self.peak, total)

    @property
    def cpu(self) -> float:
        return sum(self._cpu.values())


def scale(given: argparse.Namespace) -> None:
    """Documents, seconds and memory of both."""
    print(f"{WORKERS} workers; documents of 500 words, one in ten a near duplicate; bands x rows {peers.SHAPE[0]} x {peers.SHAPE[1]}")
    print(f"{'documents':>10} {'':19}{'seconds':>9}{'CPU':>9}{'documents/s':>13}{'peak GiB':>10}{'kept':>10}   parts", flush=True)
    for documents in given.documents:
        source = given.work / f"documents-{documents}"
        written = multiprocessing.get_context("spawn").Process(
            target=corpus.write, args=(source, given.corpus, 0, documents, min(SHARD, -(-documents // WORKERS)))
        )
        written.start()
        written.join()
        for name in given.only:
            if name == "datatrove" and given.peer_limit is not None and documents > given.peer_limit:
                continue
            folder = given.work / f"{name}-{documents}"
            shutil.rmtree(folder, ignore_errors=True)
            begun = time.monotonic()
            with open(given.work / f"{name}-{documents}.log", "wb") as log:
                process = subprocess.Popen([sys.executable, __file__, name, source, folder], stdout=subprocess.PIPE, stderr=log, text=True)
            watch = Watch(process.pid)
            while process.poll() is None:
                watch.look()
                time.sleep(0.1)
            seconds = time.monotonic() - begun
            assert process.returncode == 0 and process.stdout is not None, f"{name} ended with {process.returncode}"
            said = json.loads(process.stdout.read().strip().splitlines()[-1])
            parts = ", ".join(f"{part} {took:.1f}" for part, took in said["parts"].items())
            rate, memory = f"{documents / seconds:13.0f}", f"{watch.peak / (1 << 30):10.2f}"
            print(f"{documents:10} {TITLES[name]:19}{seconds:9.1f}{watch.cpu:9.1f}{rate}{memory}{said['kept']:10}   {parts}", flush=True)


def pieces_of(source: Path, size: int = 8 << 20) -> list[Piece]:
    """The shards in pieces of about `size` bytes."""
    return [(file, at, at + size) for file in sorted(source.glob("*.jsonl")) for at in range(0, file.stat().st_size, size)]


def measured(piece: Piece) -> bytes:
    """The measurements of the documents whose line begins in the piece, with where each line is; as an Arrow stream."""
    import orjson

    file, first, last = piece
    one = stage.measure(peers.CONFIG, Inputs())
    columns: dict[str, list[Any]] = {"id": [], "at": [], "bytes": []} | {name: [] for name in stage.STAGE.measures.names}
    with open(file, "rb") as lines:
        if first:
            lines.seek(first - 1)
            lines.readline()
        while (at := lines.tell()) < last and (line := lines.readline()):
            row = orjson.loads(line)
            columns["id"].append(row["id"])
            columns["at"].append(at)
            columns["bytes"].append(len(line))
            for name, value in one({"id": row["id"], "form": "prose", "text": row["text"]}).items():
                columns[name].append(value)
    sink = pa.BufferOutputStream()
    table = pa.table(columns)
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return sink.getvalue().to_pybytes()


def workers() -> Any:
    """Two processes."""
    return multiprocessing.get_context("forkserver").Pool(WORKERS)


def measure_all(source: Path, pool: Any) -> pa.Table:
    """Measurements of all documents of a folder, with the shard, place and length of each."""
    pieces = pieces_of(source)
    files = sorted({piece[0] for piece in pieces})
    tables = []
    for piece, data in zip(pieces, pool.imap(measured, pieces), strict=True):
        table = pa.ipc.open_stream(data).read_all()
        tables.append(table.append_column("shard", pa.array(np.full(table.num_rows, files.index(piece[0]), np.int32))))
    return pa.concat_tables(tables)


class Source:
    """The texts of a folder by id."""

    def __init__(self, source: Path, table: pa.Table) -> None:
        self.files = [open(file, "rb") for file in sorted(source.glob("*.jsonl"))]  # noqa: SIM115
        self.ids = np.array(table["id"].to_pylist(), "S32")
        self.order = np.argsort(self.ids)
        self.ids = self.ids[self.order]
        self.places = [table[name].to_numpy() for name in ("shard", "at", "bytes")]

    def texts(self, ids: list[str]) -> list[str]:
        import orjson

        rows = self.order[np.searchsorted(self.ids, np.array(ids, "S32"))]
        found = []
        for shard, at, size in zip(*(place[rows].tolist() for place in self.places), strict=True):
            self.files[shard].seek(at)
            found.append(orjson.loads(self.files[shard].read(size))["text"])
        return found


def elected(table: pa.Table, texts: Any) -> np.ndarray:
    """Which documents are kept."""
    rows = table.append_column("quality", pa.array(np.ones(table.num_rows))).append_column("form", pa.array(["prose"] * table.num_rows))
    return np.array([o.status == "kept" for o in stage.elect(peers.CONFIG, rows, texts)], bool)


def write_kept(folder: Path, job: tuple[Path, list[int]]) -> None:
    """The kept lines of a shard."""
    file, kept = job
    keep = set(kept)
    with open(file, "rb") as lines, open(folder / file.name, "wb") as out:
        at = 0
        for line in lines:
            if at in keep:
                out.write(line)
            at += len(line)


def athanor(source: Path, folder: Path) -> dict[str, Any]:
    """From JSONL to JSONL. Returns the kept and the seconds of each part."""
    folder.mkdir(parents=True)
    clock = [time.monotonic()]
    with workers() as pool:
        table = measure_all(source, pool)
        pq.write_table(table, folder / "measurements.parquet")
        clock.append(time.monotonic())
        kept = elected(table, Source(source, table).texts)
        clock.append(time.monotonic())
        shards, at = table["shard"].to_numpy(), table["at"].to_numpy()
        jobs = [(file, at[kept & (shards == n)].tolist()) for n, file in enumerate(sorted(source.glob("*.jsonl")))]
        pool.map(partial(write_kept, folder), jobs)
        clock.append(time.monotonic())
    return {"kept": int(kept.sum()), "parts": dict(zip(("signatures", "election", "write"), np.diff(clock).tolist(), strict=True))}


def datatrove(source: Path, folder: Path, blanks: bool = False) -> dict[str, Any]:
    """The same by datatrove's four stages."""
    shards = len(list(source.glob("*.jsonl")))
    parts = {}
    for name, executor in zip(
        ("signatures", "buckets", "clusters", "filter"), peers.datatrove_stages(source, folder, shards, WORKERS, blanks), strict=True
    ):
        begun = time.monotonic()
        executor.run()
        parts[name] = time.monotonic() - begun
    kept = sum(1 for file in (folder / "kept").glob("*.jsonl") for _ in open(file, "rb"))  # noqa: SIM115
    return {"kept": kept, "parts": parts}


WAYS = {"athanor": athanor, "blanks": partial(datatrove, blanks=True), "datatrove": datatrove}


def second_crawl(given: argparse.Namespace) -> None:
    """New documents against known ones."""
    known = given.work / f"documents-{given.known}"
    new = given.work / f"new-{given.new}-after-{given.known}"
    make = multiprocessing.get_context("spawn").Process
    for folder, first, last in ((known, 0, given.known), (new, given.known, given.known + given.new)):
        writer = make(target=corpus.write, args=(folder, given.corpus, first, last, SHARD))
        writer.start()
        writer.join()
    shelf = given.work / f"athanor-{given.known}" / "measurements.parquet"
    with workers() as pool:
        if not shelf.is_file():
            shelf.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(measure_all(known, pool), shelf)
        begun = time.monotonic()
        fresh = measure_all(new, pool)
        hashed = time.monotonic() - begun
    before = pq.read_table(shelf)
    old, young = Source(known, before), Source(new, fresh)
    here = set(fresh["id"].to_pylist())

    def texts(ids: list[str]) -> list[str]:
        some = iter(young.texts([i for i in ids if i in here]))
        others = iter(old.texts([i for i in ids if i not in here]))
        return [next(some if i in here else others) for i in ids]

    kept = elected(pa.concat_tables([before, fresh]), texts)
    seconds = time.monotonic() - begun
    removed = fresh.num_rows - int(kept[before.num_rows :].sum())
    print(f"{fresh.num_rows} new against {before.num_rows} known documents: {fresh.num_rows} measure calls")
    print(f"measured in {hashed:.1f} s, elected in {seconds - hashed:.1f} s, {seconds:.1f} s in all")
    print(f"{removed} of the new removed, {int(kept.sum())} documents kept")


if __name__ == "__main__":
    name, source, folder = sys.argv[1:]
    print(json.dumps(WAYS[name](Path(source), Path(folder))))
