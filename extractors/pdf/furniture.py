"""What stands around the text of page after page: running heads and feet, page numbers, line numbers in the margin.

It is told by the document as a whole: what repeats at the edge of pages, digits apart, and what counts along with them.
"""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise
from statistics import median

from extractors.pdf.fragments import Fragment, rows

_MARGIN = 0.09  # of the page height: where running heads and feet are looked for
_DEEP = 0.2  # a head of several lines reaches down to here, when all of it repeats
_NUMBER = re.compile(r"^[^\w,;]*(?:\w{1,6}\.?\s)?[^\w,;]*(\d{1,4}|[ivxlc]{1,6})(?:\s*(?:/|\w{2,3})\s*\d{1,4})?[^\w,;]*$", re.I)
_ROMAN = {"i": 1, "v": 5, "x": 10, "l": 50, "c": 100}
_MOST = 0.5  # of a page's letters: more is no head or foot
_LINE_NUMBERS = 10  # lines of a page that must be counted in its margin


def furniture(pages: list[list[Fragment]], heights: list[float]) -> set[tuple[int, int]]:
    """(page, fragment) indices of what is no text."""
    found: set[tuple[int, int]] = set()
    if len(pages) > 1:
        found |= {(p, i) for top in (True, False) for p, i in _edge(pages, heights, top)}
        for p, page in enumerate(pages):  # a page that repeats as a whole is text
            if sum(len(page[i].text) for i in range(len(page)) if (p, i) in found) > _MOST * sum(len(f.text) for f in page):
                found -= {(p, i) for i in range(len(page)) if not _number(page[i].text)}
    for p, page in enumerate(pages):
        found |= {(p, i) for i in _line_numbers(page)}
    return found


def _edge(pages: list[list[Fragment]], heights: list[float], top: bool) -> list[tuple[int, int]]:
    """What repeats in the margin, and the lines behind it as long as they repeat too."""
    seen: Counter[str] = Counter()
    sizes: dict[str, list[float]] = {}
    placed: list[list[list[tuple[int, float, str]]]] = []  # page, row from the edge inwards: fragment, distance from the edge, key
    for page, height in zip(pages, heights, strict=True):
        numbers = {id(f): i for i, f in enumerate(page)}
        near = [f for f in page if not f.grid and (f.middle if top else height - f.middle) < _DEEP * height]
        lines = rows(near) if top else rows(near)[::-1]
        placed.append([[(numbers[id(f)], f.middle if top else height - f.middle, _key(f.text)) for f in row] for row in lines])
        seen.update({key for row in placed[-1] for _, _, key in row})
        for row in placed[-1]:
            for i, _, key in row:
                sizes.setdefault(key, []).append(page[i].size)
    counted: Counter[int] = Counter()  # page number less index of the page
    for p, page_rows in enumerate(placed):
        counted.update({_number(pages[p][i].text) - p for row in page_rows[:2] for i, _, _ in row if _number(pages[p][i].text)})
    needed, most = max(2, 0.3 * len(pages)), max(2, 0.6 * len(pages))
    out: list[tuple[int, int]] = []
    for p, lines_of_page in enumerate(placed):
        outermost, before = True, 0.0
        for row in lines_of_page:
            close = row[0][1] - before < 2.5 * pages[p][row[0][0]].size  # to the head or foot before it
            before = row[0][1]
            for i, depth, key in row:
                number = _number(pages[p][i].text)
                title = pages[p][i].size > 1.15 * median(sizes[key])  # which the heads repeat
                others = [k for j, _, k in row if j != i]
                alone = len(others) <= 2 and all(seen[k] >= needed and any(map(str.isalpha, k)) for k in others)
                repeats = (any(map(str.isalpha, key)) and seen[key] >= needed) or (number and counted[number - p] > 1 and alone)
                deep = outermost and close and seen[key] >= most and len(row) <= 2 and len(key) > 3
                if not title and (repeats if depth < _MARGIN * heights[p] else deep):
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
