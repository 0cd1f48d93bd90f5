"""Tables without rulings: runs of rows whose fragments line up in columns."""

from __future__ import annotations

from collections import Counter

from extractors.pdf.fragments import Fragment

_FILLED = 0.4  # of the fields must hold something


def end_of_run(rows: list[list[Fragment]], at: int) -> int:
    """End of the run of rows with several cells; one-cell rows inside it (wrapped cells, group titles) belong to it."""
    end = at
    while end < len(rows) and (len(rows[end]) > 1 or (at < end < len(rows) - 1 and len(rows[end + 1]) > 1 and len(rows[end][0].text) < 60)):
        if rows[end][0].grid or (end > at and rows[end][0].t - rows[end - 1][0].b > 4 * rows[end][0].size):
            break
        end += 1
    return end


def grid(rows: list[list[Fragment]]) -> list[list[list[Fragment]]] | None:
    """Fragments by row and column; None when the boxes do not line up in columns."""
    spans: list[list[float]] = []
    for f in sorted((f for row in rows if len(row) > 1 for f in row), key=lambda f: f.l):
        if spans and f.l < spans[-1][1] - 1:
            spans[-1][1] = max(spans[-1][1], f.r)
        else:
            spans.append([f.l, f.r])
    if not 2 <= len(spans) <= 30:
        return None
    out: list[list[list[Fragment]]] = []
    for row in rows:
        out.append([[] for _ in spans])
        for f in row:
            at = min(range(len(spans)), key=lambda i: max(spans[i][0] - f.l, f.l - spans[i][1], 0.0))
            out[-1][at].append(f)
    filled = sum(1 for row in out for cell in row if cell) / (len(out) * len(spans))
    return out if filled >= _FILLED and _aligned([row for row in rows if len(row) > 1], spans) else None


def wordy(cells: list[list[list[Fragment]]]) -> bool:
    """Cells that are lines of running text rather than entries."""
    texts = [" ".join(f.text for f in cell) for row in cells for cell in row if cell]
    return len(cells[0]) <= 3 and sum(map(len, texts)) >= 30 * len(texts)


def columns(cells: list[list[list[Fragment]]]) -> bool:
    """Whether all of the columns are running text: columns of a page that the search for gutters has missed."""
    lengths = [[len(" ".join(f.text for f in cell)) for cell in column if cell] for column in zip(*cells, strict=True)]
    return all(sum(found) >= 20 * len(found) and len(found) >= 3 for found in lengths)


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
