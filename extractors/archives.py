"""One class a container format: `names()` lists (name, size, problem), `read(name)` gives the bytes of one member.

A container raises Broken when it cannot be opened at all; a member that cannot be read raises Broken in `read`. Nothing is
ever written to disk, so that names with `..` or a leading slash are harmless. Links in archives have no bytes and are left out.
"""

from __future__ import annotations

import bz2
import csv
import io
import json
import lzma
import mmap
import tarfile
import zipfile
import zlib
from array import array
from collections.abc import Iterator
from typing import Any, Protocol

from extractors.decode import decode
from extractors.sniff import csv_delimiter

Entry = tuple[str, int, str]  # name, declared size in bytes, problem ('' or 'encrypted')


class Broken(Exception):
    """A container or a member cannot be read; `reason` is a machine-readable word, `detail` a sentence."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


class Container(Protocol):
    """What every format offers."""

    def names(self) -> Iterator[Entry]:
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

    def names(self) -> Iterator[Entry]:
        for name, info in self._infos.items():
            yield name, info.file_size, "encrypted" if info.flag_bits & 1 else ""

    def read(self, name: str) -> bytes:
        info = self._infos[name]
        if info.flag_bits & 1:
            raise Broken("encrypted", "the member is protected by a password")
        if info.file_size > 1 << 20 and info.file_size > self._ratio * max(info.compress_size, 1):
            raise Broken("zip_bomb", f"it unpacks to more than {self._ratio:g} times its packed size")
        try:
            with self._archive.open(info) as stream:
                return _bounded(stream, min(self._limit, info.file_size))
        except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, ValueError, EOFError, NotImplementedError, RuntimeError) as error:
            raise Broken("malformed", "the archive member is damaged or packed in an unknown way") from error


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

    def names(self) -> Iterator[Entry]:
        for name, info in self._infos.items():
            yield name, info.size, ""
        if self.cut:
            yield "rest", 0, "malformed"

    def read(self, name: str) -> bytes:
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

    def names(self) -> Iterator[Entry]:
        for start, end, number in zip(self._starts, self._ends, self._numbers, strict=True):
            yield str(number), end - start, ""

    def read(self, name: str) -> bytes:
        if self._at is None:
            self._at = {number: index for index, number in enumerate(self._numbers)}
        index = self._at[int(name)] if name.isdigit() else self._at[-1]
        return bytes(self._data[self._starts[index] : self._ends[index]]).strip()


class Table:
    """Rows of a table that has a text column, each as the bytes of a JSON object, named by record number from 1."""

    def __init__(self, kind: str, data: bytes) -> None:
        self._rows = list(records(kind, data))

    def names(self) -> Iterator[Entry]:
        for number in range(1, len(self._rows) + 1):
            yield str(number), 0, ""

    def read(self, name: str) -> bytes:
        number = int(name) if name.isdigit() else 0
        if not 0 < number <= len(self._rows):
            raise KeyError(name)
        return json.dumps(self._rows[number - 1], ensure_ascii=False, default=str).encode("utf-8", "surrogatepass")


def records(kind: str, data: bytes) -> Iterator[dict[str, Any]]:
    """Rows of a CSV or Parquet table as dictionaries; empty rows of a CSV are left out. Raises Broken."""
    if kind == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            for batch in pq.ParquetFile(pa.BufferReader(bytes(data))).iter_batches(4096):
                yield from batch.to_pylist()
        except (pa.ArrowException, OSError) as error:
            raise Broken("malformed", "the Parquet file is damaged") from error
        return
    csv.field_size_limit(1 << 27)
    text, _ = decode(bytes(data))
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=csv_delimiter(text) or ",")
    try:
        head = [cell.strip() for cell in next(rows, [])]
        for row in rows:
            if any(cell.strip() for cell in row):
                yield dict(zip(head, row, strict=False))
    except csv.Error as error:
        raise Broken("malformed", "the CSV file is damaged") from error


def text_column(kind: str, data: bytes, columns: tuple[str, ...]) -> str:
    """Name of the column that holds running text, '' when it is a plain table: a known name, and 40 characters on average."""
    try:
        sample = [row for _, row in zip(range(200), records(kind, data if kind == "parquet" else data[: 1 << 18]), strict=False)]
    except Broken:
        return ""
    for column in columns:
        for name in sample[0] if sample else ():
            cells = [row[name] for row in sample if isinstance(row.get(name), str) and row[name].strip()]
            if str(name).lower() == column and cells and sum(map(len, cells)) / len(cells) >= 40:
                return str(name)
    return ""


def unpack(kind: str, data: bytes, limit: int, ratio: float) -> bytes:
    """Bytes of a gzip, bzip2, xz or zstd stream. Raises Broken for damage, and for a bomb before the limit is passed."""
    try:
        if kind == "gzip":
            out = _inflate(zlib.decompressobj(31), data, limit)
        elif kind == "bzip2":
            with bz2.BZ2File(io.BytesIO(data)) as stream:
                out = _bounded(stream, limit)
        elif kind == "xz":
            with lzma.LZMAFile(io.BytesIO(data)) as stream:
                out = _bounded(stream, limit)
        else:
            import pyarrow as pa

            out = _bounded(pa.CompressedInputStream(pa.BufferReader(bytes(data)), "zstd"), limit)
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
        raise Broken("malformed", "the compressed stream is damaged or cut short") from error
    if len(out) > 1 << 24 and len(out) > ratio * len(data):
        raise Broken("zip_bomb", f"it unpacks to more than {ratio:g} times its packed size")
    return out


def _inflate(inflater: zlib._Decompress, data: bytes, limit: int) -> bytes:
    """All members of a gzip file, one after the other, never more than `limit` bytes."""
    out, rest = bytearray(), bytes(data)
    while rest[:2] == b"\x1f\x8b":
        out += inflater.decompress(rest, limit + 1 - len(out))
        if len(out) > limit:
            raise Broken("zip_bomb", f"it unpacks to more than {limit:,} bytes")
        if not inflater.eof:
            raise EOFError
        rest, inflater = inflater.unused_data, zlib.decompressobj(31)
    return bytes(out)


def _bounded(stream: object, limit: int) -> bytes:
    pieces, size = [], 0
    while piece := stream.read(min(1 << 20, limit + 1 - size)):  # type: ignore[attr-defined]
        pieces.append(piece)
        size += len(piece)
        if size > limit:
            raise Broken("zip_bomb", f"it unpacks to more than {limit:,} bytes")
    return b"".join(pieces)
