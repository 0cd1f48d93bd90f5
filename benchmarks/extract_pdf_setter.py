"""Sets paragraphs, headings, footnotes and a table in columns and pages, paints them as a PDF, and keeps what it set as truth.

Lines are broken as early as they are full, words divided by the patterns of pyphen's Italian dictionary or at hyphens of their
own; a line goes where its notes have room, too, at the foot of the same column; a heading is not left alone at the foot.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyphen
from reportlab.lib.pagesizes import A4
from reportlab.pdfbase.pdfmetrics import stringWidth
from reportlab.pdfgen.canvas import Canvas

FONTS = {"Times": ("Times-Roman", "Times-Bold"), "Helvetica": ("Helvetica", "Helvetica-Bold")}
_HEADING = re.compile(r"(?:art(?:icolo|\.)?\s*\d+[\w\s-]{0,18}\.?$|(?:parte|libro|titolo|capo|sezione)\s+[ivxlc]+\b)", re.I)
_LIST = re.compile(r"(?:\d{1,2}[.)]|[a-z]{1,2}\))\s")
_LETTERS = re.compile(r"[^\W\d_]{5,}")


def is_heading(paragraph: str) -> bool:
    """A short paragraph that names a part of the law."""
    return len(paragraph) <= 70 and paragraph[-1] not in ";:," and bool(_HEADING.match(paragraph) or paragraph.isupper())


@dataclass
class Style:
    """What is drawn for a document; lengths in points."""

    columns: int
    family: str
    size: float
    leading: float
    margin: float
    gutter: float
    indent: float  # of a paragraph's first line; 0: paragraphs stand apart
    justified: bool
    hyphen: str  # '', '-' or U+00AD
    notes: bool
    bracketed: bool  # marks as (1) instead of a bare figure
    heads: bool
    table: bool
    title: bool  # across the columns
    centred: bool  # headings
    larger: float  # headings, times the size
    hanging: bool  # lists
    placed: bool  # every word by itself
    across: bool  # painted row after row


@dataclass
class Piece:
    """A word, or a part of a divided one, as it is painted."""

    text: str
    mark: str = ""  # raised behind it
    word: int = -1  # of its block; -1 where the word has begun in the line before


@dataclass
class Line:
    """A painted line; `x`, `y` of its baseline, `space` between words."""

    x: float
    y: float
    pieces: list[Piece]
    font: str
    size: float
    space: float


@dataclass
class Block:
    """A paragraph, heading or table cell as truth: its words, their marks, and where each was set: (page, column)."""

    kind: str
    words: list[str]
    marks: dict[int, str] = field(default_factory=dict)
    places: dict[int, tuple[int, int]] = field(default_factory=dict)

    def text(self, start: int, end: int, glued: bool) -> str:
        between = "" if glued else " "
        return " ".join(w + (between + self.marks[i] if i in self.marks else "") for i, w in enumerate(self.words) if start <= i < end)


@functools.cache
def _divider() -> pyphen.Pyphen:
    return pyphen.Pyphen(lang="it_IT", left=2, right=3)


def _divisions(word: str, hyphen: str) -> list[tuple[str, str]]:
    """Ways to divide a word, the later ones first: what ends the line and what begins the next."""
    ways = [(word[: m.end()], word[m.end() :]) for m in re.finditer(r"(?<=\w)-(?=\w)", word)]
    if run := _LETTERS.search(word):
        ways += [
            (word[: run.start() + p] + hyphen, word[run.start() + p :]) for p in _divider().positions(run[0]) if 2 <= p <= len(run[0]) - 3
        ]
    return sorted(ways, key=lambda way: -len(way[0]))


class Typesetter:
    """Sets one document; `lines[page]`, `rules[page]` and `blocks` say what became of it."""

    def __init__(self, style: Style) -> None:
        self.style = style
        self.width = (A4[0] - 2 * style.margin - (style.columns - 1) * style.gutter) / style.columns
        self.top, self.bottom = A4[1] - style.margin, style.margin
        self.plain, self.bold = FONTS[style.family]
        self.small = 0.78 * style.size
        self.lines: list[list[Line]] = []
        self.rules: list[list[tuple[float, float, float, float]]] = []
        self.blocks: list[Block] = []
        self.notes: list[tuple[Block, tuple[int, int]]] = []  # with the place they are set at
        self.column = style.columns - 1
        self.ceiling = self.top
        self._waiting: list[list[Line]] = []  # the notes of this column
        self._next_column()

    @property
    def place(self) -> tuple[int, int]:
        return len(self.lines) - 1, self.column

    @property
    def left(self) -> float:
        return self.style.margin + self.column * (self.width + self.style.gutter)

    def _next_column(self) -> None:
        self.end_column()
        self.column += 1
        if self.column == self.style.columns:
            self.column, self.ceiling = 0, self.top
            self.lines.append([])
            self.rules.append([])
        self.y = self.ceiling

    def end_column(self) -> None:
        """Sets the notes that wait at the foot of the column."""
        if not self._waiting:
            return
        y = self.bottom + self._notes_height()
        self.rules[-1].append((self.left, y - 4, self.left + 60, y - 4))
        y -= 8
        for line in (line for note in self._waiting for line in note):
            y -= 1.2 * self.small
            line.x, line.y = line.x + self.left, y
            self.lines[-1].append(line)
        self._waiting = []

    def _notes_height(self) -> float:
        count = sum(map(len, self._waiting))
        return 8 + 1.2 * self.small * count + 2 if count else 0.0

    def broken(self, block: Block, font: str, size: float, width: float, first: float = 0.0) -> list[list[Piece]]:
        """The block's words in lines; `first`: what the first line is shorter by."""
        lines: list[list[Piece]] = [[]]
        used, room = 0.0, width - first
        space = stringWidth(" ", font, size)
        for number, word in enumerate(block.words):
            piece = Piece(word, block.marks.get(number, ""), number)
            while True:
                needed = self._long(piece, font, size)
                gap = space if lines[-1] else 0.0
                if used + gap + needed <= room:
                    lines[-1].append(piece)
                    used += gap + needed
                    break
                for head, tail in _divisions(piece.text, self.style.hyphen) if self.style.hyphen else []:
                    if used + gap + stringWidth(head, font, size) <= room:
                        lines[-1].append(Piece(head, "", piece.word))
                        piece = Piece(tail, piece.mark, -1)
                        break
                else:
                    if not lines[-1]:  # wider than the column: it is set all the same
                        lines[-1].append(piece)
                        used = needed
                        break
                lines.append([])
                used, room = 0.0, width
        return lines

    def _long(self, piece: Piece, font: str, size: float) -> float:
        return stringWidth(piece.text, font, size) + (stringWidth(piece.mark, font, 0.65 * size) if piece.mark else 0.0)

    def line(self, pieces: list[Piece], font: str, size: float, room: float, justified: bool, centred: bool = False) -> Line:
        """A line at x = 0, to be moved to its place."""
        space = stringWidth(" ", font, size)
        rest = room - sum(self._long(p, font, size) for p in pieces) - space * (len(pieces) - 1)
        if justified and len(pieces) > 1:
            space += rest / (len(pieces) - 1)
        return Line(rest / 2 if centred else 0.0, 0.0, pieces, font, size, space)

    def across(self, text: str, size: float) -> None:
        """A title over all columns, at the head of the first page."""
        block = Block("heading", text.split())
        self.blocks.append(block)
        width = A4[0] - 2 * self.style.margin
        hyphen, self.style.hyphen = self.style.hyphen, ""
        for pieces in self.broken(block, self.bold, size, width):
            self.y -= 1.2 * size
            line = self.line(pieces, self.bold, size, width, False, centred=True)
            line.x, line.y = line.x + self.style.margin, self.y
            self.lines[-1].append(line)
        self.style.hyphen = hyphen
        block.places = dict.fromkeys(range(len(block.words)), self.place)
        self.y -= size
        self.ceiling = self.y

    def paragraph(self, text: str, notes: dict[int, tuple[str, str]]) -> None:
        """A paragraph or heading; `notes`: word -> (mark, text of the note)."""
        style = self.style
        heading = is_heading(text)
        block = Block("heading" if heading else "text", text.split(), {i: mark for i, (mark, _) in notes.items()})
        self.blocks.append(block)
        size = style.size * style.larger if heading else style.size
        leading = style.leading * size / style.size
        font = self.bold if heading else self.plain
        hanging = 14.0 if style.hanging and _LIST.match(text) else 0.0
        first = 0.0 if heading or hanging else style.indent
        before = 0.6 * leading if heading or not style.indent else 0.0
        hyphen, style.hyphen = style.hyphen, "" if heading else style.hyphen
        lines = self.broken(block, font, size, self.width - hanging, first - hanging if hanging else first)
        style.hyphen = hyphen
        for number, pieces in enumerate(lines):
            shift = (first if not hanging else 0.0) if number == 0 else hanging
            justified = style.justified and not heading and number < len(lines) - 1
            line = self.line(pieces, font, size, self.width - shift, justified, heading and style.centred)
            called = [mark for p in pieces if (mark := p.mark)]
            texts = {mark: note for mark, note in notes.values()}
            waiting = [self._note(mark, texts[mark]) for mark in called]
            more = sum(1.2 * self.small * len(found) for _, found in waiting)
            more += 10 if waiting and not self._waiting else 0.0
            space = before if number == 0 and self.y < self.ceiling else 0.0
            below = 2 * style.leading if heading and number == len(lines) - 1 else 0.0
            if self.y - space - leading - below - more < self.bottom + self._notes_height():
                self._next_column()
                space = 0.0
            self.y -= space + leading
            line.x, line.y = line.x + self.left + shift, self.y
            self.lines[-1].append(line)
            for piece in pieces:
                if piece.word >= 0:
                    block.places[piece.word] = self.place
            for note, found in waiting:
                self.notes.append((note, self.place))
                self._waiting.append(found)

    def _note(self, mark: str, text: str) -> tuple[Block, list[Line]]:
        block = Block("note", [mark, *text.split()])
        lines = self.broken(block, self.plain, self.small, self.width)
        return block, [
            self.line(pieces, self.plain, self.small, self.width, self.style.justified and number < len(lines) - 1)
            for number, pieces in enumerate(lines)
        ]

    def table(self, rows: list[list[str]]) -> None:
        """A ruled table in the column's width; it goes to the next column when it does not fit."""
        size, pad = 0.9 * self.style.size, 3.0
        leading = 1.2 * size
        widths = [0.24 * self.width, 0.56 * self.width, 0.2 * self.width]
        hyphen, self.style.hyphen = self.style.hyphen, ""
        blocks = [[Block("cell", cell.split()) for cell in row] for row in rows]
        broken = [
            [self.broken(b, self.bold if n == 0 else self.plain, size, w - 2 * pad) for b, w in zip(row, widths, strict=True)]
            for n, row in enumerate(blocks)
        ]
        self.style.hyphen = hyphen
        heights = [max(map(len, row)) * leading + 2 * pad for row in broken]
        if self.y - leading - sum(heights) < self.bottom + self._notes_height():
            self._next_column()
        self.y -= 0.5 * leading
        edges = [self.left + sum(widths[:n]) for n in range(len(widths) + 1)]
        top = self.y
        for n, row in enumerate(broken):
            self.rules[-1].append((edges[0], self.y, edges[-1], self.y))
            for edge, cell in zip(edges, row, strict=False):
                for k, pieces in enumerate(cell):
                    line = self.line(pieces, self.bold if n == 0 else self.plain, size, self.width, False)
                    line.x, line.y = edge + pad, self.y - pad - (k + 0.85) * leading
                    self.lines[-1].append(line)
            for block in blocks[n]:
                block.places = dict.fromkeys(range(len(block.words)), self.place)
                self.blocks.append(block)
            self.y -= heights[n]
        self.rules[-1].append((edges[0], self.y, edges[-1], self.y))
        self.rules[-1].extend((edge, top, edge, self.y) for edge in edges)
        self.y -= 0.5 * leading

    def heads(self, head: str, foot: str) -> None:
        """Running heads and feet on every page, the figure outside."""
        size, total = 0.85 * self.style.size, len(self.lines)
        for number, lines in enumerate(self.lines, 1):
            figure, right = str(number), A4[0] - self.style.margin
            for text, y, at_right in (
                (head, self.top + 18, number % 2 == 0),
                (figure, self.top + 18, number % 2 == 1),
                (foot, self.bottom - 24, False),
                (f"Pag. {number} di {total}", self.bottom - 24, True),
            ):
                x = right - stringWidth(text, self.plain, size) if at_right else self.style.margin
                space = stringWidth(" ", self.plain, size)
                lines.insert(0, Line(x, y, [Piece(word) for word in text.split()], self.plain, size, space))

    def paint(self, path: Path, title: str) -> None:
        """Writes the PDF."""
        canvas = Canvas(str(path), pagesize=A4, invariant=1)
        canvas.setTitle(title)
        for lines, rules in zip(self.lines, self.rules, strict=True):
            canvas.setLineWidth(0.5)
            for rule in rules:
                canvas.line(*rule)
            for line in sorted(lines, key=lambda line: (-round(line.y), line.x)) if self.style.across else lines:
                self._paint(canvas, line)
            canvas.showPage()
        canvas.save()

    def _paint(self, canvas: Canvas, line: Line) -> None:
        text = canvas.beginText(line.x, line.y)
        text.setFont(line.font, line.size)
        x = line.x
        if not self.style.placed:
            text.setWordSpace(line.space - stringWidth(" ", line.font, line.size))
        for number, piece in enumerate(line.pieces):
            if self.style.placed:
                text.setTextOrigin(x, line.y)
            last = number == len(line.pieces) - 1
            text.textOut(piece.text + ("" if self.style.placed or piece.mark or last else " "))
            if piece.mark:
                text.setFont(line.font, 0.65 * line.size)
                text.setRise(0.35 * line.size)
                text.textOut(piece.mark)
                text.setRise(0)
                text.setFont(line.font, line.size)
                if not self.style.placed and not last:
                    text.textOut(" ")
            x += self._long(piece, line.font, line.size) + line.space
        text.setWordSpace(0)
        canvas.drawText(text)

    def truths(self) -> dict[str, str]:
        """The document's truths by their convention."""
        out = {}
        for glued in (False, True):
            for where in ("document", "page", "page, paragraph", "column", "column, paragraph"):
                out[f"{where}, {'glued' if glued else 'apart'}"] = "\n\n".join(self._truth(where, glued))
        return {name: text for n, (name, text) in enumerate(out.items()) if text not in list(out.values())[:n]}

    def _truth(self, where: str, glued: bool) -> Iterator[str]:
        notes = [(block.text(0, len(block.words), glued), place) for block, place in self.notes]
        depth = 1 if where.startswith("page") else 2
        for block in self.blocks:
            start = 0
            for word in range(len(block.words)):
                here = block.places[word][:depth]
                if notes and notes[0][1][:depth] < here and where != "document" and (word == 0 or not where.endswith("paragraph")):
                    if start < word:
                        yield block.text(start, word, glued)
                    start = word
                    while notes and notes[0][1][:depth] < here:
                        yield notes.pop(0)[0]
            yield block.text(start, len(block.words), glued)
            while notes and notes[0][1][:depth] < here and where.endswith("paragraph"):
                yield notes.pop(0)[0]
        yield from (text for text, _ in notes)
