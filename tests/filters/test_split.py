from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.outcome import Outcome
from corpus.stage import Inputs
from filters.dedup.families import lot
from filters.split import STAGE, SplitConfig, elect, measure


def documents(count: int, form: str = "prose", start: int = 0) -> list[dict[str, Any]]:
    return [
        {"id": f"{form}{n:06}", "lot": lot(f"{form}{n:06}"), "form": form, "overlap": 0.0, "item": ""} for n in range(start, start + count)
    ]


def elected(rows: list[dict[str, Any]], **settings: Any) -> dict[str, Outcome]:
    return dict(zip([r["id"] for r in rows], elect(SplitConfig(**settings), pa.Table.from_pylist(rows)), strict=True))


def val(rows: list[dict[str, Any]], **settings: Any) -> set[str]:
    return {id for id, o in elected(rows, **settings).items() if o.fields.get("split") == "val"}


def test_about_the_configured_share_is_held_out() -> None:
    assert 0.04 < len(val(documents(4000))) / 4000 < 0.06
    assert 0.17 < len(val(documents(4000), val_share=0.2)) / 4000 < 0.23
    assert val(documents(4000), val_share=0.0) == set()


def test_a_small_set_holds_out_at_least_one_and_at_most_a_tenth() -> None:
    for count in (2, 5, 12, 40, 100):
        assert 1 <= len(val(documents(count), val_share=0.001)) <= max(1, count // 10)
    assert len(val(documents(300), val_share=0.001)) == 20
    assert val(documents(1)) == set()


def test_chat_and_prose_are_each_held_out_for_themselves() -> None:
    held = val(documents(30) + documents(30, "chat"), val_share=0.001)
    assert {id[:4] for id in held} == {"pros", "chat"}
    assert held == val(documents(30), val_share=0.001) | val(documents(30, "chat"), val_share=0.001)


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
    held = val(rows, min_val=0)
    joined = [r | {"lot": max(r["lot"], lot("copy of " + r["id"]))} for r in rows]
    assert val(joined, min_val=0) <= held and len(val(joined, min_val=0)) < len(held)


def test_a_contaminated_document_is_rejected_and_the_item_named() -> None:
    rows = documents(3)
    rows[1] |= {"overlap": 0.4, "item": "qa.jsonl:7"}
    got = elected(rows)[rows[1]["id"]]
    assert (got.status, got.reason, got.value, got.threshold) == ("rejected", "contaminated", 0.4, 0.1)
    assert "qa.jsonl:7" in got.detail
    assert elected(rows, max_overlap=0.5)[rows[1]["id"]].status == "kept"


def test_texts_are_read_only_when_there_are_evaluation_files(tmp_path: Path) -> None:
    assert "text" not in STAGE.reads and "text" not in STAGE.with_config(SplitConfig(val_share=0.1)).reads
    question = "In quale anno la commissione incaricata di studiare il progetto del porto consegnò la relazione finale al ministro?"
    (tmp_path / "qa.jsonl").write_text(json.dumps({"q": question}))
    stage = STAGE.with_config(SplitConfig(eval_files=(str(tmp_path),)))
    assert "text" in stage.reads
    assert measure(stage.config, Inputs())({"id": "a", "text": question}) == {"overlap": 1.0, "item": f"{tmp_path.name}/qa.jsonl:1"}
    assert measure(SplitConfig(), Inputs())({"id": "a", "form": "prose"}) == {"overlap": 0.0, "item": ""}


def test_changed_evaluation_files_are_another_measurement(tmp_path: Path) -> None:
    (tmp_path / "qa.txt").write_text("uno")
    before = STAGE.with_config(SplitConfig(eval_files=(str(tmp_path),))).identity()
    assert STAGE.with_config(SplitConfig(eval_files=(str(tmp_path),))).identity() == before
    (tmp_path / "qa.txt").write_text("due")
    assert STAGE.with_config(SplitConfig(eval_files=(str(tmp_path),))).identity() != before
