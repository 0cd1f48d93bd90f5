"""What every extractor returns, and small helpers they share.

An extractor is a function `bytes -> Extracted`. It raises `Verdict` for bytes that cannot be read; for a document that is
fine but of no use here (a scan without OCR, a format without converter) it sets `problem`. Its warnings are short
machine-readable phrases about what was lost or guessed; they never quote the document. A warning that begins with `fallback_`
says that another way was taken than the first; one named in LOSSES, that something of the document is not in the text. A
number or pages can follow after a colon: `pages_need_ocr: 3-4, 9`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

LOSSES: dict[str, str] = {  # warning -> what is missing, for a person
    "pages_left_out": "pages beyond extract.max_pages or extract.ocr_pages",
    "pages_need_ocr": "scanned pages",
    "pages_unread_by_ocr": "scanned pages on which OCR finds no text",
    "pages_failed": "pages that cannot be parsed",
    "cut_at_max_chars": "what follows after extract.max_chars",
    "cut_at_max_rows": "rows beyond the first 100,000",
    "cut_short": "what followed where the file is cut",
    "zeroed_bytes": "what stood where damage left zeros",
    "damaged_parts": "what is lost of damaged parts of the file",
    "undecodable_bytes": "bytes that are no characters in its encoding",
    "unmapped_glyphs": "glyphs that its fonts give no character for",
    "attachments_left_out": "attachments written into the XML",
    "figures_left_out": "bare figures of a financial report",
    "dates_of_today_left_out": "fields that show the date of the day they are read",
    "text_missing": "words of the file's own paragraphs, in per cent",
    "hidden_slides_left_out": "slides that are hidden",
    "hidden_sheets_left_out": "sheets that are hidden",
    "uncomputed_formulas": "results of formulas that the file does not hold",
    "inclusion_left_out": "files it includes",
    "external_entity_left_out": "entities outside the file",
}
_BLANKS = re.compile(r"\n{3,}")
_TRAILING = re.compile(r"[ \t\f\v]+\n")


@dataclass
class Extracted:
    """Text and what is known about it. `extractor` names the library and the way taken, e.g. 'docling' or 'pypdfium2'."""

    text: str
    extractor: str
    title: str = ""
    lang_hint: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    pages: int = 0  # pages, slides or sheets of the file
    scans: int = 0  # pages that are images without text
    page_chars: list[int] = field(default_factory=list)  # characters read from each page, where the format has pages
    encoding: str = ""  # of the bytes, where they are text
    form: str = "prose"
    problem: str = ""  # reason of the rejection
    detail: str = ""


def losses(warnings: list[str]) -> str:
    """What is missing from the text, in words; '' when nothing is."""
    said = [warning.partition(": ") for warning in warnings]
    return "; ".join(f"{LOSSES[name]}{f' ({where})' if where else ''}" for name, _, where in said if name in LOSSES)


def fallbacks(warnings: list[str]) -> str:
    """The other ways that were taken; '' when the first one served."""
    return ", ".join(warning.removeprefix("fallback_") for warning in warnings if warning.startswith("fallback_"))


def ranges(numbers: list[int]) -> str:
    """1, 2, 3, 7 -> '1-3, 7'."""
    out: list[list[int]] = []
    for n in numbers:
        if out and n == out[-1][1] + 1:
            out[-1][1] = n
        else:
            out.append([n, n])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in out)


def tidy(text: str) -> str:
    """Line ends unified, trailing blanks and runs of empty lines removed, NUL dropped; nothing else changes."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\x00", "")
    return _BLANKS.sub("\n\n", _TRAILING.sub("\n", text + "\n")).strip("\n")


def first_heading(markdown: str) -> str:
    """Text of the first Markdown heading, '' when there is none in the first 4,000 characters."""
    match = re.search(r"(?m)^#{1,3} +(.+?) *#*$", markdown[:4000])
    return one_line(match[1]) if match else ""


def one_line(text: object, limit: int = 300) -> str:
    """A title or a metadata value: blanks collapsed, cut at `limit` characters."""
    return re.sub(r"\s+", " ", str(text or "")).strip()[:limit]


def markdown_table(rows: list[list[str]]) -> str:
    """A Markdown table; the first row is the head. Cells are brought to one line, `|` is escaped."""
    width = max((len(row) for row in rows), default=0)
    if not width:
        return ""
    lines = ["| " + " | ".join(_cell(row[i]) if i < len(row) else "" for i in range(width)) + " |" for row in rows]
    return "\n".join([lines[0], "|" + " --- |" * width, *lines[1:]])


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|").strip()
