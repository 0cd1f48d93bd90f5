"""Errors as people meet them: one sentence, a remedy, an exit code. No traceback reaches a terminal.

A defect (an error nobody foresaw) is written to a file for whoever repairs it, without its message and without values:
both may quote a document.
"""

from __future__ import annotations

import errno
import time
import traceback
from pathlib import Path

from corpus.outcome import Misuse, Skip, Stop
from corpus.store import write_file

INTERRUPTED = 130


def told(error: BaseException) -> tuple[int, str] | None:
    """Exit code and sentence of a foreseen error; None for a defect."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED, "Interrupted. What was finished is kept: the same command goes on from here."
    if isinstance(error, Misuse):
        return 2, str(error)
    if isinstance(error, (Stop, Skip)):
        return 1, str(error)
    if isinstance(error, MemoryError):
        return 1, "Out of memory. Lower run.workers, or close other programs; what was finished is kept."
    if isinstance(error, OSError):
        return _system(error)
    return None


def _system(error: OSError) -> tuple[int, str] | None:
    if isinstance(error, FileNotFoundError) and error.errno is None:  # a view or an artifact that gc or a person removed
        return 1, "What this run made is no longer in the store. `athanor run` makes it again."
    where = f" ({error.filename})" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return 1, f"The disk is full{where}. Free some space (`athanor gc` removes old results) and run again: what was finished is kept."
    if error.errno == errno.EROFS:
        return 1, f"The file system is read-only{where}. Choose a workspace you can write to with -w."
    if error.errno in (errno.EACCES, errno.EPERM):
        return 1, f"Permission denied{where}. Check who owns it, or choose a workspace you can write to with -w."
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return 1, "Too many open files. Raise the limit with `ulimit -n 4096`, or lower run.workers."
    if error.errno in (errno.EIO, errno.ESTALE):
        return 1, f"The disk or the network share gives errors{where}. What was finished is kept."
    return None


def frames(error: BaseException) -> str:
    """Where an error came from, its causes too: types, files and lines, and the notes a worker attached; no message."""
    pieces = []
    while error is not None:
        pieces.append(f"{type(error).__module__}.{type(error).__qualname__}\n" + "".join(traceback.format_tb(error.__traceback__)))
        pieces += [f"in the worker:\n{note}" for note in getattr(error, "__notes__", [])]
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)  # type: ignore[assignment]
    return "\ncaused by ".join(pieces)


def write_frames(error: BaseException, folder: Path | None, what: str) -> Path | None:
    """Keep the frames in `folder`/crash.log, or in a temporary file; None when neither can be written."""
    text = f"{what}, {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}\n\n{frames(error)}\n".encode()
    if folder is not None and folder.is_dir():
        try:
            write_file(folder / "crash.log", text)
            return folder / "crash.log"
        except OSError:
            folder = None  # a full disk: perhaps the temporary folder has room
    try:
        import tempfile

        with tempfile.NamedTemporaryFile("wb", prefix="athanor-", suffix=".log", delete=False) as f:
            f.write(text)
        return Path(f.name)
    except OSError:
        return None
