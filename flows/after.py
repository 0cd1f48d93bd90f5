"""What people read when a run is over: the table, the report, a sample, how to chat, what to do next."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from corpus.result import StageResult
from corpus.workspace import Run, Workspace
from flows import alarms, faults, results, tables
from flows.cli import answer
from flows.settings import RunConfig


def told(workspace: Workspace, run: Run, config: RunConfig, args: argparse.Namespace) -> int:
    """Tell about a run that went to its end; returns the exit code."""
    stages = list(run.stages.values())
    documents = [s for s in stages if s["unit"] == "documents"]
    failed = sum(s["failed"] for s in documents)
    status, code, remarks = "finished", 0, []
    if documents and not documents[-1]["kept"]:
        status, code = "failed", 1
        remarks.append(_nothing_left(documents))
    if args.max_failed is not None and failed > args.max_failed:
        status, code = "failed", 1
        remarks.append(
            f"{tables.number(failed)} documents failed, more than --max-failed {args.max_failed}: `athanor inspect --failed` lists them."
        )
    report = _report(run) if config.report else None
    out = sys.stderr if args.json else sys.stdout
    if all(s["status"] in ("cached", "skipped") for s in stages) and not remarks:
        print(_cached(len(stages)), file=out)
    else:
        print(file=out)
        tables.show_stages(stages, out)
    _tail(workspace, run, report, failed, args, out)
    lost = alarms.losses(run, config.alarm_share)
    for remark in [*remarks, *(alarms.sentence(loss, args.workspace) for loss in lost)]:
        print(f"athanor: {remark}", file=sys.stderr)
    if args.json:
        more: dict[str, Any] = {"error": " ".join(remarks)} if remarks else {}
        more |= {"alarms": lost} if lost else {}
        answer("run", status, run.id, stages, report=str(report) if report else None, generation=results.current_run(workspace), **more)
    return code


def idle(workspace: Workspace, latest: Run, planned: Sequence[StageResult], args: argparse.Namespace) -> int:
    """Everything is as the latest run left it."""
    out = sys.stderr if args.json else sys.stdout
    print(_cached(len(planned)), file=out)
    for line in behind([r.json() for r in planned], args.workspace):
        print(line, file=out)
    failed = sum(r.failed for r in planned if r.unit == "documents")
    over = args.max_failed is not None and failed > args.max_failed
    if over:
        print(f"athanor: {tables.number(failed)} documents failed, more than --max-failed {args.max_failed}.", file=sys.stderr)
    if args.json:
        answer("run", "failed" if over else "cached", latest.id, [r.json() for r in planned], generation=results.current_run(workspace))
    return int(over)


def behind(stages: Sequence[dict[str, Any]], workspace: Path) -> list[str]:
    """What is pinned to older data, and the command that renews it: nothing, or one line."""
    late = [s["name"] for s in stages if any("behind by" in why for why in s["why"])]
    if not late:
        return []
    by = next(why.split("behind by ")[1].split(":")[0] for s in stages for why in s["why"] if "behind by" in why)
    who = f"{', '.join(late[:-1])} and {late[-1]} are" if len(late) > 1 else f"{late[0]} is"
    return [f"{who} behind by {by}: athanor run -w {workspace} {' '.join(f'--refit {name}' for name in late)}"]


def _cached(count: int) -> str:
    return f"Everything is up to date: {count} stages, all cached."


def _nothing_left(documents: Sequence[dict[str, Any]]) -> str:
    worst = max(documents, key=lambda s: s["rejected"] + s["failed"])
    if not documents[0]["in"]:
        return "The raw folder holds no documents."
    lost = {reason: n for reason, n in worst["reasons"].items() if not reason.startswith("kept")}
    reason = max(lost.items(), key=lambda item: item[1], default=("", 0))[0]
    name, status = worst["name"], reason.partition(":")[0] or "rejected"
    return f"No document is left. Most were lost in '{name}' ({reason}): `athanor inspect {name} --{status}` shows them."


def _report(run: Run) -> Path | None:
    from flows import report

    try:
        return report.write(run)
    except OSError as error:
        known = faults.told(error)
        print(f"athanor: the report could not be written: {known[1] if known else type(error).__name__}", file=sys.stderr)
    except Exception as error:  # a report is not worth a run
        where = faults.write_frames(error, run.path, "report")
        print(f"athanor: the report could not be written ({type(error).__name__}); details: {where}", file=sys.stderr)
    return None


def _tail(workspace: Workspace, run: Run, report: Path | None, failed: int, args: argparse.Namespace, out: Any) -> None:
    ws = args.workspace
    print(file=out)
    if report:
        print(f"report   {_near(report)}", file=out)
    samples = results.samples(run)
    if samples:
        print(f"sample   {_sample(samples[0])}", file=out)
    if results.current_run(workspace) == run.id:
        chat = run.stages.get("sft", {}).get("status") in ("cached", "ran")
        talk = f"athanor chat -w {ws}    or    " if chat else ""
        print(f'model    {talk}athanor generate -w {ws} "C\'era una volta"', file=out)
    hints = behind(list(run.stages.values()), ws)
    if failed:
        hints.append(f"{tables.number(failed)} failed: athanor inspect -w {ws} --failed")
    partial = run.stages.get("extract", {}).get("reasons", {}).get("kept:partial", 0)
    if partial:
        hints.append(f"{tables.number(partial)} read only in part: athanor inspect -w {ws} extract --reason partial")
    if run.record["sample"]:
        hints.append(f"a sample of {run.record['sample']}; everything: athanor run -w {ws}")
    for hint in hints:
        print(f"next     {hint}", file=out)
    if not hints:
        print(
            f"next     put more documents into the raw folder and run again; athanor inspect -w {ws} shows what was kept and why", file=out
        )


def _sample(sample: dict[str, str], width: int = 300) -> str:
    between = " → " if sample["text"].startswith("\n") else ""
    text = " ".join(f"{sample['prompt']}{between}{sample['text']}".split())
    return text if len(text) <= width else text[: width - 1] + "…"


def _near(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
