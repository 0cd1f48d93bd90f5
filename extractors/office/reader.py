"""Office files and e-books by Docling's own backends, exported to Markdown, and nothing lost without a word.

DOCX, PPTX, XLSX, ODT, ODS, ODP, EPUB and Apple's iWork. What stands on the page and would not be in Docling's text is written
into a copy of the package first (word.py, spreadsheet.py, opendocument.py, epub.py); a workbook that is too large or too sparse
for Docling becomes tables directly (`fallback_tables`). Then the words of the package's own paragraphs are looked for in the
text (completeness.py): where more than MISSING of them are not in it, lost paragraphs are put back (`fallback_paragraphs`) and
`text_missing` says how many per cent still are; where more than LOST, or Docling fails, the paragraphs themselves are the text
(`fallback_xml`). Damaged packages are mended before all this (mend.py).

Text: comments, hidden slides and sheets, headers and footers are left out, all but the last with a warning; speaker
notes follow their slide; a sheet has its name as heading. Title, author, date and licence come from the file's properties.
"""

from __future__ import annotations

import functools
import io
from dataclasses import dataclass
from typing import Any

from corpus.lean import hidden
from corpus.outcome import Verdict
from extractors.extract import ExtractConfig
from extractors.office import epub, opendocument, package, presentation, spreadsheet, word
from extractors.office.completeness import completed, missing
from extractors.office.mend import DAMAGE
from extractors.result import Extracted, first_heading

MISSING = 0.02  # share of the words that may be missing: lists and formulas are written in other ways
LOST = 0.25
_FORMATS = {
    **{kind: kind.upper() for kind in ("docx", "pptx", "xlsx", "odt", "ods", "odp", "epub")},
    **{kind: f"IWORK_{kind.upper()}" for kind in ("pages", "numbers", "keynote")},
}


@dataclass
class _Reading:
    """What a file was read to: `texts` of its pages, or one for all where it has none, and the package's own paragraphs."""

    texts: list[str]
    seen: list[str]
    extractor: str = "docling"  # '' when Docling fails
    pages: int = 0  # pages, slides or sheets


def read(data: bytes, kind: str, config: ExtractConfig) -> Extracted:
    """Markdown of an office file or e-book."""
    data, names, warnings = package.opened(data, kind)
    mended = bool(warnings)
    about = package.properties(data, names, kind)
    reading = _workbook(data, kind, warnings) if kind in ("xlsx", "ods") else _document(data, kind, names, warnings)
    texts, seen, extractor = reading.texts, reading.seen, reading.extractor
    text = "\n\n".join(part for part in texts if part.strip())
    share = missing(text, seen) if extractor else 1.0
    if MISSING <= share < LOST and len(texts) == 1:
        text, before = completed(text, seen), share
        share = missing(text, seen)
        warnings += ["fallback_paragraphs"] * (share < before)
    if seen and share >= LOST:
        text, extractor, texts = "\n\n".join(seen), "office-xml", []
        warnings.append("fallback_xml")
    elif not extractor or (mended and not text.strip()):
        raise Verdict("malformed", f"the {kind} file is damaged")
    elif share >= MISSING:
        warnings.append(f"text_missing: {share:.0%}")
    if said := package.comments(data, names):
        warnings.append(f"comments_left_out: {said}")
    heading = "" if kind in ("xlsx", "ods") else first_heading(text)  # a sheet's name is no title
    title, lang = about.pop("title", "") or heading, about.pop("language", "")
    page_chars = [len(part) for part in texts] if reading.pages == len(texts) else []
    return Extracted(text, extractor, title, lang, dict(about), warnings, reading.pages, page_chars=page_chars)


def _document(data: bytes, kind: str, names: list[str], warnings: list[str]) -> _Reading:
    """All but workbooks."""
    copy: bytes | None = data  # None where Docling should not read it
    seen: list[str] = []
    slides: list[presentation.Slide] = []
    try:
        if kind == "docx":
            copy, seen = word.plain(data)
        elif kind in ("odt", "odp"):
            copy, seen = opendocument.plain(data)
        elif kind == "epub":
            copy, seen = epub.plain(data)
        elif kind == "pptx":
            slides = presentation.slides(data, names)
            seen = [line for slide in slides if not slide.hidden for line in (*slide.paragraphs, *slide.diagrams)]
    except MemoryError:
        raise
    except Exception:  # what cannot be prepared is read as it is
        warnings.append("fallback_unprepared")
    document = _docling(copy, kind) if copy is not None else None
    if document is None:
        return _Reading([], seen, "", len(slides))
    _notes(document)
    if hidden := sum(slide.hidden for slide in slides):
        warnings.append(f"hidden_slides_left_out: {hidden}")
    if kind == "pptx":
        pages = [_markdown(document, page) for page in sorted(document.pages)]
        for at, slide in enumerate(slides[: len(pages)]):
            if slide.diagrams and not slide.hidden:
                pages[at] = "\n\n".join([pages[at], *(f"- {line}" for line in slide.diagrams)])
        return _Reading(pages, seen, pages=len(pages))
    drawn = sum(group.name.startswith("slide") for group in document.groups)
    return _Reading([_markdown(document)], seen, pages=drawn)


def _workbook(data: bytes, kind: str, warnings: list[str]) -> _Reading:
    """A workbook, whose pages are the sheets that are shown."""
    from lxml import etree

    try:
        book = spreadsheet.opened(data) if kind == "xlsx" else opendocument.workbook(data)
    except (*DAMAGE, etree.XMLSyntaxError):
        document = _docling(data, kind)
        return _Reading([_markdown(document)], []) if document is not None else _Reading([], [], "")
    visible = [sheet for sheet in book.sheets if not sheet.hidden]
    if hidden := len(book.sheets) - len(visible):
        warnings.append(f"hidden_sheets_left_out: {hidden}")
    if book.cut:
        warnings.append("cut_at_max_rows")
    if book.uncomputed:
        warnings.append(f"uncomputed_formulas: {book.uncomputed}")
    if not book.large:
        data = spreadsheet.rewritten(data, book) if kind == "xlsx" else opendocument.plain(data)[0]
        document = _docling(data, kind)
        if document is not None:
            seen = [" ".join(row.values()) for sheet in visible for row in sheet.rows.values()]
            pages = dict(zip([s.name for s in book.sheets], sorted(document.pages), strict=False))
            texts = [_sheet(s.name, _markdown(document, pages[s.name]) if s.name in pages else "") for s in visible]
            return _Reading(texts, seen, pages=len(texts))
    warnings.append("fallback_tables")
    texts = [_sheet(sheet.name, spreadsheet.tables(sheet)) for sheet in visible]
    return _Reading(texts, [], "office-xml", len(texts))


def _sheet(name: str, text: str) -> str:
    return f"## {name}\n\n{text}" if text.strip() else ""


@functools.cache
def _converter(kind: str) -> Any:
    with hidden("transformers"):
        from docling.backend import iwork_backend, msexcel_backend, mspowerpoint_backend, msword_backend
        from docling.datamodel.base_models import InputFormat
        from docling.document_converter import DocumentConverter

    for backend in (iwork_backend, msexcel_backend, mspowerpoint_backend, msword_backend):
        backend.get_docx_to_pdf_converter = lambda: None  # shapes are not drawn: a LibreOffice started for each takes seconds
    return DocumentConverter(allowed_formats=[getattr(InputFormat, _FORMATS[kind])])


def _docling(data: bytes, kind: str) -> Any:
    """Docling's document; None when it fails."""
    converter = _converter(kind)
    from docling.datamodel.base_models import ConversionStatus, DocumentStream

    try:
        result = converter.convert(DocumentStream(name=f"document.{kind}", stream=io.BytesIO(data)), raises_on_error=False)
    except MemoryError:
        raise
    except Exception:  # a backend's failure is not the file's: the XML inside has its say
        return None
    return result.document if result.status in (ConversionStatus.SUCCESS, ConversionStatus.PARTIAL_SUCCESS) else None


def _notes(document: Any) -> None:
    """Speaker notes, which Docling sets aside with the comments, to the body."""
    from docling_core.types.doc import ContentLayer, GroupLabel

    for item in document.texts:
        if item.content_layer == ContentLayer.NOTES and item.parent is not None:
            parent = item.parent.resolve(document)
            if getattr(parent, "label", None) in (GroupLabel.SLIDE, GroupLabel.CHAPTER):
                item.content_layer = ContentLayer.BODY


def _markdown(document: Any, page: int | None = None) -> str:
    return str(
        document.export_to_markdown(image_placeholder="", escape_html=False, escape_underscores=False, compact_tables=True, page_no=page)
    )
