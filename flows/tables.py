"""Tables on a terminal: rich where somebody looks, plain columns where a file or a program reads."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TextIO

STAGE_COLUMNS = ("stage", "status", "in", "kept", "rejected", "failed", "calls", "seconds", "why")
COLORS = {"cached": "dim", "ran": "green", "would_run": "yellow", "skipped": "dim", "failed": "red"}


def number(value: Any) -> str:
    """A number for people: 12,400; 0.0312; '' for nothing."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            return str(value)
        return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
    return str(value)


def size(count: float) -> str:
    """Bytes for people: 1.4 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def stage_rows(stages: Iterable[Mapping[str, Any]]) -> list[list[str]]:
    """Per-stage table rows of the contract's stage objects."""
    rows = []
    for s in stages:
        counts = ["", "", "", ""] if s["unit"] == "artifact" else [number(s[k]) for k in ("in", "kept", "rejected", "failed")]
        seconds = "" if s["status"] in ("would_run", "skipped") else f"{s['seconds']:.1f}"
        rows.append([s["name"], s["status"].replace("_", " "), *counts, number(s["calls"]), seconds, "; ".join(s["why"])])
    return rows


def show_stages(stages: Sequence[Mapping[str, Any]], out: TextIO | None = None) -> None:
    """Print the per-stage table."""
    styles = [COLORS.get(s["status"], "") for s in stages]
    show(STAGE_COLUMNS, stage_rows(stages), out, right={"in", "kept", "rejected", "failed", "calls", "seconds"}, styles=styles)


def show(
    columns: Sequence[str], rows: Sequence[Sequence[str]], out: TextIO | None = None, right: Iterable[str] = (), styles: Sequence[str] = ()
) -> None:
    """Print a table; `right` names the columns aligned right, `styles` gives a rich style per row."""
    out = out or sys.stdout
    if out.isatty():
        _rich(columns, rows, out, set(right), styles)
    else:
        _plain(columns, rows, out, set(right))


def _plain(columns: Sequence[str], rows: Sequence[Sequence[str]], out: TextIO, right: set[str]) -> None:
    lines = [list(columns), *([" ".join(str(cell).split()) for cell in row] for row in rows)]
    widths = [min(60, max(len(line[i]) for line in lines)) for i in range(len(columns))]
    for line in lines:
        cells = [cell.rjust(w) if name in right else cell.ljust(w) for cell, w, name in zip(line, widths, columns, strict=True)]
        print("  ".join(cells).rstrip(), file=out)


def _rich(columns: Sequence[str], rows: Sequence[Sequence[str]], out: TextIO, right: set[str], styles: Sequence[str]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for i, name in enumerate(columns):
        last = i == len(columns) - 1
        table.add_column(
            name,
            justify="right" if name in right else "left",
            no_wrap=not last and len(columns) > 3,
            overflow="fold" if last else "ellipsis",
        )
    for i, row in enumerate(rows):
        table.add_row(*(Text(str(cell)) for cell in row), style=styles[i] if i < len(styles) else None)
    Console(file=out).print(table)
