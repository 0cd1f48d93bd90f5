"""The two-column check: is this text two columns that were read straight across?

Such a text is worse than none, every line jumps between two sentences. The sign is a gutter: over a run of lines the
same columns hold spaces, with words on both sides, the left half broken off in the middle of a sentence.

Limits: columns fused with a single space leave no gutter and are not seen; tables of sentences can look alike, hence
the left half must mostly end without punctuation and the right half mostly begin with a small letter.
"""

from __future__ import annotations

import re

RUN = 6  # lines that make a case
WIDEST = 300  # characters: a longer line is no printed line
_GUTTER = re.compile(r"(?<=\S)[ ]{3,}(?=\S)")
_ENDS = (".", "!", "?", ":", ";", "|")


def fused(text: str) -> tuple[int, int]:
    """(lines that lie in fused columns, lines of text) of the text as extracted, before lines are joined."""
    lines = [line for line in text.split("\n") if line and not line.isspace()]
    if text.count("   ") < RUN:
        return 0, len(lines)
    found, run = 0, []
    for line in lines:
        if _gutters(line):
            run.append(line)
            continue
        found += _in_run(run)
        run = []
    return found + _in_run(run), len(lines)


def _gutters(line: str) -> list[tuple[int, int]]:
    if "   " not in line or len(line) > WIDEST:
        return []
    return [m.span() for m in _GUTTER.finditer(line) if len(line[: m.start()].split()) >= 2 and len(line[m.end() :].split()) >= 2]


def _in_run(run: list[str]) -> int:
    """How many lines of this run of lines with gutters lie in fused columns."""
    if len(run) < RUN:
        return 0
    starts: dict[int, int] = {}
    for line in run:
        for column in {column for a, b in _gutters(line) for column in range(a, b)}:
            starts[column] = starts.get(column, 0) + 1
    column, votes = max(starts.items(), key=lambda item: (item[1], -item[0]))
    if votes < 0.7 * len(run):
        return 0
    halves = [(line[:column].strip(), line[column:].strip()) for line in run if any(a <= column < b for a, b in _gutters(line))]
    prose = sum(_wordy(left) and _wordy(right) for left, right in halves)
    broken = sum(not left.endswith(_ENDS) for left, _ in halves)
    small = sum(right[0].islower() for _, right in halves)
    single = sum(len(_gutters(line)) == 1 for line in run)  # justified prose has many gaps in a line
    certain = prose >= 0.7 * len(halves) and broken >= 0.7 * len(halves) and small >= 0.35 * len(halves) and single >= 0.6 * len(run)
    return len(halves) if certain else 0


def _wordy(half: str) -> bool:
    words = half.split()
    return len(words) >= 2 and sum(c.isalpha() for c in half) >= 0.65 * len(half)
