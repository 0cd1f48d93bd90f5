"""Files to members: containers are opened, nested, within declared limits; every member has a locator and an id.

A plain file is its own single member with `inner` ''. A mail is a member and so are its attachments; a JSONL row is a member;
a compressed stream is looked through. Locators join with `!/`: in `b.mbox`, inner `3!/c.zip!/c.docx` is a document in an
archive attached to the third mail. What cannot be opened is one member with a status and a reason, never an exception.

Limits: nested members are unpacked in memory one at a time, so the peak is about the size of the nested chain.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from corpus.canonical import digest, digest_bytes
from corpus.outcome import Circumstance
from extractors.containers.archives import REST, Broken, Container, Cut, Lines, Mapped, Tar, Zip, unpack
from extractors.containers.warc import Warc
from extractors.mail.mailbox import Mail, Mbox, Msg, Signed
from extractors.rows.tables import Table, row_kind
from extractors.sniff import sniff

SEPARATOR = "!/"
STREAMS = ("gzip", "bzip2", "xz", "zstd", "lz4")
CONTAINERS = ("zip", "tar", "warc", "mbox", "email", "msg", "p7m")
MAILS = ("email", "msg")  # members themselves, beside what is attached to them
TABLES = ("jsonl", "csv", "parquet")
_MAP_FROM = 16 << 20  # bytes: larger files are mapped, not read


@dataclass(frozen=True)
class Limits:
    """How far containers are followed."""

    depth: int = 6
    members: int = 2_000_000
    total_bytes: int = 8 << 30  # unpacked, of one file
    member_bytes: int = 1 << 30
    ratio: float = 200.0
    text_columns: tuple[str, ...] = (
        "text",
        "testo",
        "content",
        "contenuto",
        "body",
        "corpo",
        "article",
        "articolo",
        "document",
        "documento",
    )


@dataclass(frozen=True, slots=True)
class Found:
    """A member: `id` hash of its bytes, `kind` by content, `size` in bytes; `status` is not 'kept' when it cannot be used."""

    inner: str
    id: str
    kind: str
    size: int
    status: str = "kept"
    reason: str = ""
    detail: str = ""


def open_file(path: str, limits: Limits = Limits()) -> list[Found]:
    """All leaf members of the file, in order. Raises Circumstance when the file cannot be read."""
    data = _load(path)
    walk = _Walk(limits)
    return list(walk.visit(data, "", 0))


def read_member(path: str, inner: str) -> bytes:
    """Bytes of one member. Fast for the members of one container in sequence: the chain of open containers is kept.

    What may be opened was settled when the file was listed; here the limits are not asked again.
    Raises Circumstance ('changed') when the file no longer has this member, Broken for damage.
    """
    _CHAIN.open(path)
    return _CHAIN.read(inner)


class _Walk:
    """One file's traversal, with what it has used of the limits."""

    def __init__(self, limits: Limits) -> None:
        self.limits, self.count, self.bytes = limits, 0, 0

    def visit(self, data: bytes, inner: str, depth: int) -> Iterator[Found]:
        kind = sniff(data)
        if kind not in STREAMS:
            yield from self.members(data, kind, inner, depth)
            return
        try:
            data, kind, cut = _look_through(data, kind, self.limits)
            self._use(len(data))
        except Broken as broken:
            yield _problem(data, kind, inner, broken)
            return
        lone = kind in MAILS or not opens(kind, data, self.limits)
        yield from self.members(data, kind, _join(inner, "data") if lone else inner, depth)
        if cut:
            yield _missing(data, inner, REST, cut)

    def members(self, data: bytes, kind: str, inner: str, depth: int) -> Iterator[Found]:
        rows = row_kind(kind, data, self.limits.text_columns) if kind in TABLES else ""
        if not (rows or kind in CONTAINERS):
            yield self._leaf(data, kind, inner)
            return
        if depth >= self.limits.depth:
            yield _problem(data, kind, inner, Broken("too_deep", f"containers are nested more than {self.limits.depth} deep"))
            return
        try:
            container = _open(kind, data, self.limits)
        except Broken as broken:
            yield _problem(data, kind, inner, broken)
            return
        if kind in MAILS:
            yield self._leaf(data, kind, inner)
        found = 0
        for name in container.names():
            found += 1
            try:
                if self.count >= self.limits.members:
                    raise Broken("too_many_members", f"the file holds more than {self.limits.members:,} members")
                member = container.read(name)
                self._use(len(member))
            except Broken as broken:
                yield _missing(data, inner, name, broken)
                if broken.reason in ("too_many_members", "too_many_bytes"):
                    return
                continue
            self.count += 1
            if rows:
                yield Found(_join(inner, name), digest_bytes(member), rows, len(member))
            else:
                yield from self.visit(member, _join(inner, name), depth + 1)
        if not found and kind not in MAILS:
            yield _problem(data, kind, inner, Broken("empty", "the container has no members"))

    def _leaf(self, data: bytes, kind: str, inner: str) -> Found:
        return Found(inner, digest_bytes(data), kind, len(data))

    def _use(self, size: int) -> None:
        self.bytes += size
        if self.bytes > self.limits.total_bytes:
            raise Broken("too_many_bytes", f"the file unpacks to more than {self.limits.total_bytes:,} bytes")


def opens(kind: str, data: bytes, limits: Limits) -> bool:
    """Whether members of this kind are looked for inside."""
    return kind in CONTAINERS or (kind in TABLES and bool(row_kind(kind, data, limits.text_columns)))


def _open(kind: str, data: bytes, limits: Limits) -> Container:
    if kind == "zip":
        return Zip(data, limits.member_bytes, limits.ratio)
    if kind == "tar":
        return Tar(data, limits.member_bytes)
    if kind == "mbox":
        return Mbox(data)
    if kind == "email":
        return Mail(data)
    if kind == "jsonl":
        return Lines(data)
    if kind in ("csv", "parquet"):
        return Table(kind, data)
    if kind == "warc":
        return Warc(data, limits.member_bytes, limits.ratio)
    if kind == "msg":
        return Msg(data)
    return Signed(data)


def _look_through(data: bytes, kind: str, limits: Limits) -> tuple[bytes, str, Cut | None]:
    """What is inside compressed streams, three layers at most. Of a container that is cut short the members before the cut are
    there; half of a document is no document."""
    cut = None
    for _ in range(3):
        if kind not in STREAMS:
            break
        try:
            data = unpack(kind, data, limits.member_bytes, limits.ratio)
        except Cut as problem:
            if sniff(problem.data) not in ("tar", "jsonl", "mbox"):
                raise
            data, cut = problem.data, problem
        kind = sniff(data)
    if kind in STREAMS:
        raise Broken("too_deep", "it is compressed more than three times over")
    return data, kind, cut


def _status(reason: str) -> str:
    return "failed" if reason in ("encrypted", "malformed") else "rejected"


def _problem(data: bytes, kind: str, inner: str, broken: Broken) -> Found:
    return Found(inner, digest_bytes(data), kind, len(data), _status(broken.reason), broken.reason, broken.detail)


def _missing(data: bytes, inner: str, name: str, broken: Broken) -> Found:
    """A member that has no bytes: its id is made of its container and its name."""
    key = digest({"container": digest_bytes(data), "name": name, "reason": broken.reason})
    return Found(_join(inner, name), key, "unknown", 0, _status(broken.reason), broken.reason, broken.detail)


def _join(inner: str, name: str) -> str:
    return f"{inner}{SEPARATOR}{name}" if inner else name


def _load(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size < _MAP_FROM:
                return file.read()
            # it reads, finds and slices like bytes
            return Mapped(file.fileno(), 0, access=1)  # type: ignore[return-value]
    except OSError as error:
        raise Circumstance("unreadable", f"the file cannot be read: {error.strerror or 'input/output error'}") from error


class _Chain:
    """The containers open on the way to the last member that was read, from the file inward."""

    def __init__(self) -> None:
        self.key: tuple[object, ...] = ()
        self.limits = Limits(member_bytes=1 << 40, ratio=float("inf"))
        self.levels: list[tuple[str, bytes, Container | None]] = []  # prefix, its bytes (streams looked through), opened

    def open(self, path: str) -> None:
        try:
            stat = os.stat(path)
        except OSError as error:
            raise Circumstance("changed", "the file is no longer there") from error
        key = (path, stat.st_mtime_ns, stat.st_size, stat.st_ino)
        if key != self.key:
            self.key, self.levels = (), []
            self.levels = [("", _load(path), None)]
            self.key = key

    def read(self, inner: str) -> bytes:
        names = inner.split(SEPARATOR) if inner else []
        level = 0
        for level in range(len(names), -1, -1):  # the longest prefix that is open
            if level < len(self.levels) and self.levels[level][0] == SEPARATOR.join(names[:level]):
                break
        del self.levels[level + 1 :]
        for depth in range(level, len(names)):
            member = self._member(depth, names[depth])
            self.levels.append((SEPARATOR.join(names[: depth + 1]), member, None))
        data = bytes(self.levels[-1][1])
        if len(names):
            self.levels.pop()
        return data

    def _member(self, level: int, name: str) -> bytes:
        prefix, data, container = self.levels[level]
        try:
            if container is None:
                kind = sniff(data)
                if kind in STREAMS:
                    data, kind, _ = _look_through(data, kind, self.limits)
                    if name == "data" and (kind in MAILS or kind not in CONTAINERS):  # a row's name is a number
                        return data
                container = _open(kind, data, self.limits)
                self.levels[level] = (prefix, data, container)
            return container.read(name)
        except (KeyError, IndexError) as error:
            raise Circumstance("changed", "the container no longer has this member") from error


_CHAIN = _Chain()
