"""Each language gets two models that judge each other's documents; what has too little text is named."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest

from corpus import config
from corpus.canonical import digest_text
from corpus.outcome import Misuse, Skip
from corpus.stage import Inputs
from filters.ngram import RANKS, STAGE, Judges, NgramConfig, Sample, bits_per_byte, build, half

IT_TEXT = "il comune delibera che la spesa sia imputata al capitolo di bilancio e che il sindaco provveda agli atti conseguenti"
EN_TEXT = "the council decides that the expense shall be charged to the budget and that the mayor provides for the following acts"
IT, EN = IT_TEXT.split(), EN_TEXT.split()


class Job:
    scratch, workers, device = None, 1, "cpu"

    def progress(self, done, total, note=""):
        assert 0 <= done <= total


class FakeView:
    digest = ""

    def __init__(self, documents):
        self._documents = documents

    def documents(self, *fields, ids=None):
        return ({"id": d["id"]} | {f: d[f] for f in fields} for d in self._documents)


def documents(words, lang, n=30, form="prose", seed=0):
    rng = random.Random(f"{lang}{seed}")
    texts = [" ".join(rng.choices(words, k=60)) for _ in range(n)]
    return [{"id": digest_text(t), "text": t, "lang": lang, "form": form} for t in texts]


def fit(folder, found, **settings):
    folder.mkdir(exist_ok=True)
    return build(NgramConfig(**{"order": 4, "least_bytes": 1000} | settings), Inputs(views={"prose": FakeView(found)}), folder, Job())


def test_every_language_has_a_model_per_half_and_held_out_quantiles(tmp_path) -> None:
    metrics = fit(tmp_path, documents(IT, "it") + documents(EN, "en"))
    judges = Judges(tmp_path)
    assert set(judges.languages) == set(metrics["languages"]) == {"it", "en"}
    table = judges.languages["it"]
    assert table["bits"] == sorted(table["bits"])
    assert len(table["bits"]) == len(RANKS)
    assert judges.rank("it", 0.0) == 0
    assert judges.rank("it", 9.0) == 1
    assert judges.rank("it", judges.quantile("it", 0.5)) == pytest.approx(0.5)


def test_a_document_is_judged_by_the_model_that_never_held_it(tmp_path) -> None:
    found = documents(IT, "it")
    fit(tmp_path, found)
    judges = Judges(tmp_path)
    for d in found:
        others = sum(len(x["text"].encode()) for x in found if half(x["id"]) != half(d["id"]))
        assert judges.judge("it", d["id"]).fitted_tokens == others


def test_a_text_that_was_fitted_is_still_surprising_to_its_judge(tmp_path) -> None:
    strange, text = next(i for i in map(digest_text, map(str, range(99))) if half(i) == 0), "qwxz " * 100
    found = documents(IT, "it")
    fit(tmp_path, [*found, {"id": strange, "text": text, "lang": "it", "form": "prose"}])
    judges, judged_by_its_own_half = Judges(tmp_path), next(d["id"] for d in found if half(d["id"]) == 1)
    assert bits_per_byte(judges.judge("it", strange), text.encode()) > 5
    assert bits_per_byte(judges.judge("it", judged_by_its_own_half), text.encode()) < 1


def test_the_order_of_documents_does_not_matter(tmp_path) -> None:
    found = documents(IT, "it", 60)
    first = fit(tmp_path / "a", found, language_bytes=9000, document_bytes=300)
    assert fit(tmp_path / "b", found[::-1], language_bytes=9000, document_bytes=300) == first
    for path in sorted((tmp_path / "a").rglob("*.*")):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()


def test_the_sample_is_the_smallest_hashes_that_fit_whatever_comes_first() -> None:
    rng = random.Random(0)
    entries = [(str(i), b"x" * rng.randint(1, 50)) for i in range(200)]
    chosen = set()
    for _ in range(5):
        rng.shuffle(entries)
        sample = Sample(1000)
        for document_id, text in entries:
            sample.add(document_id, text)
        assert sample.total <= 1000
        chosen.add(tuple(sorted(entry[2] for entry in sample.heap)))
    assert len(chosen) == 1


def test_a_language_with_too_little_text_or_none_known_is_left_out_and_named(tmp_path) -> None:
    found = documents(IT, "it") + documents(EN, "en", 2) + documents(EN, "und", 40)
    metrics = fit(tmp_path, found)
    assert set(metrics["left_out"]) == {"en", "und"}
    assert "2 documents" in metrics["left_out"]["en"]
    with pytest.raises(KeyError):
        Judges(tmp_path).judge("en", "x")


def test_chat_takes_no_part(tmp_path) -> None:
    alone = fit(tmp_path / "a", documents(IT, "it"))
    assert fit(tmp_path / "b", documents(IT, "it") + documents(EN, "it", form="chat")) == alone


def test_without_documents_the_stage_is_skipped(tmp_path) -> None:
    with pytest.raises(Skip):
        fit(tmp_path, [])
    with pytest.raises(Skip):
        fit(tmp_path, documents(IT, "it", form="chat"))


def test_the_table_holds_no_text_and_the_stage_is_pinned_and_sensitive(tmp_path) -> None:
    fit(tmp_path, documents(IT, "it"))
    table = json.loads((tmp_path / "languages.json").read_text())
    assert set(table["languages"]["it"]) == {"documents", "bytes", "ranks", "bits"}
    assert STAGE.pinned
    assert STAGE.sensitive
    assert np.load(tmp_path / "it" / "0" / "1.prob.npy", allow_pickle=False).dtype == np.float64


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(Misuse, match="between 1 and 16"):
        config.load(NgramConfig, {"order": 0}, "ngram")
