"""The memory of one worker that reads many files: flat, or growing?

    python benchmarks/extract.py memory --raw FOLDER [--files 500] [--distinct 100] [--kinds pdf] [--limit 4096]

One worker process of the sandbox with the extract stage, as in a run, reads --distinct files of --raw, drawn once, over and over
until --files are read: a new file may need more room than any before it, the same files may not need more each time. After every
--every files: resident memory, its lowest value since the last report, its highest so far, seconds of CPU. The slope is the
least-squares line through the last 300 files, or the last three fifths of fewer; beside it that of the lowest value between two
reports, which a single large file does not move. Flat is less than --flat MiB for 100 files on that lower edge.

A worker that is killed or retires is replaced, and said so: after that the slope would mean nothing, so with the stage's own limit
(--limit 0 for none, which also keeps it from retiring) a growing worker shows as retirements.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import Counter
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from corpus.sandbox import Worker
from corpus.stage import Inputs
from extractors.containers.walk import Limits, open_file
from extractors.extract import STAGE

_MIB = 1 << 20


def arguments(parser: argparse.ArgumentParser) -> None:
    """What is read, and how often it is looked at."""
    parser.add_argument("--raw", type=Path, required=True, help="folder of real documents")
    parser.add_argument("--files", type=int, default=500)
    parser.add_argument("--distinct", type=int, default=100, help="different files among them")
    parser.add_argument("--kinds", nargs="+", default=(), help="only these kinds, e.g. pdf")
    parser.add_argument("--every", type=int, default=50)
    parser.add_argument("--limit", type=int, default=0, help="MiB a worker may take, as the stage's `memory`; 0: no limit")
    parser.add_argument("--flat", type=float, default=5.0, help="MiB for 100 files below which the worker counts as flat")


def run(given: argparse.Namespace) -> None:
    """A row after every few files, then the slopes."""
    documents = list(_documents(given.raw, given.kinds))
    random.Random(1).shuffle(documents)
    documents = documents[: given.distinct]
    if not documents:
        raise SystemExit("--raw holds nothing of these kinds")
    print(f"{len(documents)} files, {given.files} readings")
    print(f"  {'files':>6}{'MiB':>8}{'lowest':>8}{'peak':>8}{'CPU s':>8}")
    worker = _started(given.limit)
    resident = [_resident(worker)]
    print(f"  {0:>6}{resident[0]:>8.0f}")
    answers: Counter[str] = Counter()
    replaced = 0
    spent = 0.0
    for number, document in enumerate(islice(cycle(documents), given.files), 1):
        said, cpu = _read(worker, document)
        spent += cpu
        answers[said] += 1
        if said in ("retired", "died", "deadline"):
            replaced += 1
            worker.kill()
            worker = _started(given.limit)
        resident.append(_resident(worker))
        if number % given.every == 0:
            last = resident[-given.every :]
            print(f"  {number:>6}{resident[-1]:>8.0f}{min(last):>8.0f}{max(resident):>8.0f}{spent:>8.0f}", flush=True)
    worker.kill()
    tail = resident[-min(300, 3 * given.files // 5) :]
    edges = [min(tail[n : n + given.every]) for n in range(0, len(tail) - given.every + 1, given.every)]
    slope = _slope(tail)
    edge = _slope(edges) / given.every if len(edges) > 1 else slope
    print(f"answers: {', '.join(f'{count} {what}' for what, count in answers.most_common())}; {replaced} workers replaced")
    print(f"last {len(tail)} files: {100 * slope:+.1f} MiB per 100 files, the lower edge {100 * edge:+.1f}: ", end="")
    print("no slope, the worker was replaced" if replaced else "flat" if 100 * edge < given.flat else "growing")


def _documents(raw: Path, kinds: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """What the extract stage is given for the first readable members of each file."""
    for path in sorted(p for p in raw.rglob("*") if p.is_file()):
        for member in islice(open_file(str(path), Limits()), 3):  # of a file of rows, so that it does not outnumber the others
            if member.status == "kept" and (not kinds or member.kind in kinds):
                yield {"id": member.id, "kind": member.kind, "curated": False, "path": str(path), "inner": member.inner}


def _started(limit: int) -> Worker:
    worker = Worker(STAGE, Inputs(), "measure", limit * _MIB)
    said = worker.pipe.recv()
    if said[0] != "ready":
        raise SystemExit(f"the worker did not start: {said[0]}")
    return worker


def _read(worker: Worker, document: dict[str, Any]) -> tuple[str, float]:
    """How the worker answered, and the CPU seconds it took."""
    cpu, start = _cpu(worker), time.monotonic()
    worker.give([document])
    try:
        while not worker.pipe.poll(0.5):
            if time.monotonic() - start > STAGE.deadline * 2:
                return "deadline", 0.0
        said = worker.pipe.recv()
        worker.pending.clear()
        if worker.pipe.poll(0.01) and worker.pipe.recv()[0] == "retired":
            return "retired", 0.0
    except (EOFError, ConnectionResetError):
        return "died", 0.0
    return said[0], _cpu(worker) - cpu


def _resident(worker: Worker) -> float:
    return float(psutil.Process(worker.process.pid).memory_info().rss) / _MIB


def _cpu(worker: Worker) -> float:
    times = psutil.Process(worker.process.pid).cpu_times()
    return float(times.user + times.system)


def _slope(values: list[float]) -> float:
    return float(np.polyfit(np.arange(len(values)), values, 1)[0]) if len(values) > 1 else 0.0
