"""How near an extracted text is to its reference: words, not markup.

Both texts are reduced to the words a reader sees: Unicode NFKC, case kept, Markdown's marks (heads, emphasis, table pipes, link
targets, entities) taken away. `similarity` is 1 - the edit distance of the two word sequences over the length of the longer
one, so that lost, added and misplaced words all cost; `bag` compares the same words without their order, so that the
difference of the two is what a wrong reading order costs.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections import Counter

from rapidfuzz.distance import Levenshtein

_LINK = re.compile(r"!?\[([^\]\[]*)\]\([^()\s]*(?:\([^()\s]*\)[^()\s]*)*(?:\s+\"[^\"]*\")?\)")
_COMMENT = re.compile(r"<!--.*?-->", re.S)
_RULE = re.compile(r"(?m)^[ \t]*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$")
_MARKS = re.compile(r"(?m)^[ \t]*(?:#{1,6}|>+|[-*+•▪◦])[ \t]+|\*{1,3}|(?<!\w)_{1,3}(?=\w)|(?<=\w)_{1,3}(?!\w)|`{1,3}|~~|\|")
_WORD = re.compile(r"\w+|[^\w\s]")


def words(text: str) -> list[str]:
    """Words and signs of a Markdown or plain text, its markup aside."""
    text = _RULE.sub("", _COMMENT.sub(" ", text))
    text = html.unescape(_LINK.sub(r"\1", text).replace("\\_", "_").replace("\\*", "*"))
    return _WORD.findall(unicodedata.normalize("NFKC", _MARKS.sub(" ", text)))


def similarity(text: str, reference: str) -> float:
    """1 - normalised word edit distance."""
    ours, theirs = words(text), words(reference)
    return Levenshtein.normalized_similarity(ours, theirs) if ours or theirs else 1.0


def bag(text: str, reference: str) -> float:
    """Share of the words in common, whatever their order."""
    ours, theirs = Counter(words(text)), Counter(words(reference))
    longer = max(ours.total(), theirs.total())
    return (ours & theirs).total() / longer if longer else 1.0
