"""Pieces of the report's page: escaping, tables, and drawings in SVG. One file, no script, nothing fetched from anywhere.

Colours follow the reader's light or dark preference and turn plain on paper. All text passes through `esc`.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

WIDTH = 720  # user units of a drawing
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")


def esc(value: object) -> str:
    """Text for HTML; control characters and lone surrogates become U+FFFD."""
    return html.escape(_CONTROL.sub("\ufffd", str(value)))


def page(title: str, lead: str, sections: Iterable[tuple[str, str]]) -> str:
    """The whole document: heading, contents, sections (heading, body)."""
    css = (Path(__file__).parent / "report.css").read_text("utf-8")
    filled = [(heading, body) for heading, body in sections if body]
    contents = "".join(f'<a href="#s{i}">{esc(heading)}</a>' for i, (heading, _) in enumerate(filled))
    body = "".join(f'<section id="s{i}"><h2>{esc(heading)}</h2>{text}</section>' for i, (heading, text) in enumerate(filled))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{esc(title)}</title><style>{css}</style></head>\n<body><header><h1>{esc(title)}</h1>{lead}</header>"
        f"<nav>{contents}</nav><main>{body}</main></body></html>\n"
    )


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], right: Iterable[str] = (), classes: Sequence[str] = ()) -> str:
    """A table; `right` names the columns of numbers, `classes` gives a class for each row."""
    numbers = set(right)
    head = "".join(f"<th{_number(c in numbers)}>{esc(c)}</th>" for c in columns)
    lines = []
    for i, row in enumerate(rows):
        cells = "".join(f"<td{_number(c in numbers)}>{esc(v)}</td>" for c, v in zip(columns, row, strict=True))
        lines.append(f"<tr{_class(classes[i] if i < len(classes) else '')}>{cells}</tr>")
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>' if lines else ""


def tiles(values: Iterable[tuple[str, str]]) -> str:
    """Big numbers: (label, value)."""
    return '<div class="tiles">' + "".join(f"<div><b>{esc(v)}</b><span>{esc(k)}</span></div>" for k, v in values) + "</div>"


def note(text: str) -> str:
    """A remark below a drawing."""
    return f'<p class="note">{esc(text)}</p>'


def bars(items: Sequence[tuple[str, float]], label: str, width: int = WIDTH) -> str:
    """Horizontal bars, as given: (name, count); `width` is less than WIDTH where two drawings stand side by side."""
    if not items:
        return ""
    top, left, row = max(v for _, v in items) or 1, 170 if width == WIDTH else 110, 24
    whole = sum(v for _, v in items) or 1
    lines = []
    for i, (name, value) in enumerate(items):
        y, size = i * row, (width - left - 120) * value / top
        lines.append(f'<text class="name" x="{left - 10}" y="{y + 16}">{esc(_cut(name, left // 7))}</text>')
        lines.append(f'<rect class="a" x="{left}" y="{y + 4}" width="{max(size, 1):.1f}" height="16" rx="2"/>')
        lines.append(
            f'<text x="{left + size + 8:.1f}" y="{y + 16}">{value:,.0f}<tspan class="soft" dx="6">{share(value, whole)}</tspan></text>'
        )
    return _svg(len(items) * row, lines, label, width)


def funnel(rows: Sequence[tuple[str, int, int, int]], label: str) -> str:
    """One bar a stage: (name, kept, rejected, failed), on one scale."""
    if not rows:
        return ""
    top, left, row = max(sum(r[1:]) for r in rows) or 1, 110, 30
    scale, lines = (WIDTH - left - 210) / top, []
    for i, (name, kept, rejected, failed) in enumerate(rows):
        y, x = i * row, float(left)
        lines.append(f'<text class="name" x="{left - 10}" y="{y + 19}">{esc(_cut(name, 16))}</text>')
        for kind, count in (("a", kept), ("b", rejected), ("c", failed)):
            if count:
                width = max(count * scale, 1.0)
                lines.append(
                    f'<rect class="{kind}" x="{x:.1f}" y="{y + 5}" width="{width:.1f}" height="20"><title>{count:,}</title></rect>'
                )
                x += width
        lost = [
            f'<tspan class="{kind}" dx="8">−{count:,} {word}</tspan>'
            for kind, count, word in (("b", rejected, "rejected"), ("c", failed, "failed"))
            if count
        ]
        lines.append(f'<text x="{x + 8:.1f}" y="{y + 19}">{kept:,}{"".join(lost)}</text>')
    return _svg(len(rows) * row, lines, label)


def histogram(values: Sequence[float], unit: str, label: str) -> str:
    """How a quantity above 0 is distributed, on a logarithmic axis, three bars to a factor of ten; the median is marked."""
    found = sorted(v for v in values if v > 0)
    if not found:
        return ""
    low, high = math.floor(3 * math.log10(found[0])), math.floor(3 * math.log10(found[-1])) + 1
    counts = [0] * (high - low)
    for value in found:
        counts[min(len(counts) - 1, math.floor(3 * math.log10(value)) - low)] += 1
    height, left, step = 190, 10, (WIDTH - 20) / len(counts)
    lines = [f'<line class="axis" x1="{left}" y1="{height}" x2="{WIDTH - 10}" y2="{height}"/>']
    for i, count in enumerate(counts):
        size, x = (height - 44) * count / max(counts), left + i * step
        if count:
            lines.append(
                f'<rect class="a" x="{x + 1:.1f}" y="{height - size:.1f}" width="{max(step - 2, 1):.1f}" height="{size:.1f}" rx="2"/>'
            )
            lines.append(f'<text class="mid soft" x="{x + step / 2:.1f}" y="{height - size - 5:.1f}">{count:,}</text>')
        if (i + low) % 3 == 0 or len(counts) <= 4:
            lines.append(f'<text class="mid" x="{x:.1f}" y="{height + 18}">{_short(10 ** ((i + low) / 3))}</text>')
    median = found[len(found) // 2]
    x = left + step * (3 * math.log10(median) - low)
    lines.append(f'<line class="mark" x1="{x:.1f}" y1="16" x2="{x:.1f}" y2="{height}"/>')
    lines.append(f'<text class="mid mark" x="{x:.1f}" y="11">median {_short(median)}</text>')
    lines.append(f'<text class="end soft" x="{WIDTH - 10}" y="{height + 36}">{esc(unit)}</text>')
    return _svg(height + 42, lines, label)


def curves(series: Mapping[str, Sequence[tuple[float, float]]], label: str, across: str = "step") -> str:
    """Lines over a common axis: name -> points (x, y) in x order."""
    drawn = {name: _thin(points) for name, points in series.items() if len(points) > 1}
    if not drawn:
        return ""
    xs = [x for points in drawn.values() for x, _ in points]
    ys = sorted(y for points in drawn.values() for _, y in points if math.isfinite(y))
    if not ys:
        return ""
    (x0, x1), y0, y1 = (min(xs), max(xs)), ys[0], ys[min(len(ys) - 1, int(len(ys) * 0.995))]
    y0, y1 = y0 - 0.05 * (y1 - y0 or 1), y1 + 0.05 * (y1 - y0 or 1)
    left, right, height = 56, WIDTH - 110, 240

    def at(x: float, y: float) -> str:
        px = left + (right - left) * (x - x0) / ((x1 - x0) or 1)
        return f"{px:.1f},{height * (1 - (min(y, y1) - y0) / (y1 - y0)):.1f}"

    lines = []
    for tick in _ticks(y0, y1):
        y = height * (1 - (tick - y0) / (y1 - y0))
        lines.append(f'<line class="grid" x1="{left}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}"/>')
        lines.append(f'<text class="end soft" x="{left - 8}" y="{y + 4:.1f}">{tick:g}</text>')
    for tick in _ticks(x0, x1):
        x = left + (right - left) * (tick - x0) / ((x1 - x0) or 1)
        lines.append(f'<text class="mid soft" x="{x:.1f}" y="{height + 18}">{_short(tick)}</text>')
    lines.append(f'<text class="soft" x="{right + 10}" y="{height + 18}">{esc(across)}</text>')
    for number, (name, points) in enumerate(drawn.items()):
        lines.append(f'<polyline class="l{number % 3}" points="{" ".join(at(x, y) for x, y in points if math.isfinite(y))}"/>')
        last = next((y for _, y in reversed(points) if math.isfinite(y)), y0)
        lines.append(f'<text class="t{number % 3}" x="{right + 10}" y="{14 + 34 * number}">{esc(name)}</text>')
        lines.append(f'<text class="soft" x="{right + 10}" y="{30 + 34 * number}">{last:.3f}</text>')
    return _svg(height + 26, lines, label)


def share(part: float, whole: float) -> str:
    """A percentage that is never a false 0 or 100."""
    if not whole:
        return ""
    value = 100 * part / whole
    return "<0.1%" if 0 < value < 0.1 else ">99.9%" if 99.9 < value < 100 else f"{value:.1f}%" if value % 1 else f"{value:.0f}%"


def _svg(height: float, lines: Iterable[str], label: str, width: int = WIDTH) -> str:
    return f'<svg viewBox="0 0 {width} {height:.0f}" role="img" aria-label="{esc(label)}">{"".join(lines)}</svg>'


def _thin(points: Sequence[tuple[float, float]], most: int = 400) -> list[tuple[float, float]]:
    """At most `most` points, each the mean of its neighbours: a readable line."""
    size = max(1, math.ceil(len(points) / most))
    groups = [points[i : i + size] for i in range(0, len(points), size)]
    return [(g[-1][0], sum(y for _, y in g) / len(g)) for g in groups]


def _ticks(low: float, high: float) -> list[float]:
    if high <= low:
        return [low]
    raw = (high - low) / 5
    base = 10 ** math.floor(math.log10(raw))
    step = next(base * m for m in (1, 2, 5, 10) if base * m >= raw)
    return [round(i * step, 10) for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _short(value: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size * 0.9995:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _number(yes: bool) -> str:
    return ' class="n"' if yes else ""


def _class(name: str) -> str:
    return f' class="{name}"' if name else ""
