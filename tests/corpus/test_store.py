"""The store: whole or not at all."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from toys import LENGTH

from corpus.store import Shelf, committed, problems, read_record, write_json
from corpus.view import digest_rows


def rows(ids, ns):
    n = len(ids)
    return pa.table({"id": ids, "of": ["x"] * n, "failure": [""] * n, "failure_detail": [""] * n, "n": ns})


def test_a_folder_appears_with_its_record_or_not_at_all(tmp_path):
    with pytest.raises(RuntimeError), committed(tmp_path, tmp_path / "a", {}) as folder:
        (folder / "f").write_text("x")
        raise RuntimeError
    assert not (tmp_path / "a").exists() and not list((tmp_path / ".tmp").iterdir())
    with committed(tmp_path, tmp_path / "a", {"n": 1}) as folder:
        (folder / "f").write_text("x")
    assert read_record(tmp_path / "a")["files"]["f"]["bytes"] == 1
    assert problems(tmp_path / "a") == []


def test_an_altered_file_is_found(tmp_path):
    with committed(tmp_path, tmp_path / "a", {}) as folder:
        (folder / "f").write_text("x")
        (folder / "g").write_text("y")
    (tmp_path / "a" / "f").write_text("z")
    (tmp_path / "a" / "g").unlink()
    assert problems(tmp_path / "a") == ["f is altered", "g is missing"]


def test_a_part_without_a_record_does_not_exist(tmp_path):
    shelf = Shelf(tmp_path, "length", "f")
    part = shelf.add(rows(["a"], [1]), LENGTH, {})
    (part / "record.json").unlink()
    assert Shelf(tmp_path, "length", "f").index().num_rows == 0


def test_rows_are_found_across_parts_and_the_newest_counts(tmp_path):
    shelf = Shelf(tmp_path, "length", "f")
    shelf.add(rows(["b", "a"], [2, 1]), LENGTH, {})
    shelf.add(rows(["c", "a"], [3, 10]), LENGTH, {})
    ids = pa.chunked_array([["a", "x", "c", "b", "a"]])
    at = shelf.locate(ids, pa.chunked_array([["x"] * 5]))
    assert at.is_null().to_pylist() == [False, True, False, False, False]
    assert shelf.take(at.drop_null(), ["n"])["n"].to_pylist() == [10, 3, 2, 10]


def test_a_digest_does_not_depend_on_chunks_but_on_every_value():
    whole = pa.table({"id": ["a", "b", "c"], "v": [1, None, 3]})
    pieces = pa.concat_tables([whole.slice(0, 1), whole.slice(1)])
    assert digest_rows(whole, ["id", "v"]) == digest_rows(pieces, ["id", "v"])
    assert digest_rows(whole, ["id", "v"]) != digest_rows(pa.table({"id": ["a", "b", "c"], "v": [1, 0, 3]}), ["id", "v"])


def test_a_json_file_is_replaced_in_one_step(tmp_path):
    write_json(tmp_path / "x.json", {"a": 1})
    write_json(tmp_path / "x.json", {"a": 2})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": 2} and len(list(tmp_path.iterdir())) == 1
