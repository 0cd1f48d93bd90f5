"""Words of a page joined to fragments of lines.

Boxes are in points with their origin at the top left. A fragment ends at a gap wider than a letter is high, and at an alley: a
narrower gap that stands at the same place in line after line, as between two columns or two cells set close together.
"""

from __future__ import annotations

import functools
import re
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median

_BOLD = re.compile(r"bold|black|heavy|semibold|demi|\bmedi|CMBX|SFBX|-bd\b|,bd", re.I)
_DINGBATS = re.compile("wingding|dingbat|webding|typographicsymbol", re.I)
_GAP = 0.9  # of the height of a letter: a wider gap ends a fragment
_SPACE = 0.06  # of the height: a narrower gap is none
_STRETCH = 2.2  # heights of a letter between the words of a stretched line, at most
_LINE = 8.0  # heights of a letter: what is longer and begins where others do begins a column
_COLUMN = 4  # lines of it
_MARK_LENGTH = 3  # characters of a raised mark, at most
_MOST_MARKS = 400  # of a page: more are its text
_STEP = 12.0  # points
_ALLEY = 0.35  # of the height: what an alley measures at least, and half as much again as the page's blanks
_ALLEY_ROWS = 6
_BLANKS = 20  # blanks of a page that tell how wide its blanks are
_MARKER = re.compile(r"[•▪◦‣●■□▫➢➤➔→✓\uf0a7-\uf0fc*o–—-]|\(?(?:\d{1,3}|[a-zA-Z]|[ivx]{2,5})[.)]")
_MARKER_GAP = 4.0  # heights of a letter between the mark of a list item and its text, at most
_SIGNS = str.maketrans({"o": "◦", **{chr(c): "•" for c in range(0xF0A7, 0xF0FD)}})  # marks of symbol fonts

Word = tuple[float, float, float, float, str, str]  # left, top, right, bottom, text, font name
Alley = tuple[float, float, float]  # x, top, bottom


@dataclass(slots=True)
class Fragment:
    """Words side by side: box in points, `size` the median height of its words, `bold` all of them, `begins_bold` the first.
    `grid` where it stands for a whole table."""

    l: float  # noqa: E741  as every library of page geometry calls it
    t: float
    r: float
    b: float
    text: str
    size: float
    bold: bool
    grid: list[list[str]] = field(default_factory=list)
    begins_bold: bool = False

    @property
    def middle(self) -> float:
        return (self.t + self.b) / 2


def fragments(words: list[Word]) -> list[Fragment]:
    """Words joined along their baseline, in the order given and once more from left to right."""
    alleys = _alleys(words)
    words = _with_marks(words)
    out: list[Fragment] = []
    sizes: list[float] = []
    for left, top, right, bottom, text, font in words:
        if not text.strip():
            continue
        if text == "\ufffd" or (len(text) == 1 and _DINGBATS.search(font)):
            text = "•"  # a sign of a symbol font
        height = max(bottom - top, 1.0)
        last = out[-1] if out else None
        if (
            last is not None
            and same_row(last, top, bottom)
            and not is_initial(last, height)
            and -0.5 * height <= left - last.r <= _GAP * max(height, last.size)
            and not _parted(alleys, last.r, left, top, bottom)
        ):
            last.text += (" " if left - last.r > _SPACE * max(height, last.size) or _raised(last, text, height, bottom) else "") + text
            last.t, last.b, last.r = min(last.t, top), max(last.b, bottom), max(last.r, right)
            if height > 1.25 * last.size and len(last.text) - len(text) <= _MARK_LENGTH:
                sizes = []  # what came before was a mark
            if height > 0.8 * last.size or len(text) > _MARK_LENGTH:
                sizes.append(height)
                last.size = median(sizes)
            last.bold = last.bold and is_bold(font)
        else:
            out.append(Fragment(left, top, right, bottom, text, height, is_bold(font), begins_bold=is_bold(font)))
            sizes = [height]
    return _with_markers(_stretched(_joined(out, alleys), alleys))


def _with_marks(words: list[Word]) -> list[Word]:
    """Small raised marks put behind the word that they touch, wherever the file paints them."""
    heights = [bottom - top for _, top, _, bottom, _, _ in words]
    if not words:
        return words
    usual = median(heights)
    marks = [i for i, height in enumerate(heights) if height < 0.8 * usual and len(words[i][4]) <= _MARK_LENGTH]
    if not marks or len(marks) > _MOST_MARKS:
        return words
    near: dict[int, list[int]] = {}
    for i in sorted(set(range(len(words))) - set(marks)):
        near.setdefault(int(words[i][2] // _STEP), []).append(i)
    behind: dict[int, list[int]] = {}
    for mark in marks:
        left, top, _, bottom, _, _ = words[mark]
        at = int(left // _STEP)
        touched = [
            i
            for step in (at - 1, at, at + 1)
            for i in near.get(step, ())
            if heights[mark] < 0.8 * heights[i]
            and -0.1 * heights[i] < left - words[i][2] < 0.15 * heights[i]
            and words[i][1] - 0.5 * heights[mark] < top < (words[i][1] + words[i][3]) / 2 < bottom + 0.5 * heights[mark]
        ]
        if touched and touched[0] != mark - 1:
            behind.setdefault(touched[0], []).append(mark)
    moved = {mark for found in behind.values() for mark in found}
    return [words[j] for i in range(len(words)) if i not in moved for j in (i, *behind.get(i, ()))]


def _raised(last: Fragment, text: str, height: float, bottom: float) -> bool:
    """A mark of a footnote behind a word, which is none of its letters; behind a single letter it is an exponent."""
    return height < 0.8 * last.size and bottom < last.b - 0.15 * last.size and last.text[-3:].isalpha() and not text[0].isalpha()


def _attached(f: Fragment, mark: Fragment) -> bool:
    """A small raised mark that touches the word before it."""
    return mark.size < 0.8 * f.size and mark.l - f.r < 0.15 * f.size and f.t - 0.6 * mark.size < mark.t < f.middle and len(mark.text) <= 4


def _with_markers(parts: list[Fragment]) -> list[Fragment]:
    """Bullets and numbers set apart from the text of their list item are put before it."""
    gone: set[int] = set()
    marks = [f for f in parts if _MARKER.fullmatch(f.text)]
    for mark in marks:
        beside = [f for f in parts if f is not mark and id(f) not in gone and same_row(f, mark.t, mark.b)]
        if mark.text == "•" and any(f.l <= mark.l and f.r >= mark.r and f.text.startswith("• ") for f in beside):
            gone.add(id(mark))  # drawn twice
            continue
        if any(f.l < mark.l and mark.l - f.r < 1.5 * mark.size for f in beside):
            continue
        if mark.text in "o*–—-" and not any(f is not mark and f.text == mark.text and abs(f.l - mark.l) < 1.5 for f in marks):
            continue
        item = min((f for f in beside if f.l >= mark.r - 0.1 * mark.size), key=lambda f: f.l, default=None)
        if item is not None and item.l - mark.r <= _MARKER_GAP * max(mark.size, item.size):
            item.text = f"{mark.text.translate(_SIGNS) if len(mark.text) == 1 else mark.text} {item.text}"
            item.l = mark.l  # not its height: bullets are often set larger
            gone.add(id(mark))
    return [f for f in parts if id(f) not in gone]


@functools.lru_cache(maxsize=256)
def is_bold(font: str) -> bool:
    return bool(_BOLD.search(font))


def is_initial(f: Fragment, height: float) -> bool:
    """A large letter at the beginning of a text whose letters are so high."""
    return len(f.text) == 1 and f.text.isalpha() and f.size >= 1.7 * height


def same_row(f: Fragment, top: float, bottom: float) -> bool:
    return min(f.b, bottom) - max(f.t, top) > 0.5 * min(f.b - f.t, bottom - top)


def rows(parts: list[Fragment]) -> list[list[Fragment]]:
    """Fragments at the same height, from top to bottom and from left to right."""
    out: list[list[Fragment]] = []
    for f in sorted(parts, key=lambda f: (f.middle, f.l)):
        last = out[-1] if out else []
        if last and abs(last[0].middle - f.middle) < 0.7 * max(last[0].size, f.size) and any(same_row(o, f.t, f.b) for o in last):
            last.append(f)
        else:
            out.append([f])
    for row in out:
        row.sort(key=lambda f: f.l)
    return out


def _joined(parts: list[Fragment], alleys: list[Alley]) -> list[Fragment]:
    """Neighbours that the order of the file kept apart."""
    out: list[Fragment] = []
    near: dict[int, list[Fragment]] = {}  # by height, in steps of _STEP
    for part in sorted(parts, key=lambda f: (f.l, f.middle)):
        step = int(part.middle // _STEP)
        beside = [
            f
            for at in (step - 1, step, step + 1)
            for f in near.get(at, ())
            if (same_row(f, part.t, part.b) or _attached(f, part))
            and not is_initial(f, part.size)
            and -0.3 * part.size <= part.l - f.r <= _GAP * min(part.size, f.size)
            and not _parted(alleys, f.r, part.l, part.t, part.b)
        ]
        if beside:
            last = max(beside, key=lambda f: (f.r, -f.t))
            apart = part.l - last.r > _SPACE * part.size or _raised(last, part.text, part.size, part.b)
            if not last.text == part.text == "•":  # drawn twice
                last.text += (" " if apart else "") + part.text
            last.size = last.size if len(last.text) > 2 * len(part.text) else max(last.size, part.size)
            last.t, last.b, last.r, last.bold = min(last.t, part.t), max(last.b, part.b), max(last.r, part.r), last.bold and part.bold
        else:
            out.append(part)
            near.setdefault(step, []).append(part)
    return out


def _stretched(parts: list[Fragment], alleys: list[Alley]) -> list[Fragment]:
    """Words of a line stretched to the width of its column: three and more behind gaps of one width, none of them a gutter."""
    out: list[Fragment] = []
    edges = Counter(round(f.l) for f in parts if f.r - f.l > _LINE * f.size)
    for row in rows(parts):
        start = 0
        while start < len(row):
            end, width = start + 1, -1.0
            while end < len(row):
                a, b = row[end - 1], row[end]
                gap = b.l - a.r
                even = width < 0 or abs(gap - width) <= max(0.12 * width, 0.5)
                column = sum(edges[round(b.l) + step] for step in (-1, 0, 1)) >= _COLUMN
                if not even or column or not 0 < gap <= _STRETCH * b.size or _parted(alleys, a.r, b.l, b.t, b.b):
                    break
                end, width = end + 1, gap
            run = row[start:end] if end - start >= 3 else row[start : start + 1]
            out.append(merged(run))
            start += len(run)
    return out


def merged(row: list[Fragment]) -> Fragment:
    """Fragments side by side as one."""
    if len(row) == 1:
        return row[0]
    return Fragment(
        row[0].l,
        min(f.t for f in row),
        max(f.r for f in row),
        max(f.b for f in row),
        " ".join(f.text for f in row),
        max(row, key=lambda f: len(f.text)).size,
        all(f.bold for f in row),
        begins_bold=row[0].begins_bold,
    )


def _parted(alleys: list[Alley], left: float, right: float, top: float, bottom: float) -> bool:
    """Whether an alley runs between the two words."""
    return any(left - 0.5 <= x <= right + 0.5 and low < bottom and high > top for x, low, high in alleys)


def _alleys(words: list[Word]) -> list[Alley]:
    """Where word after word begins at the same x behind a gap, in nearly all rows that have words on both sides of it."""
    lines: dict[int, list[Word]] = {}
    for word in words:
        if word[4].strip():
            lines.setdefault(round(word[3]), []).append(word)
    gaps: list[tuple[float, float, int]] = []  # where the right word begins, how many heights wide, row
    spans: list[tuple[int, float, float]] = []
    for row, line in sorted(lines.items()):
        line.sort()
        spans.append((row, line[0][0], line[-1][2]))
        gaps.extend((b[0], (b[0] - a[2]) / max(b[3] - b[1], 1.0), row) for a, b in pairwise(line) if not _MARKER.fullmatch(a[4].strip()))
    blanks = [width for _, width, _ in gaps if 0.02 < width < _GAP]
    least = max(_ALLEY, 1.5 * median(blanks)) if len(blanks) >= _BLANKS else _ALLEY
    gaps = [gap for gap in gaps if gap[1] >= least]
    starts = Counter(round(x) for x, _, _ in gaps)
    out: list[Alley] = []
    gaps.sort()
    for x, count in starts.items():
        if count < _ALLEY_ROWS // 2:
            continue
        near = gaps[bisect_left(gaps, (x - 1.5,)) : bisect_left(gaps, (x + 1.5,))]
        here = sorted({row for _, _, row in near})
        if len(here) < _ALLEY_ROWS:
            continue
        crossed = sum(1 for row, low, high in spans if here[0] <= row <= here[-1] and low < x - 3 and high > x + 3)
        if len(here) >= 0.75 * crossed:
            heights = [word[3] - word[1] for row in here for word in lines[row]]
            out.append((x - 0.5, here[0] - median(heights), float(here[-1])))
    return out


def body_size(pages: list[list[Fragment]]) -> float:
    """The height of most of the document's letters."""
    weights: Counter[float] = Counter()
    for page in pages:
        for f in page:
            weights[round(f.size * 2) / 2] += len(f.text)
    return weights.most_common(1)[0][0] if weights else 10.0
