"""Damaged files by the thousand: does a run come through, is every one accounted for, and is the outcome the same again?

    python benchmarks/fuzz_extract.py --raw FOLDER [--mutants 2000] [--seed 1] [--workers 2] [--deadline 60] [--work FOLDER]

Takes real files of every extension in the folder, and containers made of them, and damages each copy in one way: bits flipped,
cut, spliced with another file, a block zeroed, a block repeated, another file's extension; and *inside*: a member of a package,
a stream of a PDF, the content of a compressed file or of an encoded attachment is damaged and packed again, so that the
parsers are reached and not only the unpackers. Then `athanor run --until extract` reads them all, as a user would, and again a
fifth of them in a new workspace.

Promises, each a line with `ok` or `BROKEN` (exit status 1): the run ends well; every file is listed and every member is kept,
rejected or failed; nothing ended by an unexpected exception (`error`); no worker died; no answer was waited for longer than the
limits allow; memory stayed below the workers' caps; no process and no temporary file is left; the second run says the same.
A mutant's number and the seed make it again; with --work the mutants stay there.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from fuzz_mutants import mutants, sources  # noqa: E402

from corpus import processes  # noqa: E402
from corpus.sandbox import WALL, limits  # noqa: E402
from corpus.workspace import Workspace  # noqa: E402
from extractors import extract, ingest  # noqa: E402

# --- the run -------------------------------------------------------------------------------------------------------------------


def run(folder: Path, workspace: Path, temporary: Path, workers: int, deadline: float) -> dict[str, Any]:
    """`athanor run` as a user types it; what it said, and what it used: seconds, peak bytes of all processes and of one."""
    settings = ["run.prefect=false", f"run.workers={workers}", "run.gc=false", *([f"extract.deadline={deadline:g}"] if deadline else [])]
    words = [sys.executable, "-P", "-m", "flows.cli", "run", str(folder), "-w", str(workspace), "--until", "extract", "--json"]
    words += [word for s in settings for word in ("--set", s)]
    environment = dict(os.environ, PYTHONPATH=str(ROOT), TMPDIR=str(temporary))
    begun, peak, largest = time.monotonic(), 0, 0
    with open(workspace.with_suffix(".out"), "w+") as out, open(workspace.with_suffix(".err"), "w+") as err:
        process = subprocess.Popen(words, env=environment, stdout=out, stderr=err, start_new_session=True)
        while process.poll() is None:
            each = [processes.usage(pid)[1] for pid in processes.descendants(process.pid)]
            peak, largest = max(peak, processes.usage(process.pid)[1]), max([largest, *each])
            time.sleep(0.25)
        out.seek(0)
        err.seek(0)
        said, complaints = out.read().strip().splitlines(), err.read()
    left = leftovers(process.pid)
    result = json.loads(said[-1]) if said else {}
    seconds = time.monotonic() - begun
    files = sorted(str(p.relative_to(temporary)) for p in temporary.rglob("*"))
    return {"code": process.returncode, "said": result, "complaints": complaints, "seconds": seconds, "peak": peak, "largest": largest} | {
        "left": left,
        "files": files,
    }


def leftovers(session: int) -> int:
    """Processes of this session that are still there after a moment."""
    left = 0
    for _ in range(50):
        listing = subprocess.run(["ps", "-eo", "sess=,stat="], capture_output=True, text=True).stdout.splitlines()
        left = sum(1 for sess, stat, *_ in map(str.split, listing) if int(sess) == session and "Z" not in stat)
        if not left:
            break
        time.sleep(0.1)
    return left


def outcomes(workspace: Path) -> dict[str, Any]:
    """What the run left: the files' table, where each member lies, and the rows of both stages by member."""
    opened = Workspace.open(workspace).latest_run()
    assert opened is not None
    first, second = opened.view("ingest"), opened.view("extract")
    return {
        "files": first.beside("files").to_pylist(),
        "locators": first.beside("locators").to_pylist(),
        "ingest": {row["id"]: row for row in first.outcomes().to_pylist()},
        "extract": {row["id"]: row for row in second.outcomes().to_pylist()},
        "pause": longest_pause(workspace / "runs" / opened.id / "log.jsonl"),
    }


def longest_pause(log: Path) -> float:
    """The longest time between two lines of the log, seconds."""
    from datetime import datetime

    times = [datetime.fromisoformat(json.loads(line)["time"]).timestamp() for line in log.read_text("utf-8").splitlines()]
    return max((b - a for a, b in itertools.pairwise(times)), default=0.0)


# --- the report ----------------------------------------------------------------------------------------------------------------


def final(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """member -> the outcome of the last stage that saw it."""
    return found["ingest"] | found["extract"]


def table(found: dict[str, Any], made: Counter[str]) -> None:
    """By format: members and their outcomes."""
    outcome = final(found)
    by: dict[str, Counter[str]] = defaultdict(Counter)
    reasons: dict[str, Counter[str]] = defaultdict(Counter)
    for place in found["locators"]:
        kind, row = place["path"].split("-")[0], outcome[place["id"]]
        by[kind]["members"] += 1
        by[kind][row["status"]] += 1
        by[kind][f"{row['status']}:{row['reason']}"] += 1
        if row["status"] == "failed":
            reasons[kind][row["reason"]] += 1
    print(
        f"{'format':<9}{'mutants':>8}{'members':>9}{'kept':>7}{'partial':>9}{'fallback':>9}{'rejected':>9}{'failed':>8}  failed by reason"
    )
    for kind in sorted(made):
        c = by[kind]
        numbers = (c["members"], c["kept"], c["kept:partial"], c["kept:fallback"], c["rejected"], c["failed"])
        told = ", ".join(f"{n} {reason}" for reason, n in reasons[kind].most_common())
        print(f"{kind:<9}{made[kind]:>8}" + "".join(f"{n:>{w}}" for n, w in zip(numbers, (9, 7, 9, 9, 9, 8), strict=True)) + f"  {told}")
    total = [sum(c[k] for c in by.values()) for k in ("members", "kept", "kept:partial", "kept:fallback", "rejected", "failed")]
    print(f"{'all':<9}{sum(made.values()):>8}" + "".join(f"{n:>{w}}" for n, w in zip(total, (9, 7, 9, 9, 9, 8), strict=True)))


def where(found: dict[str, Any], reasons: tuple[str, ...]) -> dict[tuple[str, str], list[str]]:
    """(reason, detail) -> locators of the members that ended so."""
    outcome, places = final(found), defaultdict(list)
    for place in found["locators"]:
        row = outcome[place["id"]]
        if row["status"] == "failed" and (row["reason"] in reasons or "cannot be parsed (" in row["detail"]):
            places[(row["reason"], row["detail"])].append(place["locator"])
    return dict(places)


def promise(name: str, holds: bool, detail: str = "") -> bool:
    """A line of the report."""
    print(f"{'ok' if holds else 'BROKEN':<8}{name}{': ' + detail if detail else ''}", flush=True)
    return holds


def report(one: dict[str, Any], found: dict[str, Any], made: Counter[str], workers: int, deadline: float) -> list[bool]:
    """The promises of the first run."""
    seconds, memory = limits(extract.STAGE)
    seconds = max(deadline or seconds, limits(ingest.STAGE)[0])
    first, second = found["ingest"], found["extract"]
    on = {i for i, row in first.items() if row["status"] == "kept"}
    listed = {f["path"] for f in found["files"]}
    inside_of = {p["path"] for p in found["locators"]}
    statuses = Counter(row["status"] for row in final(found).values())
    bad = where(found, ("error", "worker_died", "installation", "missing_library", "deadline", "memory"))
    for (reason, detail), places in sorted(bad.items()):
        print(f"  {reason}, {detail}: {len(places)}, e.g. {places[0]}")
    died = sum(len(p) for (reason, _), p in bad.items() if reason == "worker_died")
    errors = sum(len(p) for (reason, _), p in bad.items() if reason == "error")
    accounted = listed == inside_of and len(listed) == sum(made.values()) and on == set(second)
    return [
        promise(
            "every file is listed, every member kept, rejected or failed",
            accounted and sum(statuses.values()) == len(first),
            f"{len(listed)} files, {len(first)} members: " + ", ".join(f"{n} {s}" for s, n in sorted(statuses.items())),
        ),
        promise("no unexpected exception", not errors, f"{errors}"),
        promise("no worker died", not died, f"{died}"),
        promise(
            "no answer was waited for longer than the limits allow",
            found["pause"] < seconds * WALL,
            f"longest pause {found['pause']:.0f} s, deadline {seconds:g} CPU s, {seconds * WALL:g} s by the clock",
        ),
        promise(
            "memory within the workers' caps",
            one["largest"] < memory * 1.1,
            f"{one['peak'] >> 20} MiB in all, {one['largest'] >> 20} MiB the largest process of {workers} workers",
        ),
        promise("no process left", not one["left"], f"{one['left']}"),
        promise("no temporary file left", not one["files"], ", ".join(one["files"][:3])),
    ]


def same(found: dict[str, Any], again: dict[str, Any]) -> bool:
    """Whether the members of the second run ended as they did in the first. A row that lies in two tables is of the kind that the
    first of them gives it, and that one may be missing from the sample: such rows are not compared."""
    one, two = final(found), final(again)
    other = [i for i in two if found["ingest"][i]["kind"] != again["ingest"][i]["kind"]]
    columns = ("status", "reason", "detail", "text_hash", "value", "lang", "title", "metadata")
    different = [i for i in two if i not in other and any(one.get(i, {}).get(c) != two[i].get(c) for c in columns)]
    for i in different[:5]:
        place = next(p["locator"] for p in again["locators"] if p["id"] == i)
        print("  different:", place, *(f"{c} " for c in columns if one.get(i, {}).get(c) != two[i].get(c)))
    return promise(
        "the second run says the same", not different, f"{len(two)} members, {len(different)} different, {len(other)} of another kind"
    )


def main(argv: list[str] | None = None) -> int:
    """See the module's head."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--raw", type=Path, default=ROOT / "examples" / "raw")
    parser.add_argument("--mutants", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--deadline", type=float, default=0, help="CPU seconds per document; 0 is the stage's own")
    parser.add_argument("--work", type=Path, help="a folder for mutants and workspaces, which stay there")
    options = parser.parse_args(argv)
    base = options.work or Path(tempfile.mkdtemp(prefix="athanor-fuzz-"))
    try:
        folders = [base / name for name in ("mutants", "sample", "tmp")]
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        for name in ("one", "two"):
            shutil.rmtree(base / name, ignore_errors=True)
        chance = random.Random(options.seed)
        made = mutants(sources(options.raw, chance), options.mutants, chance, folders[0])
        one = run(folders[0], base / "one", folders[2], options.workers, options.deadline)
        print(f"{options.mutants} mutants, seed {options.seed}, {options.workers} workers: {one['seconds']:.0f} s", flush=True)
        if not promise("the run ends well", one["code"] == 0, f"status {one['code']}"):
            print(one["complaints"][-2000:])
            return 1
        found = outcomes(base / "one")
        table(found, made)
        held = report(one, found, made, options.workers, options.deadline)
        for path in sorted(folders[0].iterdir())[::5]:
            os.link(path, folders[1] / path.name)
        two = run(folders[1], base / "two", folders[2], 1, options.deadline)
        held.append(two["code"] == 0 and same(found, outcomes(base / "two")))
        return 0 if all(held) else 1
    finally:
        if not options.work:
            shutil.rmtree(base, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
