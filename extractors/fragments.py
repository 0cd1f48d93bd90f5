"""Words of pages joined to fragments of lines, and what repeats in the margins told from the text.

Boxes are in points with their origin at the top left. A fragment ends at a gap wider than a letter is high, so that columns and
table cells stay apart.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from statistics import median

_MARGIN = 0.09  # of the page height: where running heads and feet are looked for
_NUMBER = re.compile(r"^\W*(?:pag(?:ina|e|\.)?|p\.)?\s*(?:\d{1,4}|[ivxlc]{1,6})(?:\s*(?:/|di|of)\s*\d{1,4})?\W*$", re.I)
_BOLD = re.compile(r"bold|black|heavy|semibold|demi|\bmedi|CMBX|SFBX|-bd\b|,bd", re.I)

Word = tuple[float, float, float, float, str, str]  # left, top, right, bottom, text, font name


@dataclass(slots=True)
class Fragment:
    """Words side by side: box in points, `size` the median height of its words."""

    l: float  # noqa: E741  as every library of page geometry calls it
    t: float
    r: float
    b: float
    text: str
    size: float
    bold: bool

    @property
    def middle(self) -> float:
        return (self.t + self.b) / 2


def fragments(words: list[Word]) -> list[Fragment]:
    """Words joined along their baseline, in the order given and once more from left to right."""
    out: list[Fragment] = []
    sizes: list[float] = []
    for left, top, right, bottom, text, font in words:
        if not text.strip():
            continue
        height = max(bottom - top, 1.0)
        last = out[-1] if out else None
        if last is not None and same_row(last, top, bottom) and -0.5 * height <= left - last.r <= 0.9 * max(height, last.size):
            last.text += (" " if left - last.r > 0.06 * height else "") + text
            last.t, last.b, last.r = min(last.t, top), max(last.b, bottom), max(last.r, right)
            sizes.append(height)
            last.size = median(sizes)
            last.bold = last.bold and bool(_BOLD.search(font))
        else:
            out.append(Fragment(left, top, right, bottom, text, height, bool(_BOLD.search(font))))
            sizes = [height]
    return _joined(out)


def same_row(f: Fragment, top: float, bottom: float) -> bool:
    return min(f.b, bottom) - max(f.t, top) > 0.5 * min(f.b - f.t, bottom - top)


def _joined(parts: list[Fragment]) -> list[Fragment]:
    """Neighbours that the order of the file kept apart."""
    out: list[Fragment] = []
    for part in sorted(parts, key=lambda f: (round(f.middle / 2), f.l)):
        for last in reversed(out[-3:]):
            if same_row(last, part.t, part.b) and -0.3 * part.size <= part.l - last.r <= 0.9 * min(part.size, last.size):
                last.text += (" " if part.l - last.r > 0.06 * part.size else "") + part.text
                last.t, last.b, last.r, last.bold = min(last.t, part.t), max(last.b, part.b), max(last.r, part.r), last.bold and part.bold
                break
        else:
            out.append(part)
    return out


def body_size(pages: list[list[Fragment]]) -> float:
    """The height of most of the document's letters."""
    weights: Counter[float] = Counter()
    for page in pages:
        for f in page:
            weights[round(f.size * 2) / 2] += len(f.text)
    return weights.most_common(1)[0][0] if weights else 10.0


def furniture(pages: list[list[Fragment]], heights: list[float]) -> set[tuple[int, int]]:
    """(page, fragment) indices of running heads, feet and page numbers: what repeats in the margins, digits apart."""
    seen: Counter[tuple[bool, str]] = Counter()
    places: list[tuple[int, int, tuple[bool, str]]] = []
    for p, (page, height) in enumerate(zip(pages, heights, strict=True)):
        keys = set()
        for i, f in enumerate(page):
            top = f.middle < _MARGIN * height
            if top or f.middle > (1 - _MARGIN) * height:
                key = (top, re.sub(r"\d+", "0", re.sub(r"\s+", " ", f.text.strip().lower())))
                places.append((p, i, key))
                keys.add(key)
        seen.update(keys)
    needed = max(2, 0.3 * len(pages))
    alone = len(pages) > 1
    return {
        (p, i) for p, i, key in places if (len(pages) > 1 and seen[key] >= needed) or (alone and _NUMBER.match(pages[p][i].text.strip()))
    }
