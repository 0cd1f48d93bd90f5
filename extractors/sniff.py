"""What a file is, by its content alone: a signature first, then its structure. The name is never looked at.

`sniff` reads the first kilobytes, the directory of a ZIP, and for text the first lines; it costs well under a millisecond
for all but the largest files. Kinds it answers with are in KINDS; `unknown` is bytes that are neither known nor text.
"""

from __future__ import annotations

import binascii
import io
import json
import re
import zipfile
import zlib

from extractors.decode import decode
from extractors.light.lightmarkup import light_markup
from extractors.rows.delimited import delimiter_of

_KINDS = """
    pdf html docx pptx xlsx odt ods odp epub rtf doc xls ppt msg ole pages numbers keynote xml json jsonl row guess csv
    markdown rst asciidoc latex subtitles calendar text email mbox zip tar gzip zstd bzip2 xz lz4 compress sevenzip cabinet tnef rar
    parquet warc image audio video font executable p7m p7s pgp encrypted-office empty unknown
"""
KINDS = tuple(_KINDS.split())

_PREFIX = 64 * 1024
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"{\\rtf", "rtf"),
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"7z\xbc\xaf\x27\x1c", "sevenzip"),
    (b"Rar!\x1a\x07", "rar"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"\x1f\x9d", "compress"),
    (b"MSCF\x00\x00\x00\x00", "cabinet"),
    (b"\x78\x9f\x3e\x22", "tnef"),
    (b"PAR1", "parquet"),
    (b"WARC/", "warc"),
    (b"\x89PNG\r\n\x1a\n", "image"),
    (b"\xff\xd8\xff", "image"),
    (b"GIF87a", "image"),
    (b"GIF89a", "image"),
    (b"II*\x00", "image"),
    (b"MM\x00*", "image"),
    (b"8BPS", "image"),
    (b"\x00\x00\x01\x00", "image"),
    (b"\xd7\xcd\xc6\x9a", "image"),
    (b"ID3", "audio"),
    (b"OggS", "audio"),
    (b"fLaC", "audio"),
    (b"\x1a\x45\xdf\xa3", "video"),
    (b"\x7fELF", "executable"),
    (b"MZ\x90", "executable"),
    (b"\x00\x01\x00\x00\x00", "font"),
    (b"OTTO", "font"),
    (b"wOFF", "font"),
    (b"wOF2", "font"),
)
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_OLE_STREAMS = (
    ("EncryptedPackage", "encrypted-office"),
    ("__properties_version1.0", "msg"),
    ("WordDocument", "doc"),
    ("PowerPoint Document", "ppt"),
    ("Workbook", "xls"),
    ("Book", "xls"),
)
_HEADER = re.compile(
    r"(?:From|To|Subject|Date|Message-ID|MIME-Version|Received|Return-Path|Delivered-To|Content-Type|Cc|Reply-To|X-[\w-]+):", re.I
)
_FIRST = re.compile(r"(?:From|Received|Return-Path|Subject|Message-ID|MIME-Version):", re.I)
_FIELD = re.compile(r"[!-9;-~]+:(?:\s|$)")
_HTML = re.compile(r"<!doctype\s+html|<html[\s>]|<head[\s>]|<body[\s>]|<xhtml:html[\s>]|<(?:\w+:)?html\s+xmlns", re.I)
_ENTITY = re.compile(r"Content-Type:\s*(?:multipart|text|application|message)/", re.I)  # what a signed mail holds
_ARMOUR = (("PKCS7", "p7m"), ("CMS", "p7m"), ("PGP MESSAGE", "pgp"), ("PGP SIGNATURE", "p7s"))
_BASE64 = re.compile(r"[A-Za-z0-9+/\r\n]{64,}={0,2}\s*(?:\Z|[A-Za-z0-9+/=\s]*\Z)")
_FRAGMENT = re.compile(
    r"<(?:div|p|table|meta|title|h[1-6]|ul|ol|span|section|article|main|script|style|link|br|a|b|i|font|center|img)(?:\s[^<>]*)?/?>", re.I
)


def sniff(data: bytes) -> str:
    """The kind of these bytes (one of KINDS). Never raises."""
    if len(data) == 0:
        return "empty"
    head = bytes(data[:_PREFIX])
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08"):
        return _zip(data)
    if head.startswith(_OLE):
        return _ole(data)
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return "warc" if kind == "gzip" and _opens_warc(head) else kind
    if head[:3] == b"\x5d\x00\x00" and (head[5:13] == b"\xff" * 8 or head[10:13] == b"\x00" * 3):
        return "xz"  # LZMA without the frame of xz
    if head[:1] == b"\x30" and len(head) > 20:
        signed = _pkcs7(head)
        if signed:
            return signed
    if b"%PDF-" in head[:1024] and not _looks_text_before(head):
        return "pdf"
    if head[:4] == b"RIFF":
        return {b"WEBP": "image", b"WAVE": "audio"}.get(head[8:12], "video")
    if head[4:8] == b"ftyp":
        return "image" if head[8:11] in (b"hei", b"avi", b"mif") else "audio" if head[8:11] == b"M4A" else "video"
    if head[:2] == b"BM" and head[6:10] == b"\x00\x00\x00\x00":
        return "image"
    if head[257:262] == b"ustar":
        return "tar"
    if head[:2] in (b"\xff\xfb", b"\xff\xf3", b"\xff\xf2") and b"\x00" in head[:64]:
        return "audio"
    text = _as_text(head, whole=len(data) <= _PREFIX)
    return _text_kind(text, data) if text is not None else "unknown"


def _opens_warc(head: bytes) -> bool:
    try:
        return zlib.decompressobj(31).decompress(head[:4096], 5) == b"WARC/"
    except zlib.error:
        return False


def _looks_text_before(head: bytes) -> bool:
    """True when `%PDF-` is only quoted in a text: it stands inside a line of characters."""
    before = head[: head.index(b"%PDF-")]
    return bool(before) and before[-1:] not in b"\r\n\x00" and not any(byte < 9 for byte in before)


def _as_text(head: bytes, whole: bool) -> str | None:
    """The prefix as text, None when it is binary."""
    text, encoding = decode(head if whole else head[: len(head) - len(head) % 4])
    sample = re.sub("\x00{2,}", "\x00", text)[:8000]  # a run of zeros is a hole left by a disk, not a sign of a binary file
    if not sample:
        return ""
    odd = sum(1 for c in sample if (c < " " and c not in "\t\n\r\f\x1b\x1a\x08") or c == "\ufffd" or "\x80" <= c < "\xa0")
    if "\x00" in sample and not encoding.startswith("utf-"):
        return None if odd > 0.01 * len(sample) else text
    return None if odd > 0.08 * len(sample) else text


def _zip(data: bytes) -> str:
    try:
        with zipfile.ZipFile(io.BytesIO(data) if isinstance(data, bytes) else data) as archive:
            names = set(archive.namelist())
            if "mimetype" in names:
                info = archive.getinfo("mimetype")
                if info.file_size < 200 and not info.flag_bits & 1:
                    mime = archive.read("mimetype").decode("ascii", "replace").strip()
                    found = _mime(mime)
                    if found:
                        return found
    except Exception:  # a damaged directory: the local headers at the front still tell the family
        names = {m.decode("utf-8", "replace") for m in _local_names(bytes(data[: 1 << 20]))}
    if any(n.startswith("word/") for n in names) and "[Content_Types].xml" in names:
        return "docx"
    if any(n.startswith("ppt/") for n in names) and "[Content_Types].xml" in names:
        return "pptx"
    if any(n.startswith("xl/") for n in names) and "[Content_Types].xml" in names:
        return "xlsx"
    if "META-INF/container.xml" in names:
        return "epub"
    if "content.xml" in names and "META-INF/manifest.xml" in names:
        return "odt"
    if (
        "Index/Document.iwa" in names
        or "Index.zip" in names
        or "index.apxl" in names
        or ("index.xml" in names and "buildVersionHistory.plist" in names)
    ):
        return _iwork(names)
    return "zip"


def _iwork(names: set[str]) -> str:
    if any("Slide" in n and n.endswith(".iwa") for n in names) or "index.apxl" in names:
        return "keynote"
    if (
        any(n.startswith("Index/CalculationEngine") for n in names)
        and any(n.startswith("Index/Tables/") for n in names)
        and "Index/ViewState.iwa" not in names
    ):
        return "numbers"
    return "pages"


def _mime(mime: str) -> str:
    if mime == "application/epub+zip":
        return "epub"
    for word, kind in (
        ("opendocument.text", "odt"),
        ("opendocument.spreadsheet", "ods"),
        ("opendocument.presentation", "odp"),
        ("sun.xml.writer", "odt"),
    ):
        if word in mime:
            return kind
    return ""


def _local_names(data: bytes) -> list[bytes]:
    names = []
    for match in re.finditer(rb"PK\x03\x04.{22}(..)(..)", data, re.S):
        size = int.from_bytes(match[1], "little")
        if size < 1024:
            names.append(data[match.end() : match.end() + size])
    return names


def _ole(data: bytes) -> str:
    for name, kind in _OLE_STREAMS:
        if data.find(name.encode("utf-16-le") + b"\x00\x00") >= 0:
            return kind
    return "ole"


def _pkcs7(head: bytes) -> str:
    """A DER or BER SignedData: p7m when it carries content, p7s when it is a signature alone."""
    at = head.find(b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02", 0, 40)
    if at < 0:
        return "p7m" if head.find(b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03", 0, 40) >= 0 else ""
    inner = head.find(b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01", at, at + 400)
    return "p7m" if inner >= 0 and head[inner + 11 : inner + 12] == b"\xa0" and head[inner - 1 : inner] != b"\x00" else "p7s"


def _unarmoured(text: str) -> bytes:
    """The first bytes of a base64 text."""
    letters = re.sub(r"[\s=]+", "", text[:2048])
    return binascii.a2b_base64(letters[: len(letters) - len(letters) % 4])


def _text_kind(text: str, data: bytes) -> str:
    start = text.lstrip("\ufeff \t\r\n\f")
    if not start:
        return "text"
    if start[:5] == "From " and "\n" in start and _FIELD.match(start.split("\n", 2)[1].lstrip(">")):
        return "mbox"
    if _is_mail(start):
        return "email"
    if start.startswith("-----BEGIN "):
        return next((kind for name, kind in _ARMOUR if start.startswith(name, 11)), "text")
    if start[:2] == "MI" and _BASE64.match(start) and (signed := _pkcs7(_unarmoured(start))):
        return signed
    if start.startswith("BEGIN:VCALENDAR"):
        return "calendar"
    if start[0] == "<":
        return _markup(start)
    if start[0] in "{[":
        found = _json(start, text, data)
        if found:
            return found
    if delimiter_of(text):
        return "csv"
    if len(_HTML.findall(start[:4096])) and re.search(r"</\w+>", start):
        return "html"
    return light_markup(start)


def _is_mail(start: str) -> bool:
    lines = start[:8192].splitlines()[:40]
    seen = 0
    for index, line in enumerate(lines):
        if not line.strip():
            break
        if _HEADER.match(line):
            seen += 1
        elif not (_FIELD.match(line) or (index and line[0] in " \t")):
            return False
    return seen >= 3 or bool(seen and _ENTITY.match(start)) or bool(seen >= 2 and _FIRST.match(start))


def _markup(start: str) -> str:
    body = re.sub(r"<!--.*?-->|<\?.*?\?>", "", start[:16384], flags=re.S).lstrip()
    if _HTML.match(body) or (start[:5] != "<?xml" and re.search(r"<!doctype\s+html|<html[\s>]", body[:2048], re.I)):
        return "html"
    if start.startswith("<?xml") or re.match(r"<!DOCTYPE\s+(?!html)\w", body, re.I):
        return "html" if _HTML.match(re.sub(r"<!DOCTYPE[^\[>]*(\[.*?\])?[^>]*>", "", body, flags=re.S).lstrip()) else "xml"
    if _FRAGMENT.match(body):  # a page without its frame, or Markdown that opens with a tag
        return "markdown" if len(re.findall(r"(?m)^(?:#{1,6} \S|```|[-*+] \S)", body)) >= 2 else "html"
    root = re.match(r"<([A-Za-z_][\w.:-]*)(?:\s[^<>]*)?>", body)
    if root and start.rstrip().endswith((f"</{root[1]}>", "-->")):
        return "xml"
    return "xml" if root and "xmlns" in root[0] else "text"


def _json(start: str, text: str, data: bytes) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    if len(data) > _PREFIX:
        lines = lines[:-1] if len(lines) > 1 else lines  # the last line of a prefix may be cut
    if len(lines) >= 2 and all(_object(line) for line in lines[:20]):
        return "jsonl"
    if len(lines) < 2 and len(data) > _PREFIX:  # rows longer than the prefix
        end = data.find(b"\n")
        if 0 < end < 1 << 24 and data[end + 1 : end + 2] == b"{" and _object(data[:end].decode("utf-8", "replace")):
            return "jsonl"
    if re.match(r"\{\s*(?:\"|\})", start) or re.match(r"\[\s*(?:\{\s*[\"}]|\[[\s\d\"\[{-]|\")", start):
        return "json"
    if len(data) <= _PREFIX:
        try:
            json.loads(start)
            return "json"
        except (ValueError, RecursionError):
            return ""
    return "json" if re.match(r"\[\s*-?\d[\d\s,.eE+-]*,", start) else ""


def _object(line: str) -> bool:
    line = line.strip()
    if not (line.startswith("{") and line.endswith("}")):
        return False
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False
