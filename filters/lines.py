"""Lines: paragraphs that were wrapped at a fixed width become one line again; words hyphenated at a line end, one word.

A wrapped line ends where the next word no longer fitted. A run of lines is taken for wrapped prose when most of its
breaks are of this kind, for a width measured on the run itself or, for short runs, on the document. Verse (most lines
begin with a capital, and the next word would have fitted), lists, tables, headings, code and fences keep their lines.
E-mail quoting (`> `) is repaired inside each level.

Limits: a ragged text wrapped by hand keeps its lines unless a line is long, unfinished and followed by a small letter.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

_STRUCTURE = re.compile(
    r"""\s*(?:\#{1,6}\s | \| | [-*_=~+^.]{3,}\s*$ | <\|im_ | \.\.\s | :[\w-]+: | </?\w[^<>]*>\s*$ | <!-- | @\w | \$\$)
      | .*(?:\t\S | \.\.\.\.\. | (?:\.\s){5} | \\\\$ | [{}]$ | \s\|\s)""",
    re.X,
)
_LIST = re.compile(r"(?:[-*+•◦▪·‣●○■□➢✓]|[–—](?=\s+[^\Wa-z])|\(?\d{1,3}[.)]|\(?[a-zA-Z]{1,2}\)|\(?[ivxIVX]{1,5}\)|\[\w{1,8}\])\s")
_FENCE = re.compile(r"\s*(?:```|~~~)")
_QUOTE = re.compile(r"(?:>[ ]?)+")
_GAP = re.compile(r"(?<=\S) {2,}(?=\S)")
_WORD = re.compile(r"\S+")
_HYPHEN = re.compile(r"[^\W\d_]{2,}-$")
_COMPOUND = re.compile(r"[^\W\d_]{2,}-[^\W\d_]+")
_CODE = re.compile(r"[{}=<>\\]|\w\(|\)[:;]|^\s*(?:def|class|if|for|return|import|elif|else)\b.*[:(]")
_END = (".", "!", "?", ":", ";", "…", "»", "”", '"', ")", ">")
NARROWEST, WIDEST = 45, 130  # characters: widths between which a line can be a wrapped one
LONG = 50  # characters: a line that is longer than a verse


@dataclass
class Repairs:
    """What was done: line breaks removed, words put together."""

    joined: int = 0
    dehyphenated: int = 0


def repair(text: str) -> tuple[str, Repairs]:
    """Join wrapped lines of `text` (clean characters, `\\n` line ends). Not idempotent by itself, see normalize."""
    repairs = Repairs()
    lines = [line.rstrip() for line in text.split("\n")]
    units = list(_units(lines, _front_matter(lines)))
    wrap = _width_of(units)
    compounds = frozenset(_COMPOUND.findall(text)) if "-\n" in text else frozenset()  # written with a hyphen inside a line
    out: list[str] = []
    for kind, unit in units:
        if kind == "blank":
            if out and out[-1]:
                out.append("")
        elif kind == "verbatim":
            out.extend(_squeeze(line) if line.startswith("#") else line for line in unit)
        elif kind:  # a quotation: `kind` is its prefix
            inner, done = repair("\n".join(unit))
            repairs.joined += done.joined
            repairs.dehyphenated += done.dehyphenated
            out.extend((kind + line).rstrip() for line in inner.split("\n"))
        else:
            out.extend(_join(unit, wrap, compounds, repairs))
    return "\n".join(out).strip("\n"), repairs


def _front_matter(lines: list[str]) -> int:
    """How many lines at the beginning are YAML between `---` lines."""
    if lines and lines[0] == "---" and "---" in lines[1:200]:
        return lines.index("---", 1) + 1
    return 0


def _units(lines: Iterable[str], head: int = 0) -> Iterator[tuple[str, list[str]]]:
    """Runs of lines and their kind: 'blank', 'verbatim' (so are the first `head`), a quotation prefix, '' for possible prose."""
    kind, unit, fenced = "", list[str](), False
    for number, line in enumerate(lines):
        if number < head:
            new, start = "verbatim", False
        elif fenced or _FENCE.match(line):
            new, start = "verbatim", False
            fenced = fenced != bool(_FENCE.match(line))
        elif not line or line.isspace():
            new, start = "blank", False
        elif (quote := _QUOTE.match(line)) and line[0] == ">":
            new, start, line = "> " * quote.group().count(">"), False, line[quote.end() :]
        elif _STRUCTURE.match(line) or _is_row(line):
            new, start = "verbatim", False
        else:
            new, start = "", _LIST.match(line.lstrip()) is not None
        if unit and (new != kind or start):
            yield kind, unit
            unit = []
        kind = new
        unit.append(line)
    if unit:
        yield kind, unit


def _is_row(line: str) -> bool:
    """A table row by its gaps; the stretched spaces of justified prose are not gaps between cells."""
    if "   " not in line.lstrip():
        return False
    cells = _GAP.split(line.strip())
    if len(cells) < 2:
        return False
    widest = max(len(gap) for gap in _GAP.findall(line.strip()))
    small = sum(cell[0].islower() for cell in cells)
    return not (widest <= 5 and len(cells) >= 3 and small * 2 >= len(cells))


def _breaks(unit: list[str], width: int) -> list[bool]:
    """For each line break of the unit: did the next word not fit any more?"""
    return [len(a) + 1 + len(_first(b)) > width for a, b in pairwise(unit)]


def _first(line: str) -> str:
    word = _WORD.search(line)
    return word.group() if word else ""


def _width_of(units: list[tuple[str, list[str]]]) -> int:
    """The document's wrap width: of its clearly wrapped runs the median, weighted by lines; 0 when there are none."""
    widths: list[int] = []
    for kind, unit in units:
        if kind == "" and len(unit) >= 3:
            width = max(map(len, unit))
            breaks = _breaks(unit, width)
            if NARROWEST <= width <= WIDEST and sum(breaks) >= 0.6 * len(breaks):
                widths.extend([width] * len(unit))
    return sorted(widths)[len(widths) // 2] if widths else 0


def _join(unit: list[str], wrap: int, compounds: frozenset[str], repairs: Repairs) -> list[str]:
    """The lines of one unit, joined where the break was the typesetter's and not the author's."""
    if len(unit) == 1 and not unit[0].startswith(" "):
        return [_squeeze(unit[0])]
    code = sum(_CODE.search(line) is not None for line in unit) * 3 > len(unit) or (
        all(line.startswith(("    ", "\t")) for line in unit) and not wrap
    )
    if code:
        return unit
    nested = _LIST.match(unit[0].lstrip())
    indent = unit[0][: len(unit[0]) - len(unit[0].lstrip())] if nested else ""
    body = [line.lstrip() for line in unit]
    if len(body) == 1:
        return [indent + _squeeze(body[0])]
    width = max(map(len, body))
    if width <= wrap + 3 and wrap:
        width = wrap
    elif len(body) < 4:
        width = 0
    wrapped = _is_wrapped(body, width)
    paragraphs = [[indent + _squeeze(body[0])]]
    for previous, line in pairwise(body):
        hyphen = _HYPHEN.search(previous) if line[0].islower() and len(previous) >= 20 else None
        unfinished = len(previous) >= LONG and line[0].islower() and not previous.endswith(_END)
        full = wrapped and len(previous) + 1 + len(_first(line)) > (0.85 * width if not previous.endswith(_END) else width)
        if hyphen:
            if hyphen.group() + _first(line).rstrip(".,;:)") not in compounds:
                paragraphs[-1][-1] = paragraphs[-1][-1][:-1]
            paragraphs[-1].append(_squeeze(line))
            repairs.dehyphenated += 1
            repairs.joined += 1
        elif full or unfinished:
            paragraphs[-1] += [" ", _squeeze(line)]
            repairs.joined += 1
        else:
            paragraphs.append([_squeeze(line)])
    return ["".join(pieces) for pieces in paragraphs]


def _is_wrapped(body: list[str], width: int) -> bool:
    if not NARROWEST <= width <= WIDEST:
        return False
    breaks = _breaks(body, width)
    capitals = sum(line[0].isupper() for line in body[1:])
    verse = len(body) >= 4 and capitals >= 0.7 * (len(body) - 1)
    return not verse and sum(breaks) >= 0.5 * len(breaks)


def _squeeze(line: str) -> str:
    indent = len(line) - len(line.lstrip(" "))
    return line[:indent] + _GAP.sub(" ", line[indent:])
