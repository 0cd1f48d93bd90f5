"""What pypdfium2 tells of a PDF before Docling reads it: passwords, damage, pages, their text in the order of the file, scans."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import pypdfium2
import pypdfium2.raw

from corpus.outcome import Verdict
from extractors.result import one_line

_SCAN_CHARS = 8  # a page with an image and fewer characters than this is a scan
_MANY_PATHS = 200  # drawings on a page without text: more are letters as outlines, or a figure that holds some
_PROGRAM_TITLE = re.compile(
    r"\.(?:docx?|pdf|xlsx?|pptx?|indd|dvi|tex|pub|rtf|qxd|p65|wpd)$"
    r"|^(?:Microsoft (?:Word|PowerPoint|Excel)|untitled|senza titolo|Layout \d)",
    re.I,
)


@dataclass(slots=True)
class Look:
    """The file at a glance. `texts` by page in the order of the file; `scans` and `empty` are page numbers from 1."""

    count: int = 0
    texts: list[str] = field(default_factory=list)
    scans: list[int] = field(default_factory=list)
    empty: list[int] = field(default_factory=list)
    title: str = ""
    about: dict[str, Any] = field(default_factory=dict)


def look(data: bytes, limit: int) -> Look:
    """The first `limit` pages at a glance; no pages when the file cannot be opened. Raises Verdict when it needs a password."""
    out = Look()
    try:
        with pypdfium2.PdfDocument(data) as pdf:
            out.count = len(pdf)
            said = pdf.get_metadata_dict(skip_empty=True)
            out.about = {"date": _date(said.get("CreationDate", "")), "author": one_line(said.get("Author", ""))}
            title = one_line(said.get("Title", ""))
            out.title = "" if _PROGRAM_TITLE.search(title) else title
            for number in range(1, min(out.count, limit) + 1):
                text, pictured = _page(pdf, number)
                out.texts.append(text)
                if pictured:
                    out.scans.append(number)
                elif not text.strip():
                    out.empty.append(number)
    except pypdfium2.PdfiumError as error:
        if "password" in str(error).lower() or "security" in str(error).lower():
            raise Verdict("encrypted", "the PDF is protected by a password") from error
    return out


def _page(pdf: Any, number: int) -> tuple[str, bool]:
    """Text of a page, and whether it is an image with hardly any text. A broken page costs that page; Docling may still read it."""
    try:
        page = pdf[number - 1]
    except pypdfium2.PdfiumError:
        return "", False
    try:
        textpage = page.get_textpage()
        try:
            text = textpage.get_text_bounded().replace("\r\n", "\n").replace("\ufffe", "-").replace("\x02", "-")
        finally:
            textpage.close()
        bare = sum(not c.isspace() for c in text) < _SCAN_CHARS
        return text, bare and _pictured(page)
    except pypdfium2.PdfiumError:
        return "", False
    finally:
        page.close()


def _pictured(page: Any) -> bool:
    """Whether the page holds an image, or so many drawings that they may be letters."""
    kinds = [pypdfium2.raw.FPDF_PAGEOBJ_IMAGE, pypdfium2.raw.FPDF_PAGEOBJ_PATH]
    things = enumerate(page.get_objects(filter=kinds, max_depth=4))
    return any(thing.type == pypdfium2.raw.FPDF_PAGEOBJ_IMAGE or number >= _MANY_PATHS for number, thing in things)


def _date(value: str) -> str:
    match = re.match(r"D?:?(\d{4})(\d{2})?(\d{2})?", value)
    return "-".join(part for part in match.groups() if part) if match else ""
