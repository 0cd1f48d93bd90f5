"""Lines joined to running text: a word broken at the end of a line is made whole, in any language.

What the document itself shows decides: a compound that it writes with a hyphen elsewhere keeps it; so does a break at a figure
or between small letters and capitals; otherwise the hyphen was put there by the line. An elision that the document writes close
up (dell'anno) is closed up over the line too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_HEAD = 4  # letters: shorter first words of compounds are syllables too
_END = 80  # characters of a text that are looked at for the word at its end
_HYPHENS = "-\u00ad\u2010"
_LAST = re.compile(r"([^\W\d_]+)[-\u00ad\u2010]$")
_COMPOUND_END = re.compile(r"((?:[^\W\d_]+[-\u2010])*[^\W\d_]+)[-\u2010]$")
_FIRST = re.compile(r"[^\W\d_]+(?:[-\u2010][^\W\d_]+)*")
_COMPOUND = re.compile(r"[^\W\d_]+(?:[-\u2010][^\W\d_]+)+")
_WORD = re.compile(r"[^\W\d_]+")
_HALF = re.compile(r"[^\W\d_]+[-\u00ad\u2010]\s*$")
_ELISION = re.compile(r"([^\W\d_]+)['\u2019](?=[^\W\d_])")
_ELIDED = re.compile(r"([^\W\d_]+)['\u2019]$")


class Spelling:
    """Words and compounds of a document, as they stand inside its lines."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.words: set[str] = set()
        self.compounds: set[str] = set()
        self.elisions: set[str] = set()
        self.heads: set[str] = set()  # first words of compounds
        for line in lines:
            low = _HALF.sub("", line.lower())
            self.words.update(_WORD.findall(low))
            self.compounds.update(match.replace("\u2010", "-") for match in _COMPOUND.findall(low))
            self.heads.update(match.replace("\u2010", "-").partition("-")[0] for match in _COMPOUND.findall(low))
            self.elisions.update(_ELISION.findall(low))

    def joined(self, lines: Iterable[str]) -> str:
        """The lines as one line."""
        text = ""
        for line in lines:
            text = self.join(text, line)
        return text

    def join(self, above: str, below: str) -> str:
        """Two lines that follow each other as one."""
        above, below = above.rstrip(), below.lstrip()
        if not above or not below:
            return above + below
        if above[-1] in _HYPHENS and above[-2:-1].isdigit() and below[0].isalnum():
            return above + below
        if above[-1] in "–—/" and above[-2:-1].isalnum() and below[0].isalnum():
            return above + below
        end = above[-_END:]
        broken = _LAST.search(end)
        if not broken:
            elided = _ELIDED.search(end) if below[0].isalpha() else None
            close = (elided and elided[1].lower() in self.elisions) or _spaceless(above[-1], below[0])
            return f"{above}{'' if close else ' '}{below}"
        if above[-1] == "\u00ad":
            return above[:-1] + below
        first = _FIRST.match(below)
        if not first:
            return f"{above}{'' if below[0].isdigit() else ' '}{below}"
        head, tail = _COMPOUND_END.search(end), first[0].lower()
        before = head[1].lower() if head else broken[1].lower()
        if f"{before}-{tail}" in self.compounds or self._composes(before, tail) or above[-2].isupper() != below[0].isupper():
            return above + below
        if below[0].isupper() and broken[1].lower() in self.words:
            return above + below
        return above[:-1] + below

    def _composes(self, before: str, tail: str) -> bool:
        """Whether both halves are words, the first of which makes compounds elsewhere and the two no word."""
        return len(before) == 1 or (
            len(before) >= _HEAD and tail in self.words and before + tail not in self.words and before in self.heads
        )


def _spaceless(last: str, first: str) -> bool:
    """Chinese and Japanese are written without blanks."""
    return _ideograph(last) and _ideograph(first)


def _ideograph(c: str) -> bool:
    return "\u3040" <= c <= "\u30ff" or "\u3400" <= c <= "\u9fff" or "\u3001" <= c <= "\u3002" or "\uff00" <= c <= "\uff60"
