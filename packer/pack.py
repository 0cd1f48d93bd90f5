"""pack: every document tokenised once, for ever (PackOnce).

A document becomes `<|bos|>` and its tokens, in the file `tokens.bin` of the part that its measurement lies in; the row
keeps where. Nothing is shuffled, cut or padded here: rows.py does that while training, as a function of the set of
documents. A document that gives a block to be held out (`held`) is packed as two, one behind the other: what is trained
on, and the block. Curated chat is not packed (its text is ChatML, encoded message by message when it is learnt).

Limits: a part holds whole documents; tokens are 16 bits up to a vocabulary of 65,536, else 32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from corpus.config import decided
from corpus.document import Document, held_out
from corpus.outcome import Outcome, rejected
from corpus.stage import DocumentStage, Inputs, Measurements


@dataclass(frozen=True)
class PackConfig:
    min_tokens: int = decided(1, "documents with fewer tokens, <|bos|> not counted, are rejected")


MEASURES = pa.schema(
    [
        pa.field("tokens", pa.list_(pa.uint32()), metadata={"doc": "<|bos|> and the document; moved to tokens.bin, null in the row"}),
        pa.field("n_tokens", pa.int64(), metadata={"doc": "tokens, <|bos|> included, without the block held out"}),
        pa.field("n_bytes", pa.int64(), metadata={"doc": "bytes of their text in UTF-8; <|bos|> has none"}),
        pa.field("held_tokens", pa.int64(), metadata={"doc": "tokens of the block held out, which follow; 0 without one"}),
        pa.field("held_bytes", pa.int64(), metadata={"doc": "bytes of the text of the block held out"}),
        pa.field("offset", pa.int64(), metadata={"doc": "where the document begins in tokens.bin, in tokens from the start of the data"}),
        pa.field("tokenizer", pa.string(), metadata={"doc": "hash of the tokenizer"}),
        pa.field("vocab_size", pa.int64(), metadata={"doc": "tokens in its vocabulary"}),
    ]
)


def measure(config: PackConfig, inputs: Inputs) -> Callable[[Document], Measurements]:
    """Opens the tokenizer once per worker."""
    from packer.bpe import Tokenizer, n_bytes

    tokenizer = Tokenizer.load(inputs.artifacts["tokenizer"].path)

    def one(document: Document) -> Measurements:
        text, held = held_out(document["text"] or "", document["held"])
        tokens = [tokenizer.bos, *tokenizer.encode(text)]
        block = [tokenizer.bos, *tokenizer.encode(held)] if held else []
        sizes = {"n_tokens": len(tokens), "n_bytes": n_bytes(text), "held_tokens": len(block), "held_bytes": n_bytes(held), "offset": 0}
        return {"tokens": tokens + block, **sizes, "tokenizer": tokenizer.hash, "vocab_size": tokenizer.vocab_size}

    return one


def decide(config: PackConfig, m: Measurements) -> Outcome:
    """Keeps what has tokens."""
    if m["n_tokens"] - 1 < config.min_tokens:
        return rejected("too_few_tokens", m["n_tokens"] - 1, config.min_tokens, "tokens below the limit")
    return Outcome()


def write_part(rows: pa.Table, folder: Path) -> pa.Table:
    """Move the tokens of these rows to `folder/tokens.bin`; returns the rows with `offset` set and `tokens` emptied (null).

    Rows without a measurement (failed documents) have null there and stay null.
    """
    from packer.shards import write_shard

    offsets = write_shard(folder, rows["tokens"], rows["tokenizer"], rows["vocab_size"], pc.add(rows["n_bytes"], rows["held_bytes"]))
    names, emptied = rows.column_names, pa.nulls(rows.num_rows, MEASURES.field("tokens").type)
    return rows.set_column(names.index("offset"), "offset", offsets).set_column(names.index("tokens"), "tokens", emptied)


def read_part(rows: pa.Table, folder: Path) -> pa.Table:
    """The inverse: these rows of the part in `folder` with their tokens."""
    import numpy as np

    from packer.shards import FILE, open_shard

    shard = open_shard(folder / FILE)
    offsets, lengths, held = (rows[name].to_numpy() for name in ("offset", "n_tokens", "held_tokens"))  # null: NaN
    absent = rows["offset"].is_null().to_numpy()
    sizes = np.where(absent, 0, lengths + held).astype(np.int64)
    begins = np.where(absent, 0, offsets).astype(np.int64)
    flat = np.concatenate([shard[b : b + n] for b, n in zip(begins.tolist(), sizes.tolist(), strict=True)] or [shard[:0]])
    ends = np.concatenate(([0], np.cumsum(sizes)))
    tokens = pa.LargeListArray.from_arrays(ends, flat.astype(np.uint32), mask=pa.array(absent))
    return rows.set_column(rows.column_names.index("tokens"), "tokens", tokens.cast(MEASURES.field("tokens").type))


STAGE = DocumentStage(
    name="pack",
    version=2,
    config=PackConfig(),
    doc="tokenises every document once",
    engines=("tokenizers",),
    inputs=("tokenizer",),
    reads=("text", "held"),
    measures=MEASURES,
    measure=measure,
    decide=decide,
    write_part=write_part,
    read_part=read_part,
    passes_chat=True,
)
