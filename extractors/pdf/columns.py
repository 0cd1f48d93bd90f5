"""Columns and bands of a page: fragments to regions in reading order, by recursive cuts.

The gutter with most running text on both sides cuts first. What crosses it (titles, wide tables, figures) divides the page into
bands, which are read one after the other, left before right; each side is then cut again.
"""

from __future__ import annotations

from collections import Counter

from extractors.pdf.fragments import Fragment, same_row

_DEPTH = 5
_FEW = 8  # fragments: fewer are not cut


def regions(page: list[Fragment]) -> list[list[Fragment]]:
    """The page's regions in reading order; every fragment is in exactly one."""
    return _cut(page, 0)


def _cut(page: list[Fragment], depth: int) -> list[list[Fragment]]:
    at = _gutter(page) if depth < _DEPTH and len(page) >= _FEW else None
    if at is None:
        return [page] if page else []
    out: list[list[Fragment]] = []
    band: list[Fragment] = []
    wide: list[Fragment] = []
    for f in sorted(page, key=lambda f: f.t if f.grid else f.middle):
        crosses = f.l < at - 1 and f.r > at + 1
        if crosses and band:
            out.extend(_band(band, at, depth))
            band = []
        if not crosses and wide:
            out.append(wide)
            wide = []
        (wide if crosses else band).append(f)
    if wide:
        out.append(wide)
    if band:
        out.extend(_band(band, at, depth))
    return out


def _band(band: list[Fragment], at: float, depth: int) -> list[list[Fragment]]:
    left = [f for f in band if (f.l + f.r) / 2 < at]
    right = [f for f in band if (f.l + f.r) / 2 >= at]
    if not left or not right or (len(band) < _FEW and not (running(left) and running(right))):
        return [band]
    return _cut(left, depth + 1) + _cut(right, depth + 1)


def _gutter(page: list[Fragment]) -> float | None:
    """Where the best gutter lies: running text on both sides, at the same heights, and little that crosses it."""
    low, high = min(f.l for f in page), max(f.r for f in page)
    edges = Counter(round(f.l) for f in page if low + 0.15 * (high - low) < f.l < high - 0.12 * (high - low))
    best, best_score = None, 0.0
    often = [edge for edge, count in edges.most_common(12) if count >= 3]
    for edge in dict.fromkeys(_clear(page, high - low) + often):
        cut = edge - 2.0
        left = [f for f in page if f.r <= cut + 1]
        right = [f for f in page if f.l >= cut - 1]
        if len(left) < 4 or len(right) < 4:
            continue
        crossing = len(page) - len(left) - len(right)
        pairs = _pairs(left, right)
        score = pairs - 0.5 * sum(1 for f in page if f.l < cut < f.r and _beside(f, left, right))
        if pairs >= 4 and score > best_score and crossing <= 3 * (len(left) + len(right)) and running(left) and running(right):
            best, best_score = (cut + max((f.r for f in left if f.r <= cut), default=cut)) / 2, score
    return best


def _clear(page: list[Fragment], width: float) -> list[int]:
    """Where fragments begin behind a strip of the page that only wide ones cross."""
    out: list[int] = []
    end = 0.0
    for f in sorted((f for f in page if f.r - f.l < 0.6 * width), key=lambda f: f.l):
        if end and f.l - end > 0.5 * f.size:
            out.append(round(f.l))
        end = max(end, f.r)
    return out[:12]


def _pairs(left: list[Fragment], right: list[Fragment]) -> int:
    """Lines on the left with a line at the same height on the right."""
    heights = sorted((f.t, f.b) for f in right)
    return sum(1 for f in left if any(t < f.b and b > f.t for t, b in heights))


def _beside(f: Fragment, left: list[Fragment], right: list[Fragment]) -> bool:
    return any(same_row(o, f.t, f.b) for o in left) or any(same_row(o, f.t, f.b) for o in right)


def running(side: list[Fragment]) -> bool:
    """Running text rather than cells: long lines, and enough of them about as wide as the widest."""
    if any(f.grid for f in side):
        side = [f for f in side if not f.grid]
    side = [f for f in side if any(map(str.isalnum, f.text))]
    if len(side) < 3:
        return False
    widths = sorted(f.r - f.l for f in side)
    chars = sum(len(f.text) for f in side) / len(side)
    full = sum(1 for width in widths if width > 0.7 * widths[int(0.9 * (len(widths) - 1))])
    return chars >= 16 and full >= 0.3 * len(side)
