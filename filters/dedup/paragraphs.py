"""paragraphs: boilerplate leaves the documents it is repeated in; one of them keeps it.

A paragraph is a line with some words. It is *boilerplate* of a source when it stands in at least `min_documents`
documents of that source and in at least `min_share` of them. Only the document with the smallest id among them keeps it.
A passage quoted here and there (an article of law in ten rulings) stays: it is below both. `sources` gives a source its
own number, 0 for never. A document that holds nothing but boilerplate is rejected.

This comes after dedup, whose signatures are of the whole text, and it is a function of the set: who is there decides,
not who came first. Lines are compared by their words, whatever the case and punctuation. Curated chat goes by.

Limits: boilerplate with a name or a date in it differs from copy to copy and is not found; a header that a page break
tore apart is two paragraphs.
"""

from __future__ import annotations

import fnmatch
import hashlib
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from corpus.config import decided, measured
from corpus.document import Document
from corpus.outcome import Outcome, kept, rejected
from corpus.stage import DocumentStage, Inputs, Measurements, Texts

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Ints = npt.NDArray[np.int64]

_WORD = re.compile(r"\w+")
_GAP = re.compile(r"\n{3,}")


@dataclass(frozen=True)
class ParagraphsConfig:
    """Settings of paragraphs."""

    min_words: int = measured(5, "lines with fewer words are never removed")
    min_documents: int = decided(20, "documents of a source a paragraph stands in, at least, to be boilerplate; 0 removes none")
    min_share: float = decided(0.01, "share of the source's documents it stands in, at least, 0..1")
    sources: dict[str, int] = decided({}, "min_documents by source: name or pattern -> number, 0 for never; min_share does not apply")


def measure(config: ParagraphsConfig, inputs: Inputs) -> Callable[[Document], Measurements]:
    """A key for every line of the text; 0 for short ones."""

    def one(document: Document) -> Measurements:
        return {"keys": [_key(line, config.min_words) for line in document["text"].split("\n")]}

    return one


def _key(line: str, min_words: int) -> int:
    words = _WORD.findall(line.lower())
    if len(words) < min_words:
        return 0
    return int.from_bytes(hashlib.blake2b(" ".join(words).encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little") or 1


def elect(config: ParagraphsConfig, rows: pa.Table, texts: Texts) -> list[Outcome]:
    """One outcome a row, in row order; rows need id, source and keys."""
    import numpy as np

    if not rows.num_rows:
        return []
    lists, sources = rows["keys"].combine_chunks(), rows["source"].combine_chunks().dictionary_encode()
    of = sources.indices.to_numpy()
    counts = np.bincount(of, minlength=len(sources.dictionary))
    least = np.array([_least(config, name, int(n)) for name, n in zip(sources.dictionary.to_pylist(), counts, strict=True)])
    rank = np.argsort(np.argsort(np.array(rows["id"].to_pylist(), "S32"), kind="stable"))

    lengths = lists.value_lengths().to_numpy(zero_copy_only=False).astype(np.int64)
    keys, owner = lists.flatten().to_numpy(), np.repeat(np.arange(len(lengths)), lengths)
    place = np.arange(len(keys)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    some = keys != 0
    keys, owner, place = keys[some], owner[some], place[some]
    repeated = _repeated(keys, owner, place, of[owner], rank[owner], least)

    outcomes = [kept()] * rows.num_rows
    paragraphs = np.bincount(owner, minlength=rows.num_rows)
    order = np.flatnonzero(repeated)
    order = order[np.lexsort((place[order], owner[order]))]
    for lines in np.split(order, np.flatnonzero(np.diff(owner[order])) + 1) if len(order) else ():
        row = int(owner[lines[0]])
        count, number = len(lines), int(least[of[row]])
        stand = f"of its paragraphs stand in {number} documents or more"
        if count == paragraphs[row]:
            outcomes[row] = rejected("only_boilerplate", count, number, f"all {stand}")
        else:
            cut = " ".join(map(str, place[lines].tolist()))
            outcomes[row] = Outcome("kept", "boilerplate_cut", count, number, f"{count} {stand}", {"cut": cut})
    return outcomes


def _least(config: ParagraphsConfig, source: str, documents: int) -> float:
    """In how many documents of this source a paragraph must stand to be boilerplate."""
    own = next((n for pattern, n in config.sources.items() if fnmatch.fnmatchcase(source, pattern)), None)
    if own is not None:
        return max(own, 2) if own else math.inf
    return max(config.min_documents, math.ceil(config.min_share * documents), 2) if config.min_documents else math.inf


def _repeated(keys: Any, owner: Ints, place: Ints, source: Ints, rank: Ints, least: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Which lines are boilerplate and not the first of their kind: bool, one a line."""
    import numpy as np

    order = np.lexsort((place, rank, keys, source))
    new_group = np.ones(len(order), bool)
    new_group[1:] = (np.diff(keys[order]) != 0) | (np.diff(source[order]) != 0)
    new_document = new_group.copy()
    new_document[1:] |= np.diff(owner[order]) != 0
    group = np.cumsum(new_group) - 1
    documents = np.bincount(group, new_document, minlength=1)
    cut = np.zeros(len(order), bool)
    cut[order] = (documents[group] >= least[source[order]]) & ~new_group if len(order) else False
    return cut


def text(config: ParagraphsConfig, m: Measurements, text: str) -> str:
    """The text without the lines that the election named."""
    gone = set(map(int, m["cut"].split()))
    return _GAP.sub("\n\n", "\n".join(line for number, line in enumerate(text.split("\n")) if number not in gone)).strip("\n")


STAGE = DocumentStage(
    name="paragraphs",
    version=1,
    config=ParagraphsConfig(),
    doc="boilerplate paragraphs removed from all documents but one",
    measures=pa.schema([pa.field("keys", pa.list_(pa.uint64()), metadata={"doc": "key of each line's words; 0 for a short line"})]),
    writes=pa.schema([pa.field("cut", pa.string(), metadata={"doc": "numbers of the lines removed, from 0; null when none were"})]),
    measure=measure,
    elect=elect,
    elects_on=("source",),
    text=text,
    edits=True,
    passes_chat=True,
)
