from __future__ import annotations

import random
from typing import Any

import numpy as np
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


def elected(documents: list[dict[str, Any]], piece: int = 1000, **settings: Any) -> dict[str, Outcome]:
    rows = [{"form": "prose", "quality": 0.9} | d for d in documents]
    table = pa.Table.from_pylist([{"id": d["id"], "quality": d["quality"], "form": d["form"], **MEASURE(d)} for d in rows])
    table = pa.concat_tables([table.slice(start, piece) for start in range(0, len(rows), piece)])
    texts = {d["id"]: d["text"] for d in documents}
    outcomes = elect(DedupConfig(**settings), table, lambda ids: [texts[i] for i in ids])
    return dict(zip(table["id"].to_pylist(), outcomes, strict=True))


def true(a: str, b: str) -> float:
    one, other = ({tuple(t.split()[i : i + 5]) for i in range(len(t.split()) - 4)} for t in (a, b))
    return len(one & other) / len(one | other)


def test_the_same_words_are_exact_duplicates_whatever_the_case_and_the_spaces() -> None:
    text = written(1)
    got = elected([{"id": "a", "text": text}, {"id": "b", "text": text.upper().replace(" ", "\n")}, {"id": "c", "text": written(2)}])
    assert (got["a"].status, got["c"].status) == ("kept", "kept")
    assert (got["b"].reason, got["b"].value) == ("exact_duplicate", 1.0) and got["b"].detail.endswith(" a")


def test_a_near_duplicate_names_its_survivor_and_the_similarity() -> None:
    text = written(1)
    got = elected([{"id": "a", "text": text}, {"id": "b", "text": edited(text, 100)}])
    assert (got["b"].status, got["b"].reason, got["b"].threshold) == ("rejected", "near_duplicate", 0.8)
    assert got["b"].value == pytest.approx(true(text, edited(text, 100))) and got["b"].detail == "near duplicate of a"


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
    assert got["b"].fields == {"family": "a", "lot": max(lot("a"), lot("b")), "family_size": 2}
    assert got["c"].fields == {"family": "c", "lot": lot("c"), "family_size": 1}
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


def changed(text: str, words: int) -> str:
    """`words` words changed, far from one another: each takes five shingles away and brings five."""
    for k in range(words):
        text = edited(text, 10 + 20 * k)
    return text


def test_the_true_similarity_decides_at_the_threshold_and_not_the_estimate() -> None:
    documents, expected = [], {}
    for n in range(60):  # 196 shingles: (196 - 5k) / (196 + 5k) is 0.815 for 4 changes and 0.773 for 5
        text, edits = written(1000 + n), 4 + n % 2
        documents += [{"id": f"{n:02}-a", "text": text}, {"id": f"{n:02}-b", "text": changed(text, edits)}]
        expected[f"{n:02}-b"] = true(text, changed(text, edits)) >= 0.8
    got = elected(documents)
    assert {id: got[id].status == "rejected" for id in expected} == expected
    config = DedupConfig()
    stored = {d["id"]: np.frombuffer(MEASURE({"form": "prose"} | d)["signature"], "<u4") for d in documents}
    estimated = {id: (stored[id] == stored[id[:-1] + "a"]).mean() >= config.threshold for id in expected}
    assert sum(estimated[id] != expected[id] for id in expected) > 5


def test_one_that_is_linked_through_another_is_told_its_own_similarity() -> None:
    text = written(5)
    far = " ".join(changed(text, 3).split()[:-8] + ["altra"] * 8)
    documents = [{"id": "a", "text": text + " coda"}, {"id": "b", "text": changed(text, 3)}, {"id": "c", "text": far}]
    assert true(documents[0]["text"], far) < 0.8 <= min(true(documents[0]["text"], documents[1]["text"]), true(documents[1]["text"], far))
    got = elected(documents)
    assert got["c"].value == pytest.approx(true(documents[0]["text"], far))
    assert got["c"].detail == "near duplicate of a, through others of its family"


def template(names: int) -> list[dict[str, Any]]:
    text = written(77)
    return [{"id": f"{n:03}", "text": edited(text, 100) + f" nome{n}"} for n in range(names)]


def test_a_template_is_reported_and_keeps_its_distinct_texts() -> None:
    documents = [*template(21), {"id": "zzz", "text": template(21)[4]["text"].upper()}, {"id": "solo", "text": written(3)}]
    got = elected(documents)
    assert [id for id, o in got.items() if o.status == "rejected"] == ["zzz"] and got["zzz"].detail == "same text as 004"
    family = {"family": "000", "lot": max(lot(d["id"]) for d in documents if d["id"] != "solo"), "family_size": 21}
    assert all(got[d["id"]].fields == family for d in template(21))
    assert (got["003"].reason, got["003"].value, got["003"].threshold) == ("template", 21, 20) and got["solo"].reason == ""


def test_a_template_can_be_collapsed_and_a_smaller_family_always_is() -> None:
    assert sum(o.status == "kept" for o in elected(template(21), collapse_templates=True).values()) == 1
    assert sum(o.status == "kept" for o in elected(template(20)).values()) == 1
    assert sum(o.status == "kept" for o in elected(template(20), template_above=10).values()) == 20


def test_a_family_of_hundreds_is_one_family_whatever_the_order() -> None:
    documents = template(200)
    assert {o.fields["family"] for o in elected(documents).values()} == {"000"}
    random.Random(1).shuffle(documents)
    assert {o.fields["family_size"] for o in elected(documents).values()} == {200}


def test_texts_of_candidates_only_are_read_again() -> None:
    documents = [{"id": f"{n:02}", "text": written(n), "form": "prose", "quality": 0.9} for n in range(30)]
    documents += [{"id": "30", "text": edited(written(7), 50), "form": "prose", "quality": 0.9}]
    table = pa.Table.from_pylist([{k: d[k] for k in ("id", "quality", "form")} | MEASURE(d) for d in documents])
    asked: list[str] = []

    def texts(ids: list[str]) -> list[str]:
        asked.extend(ids)
        return [documents[int(i)]["text"] for i in ids]

    elect(DedupConfig(), table, texts)
    assert asked == ["07", "30"]


def test_a_document_of_megabytes_is_compared_like_any_other() -> None:
    text = " ".join(f"parola{i * 7919 % 50021}" for i in range(200_000))
    got = elected([{"id": "a", "text": text}, {"id": "b", "text": text[:-20] + " 𝔣𝔦𝔫𝔢"}, {"id": "c", "text": ""}])
    assert len(text) > 2_000_000 and got["b"].reason == "near_duplicate" and 0.9999 < (got["b"].value or 0) < 1.0
    assert got["c"].status == "kept"


def test_nothing_to_elect_is_no_error() -> None:
    table = pa.Table.from_pylist([{"id": "a", "quality": 0.5, "form": "prose", **MEASURE({"form": "prose", "text": "uno"})}])
    assert elect(DedupConfig(), table.slice(0, 0), lambda ids: []) == []


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.sampled_from([0.5, 0.9])), max_size=12), st.randoms(), st.integers(1, 5))
def test_the_election_is_a_function_of_the_set(specs: list[tuple[int, int, float]], shuffle: random.Random, piece: int) -> None:
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
    got = elected(documents, piece)
    assert got == expected
    families = {o.fields["family"] for o in got.values() if o.status == "kept"}
    assert len(families) == sum(o.status == "kept" for o in got.values())
    for outcome in got.values():
        if outcome.status == "rejected":
            survivor = outcome.detail.split(",")[0].split()[-1]
            assert got[survivor].status == "kept"
