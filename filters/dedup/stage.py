"""dedup: exact and near duplicates are found, one document of each family is kept.

Exact: the same words in the same order, whatever the case, spaces and punctuation. Near: MinHash over word shingles,
banded and verified (families.py). Of a family the best document stays: highest quality, then longest, then smallest id,
an order that does not depend on who came first. A removed document names its survivor. Kept documents carry their
`family` (smallest id in it) and its largest `lot`, so that split can treat families whole.

Chat documents are compared exactly, among themselves only.

Limits: families of a template (many forms with other names) collapse like any other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from corpus.canonical import digest_text
from corpus.config import decided, measured
from corpus.document import Document
from corpus.outcome import Outcome, kept, rejected
from corpus.stage import DocumentStage, Inputs, Measurements
from filters.dedup import families
from filters.dedup.signature import WordHashes, shingles, signature, words_of


@dataclass(frozen=True)
class DedupConfig:
    """Settings of dedup."""

    permutations: int = measured(128, "length of a signature")
    shingle_words: int = measured(5, "words of a shingle")
    near: bool = decided(True, "remove near duplicates, too")
    threshold: float = decided(0.8, "Jaccard similarity of shingles from which on two documents are near duplicates")
    false_negatives: float = decided(0.95, "weight, 0..1, of missing a pair against checking one in vain; chooses the bands")
    min_words: int = decided(20, "documents with fewer words are compared exactly only")


def measure(config: DedupConfig, inputs: Inputs) -> Callable[[Document], Measurements]:
    """The text's key and signature."""
    hashes = WordHashes()

    def one(document: Document) -> Measurements:
        text = document["text"]
        if document["form"] == "chat":
            words = text.split()
            return {"key": digest_text("chat " + " ".join(words)), "signature": b"", "n_words": len(words), "length": len(text)}
        words = words_of(text)
        minima = signature(shingles(hashes.of(words), config.shingle_words), config.permutations)
        return {
            "key": digest_text(" ".join(words) if words else text),
            "signature": minima.astype("<u4").tobytes(),
            "n_words": len(words),
            "length": len(text),
        }

    return one


def elect(config: DedupConfig, rows: pa.Table) -> list[Outcome]:
    """One outcome a row, in row order; rows need id, key, signature, n_words, length, quality and form."""
    import numpy as np

    table = {name: rows.column(name).to_pylist() for name in ("id", "key", "n_words", "length", "quality", "form")}
    ids: list[str] = table["id"]
    order = sorted(range(len(ids)), key=ids.__getitem__)
    by_key: dict[str, list[int]] = defaultdict(list)
    for row in order:
        by_key[table["key"][row]].append(row)
    first = [members[0] for members in by_key.values()]  # one row for each text, in id order of these rows
    first.sort(key=ids.__getitem__)

    near = [row for row in first if config.near and table["form"][row] != "chat" and table["n_words"][row] >= config.min_words]
    stored = rows.column("signature")
    packed = b"".join(stored[row].as_py() for row in near)
    signatures = np.frombuffer(packed, "<u4").reshape(len(near), config.permutations)
    shape = families.bands(config.threshold, config.permutations, config.false_negatives)
    family_of = {row: row for row in first}
    family_of.update(zip(near, (near[root] for root in families.linked(signatures, shape, config.threshold).tolist()), strict=True))

    members: dict[int, list[int]] = defaultdict(list)
    for row in first:
        members[family_of[row]].extend(by_key[table["key"][row]])
    outcomes: list[Outcome] = [kept()] * len(ids)
    place = {row: i for i, row in enumerate(near)}
    representative = {key: rows_[0] for key, rows_ in by_key.items()}
    for family in members.values():
        best = min(family, key=lambda row: (-(table["quality"][row] or 0.0), -table["length"][row], ids[row]))
        fields = {"family": min(ids[row] for row in family), "lot": max(families.lot(ids[row]) for row in family)}
        for row in family:
            outcomes[row] = _removed(config, table, signatures, place, representative, row, best) if row != best else kept(**fields)
    return outcomes


def _removed(
    config: DedupConfig,
    table: dict[str, list[Any]],
    signatures: Any,
    place: dict[int, int],
    representative: dict[str, int],
    row: int,
    best: int,
) -> Outcome:
    survivor = table["id"][best]
    if table["key"][row] == table["key"][best]:
        return rejected("exact_duplicate", 1.0, 1.0, f"same text as {survivor}")
    a, b = (signatures[place[representative[table["key"][r]]]] for r in (row, best))
    similarity = round(float((a == b).mean()), 6)
    through = "" if similarity >= config.threshold else ", through others of its family"
    return rejected("near_duplicate", similarity, config.threshold, f"near duplicate of {survivor}{through}")


STAGE = DocumentStage(
    name="dedup",
    version=1,
    config=DedupConfig(),
    doc="exact and near duplicates, survivors elected",
    engines=("datasketch",),
    reads=("text", "form"),
    measures=pa.schema(
        [
            pa.field("key", pa.string(), metadata={"doc": "hash of the words of the text"}),
            pa.field("signature", pa.binary(), metadata={"doc": "MinHash signature, little-endian uint32; empty for chat"}),
            pa.field("n_words", pa.int64(), metadata={"doc": "words"}),
            pa.field("length", pa.int64(), metadata={"doc": "characters"}),
        ]
    ),
    writes=pa.schema(
        [
            pa.field("family", pa.string(), metadata={"doc": "smallest id of the duplicate family"}),
            pa.field("lot", pa.int64(), metadata={"doc": "largest lot drawn in the family, 0..2^32"}),
        ]
    ),
    measure=measure,
    elect=elect,
    elects_on=("quality", "form"),
)
