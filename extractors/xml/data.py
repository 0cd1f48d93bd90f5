"""XML that holds data: tables with cells over several rows or columns, records as `name: value` lines and tables of one shape."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from extractors.result import markdown_table
from extractors.xml.families import Family
from extractors.xml.inline import flat, local, own_text


def table(element: Any, family: Family) -> list[list[str]]:
    """Rows of a table; a cell over several columns or rows is in each of them."""
    if local(element) not in ("table", "informaltable", "tgroup", "texttable"):
        return []
    rows: list[list[str]] = []
    below: dict[int, tuple[int, str]] = {}  # column -> rows still covered from above, and what covers them
    columns = {spec.get("colname"): at for at, spec in enumerate(e for e in element.iter() if local(e) == "colspec")}
    for row in element.iter():
        if local(row) not in ("tr", "row"):
            continue
        cells: list[str] = []
        for cell in row:
            if local(cell) not in ("td", "th", "entry", "cell"):
                continue
            _cover(cells, below)
            first, last = columns.get(cell.get("namest")), columns.get(cell.get("nameend"))
            wide = _span(cell.get("colspan")) if first is None or last is None else last - first + 1
            tall = _span(cell.get("morerows")) + 1 if cell.get("morerows") else _span(cell.get("rowspan"))
            text = flat(cell, family).strip()
            for _ in range(max(1, wide)):
                if tall > 1:
                    below[len(cells)] = (tall - 1, text)
                cells.append(text)
        _cover(cells, below)
        rows.append(cells)
    return [row for row in rows if any(row)]


def _cover(cells: list[str], below: dict[int, tuple[int, str]]) -> None:
    """Cells that hang down from the rows above."""
    while len(cells) in below:
        left, text = below.pop(len(cells))
        if left > 1:
            below[len(cells)] = (left - 1, text)
        cells.append(text)


def _span(stated: str | None) -> int:
    return min(int(stated), 200) if stated and stated.isdigit() else 1


def records(element: Any, family: Family, depth: int) -> Iterator[str]:
    """Headings for what holds several values, `name: value` lines, a table for what is there more than once in one shape."""
    named: dict[str, list[Any]] = {}
    for child in element:
        if local(child) and local(child) not in family.skip:
            named.setdefault(local(child), []).append(child)
    for name, children in named.items():
        if len(children) > 1 and all(len(child) and not own_text(child) and _simple(child) for child in children):
            yield f"\n{_titled(name, depth)}\n\n{markdown_table(_rows(children, family))}\n"
            continue
        for child in children:
            if len(child) == 0 or own_text(child):
                if value := flat(child, family).strip():
                    yield f"{_words(name)}: {value}"
            elif inner := list(records(child, family, depth + 1)):
                yield f"\n{_titled(name, depth)}\n"
                yield from inner


def _titled(name: str, depth: int) -> str:
    return f"{'#' * (depth + 2)} {_words(name)}" if depth < 3 else f"**{_words(name)}**"


def _words(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z][a-z]|[A-Z]{2,})|[_]", " ", name)


def _simple(record: Any) -> bool:
    """One level of values, or two."""
    return all(len(leaf) == 0 for child in record for leaf in child)


def _rows(records: list[Any], family: Family) -> list[list[str]]:
    shaped = []
    for record in records:
        values: dict[str, str] = {}
        for child in record:
            for leaf in child if len(child) else (child,):
                name, value = _words(local(leaf)), flat(leaf, family).strip()
                values[name] = f"{values[name]}; {value}" if values.get(name) else value
        shaped.append(values)
    columns = list(dict.fromkeys(name for values in shaped for name in values))
    return [columns, *([values.get(name, "") for name in columns] for values in shaped)]
