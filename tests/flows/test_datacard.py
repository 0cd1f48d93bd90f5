"""The data card: its head is valid for every corpus, its tables survive any name, and it names no place."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from flows import datacard


def counts(parts=(("prose", "train", 10),), licences=None, languages=("it",)):
    """What an export counted."""
    return {
        "parts": [{"form": f, "split": s, "files": 1, "rows": n, "documents": n, "chars": n, "bytes": n} for f, s, n in parts],
        "left_out": 0,
        "languages": {code: {"documents": 1, "bytes": 1} for code in languages},
        "sources": {},
        "licences": {name: {"documents": n, "bytes": n} for name, n in (licences or {}).items()},
    }


class Run:
    id = "20300101-000000-000a"


@pytest.mark.parametrize(
    ("licences", "said"),
    [
        ({}, "unknown"),
        ({"CC-BY-4.0": 10}, "cc-by-4.0"),
        ({"CC-BY-4.0": 9}, "other"),
        ({"CC-BY-4.0": 10, "MIT": 1}, "other"),
        ({"All-Rights-Reserved": 10}, "other"),
    ],
)
def test_a_licence_is_named_for_the_whole_only_when_every_document_states_it(licences, said):
    head = yaml.safe_load(datacard._head(Run, counts(licences=licences)).strip("-\n"))
    assert head["license"] == said


@pytest.mark.parametrize(("rows", "said"), [(1, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (2_000_000, "1M<n<10M"), (10**9, "n>100M")])
def test_the_size_is_one_of_the_known_categories(rows, said):
    assert yaml.safe_load(datacard._head(Run, counts([("prose", "train", rows)])))["size_categories"] == [said]


def test_chat_alone_is_the_default_configuration_and_norwegian_is_a_language():
    head = yaml.safe_load(datacard._head(Run, counts([("chat", "train", 5), ("chat", "val", 1)], languages=("no", "it", "und"))))
    files = [{"split": "train", "path": "chat-train-*.parquet"}, {"split": "validation", "path": "chat-val-*.parquet"}]
    assert head["configs"] == [{"config_name": "chat", "data_files": files, "default": True}]
    assert head["language"] == ["no", "it"]


@given(st.lists(st.lists(st.text(), min_size=2, max_size=2), min_size=1, max_size=5))
def test_a_table_has_its_rows_and_columns_whatever_the_cells_hold(rows):
    lines = datacard._table(("a", "b"), rows, right=1).split("\n")
    assert lines[:2] == ["| a | b |", "| --- | ---: |"] and len(lines) == len(rows) + 2
    for line in lines:
        assert line.replace("\\\\", "").replace("\\|", "").count("|") == 3


def test_a_setting_that_may_name_a_place_is_not_shown():
    assert datacard._shown(("/home/anna/eval.jsonl",)) == datacard._shown("mail/*.eml") == "(set)"
    assert datacard._shown({"anna/": ("mail/*",)}) == "(set): (set)"
    assert [datacard._shown(v) for v in (0.5, True, ("it", "en"), {}, None, "rules")] == [
        "0.5",
        "yes",
        "it, en",
        "(none)",
        "(none)",
        "rules",
    ]
