"""Which sign parts the cells of a text, if it is a table at all."""

from __future__ import annotations

import csv
import io

_SAMPLE = 20_000  # characters


def delimiter_of(text: str) -> str:
    """The delimiter of a table in text, '' when it is none.

    Nearly all of its records have the same number of cells. A few may have more or fewer where there are several short columns;
    two columns parted by commas want four records, since lines of prose have commas too.
    """
    sample = text[:_SAMPLE].lstrip("\ufeff")
    cut = len(text) > _SAMPLE
    for delimiter in "\t;,|":
        if delimiter not in sample:
            continue
        try:
            rows = [row for row in csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter, strict=False) if any(row)]
        except csv.Error:
            continue
        rows = rows[:-1] if cut and len(rows) > 3 else rows
        if _is_table(rows, delimiter):
            return delimiter
    return ""


def _is_table(rows: list[list[str]], delimiter: str) -> bool:
    if len(rows) < 3:
        return False
    widths = [len(row) for row in rows]
    width = max(set(widths), key=lambda w: (widths.count(w), w))
    same = widths.count(width) / len(rows)
    head = [cell.strip() for cell in rows[0]]
    if delimiter == "|" and all(not row[0].strip() and not row[-1].strip() for row in rows):
        return False  # a table of Markdown
    if width >= 3 and same == 1.0 and delimiter != ",":
        return True
    if width < 2 or any(len(cell) > 200 or cell.endswith((".", ":")) for cell in head):
        return False
    named = len(head) == width and len(set(head)) == width and all(0 < len(cell) <= 60 for cell in head)
    if named and same >= (0.98 if width > 2 else 1.0) and (len(rows) >= 4 or width > 2 or delimiter != ","):
        return True
    if width > 3 and same >= 0.98:  # long or missing names
        return len(set(filter(None, head))) >= 0.8 * len(list(filter(None, head)))
    cells = [cell for row in rows for cell in row]
    short = sum(map(len, cells)) <= 30 * len(cells) and 2 * sum(cell.startswith(" ") for cell in cells) < len(cells)
    return width >= 3 and same >= 0.75 and len(rows) >= 4 and short and all(head) and abs(len(head) - width) <= 1
