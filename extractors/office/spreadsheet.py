"""Sheets of a workbook: what their cells show, for Docling, and as tables where there are too many for it.

Docling finds the tables and charts of a sheet, but keeps numbers as they are stored, and an object for each cell: 150,000 rows
of three cells took half a minute, and a sheet with one cell in its last corner did not end in a minute. So the
cells are read here first, as they are shown (see numberformat.py). A workbook of up to MOST_CELLS goes to Docling with these
values written into it; a larger or sparser one becomes tables here, one for each run of rows without an empty one between
them, empty columns left out, and MOST_ROWS of the workbook at most.
"""

from __future__ import annotations

import datetime
import io
import posixpath
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from extractors.office.numberformat import plain, shown
from extractors.office.package import copy
from extractors.result import markdown_table

MOST_CELLS = 40_000
MOST_AREA = 2_000_000  # cells of the rectangle that a sheet's cells span
MOST_ROWS = 100_000


@dataclass
class Sheet:
    """A sheet; `rows` is row number -> column -> text, in order."""

    name: str
    path: str
    hidden: bool
    rows: dict[int, dict[int, str]] = field(default_factory=dict)

    @property
    def cells(self) -> int:
        """How many cells show something."""
        return sum(map(len, self.rows.values()))

    @property
    def area(self) -> int:
        """Cells of the rectangle from A1 that holds them all."""
        return max(self.rows, default=0) * max((max(row, default=0) for row in self.rows.values()), default=0)


@dataclass
class Workbook:
    """What is shown in a workbook; `cut` when it has more rows than are read."""

    sheets: list[Sheet]
    cut: bool
    uncomputed: int  # formulas whose result the file does not hold
    values: dict[str, dict[str, str]]  # path of a sheet -> reference of a cell -> what it shows instead of what it holds

    @property
    def large(self) -> bool:
        """Whether it is too much for Docling."""
        return (
            self.cut or sum(sheet.cells for sheet in self.sheets) > MOST_CELLS or max((s.area for s in self.sheets), default=0) > MOST_AREA
        )


def opened(data: bytes) -> Workbook:
    """The workbook's sheets, the hidden ones without their cells. Errors are the zip's and lxml's."""
    with zipfile.ZipFile(io.BytesIO(data)) as package:
        names = set(package.namelist())
        root = next(
            (r.get("Target", "") for r in _iter(package, "_rels/.rels", "Relationship") if r.get("Type", "").endswith("/officeDocument")),
            "",
        )
        main = root.lstrip("/") or "xl/workbook.xml"
        folder = posixpath.dirname(main)
        targets = {
            r.get("Id"): posixpath.normpath(posixpath.join(folder, r.get("Target", "")))
            if not r.get("Target", "").startswith("/")
            else r.get("Target")[1:]
            for r in _iter(package, f"{folder}/_rels/{posixpath.basename(main)}.rels", "Relationship")
        }
        epoch = datetime.datetime(1899, 12, 30)
        sheets: list[Sheet] = []
        for element in _iter(package, main, "sheet", "workbookPr"):
            if element.tag.endswith("}workbookPr"):
                epoch = datetime.datetime(1904, 1, 1) if element.get("date1904") in ("1", "true") else epoch
                continue
            relation = next((v for k, v in element.attrib.items() if k.endswith("}id")), "")
            path = targets.get(relation, "") if targets else f"{folder}/worksheets/sheet{len(sheets) + 1}.xml"
            sheets.append(Sheet(element.get("name", ""), path, element.get("state", "visible") != "visible"))
        if not sheets:  # the part that lists them is damaged
            paths = sorted((n for n in names if re.match(rf"{re.escape(folder)}/worksheets/[^/]+\.xml", n)), key=lambda n: (len(n), n))
            sheets = [Sheet(posixpath.basename(path)[:-4], path, False) for path in paths]
        strings = [_string(e) for e in _iter(package, f"{folder}/sharedStrings.xml", "si")]
        formats = _formats(package, f"{folder}/styles.xml")
        values: dict[str, dict[str, str]] = {}
        room, cut, uncomputed = MOST_ROWS, False, 0
        for sheet in sheets:
            if sheet.hidden or sheet.path not in names:
                continue
            changed = values.setdefault(sheet.path, {})
            for row in _rows(package, sheet.path):
                if not room:
                    cut = True
                    break
                uncomputed += sum(cell.find("{*}f") is not None and not cell.findtext("{*}v") for cell in row)
                room -= _read(sheet, row, strings, formats, epoch, changed)
        return Workbook(sheets, cut, uncomputed, values)


def rewritten(data: bytes, book: Workbook) -> bytes:
    """The package with what its cells show in them; pictures are empty."""
    with zipfile.ZipFile(io.BytesIO(data)) as package:
        changed = {name: _with(package.read(name), values) for name, values in book.values.items() if values}
    return copy(data, changed, leave="xl/media/.")


def tables(sheet: Sheet) -> str:
    """The sheet as Markdown tables, one for each run of rows without an empty one between them."""
    runs: list[list[dict[int, str]]] = []
    last = None
    for number, row in sheet.rows.items():
        if last is None or number > last + 1:
            runs.append([])
        runs[-1].append(row)
        last = number
    return "\n\n".join(_table(run) for run in runs)


def _table(run: list[dict[int, str]]) -> str:
    columns = sorted({column for row in run for column in row})
    if len(run) == 1 and len(columns) == 1:
        return run[0][columns[0]]
    return markdown_table([[row.get(column, "") for column in columns] for row in run])


def _iter(package: zipfile.ZipFile, name: str, *wanted: str) -> Iterator[Any]:
    """Elements of these local names, one at a time; none when the part is missing."""
    from lxml import etree

    try:
        part = package.open(name)
    except KeyError:
        return
    with part:
        tags = [f"{{*}}{local}" for local in wanted]
        for _, element in etree.iterparse(part, tag=tags, resolve_entities=False, no_network=True, remove_comments=True):
            yield element
            element.clear()


def _rows(package: zipfile.ZipFile, name: str) -> Iterator[Any]:
    from lxml import etree

    with package.open(name) as part:
        for _, row in etree.iterparse(part, tag="{*}row", resolve_entities=False, no_network=True, remove_comments=True):
            yield row
            row.clear()
            while row.getprevious() is not None:
                del row.getparent()[0]


def _string(element: Any) -> str:
    """Characters of a shared or inline string; readings of Asian characters left out."""
    return "".join(t.text or "" for t in element.iter("{*}t") if not t.getparent().tag.endswith("}rPh"))


def _formats(package: zipfile.ZipFile, name: str) -> list[str]:
    """Format codes by the style index of a cell."""
    from lxml import etree
    from openpyxl.styles.numbers import BUILTIN_FORMATS

    try:
        styles = etree.fromstring(package.read(name), etree.XMLParser(resolve_entities=False, no_network=True))
    except KeyError:
        return []
    own = {f.get("numFmtId"): f.get("formatCode", "") for f in styles.iter("{*}numFmt")}
    cells = styles.find("{*}cellXfs")
    ids = [x.get("numFmtId", "0") for x in cells] if cells is not None else []
    return [own.get(i, BUILTIN_FORMATS.get(int(i), "") if i.isdigit() else "") for i in ids]


def _read(sheet: Sheet, row: Any, strings: list[str], formats: list[str], epoch: datetime.datetime, changed: dict[str, str]) -> int:
    """Cells of a row into the sheet; 1 when it shows anything."""
    number = int(row.get("r") or max(sheet.rows, default=0) + 1)
    cells: dict[int, str] = {}
    column = 0
    for cell in row:
        reference = cell.get("r") or ""
        column = _column(reference) or column + 1
        text = _text(cell, strings, formats, epoch, changed)
        if text.strip():
            cells[column] = text
    if cells:
        sheet.rows[number] = cells
    return bool(cells)


def _text(cell: Any, strings: list[str], formats: list[str], epoch: datetime.datetime, changed: dict[str, str]) -> str:
    kind = cell.get("t", "n")
    if kind == "inlineStr":
        return _string(cell)
    held = cell.find("{*}v")
    value = held.text if held is not None and held.text else ""
    if kind == "s":
        return strings[int(value)] if value.isdigit() and int(value) < len(strings) else ""
    if kind == "b":
        return "True" if value == "1" else "False" if value else ""
    if kind != "n" or not value:
        return value
    style = cell.get("s", "0")
    code = formats[int(style)] if style.isdigit() and int(style) < len(formats) else ""
    try:
        number = float(value)
        text = shown(number, code, epoch) if code else plain(number)
    except (ValueError, OverflowError):
        return value
    if cell.get("r"):
        changed[cell.get("r")] = text
    return text


def _column(reference: str) -> int:
    letters = re.match(r"[A-Z]{1,3}", reference)
    column = 0
    for letter in letters[0] if letters else "":
        column = column * 26 + ord(letter) - 64
    return column


def _with(data: bytes, values: dict[str, str]) -> bytes:
    from lxml import etree

    sheet = etree.fromstring(data, etree.XMLParser(resolve_entities=False, no_network=True, remove_comments=True))
    for cell in sheet.iter("{*}c"):
        text = values.get(cell.get("r"))
        held = cell.find("{*}v")
        if text is not None and held is not None and text != held.text:
            cell.set("t", "str")
            held.text = text
    return bytes(etree.tostring(sheet, xml_declaration=True, encoding="UTF-8", standalone=True))
