"""Lines of a region to blocks: paragraphs, headings, list items, captions.

A line begins a block where the page shows it: a wider gap, another size or weight, an indent, a bullet or number after a line
that ends a sentence. A block is a heading when all of it is larger or bolder than the text around it, or set apart in capitals.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median

from extractors.pdf.fragments import Fragment, merged

_BULLET = re.compile(r"^[•▪◦‣●■□▫➢➤➔→✓]\s+\S")
_DASH = re.compile(r"^[*–—-]\s+\S")  # a bullet only where a line before it has ended: sentences have dashes too
_STARTS = re.compile(
    r"^(?:\(?\d{1,3}[.)]|\d{1,2}(?:\.\d{1,2}){1,3}\.?|\(?[a-z]{1,2}[.)]|\(\(\w{1,2}(?:-[a-z]{3,8})?[.)]|"
    r"\(?[ivx]{1,5}[.)]|(?:art|articolo|section|article)\.?\s*\d|§)\s",
    re.I,
)
_ENDS = re.compile(r"[.:;?!。][»”\"')\]]*$")
_SHORTENED = re.compile(  # before a figure: n. 224, art. 5
    r"\b(?:[a-z]{1,2}|artt?|lett|pagg?|cfr|lgs|par|all|vol|figg?|secc?|sez|tabb?|cap|num|nos|reg|dir|cit|leg|prot|ord|del)\.$", re.I
)
_EXPECTING = re.compile(r"\b(?:nn?|nr|artt?|pagg?)\.$", re.I)  # a figure, even one that looks like the number of an item
_TITLED = re.compile(r"\b(?:sigg?|sig\.ra|dott|dr|prof|avv|ing|mr|mrs|ms|cfr)\.$", re.I)  # before a name
_STOPS = re.compile(r"[.:?!。][»”\"')\]]*$")
_LEADERS = re.compile(r"(?:\.\s?){4,}\s*\S{0,8}$|…{2,}\s*\S{0,8}$")
_TYPED = re.compile(r"[-=_*~·. ]{4,}")  # a line typed across the column
_CAPTION = re.compile(
    r"^(?:fig(?:ur[ae]?|\.)?|tab(?:le|ella|elle|\.)?|grafico|chart|tavola|immagine|abb(?:ildung|\.)|tableau|cuadro|gráfico|rys\.|图|表|그림|표)"
    r"\s*(?:[A-Z]\.?)?\d{1,3}(?:[.\-]\d{1,3})*\s*(?:[.:–—\-|)]|$)",
    re.I,
)
_FEW = 4  # lines: a heading has no more
_SHORT = 200  # characters: nor more of these


@dataclass(slots=True)
class Block:
    """A piece of a page. `grid` is a table's rows of cell texts, `region` counts the page's regions in reading order."""

    label: str  # text, heading, bullet, caption, footnote, table, header, footer
    lines: list[Fragment]
    grid: list[list[str]] = field(default_factory=list)
    text: str = ""
    region: int = 0
    full: bool = False  # its last line reaches the right edge of its region
    indented: bool = False  # its first line begins right of the region's left edge
    centred: bool = False  # its region is set to full lines, so that a centred line stands out
    level: int = 0  # of a heading, 1 the highest
    continues: bool = False  # it goes on in the middle of the paragraph before


@dataclass(slots=True)
class Body:
    """The letters that most of the document is set in."""

    size: float
    bold: bool = False


def paragraphs(rows: list[list[Fragment]], body: Body) -> list[Block]:
    """Blocks of rows of a region, without tables."""
    lines = [merged(row) for row in rows]
    if not lines:
        return []
    left, right = edges(lines)
    leadings = _leadings(lines)
    indents = _indents(lines, left)
    out: list[Block] = []
    for i, line in enumerate(lines):
        leading = leadings.get(round(line.size), 1.2 * line.size)
        if (
            i
            and not _begins(out[-1], lines[i - 1], line, leading, (left, right), indents)
            and not (_spaced(rows[i]) or _spaced(rows[i - 1]))
        ):
            out[-1].lines.append(line)
            continue
        out.append(Block("text", [line], indented=line.l - left > 0.6 * line.size))
    full = sum(f.r > right - 0.06 * (right - left) and f.l < left + 0.1 * (right - left) for f in lines)
    above: Fragment | None = None
    for block in out:
        block.centred = full >= 8 and full >= 0.5 * len(lines)
        block.full = block.lines[-1].r >= right - 0.06 * max(right - left, 1.0)
        block.label = _label(block, body, left, right, above)
        above = block.lines[-1]
    return out


def edges(lines: list[Fragment]) -> tuple[float, float]:
    """Where most of the lines begin and end at the outside."""
    lefts, rights = sorted(f.l for f in lines), sorted(f.r for f in lines)
    return lefts[int(0.1 * (len(lefts) - 1))], rights[int(0.9 * (len(rights) - 1))]


def _leadings(lines: list[Fragment]) -> dict[int, float]:
    """For each size of letters, from one baseline to the next inside a paragraph: the narrow ones of the region's distances."""
    steps: dict[int, list[float]] = {}
    for a, b in pairwise(lines):
        if abs(a.size - b.size) < 0.1 * b.size and 0.6 * a.size < b.b - a.b < 3 * b.size:
            steps.setdefault(round(b.size), []).append(b.b - a.b)
    return {size: sorted(found)[int(0.3 * (len(found) - 1))] for size, found in steps.items()}


def _spaced(row: list[Fragment]) -> bool:
    """Pieces set far apart, which are no line of running text."""
    return any(b.l - a.r > 3 * max(a.size, b.size) for a, b in pairwise(row))


def _indents(lines: list[Fragment], left: float) -> bool:
    """Whether paragraphs begin with an indent: most indented lines have a line behind them that is not."""
    indented = [f.l - left > 0.6 * f.size for f in lines]
    first = sum(a and not b for a, b in pairwise(indented))
    return first >= 2 and first > 0.5 * sum(indented)


def _begins(block: Block, above: Fragment, line: Fragment, leading: float, sides: tuple[float, float], indents: bool) -> bool:
    """Whether the line begins another block than the line above it. `indents`: paragraphs of the region begin with one."""
    left, right = sides
    width = max(right - left, 1.0)
    step = line.b - above.b
    size = max(line.size, above.size)
    if step > max(1.3 * leading, leading + 0.35 * size) or step < -0.5 * size:
        return True
    if abs(line.size - above.size) > 0.2 * size and min(len(line.text), len(above.text)) > 3:
        return True
    word = (line.r - line.l) * (len(line.text.split(" ", 1)[0]) + 1) / (len(line.text) + 1)
    short = above.r < right - max(0.12 * width, word)  # the first word of this line had room there
    run_in = above.bold and line.begins_bold  # a bold beginning of the paragraph, longer than a line
    if line.bold != above.bold and (short or above.bold) and not run_in and min(len(line.text), len(above.text)) > 3:
        return True
    if _TYPED.fullmatch(line.text) or _TYPED.fullmatch(above.text):
        return True
    if _BULLET.match(line.text) or _LEADERS.search(above.text) or (_CAPTION.match(line.text) and (short or _ENDS.search(above.text))):
        return True
    ends = bool(_ENDS.search(above.text))
    if _EXPECTING.search(above.text):
        return False
    if starts_item(line.text):
        aside = abs(line.l - above.l) > 0.6 * size and len(block.lines) > 1
        if (ends and not _run_on(block, line)) or above.r < right - 0.3 * width or (aside and short):
            return True
    capitals = above.text.isupper() and len(above.text) > 4 and above.r - above.l < 0.88 * width
    if capitals and not line.text.isupper() and not line.text[:1].islower():
        return True
    listed = starts_item(block.lines[0].text)
    hanging = len(block.lines) > 1 and block.lines[1].l > block.lines[0].l + 0.6 * size
    if line.l < above.l - 0.6 * size and (hanging or (listed and short and (ends or not (indents or line.text[:1].islower())))):
        return True
    if shortened(above.text, line.text):
        return False
    if indents and ends and len(block.lines) == 1 and above.l - left > 0.6 * size and abs(line.l - above.l) < 0.3 * size:
        return True  # behind a paragraph of one line
    if short and above.text[-1:] == ";" and line.text[:1].islower() and above.r > right - 0.3 * width:
        return False
    if short and (ends or (above.r < right - 0.4 * width and not line.text[:1].islower())):
        return True
    indented = line.l - above.l > 0.6 * size and line.l - left < 0.25 * width
    return indented and ends and not (listed and len(block.lines) == 1)


def _run_on(block: Block, line: Fragment) -> bool:
    """Whether the item before the one that the line begins with stands inside a line of the block: items set as running text."""
    mark = _STARTS.match(line.text)
    number = re.search(r"\d+|[a-z]", mark[0], re.I) if mark else None
    if mark is None or number is None:
        return False
    before = str(int(number[0]) - 1) if number[0].isdigit() else chr(ord(number[0]) - 1)
    wanted = mark[0].strip().replace(number[0], before, 1)
    return any(re.search(rf"\s{re.escape(wanted)}\s", f.text) for f in block.lines)


def _label(block: Block, body: Body, left: float, right: float, above: Fragment | None) -> str:
    text = " ".join(f.text for f in block.lines).strip()
    if _BULLET.match(text) or _DASH.match(text):
        return "bullet"
    if _CAPTION.match(text) and len(block.lines) <= 12:
        return "caption"
    letters = [c for c in text if c.isalpha()]
    if len(block.lines) > _FEW or len(text) > _SHORT or len(letters) < 3 or len(letters) < 0.5 * len(text.replace(" ", "")):
        return "text"
    if text[0].islower() or text.startswith("((") or text.endswith("))"):
        return "text"
    size = median(f.size for f in block.lines)
    if size >= 1.2 * body.size and len(text) < _SHORT:
        return "heading"
    if size < 0.85 * body.size or text[-1] in ",;" or _LEADERS.search(text):
        return "text"
    bold = all(f.bold for f in block.lines)
    if bold and not body.bold and (text[-1] not in ".:" or _STARTS.match(text) or size >= 1.1 * body.size):
        return "heading"
    apart = above is None or block.lines[0].t - above.b > 0.5 * block.lines[0].size
    capitals = all(c.isupper() for c in letters) and len(letters) > 4
    short = block.lines[-1].r - block.lines[-1].l < 0.75 * (right - left)
    if capitals and apart and short and len(block.lines) <= 2 and text[-1] not in ".:":
        return "heading"
    if apart and len(text) < 100 and text[-1] != ":" and _centred(block, left, right):
        return "heading"
    return "text"


def _centred(block: Block, left: float, right: float) -> bool:
    """Lines well inside the column, with their middle in its middle. Told only where most of the column is not."""
    width, middle = right - left, (left + right) / 2
    return block.centred and all(
        abs((f.l + f.r) / 2 - middle) < 0.02 * width and f.l > left + 0.15 * width and f.r < right - 0.15 * width for f in block.lines
    )


def shortened(above: str, below: str) -> bool:
    """Whether the full stop between them is one of an abbreviation before a figure or a name."""
    end = above.rstrip()[-12:]
    if below[:1].isdecimal():
        return bool(_SHORTENED.search(end)) and (not starts_item(below) or bool(_EXPECTING.search(end)))
    return below[:1].isalpha() and bool(_TITLED.search(end))


def stops(text: str) -> bool:
    """Whether the text ends as a sentence does."""
    return bool(_STOPS.search(text.rstrip()))


def starts_item(text: str) -> bool:
    """Whether the text begins as an item of a list or a numbered paragraph does."""
    return bool(_BULLET.match(text) or _DASH.match(text) or _STARTS.match(text))
