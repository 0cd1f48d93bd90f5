"""What stands around the text of page after page: running heads and feet, page numbers, line numbers in the margin.

It is told by the document as a whole: what repeats at the edge of pages, digits apart, and what counts along with them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from statistics import median

from extractors.pdf.fragments import Fragment, body_size, rows

_MARGIN = 0.09  # of the page height: where running heads and feet are looked for
_DEEP = 0.2  # a head of several lines reaches down to here, when all of it repeats
_NUMBER = re.compile(r"^[^\w,;]*(?:\w{1,6}\.?\s)?[^\w,;]*(\d{1,4}|[ivxlc]{1,6})(?:\s*(?:/|\w{2,3})\s*\d{1,4})?[^\w,;]*$", re.I)
_ROMAN = {"i": 1, "v": 5, "x": 10, "l": 50, "c": 100}
_SAME = 4.0  # points: heads and feet stand at one height
_LONG = 60  # characters: longer lines are more often notes than heads
_MOST = 0.5  # of a page's letters: more is no head or foot
_LINE_NUMBERS = 10  # lines of a page that must be counted in its margin

Row = list[tuple[int, float, str]]  # fragment, distance from the edge, key


def furniture(pages: list[list[Fragment]], heights: list[float]) -> set[tuple[int, int]]:
    """(page, fragment) indices of what is no text."""
    found: set[tuple[int, int]] = set()
    if len(pages) > 1:
        edges = {top: [_edge(page, height, top) for page, height in zip(pages, heights, strict=True)] for top in (True, False)}
        counted = _counted(pages, edges.values())
        for placed in edges.values():
            found |= set(_repeated(pages, heights, placed, counted))
        for p, page in enumerate(pages):  # a page that repeats as a whole is text
            if sum(len(page[i].text) for i in range(len(page)) if (p, i) in found) > _MOST * sum(len(f.text) for f in page):
                found -= {(p, i) for i in range(len(page)) if not _number(page[i].text)}
    for p, page in enumerate(pages):
        found |= {(p, i) for i in _line_numbers(page)}
    return found


def _edge(page: list[Fragment], height: float, top: bool) -> list[Row]:
    """The rows at an edge of the page, from there inwards."""
    numbers = {id(f): i for i, f in enumerate(page)}
    near = [f for f in page if not f.grid and (f.middle if top else height - f.middle) < _DEEP * height]
    lines = rows(near) if top else rows(near)[::-1]
    return [[(numbers[id(f)], f.middle if top else height - f.middle, _key(f.text)) for f in row] for row in lines]


def _counted(pages: list[list[Fragment]], edges: Iterable[list[list[Row]]]) -> Counter[int]:
    """How many pages have a number, in two rows of either edge, that is so much larger than their index."""
    steps: list[set[int]] = [set() for _ in pages]
    for placed in edges:
        for p, page_rows in enumerate(placed):
            steps[p] |= {number - p for row in page_rows[:2] for i, _, _ in row if (number := _number(pages[p][i].text))}
    return Counter(step for found in steps for step in found)


def _repeated(pages: list[list[Fragment]], heights: list[float], placed: list[list[Row]], counted: Counter[int]) -> list[tuple[int, int]]:
    """What repeats in the margin, and the lines behind it as long as they repeat too."""
    styles: dict[str, list[tuple[float, bool]]] = {}
    depths: dict[str, list[float]] = {}
    for p, page_rows in enumerate(placed):
        depth_of = {key: depth for row in page_rows for _, depth, key in row}
        for key, depth in depth_of.items():
            depths.setdefault(key, []).append(depth)
        for row in page_rows:
            for i, _, key in row:
                styles.setdefault(key, []).append((pages[p][i].size, pages[p][i].bold))
    needed, most = max(2, 0.3 * len(pages)), max(2, 0.6 * len(pages))
    heading = 1.2 * body_size(pages)

    def title(p: int, f: Fragment, key: str) -> bool:
        """Whether it is the title that the heads repeat."""
        sizes, bold = zip(*styles[key], strict=True)
        if not any(map(str.isalpha, key)):
            return False
        return f.size > 1.15 * median(sizes) or (p == 0 and (f.size >= heading or (f.bold and sum(bold) < 0.5 * len(bold))))

    def repeats(key: str, depth: float, pages_needed: float = needed) -> bool:
        """Whether so many pages have it at this place; of a long line, most."""
        if len(key) > _LONG:
            pages_needed = most
        return any(map(str.isalpha, key)) and sum(abs(other - depth) < _SAME for other in depths[key]) >= pages_needed

    out: list[tuple[int, int]] = []
    for p, lines_of_page in enumerate(placed):
        outermost, before = True, 0.0
        for row in lines_of_page:
            close = row[0][1] - before < 2.5 * pages[p][row[0][0]].size  # to the head or foot before it
            before = row[0][1]
            cells = sum(not repeats(key, depth) and not _number(pages[p][i].text) for i, depth, key in row) > 1  # a row of a table
            for i, depth, key in row:
                number = _number(pages[p][i].text)
                others = [(k, where) for j, where, k in row if j != i]
                alone = len(others) <= 2 and all(repeats(k, where) for k, where in others)
                edging = repeats(key, depth) or (number and counted[number - p] > 1 and alone)
                deep = outermost and close and repeats(key, depth, most) and len(row) <= 2 and len(key) > 3
                if not cells and (edging if depth < _MARGIN * heights[p] else deep) and not title(p, pages[p][i], key):
                    out.append((p, i))
                else:
                    outermost = False
    return out


def _number(text: str) -> int:
    """The page number that the text is; 0 when it is none."""
    match = _NUMBER.match(text.strip())
    if not match:
        return 0
    if match[1].isdigit():
        return int(match[1])
    values = [_ROMAN[c] for c in match[1].lower()]
    return sum(-a if a < b else a for a, b in pairwise([*values, 0]))


def _key(text: str) -> str:
    return re.sub(r"\d+", "0", re.sub(r"\s+", " ", text.strip().lower()))


def _line_numbers(page: list[Fragment]) -> list[int]:
    """Numbers that count the lines of running text, outside it at its left or right edge."""
    bare = {i for i, f in enumerate(page) if f.text.isdecimal() and len(f.text) <= 4}
    text = [f for i, f in enumerate(page) if i not in bare]
    if len(bare) < _LINE_NUMBERS or len(text) < _LINE_NUMBERS // 2 or any(f.grid for f in text):
        return []
    if sum(len(row) <= 2 for row in rows(text)) < 0.8 * len(rows(text)):
        return []
    left, right = sorted(f.l for f in text)[len(text) // 10], sorted(f.r for f in text)[-1 - len(text) // 10]
    for outside in ([i for i in bare if page[i].r <= left], [i for i in bare if page[i].l >= right]):
        outside.sort(key=lambda i: page[i].t)
        steps = Counter(int(page[b].text) - int(page[a].text) for a, b in pairwise(outside))
        if len(outside) < _LINE_NUMBERS or not steps:
            continue
        step, often = steps.most_common(1)[0]
        if step in (1, 2, 5, 10) and often >= 0.8 * (len(outside) - 1):
            return outside
    return []
