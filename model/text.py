"""Tokens of one row as text, as they come: whole characters, and nothing that is or may become a stop string.

The model knows no tokenizer: `text` says what a row of tokens reads. It is asked for the whole row at every push, because a
token may change how later ones read; a row's text must only grow, but for a character that is not complete (U+FFFD at the
end). So a row of n tokens costs n decodings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

INCOMPLETE = "\ufffd"


class Piece(NamedTuple):
    """What a step adds to a row: tokens, and text where it was asked for. A piece of text may lag behind its tokens."""

    tokens: list[int]
    text: str = ""


class TextStream:
    """`push` tokens, get what may be told of them; `ended` once a stop string came. Without `text`, tokens pass as they are.

    Tokens are held back as long as a stop string may begin in them. A token that a stop string begins in is not given out,
    the text before it is.
    """

    def __init__(self, text: Callable[[list[int]], str] | None, stops: Sequence[str] = ()) -> None:
        if stops and text is None:
            raise ValueError("stop_strings need `text`, the function that reads tokens as text")
        self.text, self.stops, self.ended = text, tuple(stops), False
        self.tokens: list[int] = []
        self.ends: list[int] = []  # characters of the row up to each token
        self.given, self.told = 0, 0  # tokens and characters so far
        self.row = ""

    def push(self, tokens: Sequence[int]) -> Piece:
        """Add tokens, up to where a stop string is complete; returns what may be told."""
        if self.text is None:
            return Piece(list(tokens))
        for token in tokens:
            self.tokens.append(token)
            self.row = self.text(self.tokens)
            self.ends.append(len(self.row))
            found = [at for stop in self.stops if (at := self.row.find(stop, self.told)) >= 0]
            if found:
                self.ended = True
                return self._upto(min(found), min(found))
        known = self.row.removesuffix(INCOMPLETE)
        safe = min((_begun(known, stop) for stop in self.stops), default=len(known))
        return self._upto(safe, safe if self.stops else len(self.row))

    def end(self) -> Piece:
        """What was held back and will not become a stop string, now that nothing follows."""
        return Piece([]) if self.ended or self.text is None else self._upto(len(self.row), len(self.row))

    def _upto(self, characters: int, tokens_within: int) -> Piece:
        first, told = self.given, self.told
        self.told = max(told, characters)
        while self.given < len(self.tokens) and self.ends[self.given] <= tokens_within:
            self.given += 1
        return Piece(self.tokens[first : self.given], self.row[told : self.told])


def _begun(row: str, stop: str) -> int:
    """Where the longest end of the row that may grow into this stop string begins."""
    for n in range(min(len(stop) - 1, len(row)), 0, -1):
        if row.endswith(stop[:n]):
            return len(row) - n
    return len(row)
