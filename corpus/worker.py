"""The child side of the sandbox: a process that measures documents, or builds one artifact, and answers over a pipe.

It dies with its parent (a thread waits for the life pipe to close, another looks), offers itself first to the out-of-memory
killer, leaves Ctrl-C to the parent, and is limited in memory. A program it starts for a document lives no longer than that
document. When documents have left much memory behind, a measuring worker retires and another takes its place, so that no
document pays for those before it. Answers are tuples:
("ready",) once it is set up, then per document ("ok", measurements, cpu) or ("verdict" | "circumstance", reason, detail,
cpu), and ("retired",) when it ends by itself; for a build ("progress", done, total, note) until ("done", metrics); ("stop" |
"misuse" | "skip", sentence) for what the user must know, ("error", kind, place, traceback) for a defect.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from corpus.outcome import Circumstance, Misuse, Skip, Stop, Verdict
from corpus.processes import adopt, end, private, spent, sweep
from corpus.stage import Inputs

RETIRE = 0.5  # of the memory limit: a worker that still holds so much more than at its start, after a document, retires


def main(channel: int, life: int, memory: int, folder: str = "") -> None:
    """Entry point of the child: two inherited file descriptors, the memory limit in bytes, its folder of temporary files."""
    _bind_to_parent(life, folder)
    _limit_memory(memory)
    os.set_inheritable(channel, False)
    pipe = Connection(channel)
    try:
        kind, stage, inputs, rest = pipe.recv()
        if kind == "measure":
            _measure(pipe, stage, inputs, memory)
        else:
            _build(pipe, stage, inputs, **rest)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        os._exit(0)  # the parent is gone or needs no more
    except BaseException as error:
        pipe.send(told(error))
    os._exit(0)  # no interpreter shutdown: native libraries hang or crash there


def told(error: BaseException) -> tuple[Any, ...]:
    """An error as an answer. Messages of unknown errors stay here: they may quote the document."""
    for kind, tag in ((Misuse, "misuse"), (Stop, "stop"), (Skip, "skip")):
        if isinstance(error, kind):
            return (tag, str(error))
    return ("error", type(error).__name__, place(error), "".join(traceback.format_tb(error.__traceback__)))


def place(error: BaseException) -> str:
    """File and line where an error was raised: enough to find it, without its message."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"


def answer(measure: Callable[[dict[str, Any]], dict[str, Any]], document: dict[str, Any]) -> tuple[Any, ...]:
    """Measure one document: its measurements, a verdict, or a circumstance."""
    try:
        return ("ok", measure(document))
    except Verdict as verdict:
        return ("verdict", verdict.reason, verdict.detail)
    except Circumstance as circumstance:
        return ("circumstance", circumstance.reason, circumstance.detail)
    except MemoryError:
        return ("circumstance", "memory", "needed more memory than the limit")
    except RecursionError:
        return ("verdict", "too_deep", "nested too deeply")
    except (Stop, KeyboardInterrupt):
        raise
    except ImportError as error:  # the installation is at fault, not the bytes
        return ("circumstance", "installation", f"{type(error).__name__} at {place(error)}; `athanor doctor` checks")
    except BaseException as error:  # a library may exit or panic: that too is about this document alone
        return ("verdict", "error", f"{type(error).__name__} at {place(error)}")


def _measure(pipe: Connection, stage: Any, inputs: Inputs, memory: int) -> None:
    adopt()
    measure = stage.measure(stage.config, inputs)
    sweep()
    at_start = private()
    pipe.send(("ready",))
    while True:
        for document in pipe.recv():
            said = answer(measure, document)
            sweep()
            pipe.send((*said, spent()))
            if memory and private() - at_start > RETIRE * memory:
                pipe.send(("retired",))
                return


def _build(pipe: Connection, stage: Any, inputs: Inputs, folder: Path, scratch: Path, workers: int, device: str) -> None:
    pipe.send(("ready",))
    job = PipeJob(scratch, workers, device, lambda *progress: pipe.send(("progress", *progress)))
    pipe.send(("done", stage.build(stage.config, inputs, folder, job)))


class PipeJob:
    """The Job given to a build (see corpus.stage.Job)."""

    def __init__(self, scratch: Path, workers: int, device: str, tell: Callable[[float, float, str], None]) -> None:
        self.scratch, self.workers, self.device, self._tell = scratch, workers, device, tell

    def progress(self, done: float, total: float, note: str = "") -> None:
        self._tell(done, total, note)


def _bind_to_parent(life: int, folder: str) -> None:
    os.set_inheritable(life, False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        with suppress(OSError):  # a container may forbid it: the parent's watchdog remains
            Path("/proc/self/oom_score_adj").write_text("800")
    parent = os.getppid()

    def leave() -> None:  # as the parent would have done
        shutil.rmtree(folder, ignore_errors=True)
        end(os.getpid())
        os._exit(1)

    def wait() -> None:
        os.read(life, 1)  # returns when the parent, who holds the other end, is gone
        leave()

    def look() -> None:  # a second guard: native code may hold descriptors open in a grandchild
        while os.getppid() == parent:
            time.sleep(1)
        leave()

    threading.Thread(target=wait, daemon=True).start()
    threading.Thread(target=look, daemon=True).start()


def _limit_memory(memory: int) -> None:
    if sys.platform == "win32":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # no core files of private documents
    if memory and sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
