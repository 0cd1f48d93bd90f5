"""The stages of this room, and the n-grams before them, as the engine runs them: parts, pins and the stream of rows."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import toys

from corpus.engine import Engine
from corpus.outcome import kept
from corpus.stage import DocumentStage
from corpus.view import ViewReader
from corpus.workspace import Workspace, built
from filters import ngram, perplexity
from packer import pack, tokenizer
from packer.bpe import Tokenizer
from packer.rows import Rows


def length(config, inputs):
    return lambda document: {"n": len(document["text"])}


def in_italian(config, m):
    return kept(lang="it")


def in_training(config, m):
    return kept(split="train")


LENGTH = pa.schema([("n", pa.int64())])
PROSE = DocumentStage(
    "prose", 1, toys.NothingConfig(), measures=LENGTH, measure=length, writes=pa.schema([("lang", pa.string())]), decide=in_italian
)
SPLIT = DocumentStage(
    "split",
    1,
    toys.NothingConfig(),
    measures=LENGTH,
    measure=length,
    writes=pa.schema([("split", pa.string()), ("held", pa.string())]),
    decide=in_training,
)
NGRAM = ngram.STAGE.with_config(ngram.NgramConfig(order=3, least_bytes=200))
WAY = (toys.INGEST, toys.READ, PROSE, NGRAM, perplexity.STAGE, SPLIT, tokenizer.STAGE, pack.STAGE)


@pytest.fixture
def raw(tmp_path):
    folder = tmp_path / "raw"
    folder.mkdir()
    for n in range(30):
        (folder / f"{n}.txt").write_text(
            f"Il comune numero {n} delibera che la spesa di euro {n}00 sia imputata al bilancio dell'anno.\n" * (1 + n % 3)
        )
    return folder


def run(workspace, workers=0):
    return {r.name: r for r in Engine(workspace, WAY, workers=workers).run()}


def stream(workspace, results):
    return Rows(ViewReader(workspace.store, results["pack"].folder), seed=1, length=32).next(40).tokens


def workspace_of(tmp_path, raw, name="ws"):
    workspace = Workspace.create(tmp_path / name)
    workspace.add_source(raw)
    return workspace


def test_a_corpus_is_packed_once_and_read_back_whole(tmp_path, raw) -> None:
    workspace = workspace_of(tmp_path, raw)
    results = run(workspace)
    assert {n: r.status for n, r in results.items() if r.status != "ran"} == {}
    assert results["pack"].kept == 30
    assert results["ngram"].metrics["languages"]["it"]["documents"] == 30
    view = ViewReader(workspace.store, results["pack"].folder)
    reader = Tokenizer.load(built(workspace.store / results["tokenizer"].folder).path)
    documents = Rows(view, length=32).documents
    texts = {d["id"]: d["text"] for d in view.documents("text")}
    for number, document_id in enumerate(documents.ids):
        assert reader.decode(documents.read(number).tolist()) == texts[document_id]
    again = run(workspace)
    assert {r.status for r in again.values()} == {"cached"}
    np.testing.assert_array_equal(stream(workspace, again), stream(workspace, results))


def test_any_number_of_workers_gives_the_same_rows(tmp_path, raw) -> None:
    alone, beside = workspace_of(tmp_path, raw, "a"), workspace_of(tmp_path, raw, "b")
    np.testing.assert_array_equal(stream(alone, run(alone)), stream(beside, run(beside, workers=2)))


def test_a_new_document_is_packed_alone_and_when_it_goes_the_stream_is_as_before(tmp_path, raw) -> None:
    workspace = workspace_of(tmp_path, raw)
    before = stream(workspace, run(workspace))
    (raw / "nuovo.txt").write_text("La giunta approva il rendiconto dell'anno precedente e lo trasmette al consiglio.")
    results = run(workspace)
    assert {n: r.calls for n, r in results.items() if r.calls} == dict.fromkeys(
        ("ingest", "read", "prose", "perplexity", "split", "pack"), 1
    )
    assert results["tokenizer"].status == results["ngram"].status == "cached"
    assert not np.array_equal(stream(workspace, results), before)
    (raw / "nuovo.txt").unlink()
    results = run(workspace)
    assert not {n: r.calls for n, r in results.items() if r.calls}
    np.testing.assert_array_equal(stream(workspace, results), before)
