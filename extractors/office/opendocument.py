"""OpenDocument texts, sheets and presentations prepared for Docling: notes at the end, what a reader does not see left out.

Docling sets foot- and endnotes of a text aside; here they stand at its end as Markdown's notes, `[^1]: …`, and `[^1]` where
they are called. Deleted text of tracked changes and annotations are left out.
"""

from __future__ import annotations

from typing import Any

from extractors.office import package
from extractors.office.spreadsheet import MOST_ROWS, Sheet, Workbook

MOST_REPEATS = 100  # of a row or cell that the file writes once
_TABLE = "{urn:oasis:names:tc:opendocument:xmlns:table:1.0}"
_STYLE = "{urn:oasis:names:tc:opendocument:xmlns:style:1.0}"
_TEXT = "{urn:oasis:names:tc:opendocument:xmlns:text:1.0}"
_OFFICE = "{urn:oasis:names:tc:opendocument:xmlns:office:1.0}"
_BLANKS = {f"{_TEXT}s", f"{_TEXT}tab", f"{_TEXT}line-break"}
_UNSEEN = (f"{_OFFICE}annotation", f"{_OFFICE}annotation-end", f"{_TEXT}tracked-changes")
_BLOCKS = (f"{_TEXT}p", f"{_TEXT}h")


def plain(data: bytes) -> tuple[bytes, list[str]]:
    """The package with its notes in the text, and its paragraphs."""
    root = package.part(data, "content.xml")
    if root is None:
        return data, []
    for element in [e for e in root.iter(*_UNSEEN)]:
        _cut(element)
    body = root.find(f"{_OFFICE}body/{_OFFICE}text")
    if body is not None:
        _notes(body)
    paragraphs = [_characters(e) for e in root.iter(*_BLOCKS) if not any(True for _ in e.iterancestors(*_BLOCKS))]
    return package.copy(data, {"content.xml": package.xml(root)}, leave=r"(?:Pictures|Thumbnails)/."), paragraphs


def _cut(element: Any) -> None:
    """Takes an element away and leaves what follows it."""
    parent, before = element.getparent(), element.getprevious()
    if element.tail:
        if before is not None:
            before.tail = (before.tail or "") + element.tail
        else:
            parent.text = (parent.text or "") + element.tail
    parent.remove(element)


def _notes(body: Any) -> None:
    for number, note in enumerate([n for n in body.iter(f"{_TEXT}note")], 1):
        content = note.find(f"{_TEXT}note-body")
        mark = note.makeelement(f"{_TEXT}span")
        mark.text, mark.tail, note.tail = f"[^{number}]", note.tail, None
        note.getparent().replace(note, mark)
        for at, paragraph in enumerate(content if content is not None else ()):
            if at == 0:
                paragraph.text = f"[^{number}]: {(paragraph.text or '').lstrip()}"
            body.append(paragraph)


def _characters(paragraph: Any) -> str:
    """Its text, in which blanks written as elements are blanks."""
    return f"{' ' * (paragraph.tag in _BLANKS)}{paragraph.text or ''}" + "".join(_characters(e) + (e.tail or "") for e in paragraph)


def workbook(data: bytes) -> Workbook:
    """The sheets of a spreadsheet, whose cells hold what they show; repeated ones are repeated up to MOST_REPEATS times."""
    root = package.part(data, "content.xml")
    sheets: list[Sheet] = []
    room, cut = MOST_ROWS, False
    if root is None:
        return Workbook([], False, 0, {})
    unseen = {
        s.get(f"{_STYLE}name")
        for s in root.iter(f"{_STYLE}style")
        if s.find(f"{_STYLE}table-properties[@{_TABLE}display='false']") is not None
    }
    for element in root.iter(f"{_TABLE}table"):
        sheet = Sheet(element.get(f"{_TABLE}name", ""), "", element.get(f"{_TABLE}style-name") in unseen)
        sheets.append(sheet)
        number = 0
        for row in element.iter(f"{_TABLE}table-row"):
            repeats = int(row.get(f"{_TABLE}number-rows-repeated", "1"))
            cells = {} if sheet.hidden else _cells(row)
            for at in range(min(repeats, MOST_REPEATS) if cells else 0):
                if not room:
                    cut = True
                    break
                sheet.rows[number + at + 1], room = cells, room - 1
            number += repeats
    return Workbook(sheets, cut, 0, {})


def _cells(row: Any) -> dict[int, str]:
    cells: dict[int, str] = {}
    column = 0
    for cell in row:
        repeats = int(cell.get(f"{_TABLE}number-columns-repeated", "1"))
        text = "\n".join(_characters(p) for p in cell.iterchildren(f"{_TEXT}p"))
        if text.strip():
            cells |= {column + at + 1: text for at in range(min(repeats, MOST_REPEATS))}
        column += repeats
    return cells
