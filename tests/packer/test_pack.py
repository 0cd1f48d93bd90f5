"""Packing keeps every byte of every document, and says where it lies."""

from __future__ import annotations

import pytest
from packed_views import document, packed, train_tokenizer

from corpus.document import held_out
from corpus.stage import Inputs
from packer import pack
from packer.rows import Documents
from packer.shards import FILE, open_shard, read_header
from packer.tokenizer import Tokenizer

TEXTS = ["Perché l'anno 1948?\n", "Il testo dice <|im_start|> e basta.", "𝔘nicode e\u0301 così", "x"]


@pytest.fixture
def tokenizer(tmp_path):
    return train_tokenizer(tmp_path / "tokenizer", [document(t * 3) for t in TEXTS])


def test_a_document_is_its_start_and_its_text(tmp_path, tokenizer) -> None:
    view = packed(tmp_path, tokenizer, [document(t) for t in TEXTS])
    reader = Tokenizer.load(tokenizer.path)
    ((folder, rows),) = view.parts()
    tokens = open_shard(folder / FILE)
    texts = {d["id"]: d["text"] for d in view.documents("text")}
    for row in rows.to_pylist():
        piece = tokens[row["offset"] : row["offset"] + row["n_tokens"]]
        assert piece[0] == reader.bos
        assert reader.bos not in piece[1:]
        assert reader.decode(piece.tolist()) == texts[row["id"]]
        assert int(reader.token_bytes[piece].sum()) == row["n_bytes"]
        assert row["tokens"] is None
    header, _ = read_header(folder / FILE)
    assert (header.tokenizer, header.vocab_size) == (reader.hash, reader.vocab_size)
    assert header.bytes == sum(len(t.encode()) for t in TEXTS)


def test_an_empty_document_is_rejected_with_its_count(tokenizer) -> None:
    measurements = pack.measure(pack.PackConfig(), Inputs(artifacts={"tokenizer": tokenizer}))(document(""))
    outcome = pack.decide(pack.PackConfig(), measurements)
    assert (outcome.status, outcome.reason, outcome.value, outcome.threshold) == ("rejected", "too_few_tokens", 0, 1)
    measurements = pack.measure(pack.PackConfig(), Inputs(artifacts={"tokenizer": tokenizer}))(document("x"))
    assert pack.decide(pack.PackConfig(), measurements).status == "kept"


def test_a_block_held_out_is_packed_apart_and_read_as_validation(tmp_path, tokenizer) -> None:
    text = "\n".join(f"La riga {n} del libro parla del mare." for n in range(60))
    book, other = document(text, held="800:1000"), document("Un altro testo, tutto per la prova.", split="val")
    train, block = held_out(text, "800:1000")
    view, reader = packed(tmp_path, tokenizer, [book, other]), Tokenizer.load(tokenizer.path)
    assert [reader.decode(Documents(view, "train").read(0).tolist())] == [train]
    held = Documents(view, "val")
    found = {i: reader.decode(held.read(n).tolist()) for n, i in enumerate(held.ids)}
    assert found == {book["id"]: block, other["id"]: other["text"]}
    assert held.bytes == len(block.encode()) + len(other["text"].encode())
    ((folder, rows),) = view.parts()
    assert read_header(folder / FILE)[0].bytes == len(train.encode()) + held.bytes
    read = pack.read_part(rows, folder)
    (tmp_path / "again").mkdir()
    again = pack.write_part(read, tmp_path / "again")
    assert (tmp_path / "again" / FILE).read_bytes() == (folder / FILE).read_bytes() and again.equals(rows), "nothing is lost in moving"
