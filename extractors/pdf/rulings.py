"""Tables by their rulings: drawn lines to a grid of cells, and the words in it to the cells' texts.

Lines that touch form a frame. A frame of at least two rows and two columns is a table; where no line parts two fields of the
grid they are one cell. Rows that are not ruled apart are told by their lines of text.
"""

from __future__ import annotations

from dataclasses import dataclass

from extractors.pdf.fragments import Fragment, Word, fragments, is_bold, rows
from extractors.pdf.hyphens import Spelling

_TOUCH = 2.5  # points: lines nearer than this meet
_THIN = 3.0  # points: a filled box no thicker is a line
_MOST = 4_000  # lines of a page: drawings have more, tables do not
_LONG_CELL = 700  # characters: frames whose cells hold more on average are page design

Box = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(slots=True)
class Rule:
    """A horizontal or vertical line: where it lies, from where to where."""

    at: float
    low: float
    high: float


@dataclass(slots=True)
class Table:
    """Rows of cell texts, the table's box and the height of its letters."""

    box: Box
    grid: list[list[str]]
    size: float
    words: set[int]  # indices of the words in it


def tables(words: list[Word], boxes: list[Box], spelling: Spelling) -> list[Table]:
    """The ruled tables of a page. `boxes` are its drawn lines and frames."""
    flat, upright = _rules(boxes)
    if len(flat) + len(upright) > _MOST:
        return []
    out: list[Table] = []
    taken: set[int] = set()
    for ys, xs, across, down in _frames(flat, upright):
        table = _table(words, xs, ys, across, down, spelling, taken)
        if table:
            taken |= table.words
            out.append(table)
    return out


def _rules(boxes: list[Box]) -> tuple[list[Rule], list[Rule]]:
    """Horizontal and vertical lines, pieces of one line put together."""
    flat: list[Rule] = []
    upright: list[Rule] = []
    for left, top, right, bottom in boxes[:_MOST]:
        wide, high = right - left, bottom - top
        if high <= _THIN and wide > high:
            flat.append(Rule((top + bottom) / 2, left, right))
        elif wide <= _THIN and high > wide:
            upright.append(Rule((left + right) / 2, top, bottom))
        elif wide > _THIN and high > _THIN:
            flat += [Rule(top, left, right), Rule(bottom, left, right)]
            upright += [Rule(left, top, bottom), Rule(right, top, bottom)]
    return _merged(flat), _merged(upright)


def _merged(rules: list[Rule]) -> list[Rule]:
    out: list[Rule] = []
    open_rules: list[Rule] = []
    for rule in sorted(rules, key=lambda r: (r.at, r.low)):
        open_rules = [o for o in open_rules if rule.at - o.at <= _TOUCH]
        for o in open_rules:
            if rule.low <= o.high + _TOUCH and rule.high >= o.low - _TOUCH:
                o.low, o.high = min(o.low, rule.low), max(o.high, rule.high)
                break
        else:
            new = Rule(rule.at, rule.low, rule.high)
            out.append(new)
            open_rules.append(new)
    return out


def _frames(flat: list[Rule], upright: list[Rule]) -> list[tuple[list[float], list[float], list[Rule], list[Rule]]]:
    """Connected lines: the heights and places at which they lie, and the lines themselves."""
    parent = list(range(len(flat) + len(upright)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for i, f in enumerate(flat):
        for j, u in enumerate(upright):
            if f.low - _TOUCH <= u.at <= f.high + _TOUCH and u.low - _TOUCH <= f.at <= u.high + _TOUCH:
                parent[root(i)] = root(len(flat) + j)
    groups: dict[int, tuple[list[Rule], list[Rule]]] = {}
    for i in range(len(parent)):
        group = groups.setdefault(root(i), ([], []))
        group[0].append(flat[i]) if i < len(flat) else group[1].append(upright[i - len(flat)])
    out = []
    for across, down in groups.values():
        ys, xs = _places([r.at for r in across]), _places([r.at for r in down])
        if len(ys) >= 2 and len(xs) >= 3:
            out.append((ys, xs, across, down))
    return sorted(out, key=lambda frame: (frame[0][0], frame[1][0]))


def _places(values: list[float]) -> list[float]:
    out: list[float] = []
    for value in sorted(values):
        if not out or value - out[-1] > 2 * _TOUCH:
            out.append(value)
    return out


def _table(
    words: list[Word], xs: list[float], ys: list[float], across: list[Rule], down: list[Rule], spelling: Spelling, taken: set[int]
) -> Table | None:
    """The frame as a table; None when it is none."""
    cells = _cells(xs, ys, across, down)
    held: dict[tuple[int, int], list[int]] = {}
    for i, (left, top, right, bottom, *_rest) in enumerate(words):
        x, y = (left + right) / 2, (top + bottom) / 2
        if i not in taken and xs[0] <= x <= xs[-1] and ys[0] <= y <= ys[-1]:
            column = max(c for c in range(len(xs) - 1) if xs[c] <= x or c == 0)
            row = max(r for r in range(len(ys) - 1) if ys[r] <= y or r == 0)
            held.setdefault(cells[row][column], []).append(i)
    filled_rows, filled_columns = {r for r, _ in held}, {c for _, c in held}
    if not held or len(filled_columns) < 2:
        return None
    parts = {cell: fragments([words[i] for i in inside]) for cell, inside in held.items()}
    letters = {cell: sum(len(f.text) for f in found) for cell, found in parts.items()}
    if sum(letters.values()) > _LONG_CELL * len(held):
        return None
    if sum(len(found) for found in parts.values() if _tabular(found)) > 0.4 * sum(map(len, parts.values())):
        return None
    grid: list[list[str]] = []
    for row in range(len(ys) - 1):
        if row not in filled_rows:
            continue
        line = {c: parts[row, c] for c in range(len(xs) - 1) if (row, c) in parts}
        for piece in _text_rows(line):
            grid.append([spelling.joined(" ".join(f.text for f in r) for r in rows(piece.get(c, []))) for c in range(len(xs) - 1)])
    kept = [c for c in range(len(xs) - 1) if c in filled_columns]
    grid = [[row[c] for c in kept] for row in grid]
    if len(grid) < 2:
        return None
    inside = {i for found in held.values() for i in found}
    sizes = sorted(words[i][3] - words[i][1] for i in inside)
    return Table((xs[0], ys[0], xs[-1], ys[-1]), grid, sizes[len(sizes) // 2], inside)


def _tabular(cell: list[Fragment]) -> bool:
    """Rows of several entries in one cell: a table, or columns, within the frame."""
    lines = rows(cell)
    return len(lines) >= 3 and sum(len(line) > 1 for line in lines) >= 0.3 * len(lines)


def _cells(xs: list[float], ys: list[float], across: list[Rule], down: list[Rule]) -> list[list[tuple[int, int]]]:
    """For each field of the grid the first field of the cell it belongs to: fields without a line between them are one cell."""
    owner = {(r, c): (r, c) for r in range(len(ys) - 1) for c in range(len(xs) - 1)}

    def first(field: tuple[int, int]) -> tuple[int, int]:
        while owner[field] != field:
            field = owner[field]
        return field

    for r in range(len(ys) - 1):
        for c in range(len(xs) - 1):
            if c + 2 < len(xs) and not _drawn(down, xs[c + 1], ys[r], ys[r + 1]):
                a, b = sorted((first((r, c)), first((r, c + 1))))
                owner[b] = a
            if r + 2 < len(ys) and not _drawn(across, ys[r + 1], xs[c], xs[c + 1]):
                a, b = sorted((first((r, c)), first((r + 1, c))))
                owner[b] = a
    return [[first((r, c)) for c in range(len(xs) - 1)] for r in range(len(ys) - 1)]


def _drawn(rules: list[Rule], at: float, low: float, high: float) -> bool:
    """Whether a line covers most of the way."""
    covered = sum(max(0.0, min(r.high, high) - max(r.low, low)) for r in rules if abs(r.at - at) <= 2 * _TOUCH)
    return covered >= 0.6 * (high - low)


def _text_rows(line: dict[int, list[Fragment]]) -> list[dict[int, list[Fragment]]]:
    """A ruled row as rows of text: several where its cells are short entries one below the other, at the same heights."""
    texts = rows([f for found in line.values() for f in found])
    columns = {id(f): c for c, found in line.items() for f in found}
    full = [row for row in texts if len({columns[id(f)] for f in row}) >= 2]
    short = sum(1 for row in full for f in row if len(f.text) <= 16)
    entries = sum(len(row) for row in full)
    if len(texts) < 3 or len(line) < 2 or len(full) < 0.8 * len(texts) or short < 0.7 * entries:
        return [line]
    out: list[dict[int, list[Fragment]]] = []
    for row in texts:
        out.append({})
        for f in row:
            out[-1].setdefault(columns[id(f)], []).append(f)
    return out


def stand_in(table: Table, words: list[Word]) -> Fragment:
    """The table as one fragment, for the search for columns and bands."""
    left, top, right, bottom = table.box
    bold = all(is_bold(words[i][5]) for i in table.words)
    return Fragment(left, top, right, bottom, " ".join(cell for row in table.grid for cell in row if cell), table.size, bold, table.grid)
