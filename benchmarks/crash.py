"""Kill it anywhere, run it again: is it the same? Prints a row per kill and compares with a run that nobody disturbed.

    python benchmarks/crash.py --kills 25 [--raw examples/raw] [--set recipe.size=1m ...] [--prefect]

Kills (SIGKILL) are spread over all stages, at least one each, at fractions of the stage's undisturbed time; half of them hit
the parent alone, half the whole process group. One more falls between a payload and its record: the run that writes the
first part is killed when the part's files lie there and its record does not. At the end every view, digest and artifact key
and the loss curves must be those of the undisturbed run, and no process may be left over.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SESSIONS: set[int] = set()  # of all runs started here
TORN = """
import os, signal, sys
import corpus.store
whole = corpus.store.sealed
def sealed(path):
    os.kill(os.getpid(), signal.SIGKILL) if path.name == "rows.parquet" else None
    return whole(path)
corpus.store.sealed = sealed
from flows.cli import main
main(sys.argv[1:])
"""


def command(raw: Path, workspace: Path, sets: list[str], until: str | None) -> list[str]:
    """The run as a user types it."""
    options = [word for s in sets for word in ("--set", s)] + (["--until", until] if until else [])
    return ["run", str(raw), "-w", str(workspace), "--json", *options]


def start(arguments: list[str], code: str | None = None) -> subprocess.Popen[str]:
    """Begin a run in a process group of its own."""
    launcher = ["-c", code] if code else ["-m", "flows.cli"]
    environment = dict(os.environ, PYTHONPATH=str(ROOT))
    words = [sys.executable, "-P", *launcher, *arguments]
    process = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    SESSIONS.add(process.pid)
    return process


def finished(process: subprocess.Popen[str]) -> dict[str, Any]:
    """The contract object of a run that ended well."""
    out, err = process.communicate()
    if process.returncode:
        raise SystemExit(f"a run failed with {process.returncode}:\n{err[-2000:]}")
    return json.loads(out.strip().splitlines()[-1])


def events(workspace: Path, known: set[str]) -> list[dict[str, Any]]:
    """Events of the newest run that is not in `known`."""
    new = sorted(p for p in (workspace / "runs").glob("*") if p.name not in known)
    if not new or not (new[-1] / "log.jsonl").is_file():
        return []
    lines = (new[-1] / "log.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines if line.endswith("}")]


def kill_in(stage: str, fraction: float, usual: float, alone: bool, arguments: list[str], workspace: Path) -> str:
    """Run until `stage` has worked for a fraction of its usual time, then kill. Says what happened."""
    known = {p.name for p in (workspace / "runs").glob("*")}
    process = start(arguments)
    end = None  # when to kill, once the stage has begun; a stage that is over (the last run got further) is not waited for
    while process.poll() is None and (end is None or time.monotonic() < end):
        mine = {e["event"] for e in events(workspace, known) if e.get("stage") == stage}
        if "ended" in mine:
            break
        if end is None and "started" in mine:
            end = time.monotonic() + fraction * usual
        time.sleep(0.005)
    if process.poll() is not None:
        return "was over before"
    seen = [e["stage"] for e in events(workspace, known) if e["event"] == "started"]
    ended = [e["stage"] for e in events(workspace, known) if e["event"] == "ended"]
    os.kill(process.pid, signal.SIGKILL) if alone else os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    working = next((s for s in reversed(seen) if s not in ended), "between stages")
    return f"killed in {working}"


def leftovers(base: Path) -> int:
    """Processes of killed runs that are still there after a moment: in their sessions, or naming this benchmark's folder."""
    left: list[str] = []
    for _ in range(60):
        listing = subprocess.run(["ps", "-eo", "sess=,stat=,args="], capture_output=True, text=True).stdout.splitlines()
        rows = [line.split(None, 2) for line in listing]
        left = [r[2] for r in rows if len(r) == 3 and "Z" not in r[1] and (int(r[0]) in SESSIONS or str(base) in r[2])]
        left = [args for args in left if "crash.py" not in args]
        if not left:
            break
        time.sleep(0.1)
    return len(left)


def essence(workspace: Path, result: dict[str, Any]) -> dict[str, Any]:
    """What must be equal: per stage the key and the digest; the loss curves line by line."""
    found: dict[str, Any] = {}
    for stage in result["stages"]:
        if not stage["folder"]:
            continue
        folder = workspace / "store" / stage["folder"]
        record = json.loads((folder / "record.json").read_text("utf-8"))
        found[stage["name"]] = (stage["artifact"], record["digest"], stage["kept"], stage["rejected"], stage["failed"])
        for curve in folder.glob("loss.jsonl"):
            steps = [json.loads(line) for line in curve.read_text("utf-8").splitlines()]
            found[f"{stage['name']} loss"] = [(s.get("step"), s.get("loss")) for s in steps]
    return found


def main(argv: list[str] | None = None) -> int:
    """See the module's head."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--raw", type=Path, default=ROOT / "examples" / "raw")
    parser.add_argument("--set", dest="sets", action="append", default=[])
    parser.add_argument("--until", help="stop after this stage")
    parser.add_argument("--prefect", action="store_true", help="with the Prefect server (slower starts)")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args(argv)
    sets = options.sets + ([] if options.prefect else ["run.prefect=false"])
    base = Path(tempfile.mkdtemp(prefix="athanor-crash-"))
    chance = random.Random(options.seed)
    try:
        begun = time.monotonic()
        calm = finished(start(command(options.raw, base / "calm", sets, options.until)))
        print(f"undisturbed run: {time.monotonic() - begun:.1f} s", flush=True)
        stages = {s["name"]: s["seconds"] for s in calm["stages"] if s["status"] == "ran"}
        torn = start(command(options.raw, base / "killed", sets, options.until), TORN)
        torn.communicate()
        print(f"{1:>3} between payload and record: ended with {torn.returncode}; {leftovers(base)} processes left", flush=True)
        plan = list(stages)
        while len(plan) < options.kills - 1:  # more kills where more time is spent
            plan.append(chance.choices(list(stages), weights=[max(s, 0.2) for s in stages.values()])[0])
        order = list(stages)
        plan.sort(key=lambda s: order.index(s))
        hit: set[str] = set()
        left = 0
        for number, stage in enumerate(plan, 2):
            alone = number % 2 == 0
            fraction = chance.uniform(0.05, 0.6)
            words = command(options.raw, base / "killed", sets, options.until)
            said = kill_in(stage, fraction, stages[stage], alone, words, base / "killed")
            hit.add(said.removeprefix("killed in "))
            left += leftovers(base)
            print(f"{number:>3} {stage:<12} at {fraction:.2f} {'parent alone' if alone else 'whole group '} {said}", flush=True)
        again = finished(start(command(options.raw, base / "killed", sets, options.until)))
        one, two = essence(base / "calm", calm), essence(base / "killed", again)
        different = [name for name in one if one[name] != two.get(name)]
        missed = [s for s in stages if s not in hit]
        print(f"stages hit: {len(hit & set(stages))} of {len(stages)}, missed: {', '.join(missed) or 'none'}; processes left over: {left}")
        print(f"views, digests, artifact keys and loss curves compared: {len(one)}; different: {', '.join(different) or 'none'}")
        return 1 if different or left else 0
    finally:
        shutil.rmtree(base, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
