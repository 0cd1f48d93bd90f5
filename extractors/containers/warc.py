"""WARC web archives, plain or with each record compressed by itself: the pages and documents of their responses.

Records are found one by one and never unpacked together; a member is the body of a response (or resource, or conversion
record), named by the number of its record from 1 and its address (`12 https://example.it/`), its transfer and content
encoding undone. Requests, metadata, revisits and the crawler's own records are no documents; responses that are not
(redirects, errors, images, styles, scripts) are one member, OTHERS, that says how many they are. Own reader, since the ones
there are take a cut record for a whole one and write pieces of pages to stderr.
"""

from __future__ import annotations

import re
import zlib
from array import array
from collections.abc import Iterator

from extractors.containers.archives import REST, Broken, gzip_member, unpack

OTHERS = "others"
_HEAD = 64 << 10  # bytes within which the two headers of a record end
_PIECE = 1 << 20
_TYPES = re.compile(
    r"text/(?!css|javascript|ecmascript)|application/(?:xhtml|pdf|xml|rtf|msword|vnd\.(?:openxml|oasis|ms-)|epub|x-tex|octet-stream|zip)"
)
_FIELD = re.compile(rb"(?im)^([\w-]+):[ \t]*([^\r\n]*)")
_CHUNK = re.compile(rb"([0-9a-fA-F]{1,8})[ \t]*(?:;[^\r\n]*)?\r?\n")
_END = re.compile(rb"\r?\n\r?\n")


class Warc:
    """A web archive."""

    def __init__(self, data: bytes, limit: int, ratio: float) -> None:
        self._data, self._limit, self._ratio = data, limit, ratio
        self._numbers, self._places = array("q"), array("q")
        self._packed = bytes(data[:2]) == b"\x1f\x8b"
        if self._packed and _shared(data):  # one stream for all records: no place to begin in it
            self._data, self._packed = unpack("gzip", data, limit, ratio), False
        self._addresses: list[str] = []
        self._others, self.cut = 0, False
        number = 0
        for number, (start, end, head) in enumerate(self._packed_records() if self._packed else self._plain_records(), 1):
            if _is_document(head):
                self._numbers.append(number)
                self._places.extend((start, end))
                self._addresses.append(_address(head))
            elif _warc_type(head) in ("response", "resource", "conversion"):
                self._others += 1
        if not number:
            raise Broken("malformed", "the web archive is damaged")
        self._at = {number: index for index, number in enumerate(self._numbers)}

    def names(self) -> Iterator[str]:
        yield from (f"{number} {address}".rstrip() for number, address in zip(self._numbers, self._addresses, strict=True))
        if self._others:
            yield OTHERS
        if self.cut:
            yield REST

    def read(self, name: str) -> bytes:
        if name == OTHERS and self._others:
            raise Broken("no_document", f"responses that are redirects, errors, images, styles or scripts: {self._others:,}")
        if name == REST and self.cut:
            raise Broken("malformed", "the web archive is damaged or cut short here")
        number = name.partition(" ")[0]
        index = self._at[int(number) if number.isdigit() else -1]
        record = bytes(self._data[self._places[2 * index] : self._places[2 * index + 1]])
        if self._packed:
            record = unpack("gzip", record, self._limit, self._ratio)
        head, body = _parted(record)
        body = body[: _length(head)]
        if _fields(head).get("content-type", "").startswith("application/http"):
            head, body = _parted(body)
            body = self._decoded(_fields(head), body)
        return body

    def _decoded(self, fields: dict[str, str], body: bytes) -> bytes:
        """The body of a response as it was before it was sent."""
        if fields.get("transfer-encoding", "").lower() == "chunked":
            body = _joined(body)
        for encoding in reversed(fields.get("content-encoding", "").lower().replace(" ", "").split(",")):
            packed = {"gzip": "gzip", "x-gzip": "gzip", "deflate": "deflate", "zstd": "zstd", "br": "brotli"}.get(encoding, "")
            if packed and (packed != "gzip" or body[:2] == b"\x1f\x8b"):
                body = unpack(packed, body, self._limit, self._ratio)
        return body

    def _plain_records(self) -> Iterator[tuple[int, int, bytes]]:
        """Start, end and first bytes of each record."""
        data, at = self._data, 0
        while at < len(data):
            head = bytes(data[at : at + _HEAD])
            blank = len(head) - len(head.lstrip(b"\r\n"))
            if blank:
                at += blank
                continue
            found = _END.search(head)
            if not head.startswith(b"WARC/") or found is None:
                self.cut = True
                return
            end = at + found.end() + _length(head[: found.start()])
            if end > len(data):
                self.cut = True
                return
            yield at, end, head[: end - at]
            at = end

    def _packed_records(self) -> Iterator[tuple[int, int, bytes]]:
        """The same where each record is a gzip member: the places are those of the members."""
        data, at = self._data, 0
        while at < len(data):
            start, head = at, b""
            pieces = gzip_member(data, at)
            try:
                while True:
                    head += next(pieces)[: max(0, _HEAD - len(head))]
            except StopIteration as ended:
                at = ended.value
            except (EOFError, zlib.error):
                self.cut = True
                return
            if head.startswith(b"WARC/"):
                yield start, at, head
            elif head:
                self.cut = True
                return


def _shared(data: bytes) -> bool:
    """Whether the first gzip member goes on after its first record."""
    inflater = zlib.decompressobj(31)
    try:
        head = inflater.decompress(bytes(data[:_PIECE]), _PIECE)
    except zlib.error:
        return False
    found = _END.search(head[:_HEAD])
    return found is not None and len(head) > found.end() + _length(head[: found.start()]) + 8


def _parted(record: bytes) -> tuple[bytes, bytes]:
    """A header and what follows it."""
    found = _END.search(record[:_HEAD])
    return (record[: found.start()], record[found.end() :]) if found else (record, b"")


def _fields(head: bytes) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1").strip() for name, value in _FIELD.findall(head)}


def _length(head: bytes) -> int:
    value = _fields(head).get("content-length", "")
    return int(value) if value.isdigit() and len(value) < 19 else 0


def _warc_type(head: bytes) -> str:
    return _fields(_parted(head)[0]).get("warc-type", "").lower()


def _address(head: bytes) -> str:
    """Where the record was fetched, free of what separates names in a locator."""
    return "".join(_fields(_parted(head)[0]).get("warc-target-uri", "").strip("<>").split())[:500].replace("!/", "%21/")


def _is_document(head: bytes) -> bool:
    """Whether a record holds a page or a document, by its type, the answer's status and its media type."""
    if _warc_type(head) not in ("response", "resource", "conversion"):
        return False
    first, body = _parted(head)
    fields = _fields(first)
    if fields.get("content-type", "").startswith("application/http"):
        answer, _ = _parted(body)
        status = re.match(rb"HTTP/\S+\s+(\d{3})", answer)
        if status is None or not status[1].startswith(b"2"):
            return False
        fields = _fields(answer)
    elif fields.get("warc-target-uri", "").lower().startswith("dns:"):
        return False
    return bool(_TYPES.match(fields.get("content-type", "text/html").lower()))


def _joined(body: bytes) -> bytes:
    """The chunks of a body as one; a body that is not in chunks, though it says so, as it is."""
    pieces: list[bytes] = []
    at = 0
    while match := _CHUNK.match(body, at):
        size = int(match[1], 16)
        if not size:
            return b"".join(pieces)
        pieces.append(body[match.end() : match.end() + size])
        at = match.end() + size
        at += 2 if body[at : at + 2] == b"\r\n" else 1 if body[at : at + 1] == b"\n" else 0
    return b"".join(pieces) if pieces else body
