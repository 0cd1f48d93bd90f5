"""The run as Prefect shows it: one flow named `athanor`, one task per stage, progress and a table beside each.

The engine does the work and Prefect watches: the stages run in this process, in order, on the main thread (workers and
signals are the engine's). Prefect stores no result and caches nothing, the store is the one truth; a cached stage ends as
`Cached`, so that its pages tell it. Prefect never fails a run: without a server, or when it is lost on the way, the stages go
on alone and one sentence says so.

What Prefect is told: stage names, counts, seconds, numbers, reasons as words. No text, no path, no message of an error.
Limits: a stage's task takes about 0.1 s on top of the stage; the states are complete once `run` has returned (see `_drain`).
"""

from __future__ import annotations

import contextlib
import http.client
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from corpus.result import Observer, StageResult
from flows.progress import Observers, span
from flows.server import FINAL, Api, PrefectServer, connected

if TYPE_CHECKING:
    from prefect.states import State

DRAIN_SECONDS = 10.0
LOST = "Prefect was lost on the way ({}): its pages do not show the rest of this run, which goes on without it."
UNSTORED = "Prefect had not stored every state {:.0f} s after the end: its pages may show this run as unfinished."


class Steps(Protocol):
    """The part of the engine a flow needs."""

    observer: Any
    way: Any

    def step(self, name: str) -> StageResult:
        """Run one stage."""


class Way:
    """The engine's steps, each taken once and remembered, whatever happens to Prefect around them."""

    def __init__(self, engine: Steps) -> None:
        self._engine = engine
        self.results: dict[str, StageResult] = {}
        self.error: Exception | None = None
        self.flow_run = ""  # id of the flow run, once there is one
        self.tasks = 0  # task runs begun

    def step(self, name: str) -> StageResult | None:
        """The result of the stage; None, with `error` kept, when the engine raised."""
        try:
            self.results[name] = self._engine.step(name)
        except Exception as error:  # raised again where Prefect does not see it: its message may quote a document
            self.error = error
            return None
        return self.results[name]

    def finish(self) -> list[StageResult]:
        """Take the steps Prefect did not get to; raises what the engine raised."""
        for stage in self._engine.way:
            if self.error is None and stage.name not in self.results:
                self.step(stage.name)
        if self.error is not None:
            raise self.error
        return list(self.results.values())


def run(engine: Steps, workspace: Any, run_id: str, observer: Observer | None = None) -> list[StageResult]:
    """Run every stage of the engine's way as the flow `athanor`, named `run_id`. Raises what the engine raises."""
    server = PrefectServer(Path(getattr(workspace, "path", workspace)))
    way, progress, before = Way(engine), Progress(server), engine.observer
    watching = Observers(observer if observer is not None else before, progress)
    with _terminable():
        try:
            engine.observer = watching
            server.start()
            with connected(server.home, f"{server.url}/api"):
                drawing = _flow(engine, way, progress, run_id)  # Prefect is imported while its server starts
                if server.wait():
                    try:
                        drawing(return_state=True)
                    finally:
                        _drain(server, way, watching.say)
        except Exception as error:  # of Prefect: the engine's own is kept in `way`
            watching.say(LOST.format(type(error).__name__))
        finally:
            progress.on = False
            server.stop()
            if server.warning:
                watching.say(server.warning)
        try:
            return way.finish()
        finally:
            engine.observer = before


def _flow(engine: Steps, way: Way, progress: Progress, run_id: str) -> Callable[..., Any]:
    from prefect import flow, task
    from prefect.cache_policies import NO_CACHE
    from prefect.context import FlowRunContext
    from prefect.states import Completed, Failed

    @task(persist_result=False, cache_policy=NO_CACHE, retries=0, log_prints=False)
    def stage(name: str) -> State:
        way.tasks += 1
        progress.on = True
        result = way.step(name)
        if result is None:
            return Failed(message=f"The run stopped in {name}; the terminal says why.")
        progress.table(result)
        return _state(result)

    @flow(name="athanor", flow_run_name=run_id, persist_result=False, retries=0, log_prints=False, validate_parameters=False)
    def athanor() -> State:
        """From a raw folder to a trained decoder, one task per stage."""
        context = FlowRunContext.get()
        way.flow_run = str(context.flow_run.id) if context and context.flow_run else ""
        for each in engine.way:
            stage.with_options(name=each.name, task_run_name=each.name, description=each.doc or None)(each.name, return_state=True)
            if way.error is not None or not progress.server.alive:
                return Failed(message=f"The run stopped in {each.name}; the terminal says why.")
        done = list(way.results.values())
        failed = [result.name for result in done if result.status == "failed"]
        says = ", ".join(f"{n} {status}" for status in ("ran", "cached", "skipped", "failed") if (n := _of(done, status)))
        return Failed(message=f"{says}: {', '.join(failed)}") if failed else Completed(message=says or "no stages")

    return athanor


def _of(results: list[StageResult], status: str) -> int:
    return sum(result.status == status for result in results)


def _state(result: StageResult) -> State:
    from prefect.states import Completed, Failed

    if result.status == "failed":
        return Failed(message=f"{result.name} failed; the report and the log of the run say why.")
    if result.status == "skipped":
        return Completed(name="Skipped", message="; ".join(result.why) or "nothing to do")
    counts = f"{result.kept:,} of {result.documents_in:,} kept, {result.rejected:,} rejected, {result.failed:,} failed"
    says = f"{counts}, {result.calls:,} calls" if result.unit == "documents" else f"{result.calls:,} calls"
    return Completed(name="Cached" if result.status == "cached" else None, message=f"{says}, {span(result.seconds)}")


class Progress:
    """An observer that keeps Prefect's artifacts: a progress bar per stage while it runs, a table when it is over.

    It is deaf until a task is there to hang them on; the first refusal of Prefect makes it deaf again, the run goes on.
    """

    def __init__(self, server: PrefectServer, every: float = 2.0) -> None:
        self.server, self.on = server, False
        self._every, self._last = every, 0.0
        self._bar: Any = None  # id of the stage's progress artifact

    def started(self, stage: str, total: int | None, why: list[str]) -> None:
        self._last = time.monotonic()
        self._bar = self._tell("create_progress_artifact", 0.0, key=f"{_slug(stage)}-progress", description=f"Progress of {stage}")

    def advanced(self, stage: str, done: float, total: float, note: str) -> None:
        if self._bar is not None and total and time.monotonic() - self._last >= self._every:
            self._last = time.monotonic()
            self._tell("update_progress_artifact", self._bar, 100.0 * min(1.0, done / total))

    def ended(self, result: StageResult) -> None:
        if self._bar is not None and result.status in ("ran", "cached"):
            self._tell("update_progress_artifact", self._bar, 100.0)
        self._bar = None

    def table(self, result: StageResult) -> None:
        """Publish the numbers of a stage."""
        self._tell("create_markdown_artifact", _markdown(result), key=_slug(result.name), description=f"What {result.name} did")

    def _tell(self, what: str, *args: Any, **kwargs: Any) -> Any:
        if self.on and self.server.alive:
            from prefect import artifacts

            try:
                return getattr(artifacts, what)(*args, **kwargs)
            except Exception:  # a picture is not worth a run
                self.on = False
        return None


def _slug(name: str) -> str:
    return "".join(c if c.isascii() and c.isalnum() else "-" for c in name.lower())


def _markdown(result: StageResult) -> str:
    head = ["status", "in", "kept", "rejected", "failed", "calls", "seconds"]
    row = [result.status, *(f"{n:,}" for n in (result.documents_in, result.kept, result.rejected, result.failed, result.calls))]
    text = _rows(head, [[*row, f"{result.seconds:.1f}"]])
    if result.reasons:
        text += "\n" + _rows(["outcome", "documents"], [[reason, f"{n:,}"] for reason, n in sorted(result.reasons.items())])
    numbers = {k: v for k, v in result.metrics.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}
    if numbers:
        text += "\n" + _rows(["metric", "value"], [[name, f"{value:,.6g}"] for name, value in sorted(numbers.items())])
    return text


def _rows(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *rows]) + "\n"


def _drain(server: PrefectServer, way: Way, say: Callable[[str], None]) -> None:
    """Wait until the server has stored the final state of every run.

    States leave this process through a queue and a websocket and reach the database through another queue: without this most
    of a short run is lost at exit. What is still open after some seconds is told. A run the user stopped becomes Cancelled.
    """
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    stopped = isinstance(sys.exception(), (KeyboardInterrupt, SystemExit))
    deadline = time.monotonic() + DRAIN_SECONDS
    EventsWorker.drain_all(timeout=DRAIN_SECONDS)
    APILogWorker.drain_all(timeout=max(0.1, deadline - time.monotonic()))
    if not (server.alive and server.api_url and way.flow_run):
        return
    api, mine = Api(server.api_url, 5.0), {"flow_runs": {"id": {"any_": [way.flow_run]}}}
    with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
        if stopped:
            api.set_state("flow_runs", way.flow_run, "CANCELLED", "Cancelled", "Stopped by the user.")
        while True:
            tasks, flows = api.all("task_runs", mine), api.all("flow_runs", mine)
            if len(tasks) >= way.tasks and all(row["state_type"] in FINAL for row in [*tasks, *flows]):
                return
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)
    say(UNSTORED.format(DRAIN_SECONDS))


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM becomes SystemExit where nobody else handles it, so that the last states are stored."""
    usable = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    if usable:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        yield
    finally:
        if usable:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
