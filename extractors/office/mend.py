"""Damaged zip packages made whole as far as they can be read, so that one bad part does not take the others with it.

A package whose directory is lost is read by the headers in front of its parts (`cut_short`). A part that fails its checksum keeps
what can be unpacked before the damage; XML that is not well-formed becomes what a forgiving parser makes of it; a part of which
nothing is left is left out. `damaged_parts` counts those that can hold text: pictures and fonts are nobody's loss here. After
damage inside packed bytes some characters can be wrong ones: nobody can tell which.
"""

from __future__ import annotations

import io
import re
import struct
import zipfile
import zlib
from collections.abc import Iterable
from xml.parsers import expat

DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, OSError, ValueError, NotImplementedError, EOFError, KeyError, RuntimeError)
_HEADER = struct.Struct("<4s5H3L2H")  # in front of a part
_MARK = b"PK\x03\x04"
_TEXT = re.compile(r"\.(?:xml|rels|x?html?|opf|ncx|iwa)$", re.I)
_XML = re.compile(r"(?!customXml/).*\.(?:xml|rels|opf)$", re.I)  # what is read as XML
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def listed(data: bytes, most: int) -> tuple[bytes, list[str]]:
    """The package with a directory, and warnings; parts of a lost one are unpacked to `most` bytes together at most.

    Raises one of DAMAGE where no part can be read."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)):
            return data, []
    except DAMAGE:
        found = _by_headers(data, most)
        if not found:
            raise
        return _packed(found.items()), ["cut_short"]


def mended(data: bytes) -> tuple[bytes, list[str]]:
    """The package with parts that can all be read, and warnings; the very bytes where there is nothing to mend."""
    changed: dict[str, bytes] = {}
    damaged = 0
    with zipfile.ZipFile(io.BytesIO(data)) as package:
        infos = package.infolist()
        found: dict[str, bytes] | None = None
        for info in infos:
            try:
                content, sound = package.read(info), True
            except DAMAGE:  # or it lies elsewhere than the directory says, when bytes were lost before it
                found = _by_headers(data, sum(i.file_size for i in infos)) if found is None else found
                changed[info.filename] = content = found.get(info.filename, b"")
                sound = zlib.crc32(content) == info.CRC
            if _XML.match(info.filename) and content and not _well_formed(content):
                changed[info.filename], sound = _recovered(content), False
            damaged += not sound and _TEXT.search(info.filename) is not None
        if not changed:
            return data, []
        parts = ((name, changed[name] if name in changed else package.read(name)) for name in dict.fromkeys(package.namelist()))
        return _packed(part for part in parts if part[1]), [f"damaged_parts: {damaged}"] * (damaged > 0)


def _by_headers(data: bytes, most: int) -> dict[str, bytes]:
    """Parts by the headers in front of them, as far as they can be unpacked: `most` bytes at most."""
    found: dict[str, bytes] = {}
    at = data.find(_MARK)
    while at >= 0 and most > 0:
        name, content, end = _salvaged(data, at, most)
        if name and content:
            found.setdefault(name, content)
            most -= len(content)
        at = data.find(_MARK, max(end, at + 4))
    return found


def _packed(parts: Iterable[tuple[str, bytes]]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as package:
        for name, content in parts:
            package.writestr(name, content)
    return out.getvalue()


def _salvaged(data: bytes, at: int, most: int) -> tuple[str, bytes, int]:
    """Name and bytes of the part whose header lies here, as far as they can be unpacked, and where it ends; blanks without one."""
    header = data[at : at + _HEADER.size]
    if len(header) < _HEADER.size or not header.startswith(_MARK):
        return "", b"", at
    _, _, flags, method, _, _, _, packed, _, named, extra = _HEADER.unpack(header)
    start = at + _HEADER.size + named + extra
    name = data[at + _HEADER.size : at + _HEADER.size + named].decode("utf-8", "replace")
    if flags & 1 or method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return name, b"", start
    if method == zipfile.ZIP_STORED:
        following = data.find(b"PK", start)
        end = start + packed if packed and not flags & 8 else following if following >= 0 else len(data)
        return name, data[start : min(end, start + most)], end
    content, used = _inflated(memoryview(data)[start:], most)
    return name, content, start + used


def _inflated(packed: memoryview, most: int) -> tuple[bytes, int]:
    """What comes out before the end, the damage or the limit, and how many bytes went in."""
    inflater, pieces, step = zlib.decompressobj(-zlib.MAX_WBITS), [], 128  # small: what comes out of a step that fails is lost
    for at in range(0, len(packed), step):
        try:
            pieces.append(inflater.decompress(packed[at : at + step], most))
        except zlib.error:
            break
        most -= len(pieces[-1])
        if inflater.eof or most <= 0:
            return b"".join(pieces), min(at + step, len(packed)) - len(inflater.unused_data)
    return b"".join(pieces), 0


def _well_formed(text: bytes) -> bool:
    parser = expat.ParserCreate(namespace_separator=" ")
    try:
        parser.Parse(text, True)
    except (expat.ExpatError, ValueError, LookupError):  # the others: an encoding that nobody knows
        return False
    return True


def _recovered(text: bytes) -> bytes:
    """What a forgiving parser makes of XML; nothing when it finds no element with something in it."""
    from lxml import etree

    if not text.startswith((b"\xff\xfe", b"\xfe\xff")):  # bytes and characters that XML may not hold stop the parser
        text = _ILLEGAL.sub("", re.sub(r"^[^<]*<\?xml[^>]*\?>", "", text.decode("utf-8", "replace"))).encode()
    parser = etree.XMLParser(recover=True, resolve_entities=False, no_network=True, huge_tree=False, remove_comments=True, remove_pis=True)
    try:
        root = etree.fromstring(text, parser)
    except (etree.XMLSyntaxError, ValueError):
        return b""
    if root is None or not (len(root) or root.text):
        return b""
    for element in root.iter(etree.Element):  # a prefix that nothing declares any more
        if ":" in element.tag.rpartition("}")[2]:
            name = element.tag.rpartition(":")[2]
            element.tag = name if name.isidentifier() else "unnamed"
        for key in [key for key in element.attrib if ":" in key.rpartition("}")[2]]:
            del element.attrib[key]
    return bytes(etree.tostring(root, xml_declaration=True, encoding="UTF-8", standalone=True))
