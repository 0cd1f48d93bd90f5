"""The parent side of the sandbox: dangerous work happens in child processes with a CPU deadline and a memory cap.

`measure_all` keeps a few workers busy and yields (document, answer) as they come. Only the document that was being
measured pays when its worker is killed: it becomes a circumstance that names the limit, the worker is replaced and the
others go on. The limits are the stage's own, or the settings `deadline` and `memory` of its config where it has them. What a
worker starts counts with it and ends with it; its temporary files go when it does. With `workers=0` everything runs in this
process, without limits: for tests and notebooks. Processes, not threads: native parsers corrupt memory and leak, and a
killed process gives everything back.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from corpus import processes
from corpus.outcome import Misuse, Skip, Stop
from corpus.stage import CorpusStage, DocumentStage, Inputs
from corpus.worker import PipeJob, answer

BATCH = 8  # documents handed to a worker at a time; few, so that workers end together
WALL = 10  # wall-clock seconds allowed per CPU second of the deadline: catches a sleeping hang
START = 300.0  # seconds a worker may take to set up

_BOOT = (
    "import sys,json; sys.path[:] = json.loads(sys.argv[1]); from corpus.worker import main; main(*map(int, sys.argv[2:5]), sys.argv[5])"
)


class Worker:
    """One child process and what is known of it."""

    def __init__(self, stage: Any, inputs: Inputs, kind: str, memory: int, rest: dict[str, Any] | None = None, threads: int = 1) -> None:
        ours, theirs = _pipe()
        life_read, self._life = os.pipe()
        environment = dict(os.environ, PYTHONSAFEPATH="1", PYTHONWARNINGS="ignore", PYTHONHASHSEED="0", TOKENIZERS_PARALLELISM="false")
        environment.update({f"{library}_NUM_THREADS": str(threads) for library in ("OMP", "MKL", "OPENBLAS", "NUMEXPR")})
        self._folder = tempfile.mkdtemp(prefix="athanor-") if kind == "measure" else ""  # a killed library leaves its files there
        environment.update({"TMPDIR": self._folder} if self._folder else {})
        environment.update(stage.environment)
        paths, numbers = json.dumps([p for p in sys.path if p]), map(str, (theirs, life_read, memory))
        arguments = [sys.executable, "-P", "-c", _BOOT, paths, *numbers, self._folder]
        self.process = subprocess.Popen(
            arguments,
            env=environment,
            pass_fds=(theirs, life_read),
            process_group=0,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs)
        os.close(life_read)
        self.pipe = Connection(ours)
        self.pending: deque[dict[str, Any]] = deque()
        self.ready = False
        self.since = time.monotonic()  # when the document in flight (or the set-up) began
        self.cpu = 0.0  # CPU seconds spent at that moment
        self._outbox: SimpleQueue[Any] = SimpleQueue()
        self._sender = threading.Thread(target=self._send, daemon=True)
        self._sender.start()
        self._post((kind, stage, inputs, rest or {}))

    def _post(self, message: Any) -> None:
        """As `Connection.send`, without waiting. What cannot be sent is an error here and now, not in the thread."""
        self._outbox.put(ForkingPickler.dumps(message))

    def _send(self) -> None:
        """Sending waits until the child reads; the child may first want its answers read. So it has a thread of its own."""
        with suppress(OSError):
            while (message := self._outbox.get()) is not None:
                self.pipe.send_bytes(message)

    def give(self, documents: list[dict[str, Any]]) -> None:
        """Hand over documents; their answers come in the same order."""
        if not self.pending:
            self.since = time.monotonic()
        self.pending.extend(documents)
        self._post(documents)

    def exceeded(self, deadline: float, memory: int) -> tuple[str, str] | None:
        """The limit that the document in flight has passed: (reason, detail)."""
        if not self.ready:
            return ("start", "the worker did not start") if time.monotonic() - self.since > START else None
        if self.pending:
            cpu, resident = processes.usage(self.process.pid)
            if cpu - self.cpu > deadline or time.monotonic() - self.since > deadline * WALL:
                return ("deadline", f"took more than {deadline:g} CPU seconds")
            if memory and resident > memory:
                return ("memory", f"needed more than {memory >> 20} MiB")
        return None

    def kill(self) -> None:
        """End the process, what it started and its temporary files, at once."""
        processes.end(self.process.pid)
        self.process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)
        self._outbox.put(None)
        self._sender.join(timeout=1.0)
        self.pipe.close()
        with suppress(OSError):
            os.close(self._life)
            self._life = -1


def measure_all(
    stage: DocumentStage, inputs: Inputs, documents: Iterator[dict[str, Any]], total: int, workers: int
) -> Iterator[tuple[dict[str, Any], tuple[Any, ...]]]:
    """Measure these documents; yields (document, answer) in the order they are done. Raises Stop when a worker cannot start."""
    if total == 0:
        return
    if workers == 0:
        assert stage.measure is not None
        measure = stage.measure(stage.config, inputs)
        for document in documents:
            yield document, answer(measure, document)
        return
    deadline, memory = limits(stage)
    pool = [Worker(stage, inputs, "measure", memory) for _ in range(min(workers, -(-total // 2)))]
    again: deque[dict[str, Any]] = deque()  # what a worker that is gone had not begun
    last = False  # all documents were handed out
    try:
        checked = time.monotonic()
        while True:
            for worker in pool:
                if worker.ready and len(worker.pending) < BATCH // 2:
                    batch = _next(again, documents, BATCH)
                    last = not batch
                    if batch:
                        worker.give(batch)
            busy = [w for w in pool if w.pending or not w.ready]
            if last and not again and not any(w.pending for w in pool):
                return
            gone: list[tuple[Worker, tuple[str, str] | None]] = []  # the reason, unless it retired
            for pipe in wait([w.pipe for w in busy], timeout=0.5):
                worker = next(w for w in busy if w.pipe is pipe)
                try:
                    while True:
                        said = worker.pipe.recv()
                        if said[0] == "ready":
                            worker.ready, worker.since, worker.cpu = True, time.monotonic(), processes.usage(worker.process.pid)[0]
                        elif said[0] in ("ok", "verdict", "circumstance"):
                            worker.since, worker.cpu = time.monotonic(), said[-1]
                            yield worker.pending.popleft(), said
                        elif said[0] == "retired":
                            gone.append((worker, None))
                            break
                        else:
                            raise _failure(stage.name, said)
                        if not worker.pipe.poll():
                            break
                except (EOFError, ConnectionResetError):
                    worker.process.wait()
                    gone.append((worker, ("worker_died", _ending(worker.process.returncode))))
            if time.monotonic() - checked > 0.4:
                checked = time.monotonic()
                gone += [(w, limit) for w in busy if all(w is not g for g, _ in gone) and (limit := w.exceeded(deadline, memory))]
            for worker, limit in gone:
                worker.kill()
                if limit is not None and not worker.ready:
                    raise Stop(f"Stage '{stage.name}' could not start its worker: {limit[1]}. `athanor doctor` checks the installation.")
                if limit is not None and worker.pending:
                    yield worker.pending.popleft(), ("circumstance", *limit, 0.0)
                again.extend(worker.pending)
                pool[pool.index(worker)] = Worker(stage, inputs, "measure", memory)
    finally:
        for worker in pool:
            worker.kill()


def build_one(
    stage: CorpusStage, inputs: Inputs, folder: Path, scratch: Path, workers: int, device: str, tell: Callable[[float, float, str], None]
) -> dict[str, Any]:
    """Run a build in a child of its own; returns its metrics. Raises Skip, Stop or Misuse as the build said."""
    assert stage.build is not None
    if workers == 0:
        return stage.build(stage.config, inputs, folder, PipeJob(scratch, 1, device, tell))
    rest = {"folder": folder, "scratch": scratch, "workers": workers, "device": device}
    worker = Worker(stage, inputs, "build", 0, rest, threads=workers)
    try:
        while True:
            said = worker.pipe.recv()
            if said[0] == "progress":
                tell(*said[1:])
            elif said[0] == "done":
                return said[1]
            elif said[0] != "ready":
                raise _failure(stage.name, said)
    except (EOFError, ConnectionResetError):
        worker.process.wait()
        raise Stop(f"Stage '{stage.name}' ended before it was done: {_ending(worker.process.returncode)}. Run again to go on.") from None
    finally:
        worker.kill()


def limits(stage: DocumentStage) -> tuple[float, int]:
    """CPU seconds per document, and bytes of memory per worker: the config's own `deadline` and `memory`, else the stage's."""
    return float(getattr(stage.config, "deadline", stage.deadline)), int(getattr(stage.config, "memory", stage.memory))


def _next(again: deque[dict[str, Any]], documents: Iterator[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    batch: list[dict[str, Any]] = []
    size = 0
    while len(batch) < count and size < 1 << 20:
        document = again.popleft() if again else next(documents, None)
        if document is None:
            break
        batch.append(document)
        size += len(document.get("text") or "")
    return batch


def _failure(stage: str, said: tuple[Any, ...]) -> Exception:
    if said[0] == "misuse":
        return Misuse(said[1])
    if said[0] == "stop":
        return Stop(said[1])
    if said[0] == "skip":
        return Skip(said[1])
    failure = Stop(f"Stage '{stage}' failed: {said[1]} at {said[2]}.")
    failure.add_note(said[3])
    return failure


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        return "killed for lack of memory or by hand" if name == "SIGKILL" else f"crashed ({name})"
    return f"ended with status {code}"


def _pipe() -> tuple[int, int]:
    ours, theirs = socket.socketpair()
    os.set_inheritable(theirs.fileno(), True)
    return ours.detach(), theirs.detach()
