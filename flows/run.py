"""`athanor run` and `athanor plan`: from a command line to an engine, and from its results to what people read.

A run that would do nothing says so at once, without Prefect. Any other is recorded under WS/runs/<id> from its first moment,
stage by stage, so that a killed run can still be inspected. When the model stages are done, WS/current points to what
`generate` and `chat` use; a sample only becomes current where nothing better is.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from corpus.engine import Engine
from corpus.forget import finish
from corpus.keep import collect
from corpus.outcome import Misuse, Stop
from corpus.result import Nobody, StageResult
from corpus.stage import Stage
from corpus.store import write_file, write_json
from corpus.workspace import Run, Workspace
from flows import after, tables
from flows.cli import answer
from flows.progress import JsonlObserver, Observers, span, watcher
from flows.settings import RunConfig, Way, configure, dump

MODEL = ("tokenizer", "pretrain")  # what a current model needs


def run(args: argparse.Namespace) -> int:
    """The command. 0 also with failed documents; 1 when a stage failed, nothing is left, or --max-failed was passed."""
    way, config, resolved = _way(args)
    _raw_is_there(args)
    workspace = Workspace.create(args.workspace) if args.raw else Workspace.open(args.workspace)
    with workspace.locked("run", args.wait):
        _sources(workspace, args, way)
        if args.pins:
            workspace.take_pins(Workspace.open(args.pins))
        engine = _engine(workspace, way, config, args)
        planned = engine.plan()
        idle = all(r.status in ("cached", "skipped") for r in planned)
        latest = workspace.latest_run(finished=True)
        if idle and latest is not None and not args.retry_failed and _same(planned, latest):
            _tidy(workspace, gc=False)
            return after.idle(workspace, latest, planned, args)
        recorded = Recorder(workspace, args, resolved, [s.name for s in engine.way])
        with recorded.watching():
            _work(engine, workspace, recorded, config, alone=idle or not config.prefect)
        done = workspace.run(recorded.id)
        promote(workspace, done)
        _tidy(workspace, config.gc)
    return after.told(workspace, done, config, args)


def _tidy(workspace: Workspace, gc: bool) -> None:
    """Finish what an interrupted `forget` left, and remove what nothing needs; put off, and said, while somebody reads."""
    readers = finish(workspace).put_off or (collect(workspace, quick=True).put_off if gc else "")
    if readers:
        print(f"Nothing was tidied up: {readers} reads the workspace.", file=sys.stderr)


def plan(args: argparse.Namespace) -> int:
    """The command: what a run would do and why. Changes nothing, not even where there is no workspace yet."""
    way, config, _ = _way(args)
    _raw_is_there(args)
    exists = (args.workspace / "workspace.json").is_file()
    if not exists and not args.raw:
        Workspace.open(args.workspace)  # says what is missing
    with tempfile.TemporaryDirectory(prefix="athanor-") as nowhere:
        workspace = Workspace.open(args.workspace) if exists else Workspace.create(Path(nowhere) / "workspace")
        if exists and workspace.sources():
            _known(workspace, args)
        else:
            workspace = workspace if not exists else Workspace.create(Path(nowhere) / "workspace")
            _sources(workspace, args, way)
        results = _engine(workspace, way, config, args).plan()
        seconds = forecast(workspace, results, config)
    stages = [r.json() for r in results]
    tables.show_stages(stages, sys.stderr if args.json else sys.stdout)
    work = [r for r in results if r.status == "would_run"]
    if not args.json:
        about = f", about {span(seconds)} by the last runs" if work and seconds is not None else ""
        print(f"{len(work)} of {len(results)} stages would run{about}." if work else "Everything is up to date.")
    else:
        answer("plan", "planned" if work else "cached", None, stages, seconds=seconds)
    return 0


def _way(args: argparse.Namespace) -> tuple[Way, RunConfig, dict[str, Any]]:
    from flows.pipeline import WAY

    way, config, resolved = configure(WAY, args.config, args.sets)
    known = [s.name for s in way]
    for option, names in (("--until", [args.until] if args.until else []), ("--refit", args.refit)):
        for name in names:
            if name not in known:
                raise Misuse(f"{option}: there is no stage '{name}'. Stages are {', '.join(known)}.")
    if args.until:
        way = way[: known.index(args.until) + 1]
    return way, config, resolved


def _engine(workspace: Workspace, way: Sequence[Stage], config: RunConfig, args: argparse.Namespace) -> Engine:
    return Engine(
        workspace,
        tuple(way),
        workers=config.processes,
        device=config.device,
        sample=args.sample,
        refit=tuple(args.refit),
        retry_failed=args.retry_failed,
        allow_removals=args.allow_removals,
        rehash=args.rehash,
    )


def _raw_is_there(args: argparse.Namespace) -> None:
    if args.raw is None:
        return
    if args.raw.is_file():
        raise Misuse(f"'{args.raw}' is a file; RAW is the folder that holds the documents.")
    if not args.raw.is_dir():
        known = (args.workspace / "workspace.json").is_file() and args.raw.resolve() in Workspace.open(args.workspace).sources().values()
        remedy = f"Mount it, or forget it with `athanor source remove {args.raw} -w {args.workspace}`" if known else "Check the path"
        raise Misuse(f"There is no folder '{args.raw}'. {remedy}.")
    if args.raw.resolve().is_relative_to(args.workspace.resolve()):
        raise Misuse(f"The raw folder '{args.raw}' lies inside the workspace '{args.workspace}': keep it outside, or choose another -w.")


def _sources(workspace: Workspace, args: argparse.Namespace, way: Way) -> None:
    """Law 5: the first RAW is remembered, another one is refused. Folders of chat named in the settings join it."""
    sources = workspace.sources()
    if args.raw and args.raw.resolve() not in sources.values() and set(sources) <= workspace.chat_sources():
        workspace.add_source(args.raw)
    for folder in map(Path, getattr(way[0].config, "chat_folders", ())):
        if not folder.is_dir():
            raise Misuse(f"Config 'ingest.chat_folders': there is no folder '{folder}'.")
        if folder.resolve() not in workspace.sources().values():
            workspace.add_source(folder, chat=True)
    _known(workspace, args)


def _known(workspace: Workspace, args: argparse.Namespace) -> None:
    sources = workspace.sources()
    if not sources:
        raise Misuse(f"The workspace '{args.workspace}' has no source yet. Give the raw folder: `athanor run RAW -w {args.workspace}`.")
    if args.raw and args.raw.resolve() not in sources.values():
        raise Misuse(
            f"The workspace '{args.workspace}' belongs to {', '.join(repr(str(p)) for p in sources.values())}, not to '{args.raw}'. "
            f"To have both: `athanor source add {args.raw} -w {args.workspace}`. For this one alone: another workspace, `-w NEW`."
        )


def _same(planned: Sequence[StageResult], latest: Run) -> bool:
    """Whether the latest run ended with exactly these views and artifacts."""
    return {r.name: (r.folder, r.why) for r in planned} == {
        n: (s["folder"], s["why"]) for n, s in latest.stages.items() if s["status"] != "ran"
    } | {n: (s["folder"], []) for n, s in latest.stages.items() if s["status"] == "ran"}


def _work(engine: Engine, workspace: Workspace, recorded: Recorder, config: RunConfig, alone: bool) -> None:
    names = [s.name for s in engine.way]
    people = Nobody() if alone and config.prefect else watcher(names, usual(workspace))
    watching = Observers(people, JsonlObserver(recorded.folder / "log.jsonl"), recorded)
    engine.observer = watching
    try:
        if alone:
            engine.run()
        else:
            from flows import flow

            flow.run(engine, workspace, recorded.id, watching)
    finally:
        watching.close()


class Recorder:
    """Keeps WS/runs/<id>: run.json and config.yaml. An observer: every finished stage is recorded at once."""

    def __init__(self, workspace: Workspace, args: argparse.Namespace, resolved: dict[str, Any], names: Sequence[str]) -> None:
        self.id = workspace.new_run_id()
        self.folder = workspace.runs / self.id
        self.folder.mkdir(parents=True)
        self.names = list(names)
        self.stages: list[dict[str, Any]] = []
        self.record: dict[str, Any] = {
            "id": self.id,
            "command": "run",
            "argv": list(args.argv),
            "started": _now(),
            "ended": None,
            "status": "running",
            "sample": args.sample,
            "until": args.until,
            "config": resolved,
            "versions": versions(),
            "stages": self.stages,
        }
        write_file(self.folder / "config.yaml", dump(resolved).encode())
        self.save()

    def save(self) -> None:
        """Write run.json as it is now."""
        write_json(self.folder / "run.json", self.record)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """The run's end, whatever it is, is recorded; a stage that stopped it is listed as failed."""
        try:
            yield
        except BaseException as error:
            interrupted = isinstance(error, (KeyboardInterrupt, SystemExit))
            self.record["error"] = str(error) if isinstance(error, Stop) else type(error).__name__
            left = [n for n in self.names if n not in {s["name"] for s in self.stages}]
            if left and not interrupted:
                self.stages.append(StageResult(left[0], "failed", [self.record["error"]]).json())
            self._end("interrupted" if interrupted else "failed")
            error.account = {"run": self.id, "stages": self.stages}  # type: ignore[attr-defined]
            error.run_folder = self.folder  # type: ignore[attr-defined]
            raise
        self._end("failed" if any(s["status"] == "failed" for s in self.stages) else "finished")

    def _end(self, status: str) -> None:
        self.record.update(status=status, ended=_now())
        try:
            self.save()
        except OSError:
            if status == "finished":
                raise  # else there is a better reason on its way

    def started(self, stage: str, total: int | None, why: list[str]) -> None:
        return

    def advanced(self, stage: str, done: float, total: float, note: str) -> None:
        return

    def ended(self, result: StageResult) -> None:
        self.stages.append(result.json() | {"identity": result.identity})
        self.save()


def promote(workspace: Workspace, done: Run) -> bool:
    """Point WS/current to this run's artifacts when it made a model; one atomic change."""
    artifacts = {
        n: s["folder"] for n, s in done.stages.items() if s["unit"] == "artifact" and s["status"] in ("cached", "ran") and s["folder"]
    }
    if done.record["status"] != "finished" or any(name not in artifacts for name in MODEL):
        return False
    now = current(workspace)
    if done.record["sample"] and now and not now["sample"]:
        return False
    write_json(workspace.path / "current", {"run": done.id, "sample": done.record["sample"], "artifacts": artifacts})
    return True


def current(workspace: Workspace) -> dict[str, Any] | None:
    """What WS/current points to: {run, sample, artifacts: stage -> folder}; None before there is a model."""
    import json

    path = workspace.path / "current"
    return json.loads(path.read_text("utf-8")) if path.is_file() else None


def usual(workspace: Workspace) -> dict[str, float]:
    """Seconds each stage took when it last ran in earnest."""
    return {name: s["seconds"] for name, s in _worked(workspace).items()}


def forecast(workspace: Workspace, planned: Sequence[StageResult], config: RunConfig) -> float | None:
    """Seconds the planned work would take at the pace of the last runs; None where there is a stage nobody has run yet."""
    known, seconds = _worked(workspace), 0.0
    for result in planned:
        if result.status == "would_run" and result.calls:
            if result.name not in known:
                return None
            past = known[result.name]
            seconds += past["seconds"] * (result.calls / past["calls"] if result.unit == "documents" else 1.0)
    return round(seconds, 1)


def _worked(workspace: Workspace) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for id in reversed(workspace.run_ids()[-20:]):
        for name, stage in workspace.run(id).stages.items():
            if stage["status"] == "ran" and stage["calls"]:
                found.setdefault(name, stage)
    return found


def versions() -> dict[str, str]:
    """Athanor, Python and the platform, as the run's record names them."""
    import platform
    from importlib import metadata

    try:
        own = metadata.version("athanor-furnace")
    except metadata.PackageNotFoundError:
        own = "not installed"
    return {"athanor": own, "python": platform.python_version(), "system": platform.system(), "machine": platform.machine()}


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
