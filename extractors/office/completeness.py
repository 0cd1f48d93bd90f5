"""Whether a text holds the words of the paragraphs it was made from, and putting back the paragraphs it does not.

Words are compared, not characters: markup, labels and the order of table cells are the text's own. A paragraph is lost when no
three words of it stand together in the text (shorter ones are not told apart from chance); it is put back after the block that
holds the paragraph before it.
"""

from __future__ import annotations

import bisect
import re
from collections import Counter, defaultdict

_FEW = 10  # words: below, a share says nothing
_WORD = re.compile(r"[^\W_]+")
_TARGET = re.compile(r"\]\([^)\s]*\)")


def missing(text: str, paragraphs: list[str]) -> float:
    """Share of the paragraphs' words that the text does not hold."""
    wanted = Counter(word for paragraph in paragraphs for word in _WORD.findall(paragraph))
    lost = (wanted - Counter(_WORD.findall(text))).total()
    return lost / wanted.total() if lost > _FEW else 0.0


def completed(text: str, paragraphs: list[str]) -> str:
    """The text with its lost paragraphs put back."""
    found = list(_WORD.finditer(_TARGET.sub(lambda match: " " * len(match[0]), text)))
    places: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)  # three words -> where they end
    for trio in zip(found, found[1:], found[2:], strict=False):
        places[tuple(match[0] for match in trio)].append(trio[2].end())
    pieces, taken, cursor = [], 0, 0
    for paragraph in paragraphs:
        words = _WORD.findall(paragraph)
        trios = [trio for trio in zip(words, words[1:], words[2:], strict=False) if trio in places]
        if trios:
            ends = places[trios[-1]]
            cursor = ends[min(bisect.bisect_left(ends, cursor), len(ends) - 1)]
        elif len(words) > 2:
            end = text.find("\n\n", max(cursor, taken))
            end = len(text) if end < 0 else end
            pieces.append(f"{text[taken:end]}\n\n{paragraph.strip()}")
            taken = end
    return "".join([*pieces, text[taken:]]).lstrip("\n")
