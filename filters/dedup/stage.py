"""dedup: exact and near duplicates are found, one document of each family is kept.

Exact: the same words in the same order, whatever the case, spaces and punctuation. Near: MinHash over word shingles finds
candidates (signature.py, families.py), the true Jaccard similarity of their texts decides (similarity.py). Of a family the
best document stays: highest quality, then longest, then smallest id, an order that does not depend on who came first. A
removed document names its survivor and its true similarity to it.

A family of many distinct texts is a *template* (a form with other names, a sheet with other figures): it is reported and
not collapsed, only exact copies go, unless `collapse_templates` is set. Kept documents carry their `family` (smallest id in
it), its `family_size` and its largest `lot`, so that split can treat families whole.

Chat documents are compared exactly, among themselves only.

Limits: a text whose part is a copy of another (an excerpt, a chapter) is not near it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING

import pyarrow as pa

from corpus.canonical import digest_text
from corpus.config import decided, measured
from corpus.document import Document
from corpus.outcome import Outcome, kept, rejected
from corpus.stage import DocumentStage, Inputs, Measurements, Texts
from filters.dedup import families, similarity
from filters.dedup.signature import Signer, count_words, normal_form, shingles, string_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Ints = npt.NDArray[np.int64]
    Floats = npt.NDArray[np.float64]
    Bools = npt.NDArray[np.bool_]


PASSED = kept()


@dataclass(frozen=True)
class DedupConfig:
    """Settings of dedup."""

    permutations: int = measured(128, "length of a signature")
    shingle_words: int = measured(5, "words of a shingle")
    near: bool = decided(True, "remove near duplicates, too")
    threshold: float = decided(0.8, "Jaccard similarity of shingles from which on two documents are near duplicates")
    false_negatives: float = decided(0.998, "weight, 0..1, of missing a pair against checking one in vain; chooses the bands")
    min_words: int = decided(20, "documents with fewer words are compared exactly only")
    template_above: int = decided(20, "a family of more distinct texts than this is a template: reported, not collapsed")
    collapse_templates: bool = decided(False, "keep one document of a template, too")


def measure(config: DedupConfig, inputs: Inputs) -> Callable[[Document], Measurements]:
    """The text's key and signature."""
    signer = Signer(config.permutations)

    def one(document: Document) -> Measurements:
        text = document["text"]
        if document["form"] == "chat":
            words = text.split()
            return {"key": digest_text("chat " + " ".join(words)), "signature": b"", "n_words": len(words), "length": len(text)}
        codes = normal_form(text)
        return {
            "key": digest_text(string_of(codes) if len(codes) else text),
            "signature": signer(shingles(codes, config.shingle_words)).astype("<u4", copy=False).tobytes(),
            "n_words": count_words(codes),
            "length": len(text),
        }

    return one


def elect(config: DedupConfig, rows: pa.Table, texts: Texts) -> list[Outcome]:
    """One outcome a row, in row order; rows need id, key, signature, n_words, length, quality and form."""
    import numpy as np
    import pyarrow.compute as pc

    if not rows.num_rows:
        return []
    order = pc.sort_indices(rows["id"]).to_numpy()
    table = rows.drop_columns(["signature"]).take(order)  # from here on documents are numbered in id order
    ids: list[str] = table["id"].to_pylist()
    _, first, same = np.unique(table["key"].combine_chunks().dictionary_encode().indices.to_numpy(), return_index=True, return_inverse=True)
    text = first[same]  # of each document: the first with the same text, which stands for it
    distinct = np.sort(first)

    near = np.zeros(0, np.int64)
    if config.near:
        prose = pc.fill_null(pc.not_equal(table["form"], "chat"), True).to_numpy()
        near = distinct[(prose & (table["n_words"].to_numpy() >= config.min_words))[distinct]]
    signatures = families.Signatures(rows["signature"], order[near], config.permutations)
    words = table["n_words"].to_numpy()[near]
    reader = similarity.Texts(lambda some: texts([ids[i] for i in near[some].tolist()]), words, config.shingle_words)
    root, known = _linked(config, signatures, reader)
    family = np.arange(len(ids))
    family[near] = near[root]
    family = family[text]

    size = np.bincount(family[distinct], minlength=len(ids))[family]
    template = (size > config.template_above) & (not config.collapse_templates)
    survivor = _best(np.where(template, text, family), table)
    compared = _similarities(np.searchsorted(near, text), np.searchsorted(near, text[survivor]), text != text[survivor], known, reader)
    lots = np.array([families.lot(id) for id in ids], np.int64)
    largest = np.zeros(len(ids), np.int64)
    np.maximum.at(largest, family, lots)

    outcomes: list[Outcome] = [PASSED] * len(ids)
    columns = (np.arange(len(ids)), order, survivor, compared, text == text[survivor], family, largest[family], size, template)
    for number, row, best, value, exact, head, lot, members, form in similarity.plain_rows(*columns):
        if number == best:
            fields = {"family": ids[head], "lot": lot, "family_size": members}
            outcomes[row] = kept(**fields)
            if form:
                outcomes[row] = Outcome("kept", "template", members, config.template_above, f"one of {members} texts of it", fields)
        elif exact:
            outcomes[row] = rejected("exact_duplicate", 1.0, 1.0, f"same text as {ids[best]}")
        else:
            through = "" if value >= config.threshold else ", through others of its family"
            outcomes[row] = rejected("near_duplicate", value, config.threshold, f"near duplicate of {ids[best]}{through}")
    return outcomes


def _linked(config: DedupConfig, signatures: families.Signatures, reader: similarity.Texts) -> tuple[Ints, similarity.Known]:
    """The families of the texts that are compared, and the similarities found on the way."""
    error = sqrt(config.threshold * (1.0 - config.threshold) / config.permutations)
    keys = families.band_keys(signatures, families.bands(config.threshold, config.permutations, config.false_negatives))
    return reader.families(
        families.candidates(keys), lambda pairs: signatures.agreement(pairs) >= config.threshold - 4.0 * error, config.threshold
    )


def _best(group: Ints, table: pa.Table) -> Ints:
    """The survivor of each document's group: highest quality, then longest, then smallest id."""
    import numpy as np
    import pyarrow.compute as pc

    quality = pc.fill_null(table["quality"], 0.0).to_numpy()
    ranked = np.lexsort((np.arange(len(group)), -table["length"].to_numpy(), -quality, group))
    _, at, inverse = np.unique(group[ranked], return_index=True, return_inverse=True)
    best = np.empty(len(group), np.int64)
    best[ranked] = ranked[at][inverse]
    return best


def _similarities(one: Ints, other: Ints, differ: Bools, known: similarity.Known, reader: similarity.Texts) -> Floats:
    """True similarity of each document's text to its survivor's, 1 where they do not differ; texts are numbered as they are read."""
    import numpy as np

    values = np.ones(len(one))
    pairs, back = np.unique(np.stack([one[differ], other[differ]], axis=1), axis=0, return_inverse=True)
    found = known.look_up(pairs)
    unknown = np.isnan(found)
    found[unknown] = reader.similarities(pairs[unknown])
    values[differ] = found[back.ravel()]
    return values


STAGE = DocumentStage(
    name="dedup",
    version=2,
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
            pa.field("family_size", pa.int64(), metadata={"doc": "distinct texts in the family"}),
        ]
    ),
    measure=measure,
    elect=elect,
    elects_on=("quality", "form"),
)
