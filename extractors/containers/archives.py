"""One class a container format: `names()` lists its members, `read(name)` gives the bytes of one.

A container raises Broken when it cannot be opened at all; a member that cannot be read raises Broken in `read`. Where a container
is cut short, its last name is REST, which cannot be read either and says so. Nothing is ever written to disk, so that names with
`..` or a leading slash are harmless. Links in archives have no bytes and are left out.
"""

from __future__ import annotations

import bz2
import io
import lzma
import mmap
import tarfile
import zipfile
import zlib
from array import array
from collections.abc import Generator, Iterator
from typing import Any, Protocol

REST = "rest"  # the member that stands for what followed where a container is cut short
_PACKED_ZSTD = 93  # ZIP's number of a method that zipfile does not know


class Broken(Exception):
    """A container or a member cannot be read; `reason` is a machine-readable word, `detail` a sentence."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


class Cut(Broken):
    """A compressed stream is damaged or cut short; `data` is what came before."""

    def __init__(self, data: bytes) -> None:
        super().__init__("malformed", "the compressed stream is damaged or cut short")
        self.data = data


class Container(Protocol):
    """What every format offers."""

    def names(self) -> Iterator[str]:
        """Members in the order of the container."""

    def read(self, name: str) -> bytes:
        """Bytes of the member. Raises KeyError for an unknown name, Broken for damage."""


class Mapped(mmap.mmap):
    """A file in memory that zipfile and tarfile accept as a stream."""

    def seekable(self) -> bool:
        return True


def unique(name: str, taken: dict[str, int], fallback: str) -> str:
    """A member name that is free of the locator's separator and occurs once in its container."""
    name = name.replace("\\", "/").replace("!/", "!_").replace("\x00", "").strip() or fallback
    taken[name] = taken.get(name, 0) + 1
    return name if taken[name] == 1 else f"{name}#{taken[name]}"


class Zip:
    """A ZIP archive; a member packed tighter than `ratio` counts as a bomb and is refused before it is unpacked."""

    def __init__(self, data: bytes, limit: int, ratio: float) -> None:
        self._limit, self._ratio = limit, ratio
        try:
            self._archive = zipfile.ZipFile(io.BytesIO(data) if isinstance(data, bytes) else data)  # type: ignore[arg-type]
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError, EOFError) as error:
            raise Broken("malformed", "the ZIP archive is damaged or cut short") from error
        taken: dict[str, int] = {}
        self._infos = {unique(i.filename, taken, "member"): i for i in self._archive.infolist() if not i.is_dir() and not _is_link(i)}

    def names(self) -> Iterator[str]:
        yield from self._infos

    def read(self, name: str) -> bytes:
        info = self._infos[name]
        if info.flag_bits & 1:
            raise Broken("encrypted", "the member is protected by a password")
        if info.file_size > 1 << 20 and info.file_size > self._ratio * max(info.compress_size, 1):
            raise Broken("zip_bomb", f"it unpacks to more than {self._ratio:g} times its packed size")
        try:
            if info.compress_type == _PACKED_ZSTD:
                return self._zstd(info)
            with self._archive.open(info) as stream:
                return _bounded(stream, min(self._limit, info.file_size))
        except NotImplementedError as error:
            raise Broken("unsupported", "it is packed in a way not read here: pack the archive anew, with deflate") from error
        except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, ValueError, EOFError, RuntimeError) as error:
            raise Broken("malformed", "the archive member is damaged") from error

    def _zstd(self, info: zipfile.ZipInfo) -> bytes:
        """A member packed by Zstandard: its bytes lie after the local header."""
        stream = self._archive.fp
        assert stream is not None
        stream.seek(info.header_offset)
        header = stream.read(30)
        stream.seek(int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little"), 1)
        data = unpack("zstd", stream.read(info.compress_size), min(self._limit, info.file_size), self._ratio)
        if zlib.crc32(data) != info.CRC:
            raise ValueError
        return data


def _is_link(info: zipfile.ZipInfo) -> bool:
    return (info.external_attr >> 28) == 0xA


class Tar:
    """A tar archive, its members indexed once."""

    def __init__(self, data: bytes, limit: int) -> None:
        self._limit = limit
        taken: dict[str, int] = {}
        self._infos: dict[str, tarfile.TarInfo] = {}
        self.cut = False
        try:
            self._archive = tarfile.open(fileobj=io.BytesIO(data), mode="r:")  # noqa: SIM115  it lives as long as the container
        except (tarfile.TarError, OSError, ValueError, EOFError) as error:
            raise Broken("malformed", "the tar archive is damaged") from error
        try:
            for info in self._archive:
                if info.isfile():
                    self._infos[unique(info.name, taken, "member")] = info
        except (tarfile.TarError, OSError, ValueError, EOFError):
            self.cut = True

    def names(self) -> Iterator[str]:
        yield from self._infos
        if self.cut:
            yield REST

    def read(self, name: str) -> bytes:
        if self.cut and name == REST and name not in self._infos:
            raise Broken("malformed", "the archive is cut short here")
        try:
            stream = self._archive.extractfile(self._infos[name])
            data = _bounded(stream, self._limit) if stream is not None else b""
        except (tarfile.TarError, OSError, ValueError, EOFError) as error:
            raise Broken("malformed", "the archive member is damaged") from error
        if len(data) < self._infos[name].size:
            raise Broken("malformed", "the archive member is cut short")
        return data


class Lines:
    """Rows of a JSONL file, named by line number from 1; blank lines are no rows. Holds the offsets, not the rows."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._starts, self._ends, self._numbers = array("q"), array("q"), array("q")
        self._at: dict[int, int] | None = None
        position, number, size = (3 if bytes(data[:3]) == b"\xef\xbb\xbf" else 0), 0, len(data)
        while position < size:
            end = data.find(b"\n", position)
            end = size if end < 0 else end
            number += 1
            if end > position and data[position:end].strip():
                self._starts.append(position)
                self._ends.append(end)
                self._numbers.append(number)
            position = end + 1

    def names(self) -> Iterator[str]:
        yield from map(str, self._numbers)

    def read(self, name: str) -> bytes:
        if self._at is None:
            self._at = {number: index for index, number in enumerate(self._numbers)}
        index = self._at[int(name)] if name.isdigit() else self._at[-1]
        return bytes(self._data[self._starts[index] : self._ends[index]]).strip()


def unpack(kind: str, data: bytes, limit: int, ratio: float) -> bytes:
    """Bytes of a compressed stream. Raises Broken for a bomb, before the limit is passed, and Cut with what there is for damage."""
    out = bytearray()
    try:
        for piece in _pieces(kind, data):
            out += piece
            if len(out) > limit:
                raise Broken("zip_bomb", f"it unpacks to more than {limit:,} bytes")
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
        raise Cut(bytes(out)) from error
    if len(out) > 1 << 24 and len(out) > ratio * len(data):
        raise Broken("zip_bomb", f"it unpacks to more than {ratio:g} times its packed size")
    return bytes(out)


def _pieces(kind: str, data: bytes) -> Iterator[bytes]:
    """What a stream unpacks to, at most a megabyte at a time, as far as it goes."""
    if kind == "gzip":
        yield from _inflated(data)
        return
    if kind == "deflate":  # with the head of zlib or without, as servers send it
        inflater = zlib.decompressobj(15 if data[:1] and data[0] & 15 == 8 else -15)
        rest = bytes(data)
        while rest and not inflater.eof:
            yield inflater.decompress(rest, 1 << 20)
            rest = inflater.unconsumed_tail
        return
    stream: Any
    if kind in ("zstd", "lz4", "brotli"):
        import pyarrow as pa

        stream = pa.CompressedInputStream(pa.BufferReader(pa.py_buffer(data)), kind)
    else:
        source = io.BytesIO(data) if isinstance(data, bytes) else data
        source.seek(0)
        stream = bz2.open(source) if kind == "bzip2" else lzma.open(source)  # noqa: SIM115  there is no file to close
    while piece := stream.read(1 << 20):
        yield piece


def _inflated(data: bytes) -> Iterator[bytes]:
    """All members of a gzip file, one after the other; raises EOFError where it is cut short."""
    at = 0
    while at < len(data) and data[at : at + 2] == b"\x1f\x8b":
        at = yield from gzip_member(data, at)


def gzip_member(data: bytes, at: int) -> Generator[bytes, None, int]:
    """The gzip member at `at`, at most a megabyte at a time; returns where it ends. Raises EOFError where it is cut short."""
    inflater, rest = zlib.decompressobj(31), b""
    while not inflater.eof:
        if not rest:
            rest = bytes(data[at : at + (1 << 20)])
            at += len(rest)
        piece = inflater.decompress(rest, 1 << 20)
        if not rest and not piece and not inflater.eof:
            raise EOFError
        rest = inflater.unconsumed_tail
        if piece:
            yield piece
    return at - len(inflater.unused_data)  # at the end the unconsumed tail is the same bytes


def _bounded(stream: object, limit: int) -> bytes:
    pieces, size = [], 0
    while piece := stream.read(min(1 << 20, limit + 1 - size)):  # type: ignore[attr-defined]
        pieces.append(piece)
        size += len(piece)
        if size > limit:
            raise Broken("zip_bomb", f"it unpacks to more than {limit:,} bytes")
    return b"".join(pieces)
