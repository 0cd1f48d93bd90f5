"""An HTML tree as Markdown: headings, nested lists, tables and code keep their form, everything else is paragraphs.

It writes what it is given, all of it: which part of a page is worth reading is decided before (reader.py). It knows the
elements of HTML and those of trafilatura's own trees. Emphasis and links are written as their bare text: marks inside sentences
are noise for a language model and hide names and codes from whoever searches for them. Numbers raised or lowered become the
characters for it, so that 10⁵ is not read as 105.

A table is a Markdown table when it holds data, that is short cells in rows and columns; a table that only lays out a page, or
holds long text side by side, is read cell by cell. What spans rows or columns is repeated in each of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from extractors.result import markdown_table, one_line
from extractors.scripts import LOWERED, RAISED, script
from extractors.xml.families import names

_TEI = {"row": "tr", "cell": "td", "lb": "br", "quote": "blockquote", "item": "li", "graphic": "img", "code": "code"}
_HEADS = names("h1 h2 h3 h4 h5 h6")
_LISTS = names("ul ol menu dir dl")
_ITEMS = names("li dt dd")
_CELLS = names("td th")
_FRAMES = _HEADS | _LISTS | _ITEMS | _CELLS | names("table tr caption pre body")
_BLOCKS = names(
    """address article aside blockquote center details dialog div fieldset figcaption figure footer form header hgroup hr html legend
    main nav noframes optgroup option p section summary tbody tfoot thead title"""
)
_UNSEEN = names("script style noscript template head svg iframe object select textarea button datalist canvas audio video rp rt")
_BREAK = "\v"  # a line break inside a block
_NUMBER = re.compile(r"\s*(?:[+−-]?\d{1,4}[+−-]?|n)\s*")
_CODE = re.compile(r"(?:^|[\s_-])(?:code|highlight\w*|hljs|lang\w*|language-\w+|sourceCode|prettyprint|programlisting|screen)", re.I)
_LONG_CELL = 400  # characters; a cell with more of them in several blocks is text laid out, not data
_LONG_TEXT = 1200  # the same for one block
_LONG_HEAD = 400  # a longer heading is an element that was never closed
_MAX_SPAN = 100


@dataclass
class Block:
    """A finished block: `mark` is what Markdown sets before it ('## ', or '' for plain text)."""

    text: str
    mark: str = ""
    table: bool = False

    def __str__(self) -> str:
        return self.mark + self.text


@dataclass
class Cell:
    """A table cell, with how many rows and columns it spans."""

    blocks: list[Block]
    columns: int = 1
    rows: int = 1

    @property
    def text(self) -> str:
        return " ".join(block.text for block in self.blocks)


@dataclass
class Frame:
    """An element being written that holds blocks of its own."""

    tag: str
    blocks: list[Block] = field(default_factory=list)
    run: list[str] = field(default_factory=list)  # inline text of the block that is open
    rows: list[list[Cell]] = field(default_factory=list)
    cells: list[Cell] = field(default_factory=list)
    number: int = 1  # of the next item
    style: str = ""  # of the numbers

    def flush(self) -> None:
        """What was written inline becomes a block."""
        if self.run:
            text = "".join(self.run)
            self.run = []
            text = text.strip("\n") if self.tag == "pre" else "\n".join(" ".join(line.split()) for line in text.split(_BREAK)).strip("\n")
            if text and not text.isspace():
                self.blocks.append(Block(text.replace(_BREAK, "\n")))


def markdown(tree: Any) -> str:
    """The tree as Markdown. It is walked without recursion: broken pages nest elements thousands deep."""
    from lxml import etree

    stack = [Frame("body")]
    verbatim = 0
    walk = etree.iterwalk(tree, events=("start", "end"))
    unseen = None
    for event, element in walk:
        tag = _name(element)
        top = stack[-1]
        if event == "start":
            if tag in _UNSEEN or tag == "math":
                if tag == "math":
                    top.run.append(formula(element))
                unseen = element
                walk.skip_subtree()
                continue
            if tag in _FRAMES:
                top.flush()
                top = Frame(tag, style=element.get("type", ""), number=_whole(element.get("start"), 1) if tag == "ol" else 1)
                stack.append(top)
                verbatim += tag == "pre"
            elif tag in _BLOCKS:
                _break(top, verbatim)
            elif tag == "br":
                top.run.append(_BREAK)
            elif tag == "q":
                top.run.append("“")
            if element.text:
                text = element.text
                if tag in ("sup", "sub") and len(element) == 0 and _NUMBER.fullmatch(text):
                    text = script(text.strip(), RAISED if tag == "sup" else LOWERED)
                top.run.append(text)
            continue
        if element is unseen:
            unseen = None
        elif tag in _FRAMES:
            top.flush()
            stack.pop()
            verbatim -= tag == "pre"
            _close(top, element, stack[-1])
            top = stack[-1]
        elif tag in _BLOCKS:
            _break(top, verbatim)
        elif tag == "q":
            top.run.append("”")
        if element.tail and element is not tree:
            top.run.append(element.tail)
    stack[0].flush()
    return "\n\n".join(map(str, stack[0].blocks))


def formula(element: Any) -> str:
    """The TeX of a formula, in dollars, where it has any; its characters otherwise."""
    tex = element.get("alttext") or "".join(element.xpath(".//*[local-name()='annotation'][contains(@encoding, 'tex')]/text()"))
    return f"${' '.join(tex.split())}$" if tex.strip() else "".join(element.itertext())


def _name(element: Any) -> str:
    """The name HTML has for it; '' for comments and processing instructions."""
    tag = element.tag
    if not isinstance(tag, str):
        return ""
    if tag == "head" and element.get("rend", "").startswith("h"):
        return str(element.get("rend"))
    if tag == "list":
        return "ol" if element.get("rend") == "ol" else "ul"
    return _TEI.get(tag, tag)


def _break(frame: Frame, verbatim: int) -> None:
    """The end of a paragraph; inside preformatted text, of a line."""
    if not verbatim:
        frame.flush()
    elif frame.run and not frame.run[-1].endswith("\n"):
        frame.run.append("\n")


def _close(frame: Frame, element: Any, outer: Frame) -> None:
    """Hands what a frame holds to the one around it."""
    tag, blocks = frame.tag, frame.blocks
    if tag in _CELLS:
        cell = Cell(blocks, _span(element, "colspan"), _span(element, "rowspan"))
        if outer.tag in ("tr", "table"):
            outer.cells.append(cell)
        else:
            outer.blocks.append(_line([cell]))
    elif tag == "tr":
        outer.blocks.extend(blocks)
        if outer.tag == "table":
            outer.rows.append(frame.cells)
        elif any(cell.blocks for cell in frame.cells):
            outer.blocks.append(_line(frame.cells))
    elif tag == "table":
        rows = frame.rows + ([frame.cells] if frame.cells else [])
        outer.blocks.extend(blocks)
        outer.blocks.extend(_table(rows))
    elif tag in _HEADS:
        outer.blocks.extend(_heading(blocks, int(tag[1])))
    elif tag in _ITEMS:
        if blocks:
            outer.blocks.append(_item(blocks, tag, element, outer))
    elif tag in _LISTS:
        if blocks:
            outer.blocks.append(Block("\n".join(map(str, blocks))))
    elif tag == "pre" and blocks and _is_code(element):
        fence = "```" if "```" not in blocks[0].text else "````"
        outer.blocks.append(Block(f"{fence}\n" + "\n".join(map(str, blocks)) + f"\n{fence}"))
    else:
        outer.blocks.extend(blocks)


def _heading(blocks: list[Block], level: int) -> list[Block]:
    text = one_line(" ".join(block.text for block in blocks), _LONG_HEAD + 1)
    if not text:
        return []
    return blocks if len(text) > _LONG_HEAD or any(block.table for block in blocks) else [Block(text, "#" * level + " ")]


def _item(blocks: list[Block], tag: str, element: Any, outer: Frame) -> Block:
    """One item with its marker, what follows its first line indented below it."""
    marker = "- "
    if outer.tag == "ol" and tag == "li":
        number = outer.number = _whole(element.get("value"), outer.number)
        outer.number += 1
        marker = f"{_numeral(number, outer.style)}. "
    elif tag == "dd":
        marker = "  - "
    text = "\n".join(map(str, blocks))
    return Block(text.replace("\n", "\n" + " " * len(marker)), marker)


def _numeral(number: int, style: str) -> str:
    """Number of an item as the page shows it: 3, c, C, iii or III."""
    if style in ("a", "A") and 0 < number <= 26:
        return chr(ord(style) + number - 1)
    if style in ("i", "I") and 0 < number < 40:
        text = "x" * (number // 10) + ("", "i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix")[number % 10]
        return text if style == "i" else text.upper()
    return str(number)


def _table(rows: list[list[Cell]]) -> list[Block]:
    """A Markdown table, or the cells one after the other where the table only lays out the page."""
    rows = [row for row in rows if any(cell.blocks for cell in row)]
    if len(rows) < 2 or max(sum(1 for cell in row if cell.blocks) for row in rows) < 2 or any(_laid_out(c) for row in rows for c in row):
        return [block for row in rows for block in _row_blocks(row)]
    return [Block(markdown_table(_grid(rows)), table=True)]


def _laid_out(cell: Cell) -> bool:
    size = sum(len(block.text) for block in cell.blocks)
    return size > _LONG_TEXT or (size > _LONG_CELL and len(cell.blocks) > 2) or any(block.table for block in cell.blocks)


def _row_blocks(row: list[Cell]) -> list[Block]:
    """A row of a layout table: short cells on one line, others block by block."""
    if all(len(cell.blocks) <= 1 and len(cell.text) <= 80 and not any(b.mark or b.table for b in cell.blocks) for cell in row):
        return [_line(row)]
    return [block for cell in row for block in cell.blocks]


def _line(row: list[Cell]) -> Block:
    return Block(" | ".join(" ".join(cell.text.split()) for cell in row if cell.blocks))


def _grid(rows: list[list[Cell]]) -> list[list[str]]:
    """Texts in rows and columns; a cell that spans several stands in each, but for one that is a whole row."""
    width = min(_MAX_SPAN, max(sum(cell.columns for cell in row) for row in rows))
    grid: list[list[str]] = []
    reaching: dict[int, tuple[str, int]] = {}  # column -> text of a cell above, and how many more rows it spans
    for row in rows:
        line: list[str] = []
        waiting = iter(row)
        cell = next(waiting, None)
        while cell is not None or len(line) in reaching:
            if len(line) in reaching:
                text, left = reaching.pop(len(line))
                if left > 1:
                    reaching[len(line)] = (text, left - 1)
                line.append(text)
                continue
            assert cell is not None
            for i in range(cell.columns):
                if cell.rows > 1:
                    reaching[len(line)] = (cell.text, cell.rows - 1)
                line.append(cell.text if i == 0 or cell.columns < width else "")
            cell = next(waiting, None)
        grid.append(line)
    return grid


def _is_code(element: Any) -> bool:
    """Program text rather than a text that keeps its lines: it says so itself, or with a `code` element inside."""
    return element.find(".//code") is not None or bool(_CODE.search(element.get("class", "")))


def _span(element: Any, name: str) -> int:
    return max(1, min(_MAX_SPAN, _whole(element.get(name), 1)))


def _whole(text: str | None, default: int) -> int:
    return int(text) if text and re.fullmatch(r"\d{1,6}", text.strip()) else default
