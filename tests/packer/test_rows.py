"""Training rows are a function of the set of documents; validation scores every token once."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packed_views import document, packed, train_tokenizer

from packer.rows import Documents, Rows, windows
from packer.tokenizer import Tokenizer

TEXTS = [f"Documento numero {n}: " + " ".join(f"parola{n}{k}" for k in range(n % 13)) for n in range(24)]
TRAIN, VAL = [document(t) for t in TEXTS[:20]], [document(t, "val") for t in TEXTS[20:]]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return train_tokenizer(tmp_path_factory.mktemp("tokenizer"), TRAIN, vocab_size=400)


@pytest.fixture(scope="module")
def view(tmp_path_factory, tokenizer):
    return packed(tmp_path_factory.mktemp("one"), tokenizer, TRAIN + VAL)


def stream(view, n=40, **kwargs):
    return Rows(view, **{"seed": 1, "length": 16} | kwargs).next(n).tokens


def test_parts_and_history_do_not_change_the_stream(tmp_path, tokenizer, view) -> None:
    other = packed(tmp_path, tokenizer, VAL[:1] + TRAIN[13:], TRAIN[5:13] + VAL[1:], TRAIN[:5])
    np.testing.assert_array_equal(stream(other, 200), stream(view, 200))
    assert not np.array_equal(stream(view, seed=2), stream(view))


def test_how_many_rows_are_asked_for_at_a_time_does_not_matter(view) -> None:
    rows = Rows(view, seed=1, length=16)
    np.testing.assert_array_equal(np.concatenate([rows.next(n).tokens for n in (1, 7, 0, 32)]), stream(view, 40))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 150), st.integers(1, 40))
def test_a_stream_goes_on_exactly_from_its_state(view, before: int, after: int) -> None:
    straight = Rows(view, seed=3, length=16)
    straight.next(before)
    state = json.loads(json.dumps(straight.state()))
    resumed = Rows(view, seed=3, length=16)
    resumed.seek(state)
    expected, found = straight.next(after), resumed.next(after)
    np.testing.assert_array_equal(found.tokens, expected.tokens)
    np.testing.assert_array_equal(found.docs, expected.docs)


def test_an_epoch_reads_every_token_but_a_tail_shorter_than_a_row_as_target_at_most_once(view, tokenizer) -> None:
    rows = Rows(view, seed=0, length=16)
    targets = Counter(rows.next(rows.rows_per_epoch).tokens[:, 1:].ravel().tolist())
    assert rows.state()["epoch"] == 0
    everything = Counter(np.concatenate([rows.documents.read(i) for i in range(len(rows.documents))]).tolist())
    assert all(targets[token] <= n for token, n in everything.items())
    assert 0 <= rows.documents.tokens - sum(targets.values()) <= 16
    first, second = rows.next(rows.rows_per_epoch), rows.next(1)
    assert not np.array_equal(first.tokens, second.tokens)
    assert rows.state()["epoch"] == 2


def test_validation_documents_never_enter_training(view, tokenizer) -> None:
    reader, rows = Tokenizer.load(tokenizer.path), Rows(view, length=16)
    text = reader.decode(rows.next(2 * rows.rows_per_epoch).tokens.ravel().tolist())
    assert "numero 7:" in text
    assert not any(f"numero {n}:" in text for n in range(20, 24))


def test_documents_within_a_row_are_told_apart_at_their_start(view, tokenizer) -> None:
    bos = Tokenizer.load(tokenizer.path).bos
    batch = Rows(view, length=64).next(30)
    np.testing.assert_array_equal(np.diff(batch.docs, axis=1), (batch.tokens[:, 1:] == bos).astype(int))
    assert (batch.docs[:, 0] == 0).all()


def test_bytes_are_those_of_the_targets(view, tokenizer) -> None:
    reader = Tokenizer.load(tokenizer.path)
    batch = Rows(view, length=16, token_bytes=reader.token_bytes).next(5)
    for tokens, lengths in zip(batch.tokens, batch.bytes, strict=True):
        assert lengths.tolist() == [int(reader.token_bytes[t]) for t in tokens[1:]]


def test_neighbouring_rows_lie_far_apart(tmp_path, tokenizer) -> None:
    book = document(" ".join(f"pagina{n}" for n in range(3000)))
    rows = Rows(packed(tmp_path, tokenizer, [book]), length=16)
    tokens, whole = rows.next(8).tokens, rows.documents.read(0)
    starts = [next(i for i in range(0, len(whole), 16) if np.array_equal(whole[i : i + 17], t)) for t in tokens]
    assert min(abs(a - b) for n, a in enumerate(starts) for b in starts[:n]) > len(whole) // 40


def test_a_corpus_shorter_than_a_row_is_repeated(tmp_path, tokenizer) -> None:
    rows = Rows(packed(tmp_path, tokenizer, [document("uno"), document("due")]), length=100)
    batch = rows.next(3)
    assert batch.tokens.shape == (3, 101)
    n = rows.documents.tokens
    np.testing.assert_array_equal(batch.tokens[0][:n], batch.tokens[0][n : 2 * n])


def test_a_state_of_another_stream_is_refused(tmp_path, view, tokenizer) -> None:
    state = Rows(view, length=16).state()
    with pytest.raises(ValueError, match="its length differ"):
        Rows(view, length=8).seek(state)
    with pytest.raises(ValueError, match="its documents differ"):
        Rows(packed(tmp_path, tokenizer, TRAIN[:5]), length=16).seek(state)


def test_an_empty_split_is_refused(tmp_path, tokenizer) -> None:
    with pytest.raises(ValueError, match="no packed 'train'"):
        Rows(packed(tmp_path, tokenizer, VAL))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 5))
def test_every_validation_token_after_the_first_is_scored_once_with_enough_context(view, length: int, stride: int, rows: int) -> None:
    documents, stride = Documents(view, "val"), min(stride, length)
    reader = [documents.read(i).tolist() for i in range(len(documents))]
    scored: list[list[int]] = [[] for _ in reader]
    for window in windows(documents, length, rows, stride):
        assert len(window.tokens) <= rows
        for tokens, counts, document_number in zip(window.tokens, window.scored, window.documents, strict=True):
            first = int(np.flatnonzero(counts)[0])
            if scored[document_number]:
                assert first >= min(length - stride, len(scored[document_number]))
            scored[document_number] += tokens[1:][counts].tolist()
    assert scored == [tokens[1:] for tokens in reader]


def test_validation_bytes_are_those_of_the_texts(view, tokenizer) -> None:
    table = Tokenizer.load(tokenizer.path).token_bytes
    total = sum(int(w.bytes.sum()) for w in windows(Documents(view, "val"), 16, 4, 8, table))
    assert total == Documents(view, "val").bytes == sum(len(d["text"].encode()) for d in VAL)
