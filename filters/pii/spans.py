"""Spans of personal data: the kinds there are, which of overlapping spans count, how they are replaced.

A span never holds the text it covers: offsets in characters, a kind, a score from 0 to 1.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import NamedTuple

KINDS = {
    "PERSONA": "name of a person",
    "EMAIL": "e-mail address, certified or not",
    "TELEFONO": "phone or fax number",
    "CF": "Italian codice fiscale of a person",
    "PIVA": "Italian VAT number",
    "IBAN": "international bank account number",
    "CARTA": "payment card number",
    "INDIRIZZO": "postal address with its number",
    "TARGA": "vehicle plate",
    "DOCUMENTO": "identity card, passport, driving or health card number",
    "SSN": "US social security number",
    "IP": "IPv4 or IPv6 address",
    "DATA_NASCITA": "date of birth",
}
PLACEHOLDER = re.compile(rf"<(?:{'|'.join(KINDS)})(?:_\d+)?>")
_MARKER = re.compile(r"<\|im_(?:start\|>(?:system|user|assistant|tool)?|end\|>)")
_MARKER_LINE = re.compile(r"<\|im_(?:start\|>[^\n]*|end\|>)")


class Span(NamedTuple):
    """Personal data from character `start` to `end` (exclusive)."""

    start: int
    end: int
    kind: str
    score: float


def resolve(spans: Iterable[Span]) -> list[Span]:
    """Spans without overlaps, in order: the longest wins, then the highest score, then the first, then the kind by name."""
    chosen: list[tuple[int, int, Span]] = []
    for span in sorted(set(spans), key=lambda s: (s.start - s.end, -s.score, s.start, s.kind)):
        at = bisect_left(chosen, (span.start,))
        if at > 0 and chosen[at - 1][1] > span.start:
            continue
        if at < len(chosen) and chosen[at][0] < span.end:
            continue
        chosen.insert(at, (span.start, span.end, span))
    return [span for _, _, span in chosen]


def protected(text: str, chat: bool = False) -> list[tuple[int, int]]:
    """Places that are never touched: placeholders already there and ChatML markers (in a chat, the whole marker line)."""
    if "<" not in text:
        return []
    marker = _MARKER_LINE if chat else _MARKER
    return sorted([m.span() for m in PLACEHOLDER.finditer(text)] + [m.span() for m in marker.finditer(text)])


def outside(spans: Iterable[Span], places: list[tuple[int, int]]) -> Iterator[Span]:
    """The spans that do not touch these places (sorted, disjoint)."""
    starts = [start for start, _ in places]
    for span in spans:
        at = bisect_left(starts, span.end)
        if at == 0 or places[at - 1][1] <= span.start:
            yield span


def replace(text: str, spans: list[Span], numbered: bool = False) -> str:
    """The text with every span replaced by `<KIND>`; spans are in order and disjoint.

    `numbered`: `<KIND_1>`, `<KIND_2>`, … in order of appearance; the same value, for persons the same last word, gets
    the same number.
    """
    pieces: list[str] = []
    numbers: dict[str, dict[str, int]] = {}
    at = 0
    for span in spans:
        mark = span.kind
        if numbered:
            value = " ".join(text[span.start : span.end].casefold().split())
            known = numbers.setdefault(span.kind, {})
            mark = f"{mark}_{known.setdefault(value.split()[-1] if span.kind == 'PERSONA' else value, len(known) + 1)}"
        pieces += text[at : span.start], f"<{mark}>"
        at = span.end
    pieces.append(text[at:])
    return "".join(pieces)
