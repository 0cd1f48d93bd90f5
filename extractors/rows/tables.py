"""Tables: the rows of CSV and Parquet files, and which column of a table, or field of JSON rows, holds running text.

A row is a member, the bytes of a JSON object, named by its number from 1. Which column is the text is decided once for a table,
on its first rows: a configured name, else the one column of prose. A CSV is held decoded with the places of its rows, a Parquet
file is read a row group at a time.
"""

from __future__ import annotations

import csv
import io
import json
import re
from array import array
from collections.abc import Iterator
from typing import Any

from corpus.canonical import digest_text
from extractors.chat import messages_of
from extractors.containers.archives import Broken
from extractors.decode import decode
from extractors.rows.delimited import delimiter_of

Row = dict[str, Any]
_SAMPLE = 200  # rows a text column is looked for in
_SAMPLE_BYTES = 1 << 20
_SHORT = 40  # characters: a configured column with shorter cells on average holds no text
_WORD = re.compile(r"[^\W\d_]+")
_SENTENCE = re.compile(r"[.!?;:…»\"”)]\s*$|[.!?]\s+[A-ZÀ-Ý]")


class Table:
    """A table whose rows are members: what `records` gives, one at a time."""

    def __init__(self, kind: str, data: bytes) -> None:
        self._table: Delimited | Columns = Columns(data) if kind == "parquet" else Delimited(data)

    def names(self) -> Iterator[str]:
        yield from map(str, range(1, len(self._table) + 1))

    def read(self, name: str) -> bytes:
        number = int(name) if name.isdigit() else 0
        if not 0 < number <= len(self._table):
            raise KeyError(name)
        return json.dumps(self._table.row(number), ensure_ascii=False, default=_plain).encode("utf-8", "surrogatepass")


class Delimited:
    """A CSV file; empty rows are no rows. A first row that is data, not names, counts: its columns are named by number."""

    def __init__(self, data: bytes) -> None:
        csv.field_size_limit(1 << 27)
        text, self.encoding = decode(bytes(data))
        self._text = text
        self._delimiter = delimiter_of(text) or ","
        self._places = array("q")
        self.head: list[str] = []
        position = 0

        ends = "\n" if "\n" in text[:_SAMPLE_BYTES] else "\r"

        def lines() -> Iterator[str]:
            nonlocal position
            while position < len(text):
                begin, position = position, text.find(ends, position) + 1 or len(text)
                yield text[begin:position]

        start = 0
        try:
            for row in csv.reader(lines(), delimiter=self._delimiter):
                if any(cell.strip() for cell in row):
                    if not self.head and _is_head(row):
                        self.head = [cell.strip() or str(number) for number, cell in enumerate(row, 1)]
                    else:
                        self.head = self.head or [str(number) for number in range(1, len(row) + 1)]
                        self._places.extend((start, position))
                start = position
        except csv.Error as error:
            raise Broken("malformed", "the CSV file is damaged") from error

    def __len__(self) -> int:
        return len(self._places) // 2

    def cells(self, number: int) -> list[str]:
        """Row `number`, from 1, as it is written."""
        start, end = self._places[2 * number - 2], self._places[2 * number - 1]
        return next(csv.reader(io.StringIO(self._text[start:end], newline=""), delimiter=self._delimiter))

    def row(self, number: int) -> Row:
        """Row `number` by column names; cells beyond the last name have the number of their column."""
        cells = self.cells(number)
        row: Row = {}
        for at, cell in enumerate(cells):
            name = self.head[at] if at < len(self.head) else str(at + 1)
            row[name if name not in row else f"{name} {at + 1}"] = cell
        return row


class Columns:
    """A Parquet file; the row group last asked for is kept."""

    encoding = ""

    def __init__(self, data: bytes) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            self._file = pq.ParquetFile(pa.BufferReader(pa.py_buffer(data)))
        except (pa.ArrowException, OSError, ValueError) as error:
            raise Broken("malformed", "the Parquet file is damaged") from error
        self.head = list(self._file.schema_arrow.names)
        self._starts = array("q", [0])
        for group in range(self._file.metadata.num_row_groups):
            self._starts.append(self._starts[-1] + self._file.metadata.row_group(group).num_rows)
        self._group, self._table = -1, None

    def __len__(self) -> int:
        return int(self._starts[-1])

    def row(self, number: int) -> Row:
        """Row `number`, from 1."""
        import bisect

        import pyarrow as pa

        group = bisect.bisect_right(self._starts, number - 1) - 1
        try:
            if group != self._group:
                self._table = None
                self._table, self._group = self._file.read_row_group(group), group
            at = number - 1 - self._starts[group]
            return dict(self._table.slice(at, 1).to_pylist()[0])  # type: ignore[attr-defined]
        except (pa.ArrowException, OSError, ValueError, IndexError) as error:
            raise Broken("malformed", "a row group of the Parquet file is damaged") from error

    def cells(self, number: int) -> list[str]:
        """Row `number` as text."""
        row = self.row(number)
        return ["" if row.get(name) is None else str(row[name]) for name in self.head]


def opened(kind: str, data: bytes) -> Delimited | Columns:
    """The table in these bytes. Raises Broken."""
    return Columns(data) if kind == "parquet" else Delimited(data)


def row_kind(kind: str, data: bytes, columns: tuple[str, ...]) -> str:
    """The kind of the rows of a CSV, Parquet or JSONL file: row:KEY, guess:KEY, json where each is told by itself (JSONL
    without a text field, conversations), '' for a table that is one document. KEY is the `column_key` of its text column."""
    try:
        rows = _sample(kind, data)
    except Broken:
        return "json" if kind == "jsonl" else ""
    if rows and all(messages_of(row) for row in rows[:20]):
        return "json"
    name, guessed = text_field(rows, columns)
    if name:
        return f"{'guess' if guessed else 'row'}:{column_key(name)}"
    return "json" if kind == "jsonl" else ""


def column_key(name: str) -> str:
    """What stands for a column's name in a kind: kinds are shown to everybody, and where names are missing a name can be data."""
    return digest_text(name)[:8]


def text_field(rows: list[Row], columns: tuple[str, ...]) -> tuple[str, bool]:
    """The column of these rows that is the text ('' for none), and whether it was detected.

    It is a configured name whose cells have 40 characters on average, else the column of prose.

    Prose: most cells filled and different from one another, a dozen words of letters on average, ends of sentences; and it holds
    most of what the rows say, so that nothing of weight is beside it.
    """
    cells: dict[str, list[str]] = {}
    for row in rows:
        for name, value in row.items():
            if isinstance(value, str) and value.strip():
                cells.setdefault(str(name), []).append(value.strip())
    wanted = {name.lower(): number for number, name in enumerate(columns)}
    known = sorted((wanted[name.lower()], name) for name in cells if name.lower() in wanted)
    for _, name in known:
        if sum(map(len, cells[name])) >= _SHORT * len(cells[name]) and 2 * len(cells[name]) >= len(rows):
            return name, False
    sizes = {name: sum(map(len, values)) for name, values in cells.items()}
    best = max(sizes, key=lambda name: (sizes[name], name), default="")
    if len(rows) >= 2 and best and sizes[best] >= 0.6 * sum(sizes.values()) and _is_prose(cells[best], len(rows)):
        return best, True
    return "", False


def _is_prose(values: list[str], rows: int) -> bool:
    words = [_WORD.findall(value[:4_000]) for value in values]
    letters = sum(len(word) for found in words for word in found)
    return (
        2 * len(values) >= rows
        and sum(map(len, words)) >= 12 * len(values)
        and letters >= 0.6 * sum(min(len(value), 4_000) for value in values)
        and len(set(values)) >= 0.5 * len(values)
        and sum(1 for value in values if _SENTENCE.search(value)) >= 0.3 * len(values)
    )


def _sample(kind: str, data: bytes) -> list[Row]:
    if kind != "jsonl":
        whole = kind == "parquet" or len(data) <= _SAMPLE_BYTES
        table = opened(kind, data if whole else bytes(data[:_SAMPLE_BYTES]))
        count = len(table) if whole else max(len(table) - 1, 1)  # the last row of a cut table may be cut too
        return [table.row(number) for number in range(1, min(_SAMPLE, count) + 1)]
    rows = []
    for line in bytes(data[:_SAMPLE_BYTES]).split(b"\n")[:_SAMPLE]:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def _is_head(row: list[str]) -> bool:
    """Names of columns: short, different from one another, none of them a sentence."""
    cells = [cell.strip() for cell in row if cell.strip()]
    return len(set(cells)) == len(cells) and all(len(cell) <= 120 and len(cell.split()) <= 15 for cell in cells)


def _plain(value: object) -> str:
    """What JSON has no form for: dates and numbers as text, bytes as nothing that could be read."""
    return "" if isinstance(value, (bytes, bytearray, memoryview)) else str(value)
