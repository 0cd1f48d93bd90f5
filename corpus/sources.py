"""What lies in the RAW folders: a scan that follows no link out of them, and hashes that are not computed twice.

A file's id is the hash of its bytes. Hashes are remembered by (source, path, size, mtime, inode); a file touched within
the last two seconds before it was hashed is not trusted the next time, since it may change within the clock's grain.
A file that is still being written when it is hashed is left for the next run.
Nothing disappears: what cannot be read as a file is listed with its reason.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from corpus.canonical import digest_bytes
from corpus.store import write_file

GRAIN = 2_000_000_000  # nanoseconds
STAT = pa.schema(
    [
        ("source", pa.string()),
        ("path", pa.string()),
        ("size", pa.int64()),
        ("mtime", pa.int64()),
        ("inode", pa.int64()),
        ("file", pa.string()),
    ]
)


@dataclass(frozen=True)
class File:
    """One entry of a RAW folder. `path` is relative, with '/', as shown; `real` is where it can be opened in this run."""

    source: str
    path: str
    real: Path
    size: int = 0
    mtime: int = 0
    inode: int = 0
    file: str = ""  # hash of the bytes; '' when there are none to hash
    status: str = "kept"
    reason: str = ""
    detail: str = ""

    @property
    def stable_id(self) -> str:
        """The hash of the bytes, or of the place for what has none."""
        return self.file or digest_bytes(f"{self.source}\0{self.path}".encode("utf-8", "surrogatepass"))


class Places:
    """Where the bytes of the members lie in this run. `locators`: ingest's table; `files`: what was scanned."""

    def __init__(self, locators: Callable[[], pa.Table], files: Iterable[File]) -> None:
        self._locators = locators
        self._real = {(f.source, f.path): f.real for f in files}

    def of(self, ids: list[str]) -> dict[str, tuple[Path, str]]:
        """id -> (file to open, place in it): of several places the first that is there."""
        table = self._locators()
        table = table.filter(pc.is_in(table["id"], pa.array(ids, pa.string())))
        found: dict[str, tuple[Path, str]] = {}
        for row in table.to_pylist():
            real = self._real.get((row["source"], row["path"]))
            if real is not None:
                found.setdefault(row["id"], (real, row["inner"]))
        return found


def scan(source: str, root: Path, leave_out: Path | None = None, hidden: bool = False, ignore: tuple[str, ...] = ()) -> list[File]:
    """All entries below `root`, in path order; `leave_out` (the workspace) is passed over.

    Names that begin with a dot (unless `hidden`) or match a pattern of `ignore` are listed and not opened.
    """
    found: list[File] = []
    boundary = root.resolve()
    pending = [root]
    while pending:
        folder = pending.pop()
        try:
            entries = list(os.scandir(folder))
        except OSError as error:
            found.append(_entry(source, root, folder, "failed", "unreadable", f"the folder cannot be read ({error.strerror})"))
            continue
        for entry in entries:
            path = Path(entry.path)
            if leave_out is not None and path.resolve() == leave_out:
                continue
            if entry.name.startswith(".") and not hidden:
                found.append(_entry(source, root, path, "rejected", "hidden", "hidden files and folders are left out"))
            elif any(fnmatch.fnmatchcase(entry.name, pattern) for pattern in ignore):
                found.append(_entry(source, root, path, "rejected", "ignored", "its name is one that ingest.ignore leaves out"))
            elif entry.is_symlink() and not (path.resolve().is_relative_to(boundary) and path.is_file()):
                found.append(_entry(source, root, path, "rejected", "link", "links to folders or out of the source are not followed"))
            elif entry.is_dir():
                pending.append(path)
            elif entry.is_file():
                found.append(_file(source, root, path))
            else:
                found.append(_entry(source, root, path, "rejected", "not_a_file", "not a regular file"))
    return sorted(found, key=lambda f: f.path)


def hashed(
    files: Iterable[File], cache: Path, remember: bool, forgotten: Callable[[str], bool] = lambda id: False, rehash: bool = False
) -> list[File]:
    """The files with their hashes; unchanged ones by memory, unless `rehash`. A file that cannot be read is listed as failed.

    Of what is `forgotten` (by its hash) nothing is remembered.
    """
    known = {} if rehash else _known(cache)
    result = []
    for f in files:
        if f.status != "kept":
            result.append(f)
            continue
        memory = known.get((f.source, f.path, f.size, f.mtime, f.inode))
        result.append(replace(f, file=memory) if memory else _hash(f))
    if remember:
        now = time.time_ns()
        keep = [f for f in result if f.file and now - f.mtime > GRAIN and not forgotten(f.file)]
        table = pa.table([[getattr(f, n) for f in keep] for n in STAT.names], schema=STAT)
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        cache.parent.mkdir(parents=True, exist_ok=True)
        write_file(cache, sink.getvalue().to_pybytes())
    return result


def _known(cache: Path) -> dict[tuple[str, str, int, int, int], str]:
    if not cache.is_file():
        return {}
    *place, file = (column.to_pylist() for column in pq.read_table(cache).select(STAT.names).columns)
    return dict(zip(zip(*place, strict=True), file, strict=True))


def _hash(f: File) -> File:
    h = hashlib.blake2b(digest_size=16)
    try:
        with open(f.real, "rb") as stream:
            while piece := stream.read(1 << 20):
                h.update(piece)
            now = os.fstat(stream.fileno())
    except OSError as error:
        return replace(f, status="failed", reason="unreadable", detail=f"the file cannot be read ({error.strerror}); check its permissions")
    if (now.st_size, now.st_mtime_ns) != (f.size, f.mtime):
        return replace(f, status="failed", reason="growing", detail="the file was still being written; the next run takes it up")
    return replace(f, file=h.hexdigest())


def _file(source: str, root: Path, path: Path) -> File:
    try:
        s = path.stat()
    except OSError as error:
        return _entry(source, root, path, "failed", "unreadable", f"the file cannot be read ({error.strerror}); check its permissions")
    if not stat.S_ISREG(s.st_mode):
        return _entry(source, root, path, "rejected", "not_a_file", "not a regular file")
    return replace(_entry(source, root, path), size=s.st_size, mtime=s.st_mtime_ns, inode=s.st_ino)


def _entry(source: str, root: Path, path: Path, status: str = "kept", reason: str = "", detail: str = "") -> File:
    shown = os.fsencode(path.relative_to(root).as_posix()).decode("utf-8", "backslashreplace")
    return File(source, shown, path, status=status, reason=reason, detail=detail)
