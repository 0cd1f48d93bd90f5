from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.document import held_out
from corpus.outcome import Outcome
from corpus.stage import Inputs
from filters.dedup.families import lot
from filters.split import STAGE, SplitConfig, elect, measure


def documents(count: int, form: str = "prose", start: int = 0, size: int = 2000) -> list[dict[str, Any]]:
    rows = [{"id": f"{form}{n:06}", "lot": lot(f"{form}{n:06}"), "form": form} for n in range(start, start + count)]
    return [row | {"n_chars": size, "n_bytes": size, "overlap": 0.0, "item": ""} for row in rows]


def nothing(ids: list[str]) -> list[str]:
    raise AssertionError("split needs no text to decide")


def elected(rows: list[dict[str, Any]], **settings: Any) -> dict[str, Outcome]:
    return dict(zip([r["id"] for r in rows], elect(SplitConfig(**settings), pa.Table.from_pylist(rows), nothing), strict=True))


def val(rows: list[dict[str, Any]], **settings: Any) -> set[str]:
    return {id for id, o in elected(rows, **settings).items() if o.fields.get("split") == "val"}


def test_about_the_configured_share_is_held_out() -> None:
    assert 0.04 < len(val(documents(4000))) / 4000 < 0.06
    assert 0.17 < len(val(documents(4000), val_share=0.2)) / 4000 < 0.23
    assert val(documents(4000), val_share=0.0) == set()


def test_a_small_set_holds_out_at_least_one_and_at_most_a_tenth() -> None:
    for count in (2, 5, 12, 40, 100):
        assert 1 <= len(val(documents(count, size=500), val_share=0.001)) <= max(1, count // 10)
    assert len(val(documents(300, size=500), val_share=0.001, min_val_bytes=0)) == 20
    assert val(documents(1, size=500)) == set()


def test_a_few_long_documents_give_blocks_until_there_is_enough() -> None:
    books = documents(6, size=400_000)
    outcomes = elected(books, val_share=0.001)
    blocks = {id: o.fields["held"] for id, o in outcomes.items() if o.fields["held"]}
    assert len(blocks) == 6 and val(books, val_share=0.001) == set(), "every book gives a block and stays for training"
    for held in blocks.values():
        start, end = map(int, held.split(":"))
        assert 0 <= start < end <= 400_000 and end - start == 10_000
    many = documents(600, size=30_000)
    outcomes = elected(many, val_share=0.001)
    sizes = [end - start for o in outcomes.values() if o.fields["held"] for start, end in [map(int, o.fields["held"].split(":"))]]
    whole = 30_000 * len(val(many, val_share=0.001))
    assert len(sizes) + len(val(many, val_share=0.001)) == 20 and whole + sum(sizes) >= 50_000


def test_enough_whole_documents_need_no_blocks() -> None:
    assert not any(o.fields["held"] for o in elected(documents(1000)).values())


def test_a_block_is_cut_between_lines_or_words_and_nothing_is_lost_or_in_both() -> None:
    text = "\n".join(f"riga numero {n} del documento" for n in range(400))
    train, block = held_out(text, "3003:5003")
    assert set(train.split("\n")) - {""} | set(block.split("\n")) == set(text.split("\n"))
    assert not set(train.split("\n")) & set(block.split("\n")) and 1900 < len(block) < 2100
    assert held_out(text, None) == (text, "") and held_out("", "0:0") == ("", "")


def test_families_that_are_kept_whole_give_no_blocks() -> None:
    rows = [row | {"lot": 1 << 30} for row in documents(30, size=5000)]
    assert not any(o.fields["held"] or o.fields["split"] == "val" for o in elected(rows, val_share=0.001).values())


def test_chat_and_prose_are_each_held_out_for_themselves() -> None:
    held = val(documents(30, size=500) + documents(30, "chat", size=500), val_share=0.001)
    assert {id[:4] for id in held} == {"pros", "chat"}
    assert held == val(documents(30, size=500), val_share=0.001) | val(documents(30, "chat", size=500), val_share=0.001)


@settings(max_examples=50, deadline=None)
@given(st.integers(500, 900), st.integers(1, 400), st.randoms())
def test_adding_documents_moves_nobody_from_train_to_val_and_order_does_not_matter(before: int, more: int, shuffle: Any) -> None:
    old = documents(before)
    new = old + documents(more, start=before)
    held = val(old)
    shuffle.shuffle(new)
    assert val(new) & {r["id"] for r in old} <= held


def test_a_duplicate_that_joins_a_family_can_only_take_it_out_of_val() -> None:
    rows = documents(1000)
    held = val(rows, min_val=0, min_val_bytes=0)
    joined = [r | {"lot": max(r["lot"], lot("copy of " + r["id"]))} for r in rows]
    assert val(joined, min_val=0, min_val_bytes=0) <= held and len(val(joined, min_val=0, min_val_bytes=0)) < len(held)


def test_a_contaminated_document_is_rejected_and_the_item_named() -> None:
    rows = documents(3)
    rows[1] |= {"overlap": 0.4, "item": "qa.jsonl:7"}
    got = elected(rows)[rows[1]["id"]]
    assert (got.status, got.reason, got.value, got.threshold) == ("rejected", "contaminated", 0.4, 0.1)
    assert "qa.jsonl:7" in got.detail
    assert elected(rows, max_overlap=0.5)[rows[1]["id"]].status == "kept"


def test_sizes_are_measured_always_and_overlap_where_there_are_evaluation_files(tmp_path: Path) -> None:
    question = "In quale anno la commissione incaricata di studiare il progetto del porto consegnò la relazione finale al ministro?"
    (tmp_path / "qa.jsonl").write_text(json.dumps({"q": question}))
    stage = STAGE.with_config(SplitConfig(eval_files=(str(tmp_path),)))
    sizes = {"n_chars": len(question), "n_bytes": len(question) + 1}
    found = measure(stage.config, Inputs())({"id": "a", "text": question})
    assert found == sizes | {"overlap": 1.0, "item": f"{tmp_path.name}/qa.jsonl:1"}
    assert measure(SplitConfig(), Inputs())({"id": "a", "text": question}) == sizes | {"overlap": 0.0, "item": ""}


def test_changed_evaluation_files_are_another_measurement(tmp_path: Path) -> None:
    (tmp_path / "qa.txt").write_text("uno")
    before = STAGE.with_config(SplitConfig(eval_files=(str(tmp_path),))).identity()
    assert STAGE.with_config(SplitConfig(eval_files=(str(tmp_path),))).identity() == before
    (tmp_path / "qa.txt").write_text("due")
    assert STAGE.with_config(SplitConfig(eval_files=(str(tmp_path),))).identity() != before
