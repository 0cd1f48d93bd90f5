"""The tokenizer stage learns from training documents only, from the same ones in any order."""

from __future__ import annotations

import pytest
from packed_views import FakeView, Job, document, train_tokenizer

from corpus import config
from corpus.outcome import Misuse, Skip
from corpus.stage import Inputs
from packer.tokenizer import STAGE, Tokenizer, TokenizerConfig, auto_vocab_size, build

PROSE = [document(f"La legge {n} dello Stato dispone che l'articolo {n} sia abrogato dall'anno {1900 + n}.\n" * 4) for n in range(30)]


def test_the_order_of_documents_does_not_matter(tmp_path) -> None:
    class Backwards(FakeView):
        def documents(self, *fields, ids=None):
            return iter(list(super().documents(*fields, ids=ids))[::-1])

    first = train_tokenizer(tmp_path / "a", PROSE, sample_bytes=4000)
    (tmp_path / "b").mkdir()
    again = build(TokenizerConfig(sample_bytes=4000), Inputs(views={"split": Backwards(PROSE)}), tmp_path / "b", Job())
    assert again == first.record
    assert 0 < again["bytes"] <= 4000


def test_validation_documents_teach_it_nothing(tmp_path) -> None:
    unseen = document("zyxwv zyxwv zyxwv " * 100, "val")
    alone, beside = train_tokenizer(tmp_path / "a", PROSE), train_tokenizer(tmp_path / "b", [*PROSE, unseen])
    assert alone.digest == beside.digest


def test_chat_teaches_its_words_but_not_its_markers(tmp_path) -> None:
    chat = document("<|im_start|>user\nquisquilia<|im_end|>\n<|im_start|>assistant\nquisquilia<|im_end|>\n" * 50)
    tokenizer = Tokenizer.load(train_tokenizer(tmp_path / "t", [*PROSE, chat]).path)
    assert len(tokenizer.encode("quisquilia")) == 1
    assert len(tokenizer.encode("im_start")) > 3


def test_the_vocabulary_follows_the_corpus_unless_it_is_set(tmp_path) -> None:
    assert [auto_vocab_size(n) for n in (0, 5 * 10**6, 17 * 10**6, 10**8, 2 * 10**9, 10**12)] == [2048, 2048, 4096, 8192, 32768, 32768]
    assert train_tokenizer(tmp_path / "t", PROSE, vocab_size=300).record["vocab_size"] == 300


def test_without_training_documents_the_stage_is_skipped(tmp_path) -> None:
    with pytest.raises(Skip):
        train_tokenizer(tmp_path / "t", [document("solo convalida", "val")])


def test_a_vocabulary_without_room_for_the_bytes_is_refused() -> None:
    with pytest.raises(Misuse, match="between 260"):
        config.load(TokenizerConfig, {"vocab_size": 100}, "tokenizer")


def test_the_stage_is_pinned() -> None:
    assert STAGE.pinned
    assert STAGE.engines == ("tokenizers",)
