"""Quotes, apostrophes and dashes as the file has them, where the parser writes plain ones.

docling-parse and Docling's assembly replace ’ “ ” – — by ' " -; pypdfium2 does not. A word that pypdfium2 writes in one way only
is written that way again. Words that it writes in two ways, or that were joined over a line, stay plain.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_PLAIN = str.maketrans({"’": "'", "‘": "'", "‛": "'", "“": '"', "”": '"', "„": '"', "–": "-", "—": "-", "‒": "-", "−": "-", "⁄": "/"})
_TOKEN = re.compile(r"(?<=[^\s|] )(-)(?= )|[^\s|*]+")  # a dash between blanks is no bullet


def restored(text: str, pages: Iterable[str]) -> str:
    """The text with the signs that its words have in `pages`, the same document as pypdfium2 reads it."""
    ways: dict[str, set[str]] = {}
    for page in pages:
        for word in _pieces(page):
            ways.setdefault(word.translate(_PLAIN), set()).add(word)
    known = {plain: min(written) for plain, written in ways.items() if len(written) == 1 and plain not in written}

    def way(token: re.Match[str]) -> str:
        return known.get(token[0], token[0]) if token[1] or any(map(str.isalnum, token[0])) else token[0]

    return _TOKEN.sub(way, text) if known else text


def _pieces(page: str) -> list[str]:
    return [word for word in page.split() if not word.isalnum()]
