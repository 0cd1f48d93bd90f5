"""Page layout by geometry: fragments of lines to blocks in reading order. No weights, no library.

    words -> fragments      see fragments.py, as for the running heads and feet
    fragments -> columns    recursive: the vertical gutter with most running text on both sides; what crosses it (titles, wide
                            tables) divides the page into bands, which are read one after the other, left before right
    columns -> blocks       rows; runs of aligned rows are tables, the rest paragraphs, headings by size or weight, bullets

Limits: words across the main direction of the page are put at its end; footnotes stay at the foot of their column; a table
whose cells are running text is read column by column; rulings are not looked at.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median

from extractors.fragments import Fragment, same_row

_BULLET = re.compile(r"^[•▪◦‣●■□▫➢➤✓\uf0b7\uf0a7o*-]\s+\S")
_STARTS = re.compile(r"^(?:\(?\d{1,3}[.)]|\(?[a-z][.)]|[IVX]{1,5}[.)]|(?:art|articolo|section|article)\.?\s*\d|§)\s", re.I)
_ENDS = re.compile(r"[.:;?!»”\"')\]]$")


@dataclass(slots=True)
class Block:
    """A paragraph, heading, bullet, table or piece of furniture. `lines` in order; `grid` is a table's rows of cell texts."""

    label: str  # text, heading, bullet, table, header, footer
    lines: list[Fragment]
    grid: list[list[str]] = field(default_factory=list)


def blocks(page: list[Fragment], body: float) -> list[Block]:
    """Blocks of one page in reading order."""
    out: list[Block] = []
    for column in _columns(page, 0):
        out.extend(_column_blocks(column, body))
    return out


def _columns(page: list[Fragment], depth: int) -> list[list[Fragment]]:
    cut = _gutter(page) if depth < 5 and len(page) >= 8 else None
    if cut is None:
        return [page] if page else []
    out: list[list[Fragment]] = []
    band: list[Fragment] = []
    wide: list[Fragment] = []
    for f in sorted(page, key=lambda f: f.middle):
        crosses = f.l < cut - 1 and f.r > cut + 1
        if crosses and band:
            out.extend(_band(band, cut, depth))
            band = []
        if not crosses and wide:
            out.append(wide)
            wide = []
        (wide if crosses else band).append(f)
    if wide:
        out.append(wide)
    if band:
        out.extend(_band(band, cut, depth))
    return out


def _band(band: list[Fragment], cut: float, depth: int) -> list[list[Fragment]]:
    left = [f for f in band if (f.l + f.r) / 2 < cut]
    right = [f for f in band if (f.l + f.r) / 2 >= cut]
    if not left or not right or (len(band) < 8 and not (_running(left) and _running(right))):
        return [band]
    return _columns(left, depth + 1) + _columns(right, depth + 1)


def _gutter(page: list[Fragment]) -> float | None:
    """Where the best gutter lies: running text on both sides, at the same heights, and little that crosses it."""
    low, high = min(f.l for f in page), max(f.r for f in page)
    edges = Counter(round(f.l) for f in page if low + 0.15 * (high - low) < f.l < high - 0.12 * (high - low))
    best, best_score = None, 0.0
    for edge, count in edges.most_common(12):
        if count < 3:
            continue
        cut = edge - 2.0
        left = [f for f in page if f.r <= cut + 1]
        right = [f for f in page if f.l >= cut - 1]
        if len(left) < 4 or len(right) < 4:
            continue
        crossing = len(page) - len(left) - len(right)
        pairs = _pairs(left, right)
        score = pairs - 0.5 * sum(1 for f in page if f.l < cut < f.r and _beside(f, left, right))
        if pairs >= 4 and score > best_score and crossing <= 3 * (len(left) + len(right)) and _running(left) and _running(right):
            best, best_score = (cut + max((f.r for f in left if f.r <= cut), default=cut)) / 2, score
    return best


def _pairs(left: list[Fragment], right: list[Fragment]) -> int:
    """Lines on the left with a line at the same height on the right."""
    heights = sorted((f.t, f.b) for f in right)
    return sum(1 for f in left if any(t < f.b and b > f.t for t, b in heights))


def _beside(f: Fragment, left: list[Fragment], right: list[Fragment]) -> bool:
    return any(same_row(o, f.t, f.b) for o in left) or any(same_row(o, f.t, f.b) for o in right)


def _running(side: list[Fragment]) -> bool:
    """Running text rather than cells: long lines, and enough of them about as wide as the widest."""
    side = [f for f in side if any(map(str.isalnum, f.text))]
    if len(side) < 3:
        return False
    widths = sorted(f.r - f.l for f in side)
    chars = sum(len(f.text) for f in side) / len(side)
    full = sum(1 for width in widths if width > 0.7 * widths[int(0.9 * (len(widths) - 1))])
    return chars >= 16 and full >= 0.3 * len(side)


def _rows(column: list[Fragment]) -> list[list[Fragment]]:
    rows: list[list[Fragment]] = []
    for f in sorted(column, key=lambda f: (f.middle, f.l)):
        if (
            rows
            and any(same_row(o, f.t, f.b) for o in rows[-1])
            and abs(rows[-1][0].middle - f.middle) < 0.7 * max(rows[-1][0].size, f.size)
        ):
            rows[-1].append(f)
        else:
            rows.append([f])
    for row in rows:
        row.sort(key=lambda f: f.l)
    return rows


def _column_blocks(column: list[Fragment], body: float) -> list[Block]:
    rows = _rows(column)
    out: list[Block] = []
    plain: list[list[Fragment]] = []
    at = 0
    while at < len(rows):
        end = _table_end(rows, at)
        grid = _grid(rows[at:end]) if end - at >= 3 else None
        if grid is None:
            plain.append(rows[at])
            at += 1
            continue
        out.extend(_paragraphs(plain, body))
        plain = []
        if len(grid[0]) <= 3 and _wordy(grid):
            for cells in zip(*grid, strict=True):
                out.extend(_paragraphs(_rows([f for cell in cells for f in cell]), body))
        else:
            texts = [[" ".join(f.text for f in cell) for cell in row] for row in grid]
            out.append(Block("table", [f for row in rows[at:end] for f in row], texts))
        at = end
    return out + _paragraphs(plain, body)


def _table_end(rows: list[list[Fragment]], at: int) -> int:
    """End of the run of rows with several cells; one-cell rows inside it (wrapped cells, group titles) belong to it."""
    end = at
    while end < len(rows) and (len(rows[end]) > 1 or (at < end < len(rows) - 1 and len(rows[end + 1]) > 1 and len(rows[end][0].text) < 60)):
        if end > at and rows[end][0].t - rows[end - 1][0].b > 4 * rows[end][0].size:
            break
        end += 1
    return end


def _grid(rows: list[list[Fragment]]) -> list[list[list[Fragment]]] | None:
    """Fragments by row and column; None when the boxes do not line up in columns."""
    spans: list[list[float]] = []
    for f in sorted((f for row in rows if len(row) > 1 for f in row), key=lambda f: f.l):
        if spans and f.l < spans[-1][1] - 1:
            spans[-1][1] = max(spans[-1][1], f.r)
        else:
            spans.append([f.l, f.r])
    if not 2 <= len(spans) <= 30:
        return None
    grid: list[list[list[Fragment]]] = []
    for row in rows:
        grid.append([[] for _ in spans])
        for f in row:
            at = min(range(len(spans)), key=lambda i: max(spans[i][0] - f.l, f.l - spans[i][1], 0.0))
            grid[-1][at].append(f)
    filled = sum(1 for row in grid for cell in row if cell) / (len(grid) * len(spans))
    return grid if filled >= 0.4 and _aligned([row for row in rows if len(row) > 1], spans) else None


def _wordy(grid: list[list[list[Fragment]]]) -> bool:
    """Cells that are lines of running text: columns the gutter search has missed, not a table."""
    texts = [" ".join(f.text for f in cell) for row in grid for cell in row if cell]
    return sum(map(len, texts)) >= 30 * len(texts)


def _aligned(rows: list[list[Fragment]], spans: list[list[float]]) -> bool:
    """Cells of a column share an edge or their middle: unlike the words of a justified or typewritten line, which fall anywhere."""
    if len(rows) < 3:
        return False
    lined = total = 0
    for low, high in spans[1:]:
        cells = [f for row in rows for f in row if f.l >= low - 1 and f.r <= high + 1]
        if len(cells) < 2:
            continue
        edges = ([round(f.l / 3) for f in cells], [round(f.r / 3) for f in cells], [round((f.l + f.r) / 6) for f in cells])
        lined += max(Counter(edge).most_common(1)[0][1] for edge in edges)
        total += len(cells)
    return total > 0 and lined >= 0.5 * total


def _paragraphs(rows: list[list[Fragment]], body: float) -> list[Block]:
    lines = [_line(row) for row in rows]
    if not lines:
        return []
    right = sorted(f.r for f in lines)[int(0.9 * (len(lines) - 1))]
    left = min(f.l for f in lines)
    leading = median([b.t - a.t for a, b in pairwise(lines)] or [body * 1.2])
    out: list[Block] = []
    for i, line in enumerate(lines):
        label = _label(line, body)
        new = i == 0 or _breaks(lines[i - 1], line, leading, left, right) or label == "bullet" or _STARTS.match(line.text)
        if not new and (label == "heading") != (out[-1].label == "heading"):
            new = True
        if new:
            out.append(Block(label, [line]))
        else:
            out[-1].lines.append(line)
    for block in out:
        if block.label == "heading" and (len(block.lines) > 4 or sum(len(f.text) for f in block.lines) > 250):
            block.label = "text"
    return out


def _line(row: list[Fragment]) -> Fragment:
    if len(row) == 1:
        return row[0]
    text = " ".join(f.text for f in row)
    return Fragment(
        row[0].l,
        min(f.t for f in row),
        max(f.r for f in row),
        max(f.b for f in row),
        text,
        median(f.size for f in row),
        all(f.bold for f in row),
    )


def _breaks(above: Fragment, line: Fragment, leading: float, left: float, right: float) -> bool:
    if line.t - above.t > max(1.35 * leading, leading + 0.4 * line.size) or line.t < above.t - line.size:
        return True
    if abs(line.size - above.size) > 0.25 * max(line.size, above.size) and min(len(line.text), len(above.text)) > 3:
        return True
    width = max(right - left, 1.0)
    short = above.r < right - 0.12 * width
    indented = line.l - above.l > 0.8 * line.size and line.l - left < 0.25 * width
    return (short and bool(_ENDS.search(above.text))) or (
        indented and (short or bool(_ENDS.search(above.text))) and not _BULLET.match(above.text)
    )


def _label(line: Fragment, body: float) -> str:
    text = line.text.strip()
    if _BULLET.match(text):
        return "bullet"
    letters = sum(c.isalpha() for c in text)
    if (
        letters >= 3
        and len(text) <= 160
        and letters >= 0.5 * len(text.replace(" ", ""))
        and (line.size >= 1.25 * body or (line.bold and text[-1] not in ".,;:"))
    ):
        return "heading"
    return "text"
