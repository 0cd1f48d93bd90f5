from __future__ import annotations

import random
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.outcome import Outcome
from corpus.stage import Inputs
from filters.dedup.families import lot
from filters.dedup.stage import STAGE, DedupConfig, elect, measure

MEASURE = measure(DedupConfig(), Inputs())
WORDS = [f"parola{i}" for i in range(400)]


def written(seed: int, words: int = 200) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=words))


def edited(text: str, at: int) -> str:
    words = text.split()
    words[at] = "cambiata"
    return " ".join(words)


def elected(documents: list[dict[str, Any]], **settings: Any) -> dict[str, Outcome]:
    rows = [{"form": "prose", "quality": 0.9} | d for d in documents]
    table = pa.Table.from_pylist([{"id": d["id"], "quality": d["quality"], "form": d["form"], **MEASURE(d)} for d in rows])
    return dict(zip(table["id"].to_pylist(), elect(DedupConfig(**settings), table), strict=True))


def test_the_same_words_are_exact_duplicates_whatever_the_case_and_the_spaces() -> None:
    text = written(1)
    got = elected([{"id": "a", "text": text}, {"id": "b", "text": text.upper().replace(" ", "\n")}, {"id": "c", "text": written(2)}])
    assert (got["a"].status, got["c"].status) == ("kept", "kept")
    assert (got["b"].reason, got["b"].value) == ("exact_duplicate", 1.0) and got["b"].detail.endswith(" a")


def test_a_near_duplicate_names_its_survivor_and_the_similarity() -> None:
    text = written(1)
    got = elected([{"id": "a", "text": text}, {"id": "b", "text": edited(text, 100)}])
    assert (got["b"].status, got["b"].reason, got["b"].threshold) == ("rejected", "near_duplicate", 0.8)
    assert got["b"].value is not None and 0.8 <= got["b"].value < 1.0 and " a" in got["b"].detail


def test_the_survivor_is_the_best_then_the_longest_then_the_smallest_id() -> None:
    text = written(1)
    longer = text + " coda"
    assert elected([{"id": "a", "text": text}, {"id": "b", "text": longer}])["a"].status == "rejected"
    assert elected([{"id": "a", "text": text, "quality": 0.95}, {"id": "b", "text": longer}])["a"].status == "kept"
    assert elected([{"id": "b", "text": text}, {"id": "a", "text": text}])["a"].status == "kept"


def test_a_copy_of_a_near_duplicate_is_measured_against_the_survivor() -> None:
    text = written(1)
    near = edited(text, 60)
    got = elected([{"id": "a", "text": text + " coda lunga"}, {"id": "b", "text": near}, {"id": "c", "text": near.title()}])
    assert got["a"].status == "kept" and got["b"].reason == got["c"].reason == "near_duplicate"
    assert got["b"].value == got["c"].value


def test_the_kept_document_carries_the_family_and_its_largest_lot() -> None:
    text = written(1)
    got = elected([{"id": "b", "text": text + " coda"}, {"id": "a", "text": text}, {"id": "c", "text": written(3)}])
    assert got["b"].fields == {"family": "a", "lot": max(lot("a"), lot("b"))}
    assert got["c"].fields == {"family": "c", "lot": lot("c")}
    assert set(got["c"].fields) == set(STAGE.writes.names)


def test_chat_is_compared_exactly_and_among_itself_only() -> None:
    text = written(1)
    documents = [
        {"id": "a", "text": text},
        {"id": "b", "text": text, "form": "chat", "quality": None},
        {"id": "c", "text": edited(text, 5), "form": "chat", "quality": None},
        {"id": "d", "text": text, "form": "chat", "quality": None},
    ]
    assert {id: o.reason for id, o in elected(documents).items()} == {"a": "", "b": "", "c": "", "d": "exact_duplicate"}


def test_near_duplicates_can_be_left_in_and_short_texts_always_are() -> None:
    text = written(1)
    assert elected([{"id": "a", "text": text}, {"id": "b", "text": edited(text, 9)}], near=False)["b"].status == "kept"
    assert (
        elected([{"id": "a", "text": "uno due tre quattro cinque sei"}, {"id": "b", "text": "uno due tre quattro cinque sette"}])[
            "b"
        ].status
        == "kept"
    )


def test_texts_without_words_are_duplicates_only_when_they_are_the_same() -> None:
    got = elected([{"id": "a", "text": "..."}, {"id": "b", "text": "!!!"}, {"id": "c", "text": "..."}])
    assert {id: o.status for id, o in got.items()} == {"a": "kept", "b": "kept", "c": "rejected"}


@pytest.mark.parametrize("similar", [0.9, 0.95])
def test_planted_near_duplicates_are_found_and_strangers_are_not(similar: float) -> None:
    edits = {0.9: 2, 0.95: 1}[similar]
    documents = []
    for n in range(40):
        text = written(n, 250)
        documents.append({"id": f"{n}-a", "text": text})
        for k in range(edits):
            text = edited(text, 60 + 100 * k)
        documents.append({"id": f"{n}-b", "text": text})
    got = elected(documents)
    found = sum(o.reason == "near_duplicate" and f"{id[:-2]}-" in o.detail for id, o in got.items())
    assert found >= 38 and sum(o.status == "rejected" for o in got.values()) == found


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.sampled_from([0.5, 0.9])), max_size=12), st.randoms())
def test_the_election_is_a_function_of_the_set(specs: list[tuple[int, int, float]], shuffle: random.Random) -> None:
    documents = []
    for n, (seed, edits, quality) in enumerate(specs):
        text = written(seed, 120)
        for k in range(edits):
            text = edited(text, 20 + 40 * k)
        documents.append({"id": f"{n:03}", "text": text, "quality": quality})
    if not documents:
        return
    expected = elected(documents)
    shuffle.shuffle(documents)
    got = elected(documents)
    assert got == expected
    families = {o.fields["family"] for o in got.values() if o.status == "kept"}
    assert len(families) == sum(o.status == "kept" for o in got.values())
    for outcome in got.values():
        if outcome.status == "rejected":
            survivor = outcome.detail.split(",")[0].split()[-1]
            assert got[survivor].status == "kept"
