"""normalize: one way to write a text, so that everything after sees words and not how they were stored.

Characters are repaired (characters.py), wrapped lines joined (lines.py), blank lines limited to one, and texts whose two
columns were fused line by line are rejected (columns.py). In chat documents only the contents between ChatML markers
change, characters alone: a message may hold code or verse, and no repair may ever make or break a marker.

`normalize` is idempotent: the repairs are applied until nothing changes, a fixed number of rounds at most.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

from corpus.config import decided, measured
from corpus.document import Document
from corpus.outcome import Outcome, kept, rejected
from corpus.stage import DocumentStage, Inputs, Measurements
from filters import characters, columns, lines

_MARKER = re.compile(r"(<\|im_start\|>[^\n]*\n?|<\|im_end\|>\n?)")
_TOKENS = re.compile(r"<\|\w+\|>")
_ROUNDS = 8


@dataclass(frozen=True)
class NormalizeConfig:
    """Settings of normalize."""

    join_lines: bool = measured(True, "join lines wrapped at a fixed width into paragraphs")
    max_fused: float = decided(0.5, "reject a text when more than this share of its lines are two fused columns")
    min_fused_lines: int = decided(12, "and at least this many lines are")


@dataclass
class Changes:
    """What was done to a text."""

    joined: int = 0
    dehyphenated: int = 0


def normalize(text: str, join_lines: bool = True) -> tuple[str, Changes]:
    """The normal form of a text (not ChatML) and what was done. Idempotent."""
    changes = Changes()
    for _ in range(_ROUNDS):
        before = text
        text = characters.repair(text)
        if join_lines:
            text, done = lines.repair(text)
            changes.joined += done.joined
            changes.dehyphenated += done.dehyphenated
        else:
            text = re.sub(r"\n{3,}", "\n\n", "\n".join(line.rstrip() for line in text.split("\n"))).strip("\n")
        if text == before:
            break
    return text, changes


def normalize_chat(text: str) -> str:
    """ChatML with its contents' characters repaired; every marker line stays as it is, and none comes to be."""
    pieces = _MARKER.split(text)
    pieces[::2] = [_content(piece) for piece in pieces[::2]]
    return "".join(pieces)


def _content(piece: str) -> str:
    new = characters.repair(piece)
    return new if _TOKENS.findall(new) == _TOKENS.findall(piece) else piece


def measure(config: NormalizeConfig, inputs: Inputs) -> Callable[[Document], Measurements]:
    """The new text with what was changed on the way."""

    def one(document: Document) -> Measurements:
        text = document["text"]
        if document["form"] == "chat":
            return {"text": normalize_chat(text), "joined": 0, "dehyphenated": 0, "fused_lines": 0, "lines": 0, "lost": 0}
        fused, total = columns.fused(text)
        new, changes = normalize(text, config.join_lines)
        lost = new.count("\ufffd")
        return {
            "text": new,
            "joined": changes.joined,
            "dehyphenated": changes.dehyphenated,
            "fused_lines": fused,
            "lines": total,
            "lost": lost,
        }

    return one


def decide(config: NormalizeConfig, m: Measurements) -> Outcome:
    """Reject what was certainly two columns."""
    share = round(m["fused_lines"] / max(1, m["lines"]), 6)
    if m["fused_lines"] >= config.min_fused_lines and share > config.max_fused:
        return rejected("fused_columns", share, config.max_fused, f"{m['fused_lines']} of {m['lines']} lines run across two columns")
    return kept()


def text(config: NormalizeConfig, m: Measurements, incoming: str) -> str:
    """The normal form."""
    return str(m["text"])


STAGE = DocumentStage(
    name="normalize",
    version=1,
    config=NormalizeConfig(),
    doc="characters repaired, wrapped lines joined, fused columns found",
    engines=("ftfy",),
    reads=("text", "form"),
    measures=pa.schema(
        [
            pa.field("text", pa.string(), metadata={"doc": "the normal form"}),
            pa.field("joined", pa.int64(), metadata={"doc": "line breaks removed"}),
            pa.field("dehyphenated", pa.int64(), metadata={"doc": "words put together across a line end"}),
            pa.field("fused_lines", pa.int64(), metadata={"doc": "lines that run across two columns"}),
            pa.field("lines", pa.int64(), metadata={"doc": "lines of text as extracted"}),
            pa.field("lost", pa.int64(), metadata={"doc": "replacement characters: letters lost before the text came here"}),
        ]
    ),
    measure=measure,
    decide=decide,
    text=text,
    sensitive=True,
)
