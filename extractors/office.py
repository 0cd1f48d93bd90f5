"""Office files and e-books by Docling's own backends, exported to Markdown.

DOCX, PPTX, XLSX, ODT, ODS, ODP, EPUB and Apple's iWork. When Docling fails, the text is taken straight from the XML inside, in
the order of the file, and the warning `fallback_xml` says so. Title, author and date come from the file's properties.
"""

from __future__ import annotations

import functools
import io
import posixpath
import re
import zipfile
from typing import Any

from corpus.outcome import Verdict
from extractors.extract import ExtractConfig
from extractors.result import Extracted, first_heading, one_line

_MAX_UNPACKED = 1 << 30
_MAX_RATIO = 200.0
# where the text is, which element is a paragraph, and which ones hold characters (local names)
_PARTS: dict[str, tuple[str, frozenset[str]]] = {
    "docx": (r"word/(?:document|footnotes|endnotes)\d*\.xml", frozenset("p")),
    "pptx": (r"ppt/slides/slide\d+\.xml", frozenset("p")),
    "xlsx": (r"xl/sharedStrings\.xml", frozenset(("si",))),
    "odt": (r"content\.xml", frozenset(("p", "h"))),
    "ods": (r"content\.xml", frozenset(("p", "h"))),
    "odp": (r"content\.xml", frozenset(("p", "h"))),
}
_FORMATS = {"docx": "DOCX", "pptx": "PPTX", "xlsx": "XLSX", "odt": "ODT", "ods": "ODS", "odp": "ODP", "epub": "EPUB"}
_IWORK = {"pages": "IWORK_PAGES", "numbers": "IWORK_NUMBERS", "keynote": "IWORK_KEYNOTE"}


def read(data: bytes, kind: str, config: ExtractConfig) -> Extracted:
    """Markdown of an office file or e-book."""
    names = _checked(data, kind)
    properties = _properties(data, names, kind)
    text, pages, warnings = _docling(data, kind), _count(names, kind), []
    if text is None:
        text = _fallback(data, names, kind, config)
        if text is None:
            raise Verdict("malformed", f"the {kind} file is damaged")
        warnings.append("fallback_xml")
    title = properties.pop("title", "") or first_heading(text)
    lang = properties.pop("language", "")
    return Extracted(text, "office-xml" if warnings else "docling", title, lang, properties, warnings, pages)


def _checked(data: bytes, kind: str) -> list[str]:
    """Names in the package. Raises Verdict for what must not be opened."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as package:
            infos = package.infolist()
            if any(i.flag_bits & 1 for i in infos):
                raise Verdict("encrypted", "the file is protected by a password")
            total = sum(i.file_size for i in infos)
            if total > _MAX_UNPACKED or (total > 64 << 20 and total > _MAX_RATIO * len(data)):
                raise Verdict("zip_bomb", f"it unpacks to more than {_MAX_RATIO:g} times its size")
            manifest = package.read("META-INF/manifest.xml") if any(i.filename == "META-INF/manifest.xml" for i in infos) else b""
            if b"encryption-data" in manifest and kind.startswith("od"):
                raise Verdict("encrypted", "the file is protected by a password")
            return [i.filename for i in infos]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError) as error:
        raise Verdict("malformed", f"the {kind} file is damaged or cut short") from error


@functools.cache
def _converter(kind: str) -> Any:
    from docling.datamodel.base_models import InputFormat
    from docling.document_converter import DocumentConverter

    return DocumentConverter(allowed_formats=[getattr(InputFormat, (_FORMATS | _IWORK)[kind])])


def _docling(data: bytes, kind: str) -> str | None:
    """Docling's Markdown; None when it fails, or finds nothing."""
    from docling.datamodel.base_models import ConversionStatus, DocumentStream

    converter = _converter(kind)
    try:
        result = converter.convert(DocumentStream(name=f"document.{kind}", stream=io.BytesIO(data)), raises_on_error=False)
        if result.status not in (ConversionStatus.SUCCESS, ConversionStatus.PARTIAL_SUCCESS):
            return None
        text = result.document.export_to_markdown(image_placeholder="", escape_html=False, escape_underscores=False, compact_tables=True)
    except MemoryError:
        raise
    except Exception:  # a backend's failure is not the file's: the XML inside has its say
        return None
    return str(text)


def _count(names: list[str], kind: str) -> int:
    pattern = {"pptx": r"ppt/slides/slide\d+\.xml", "xlsx": r"xl/worksheets/sheet\d+\.xml"}.get(kind)
    return sum(1 for n in names if re.fullmatch(pattern, n)) if pattern else 0


def _properties(data: bytes, names: list[str], kind: str) -> dict[str, str]:
    """title, author, date, language, licence, as far as the package states them."""
    path = {"epub": _package_file(data)}.get(kind) or ("meta.xml" if kind.startswith("od") else "docProps/core.xml")
    if path not in names:
        return {}
    found: dict[str, str] = {}
    wanted = {
        "title": "title",
        "creator": "author",
        "date": "date",
        "created": "date",
        "creation-date": "date",
        "language": "language",
        "rights": "licence",
    }
    for element in _elements(data, path):
        key = wanted.get(_local(element.tag))
        if key and element.text and element.text.strip():
            found.setdefault(key, one_line(element.text)[:10] if key == "date" else one_line(element.text))
    return found


def _package_file(data: bytes) -> str:
    for element in _elements(data, "META-INF/container.xml"):
        if _local(element.tag) == "rootfile":
            return str(element.get("full-path") or "")
    return ""


def _elements(data: bytes, path: str) -> list[Any]:
    from defusedxml.ElementTree import fromstring

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as package:
            return list(fromstring(package.read(path)).iter())
    except Exception:  # properties and fallbacks are extras: without them the text still counts
        return []


def _local(tag: object) -> str:
    return tag.rsplit("}", 1)[-1] if isinstance(tag, str) else ""


def _fallback(data: bytes, names: list[str], kind: str, config: ExtractConfig) -> str | None:
    if kind == "epub":
        return _epub(data, names, config)
    if kind not in _PARTS:
        return None
    pattern, paragraph = _PARTS[kind]
    parts = sorted((n for n in names if re.fullmatch(pattern, n)), key=lambda n: [int(d) for d in re.findall(r"\d+", n)])
    paragraphs = []
    for part in parts:
        for element in _elements(data, part):
            if _local(element.tag) in paragraph:
                text = "".join(element.itertext()).strip()
                if text:
                    paragraphs.append(text)
    return "\n\n".join(paragraphs) if parts and paragraphs else None


def _epub(data: bytes, names: list[str], config: ExtractConfig) -> str | None:
    """Chapters in the order of the spine, each reduced to its visible text."""
    from extractors.decode import decode
    from extractors.webpage import html_text

    package = _package_file(data)
    hrefs, order = {}, []
    for element in _elements(data, package):
        if _local(element.tag) == "item":
            hrefs[element.get("id")] = posixpath.normpath(posixpath.join(posixpath.dirname(package), element.get("href") or ""))
        elif _local(element.tag) == "itemref":
            order.append(hrefs.get(element.get("idref"), ""))
    chapters = [n for n in order if n in names] or [n for n in names if n.endswith((".xhtml", ".html", ".htm"))]
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as book:
            texts = [html_text(decode(book.read(n))[0]) for n in chapters]
    except (zipfile.BadZipFile, OSError, KeyError, ValueError, EOFError):
        return None
    return "\n\n".join(t for t in texts if t.strip()) or None
