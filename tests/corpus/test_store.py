"""The store: whole or not at all."""

from __future__ import annotations

import json
from dataclasses import replace

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import LENGTH

import corpus.part
import corpus.store
from corpus.store import Shelf, committed, problems, read_record, rewrite, write_json
from corpus.view import digests


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


def test_a_digest_does_not_depend_on_chunks_but_on_every_value_of_what_was_kept():
    whole = pa.table({"id": ["a", "b", "c", "d"], "status": ["kept"] * 3 + ["failed"], "v": ["1", None, "3", "4"]})
    pieces = pa.concat_tables([whole.slice(0, 1), whole.slice(1)])
    assert digests(whole) == digests(pieces) == digests(whole.slice(0, 3))
    for other in (["1", "", "3", "4"], ["1", None, "33", ""], ["13", None, "", "4"]):
        assert digests(whole)["v"] != digests(whole.set_column(2, "v", pa.array(other)))["v"]


def test_a_json_file_is_replaced_in_one_step(tmp_path):
    write_json(tmp_path / "x.json", {"a": 1})
    write_json(tmp_path / "x.json", {"a": 2})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": 2} and len(list(tmp_path.iterdir())) == 1


LETTERS = pa.schema([("letters", pa.list_(pa.uint8())), ("begin", pa.int64()), ("n", pa.int64())])


def write_letters(rows, folder):
    """Bulk of a toy: the letters of all rows in one file."""
    begins, data = [], b""
    for letters in rows["letters"].to_pylist():
        begins.append(None if letters is None else len(data))
        data += bytes(letters or [])
    (folder / "letters.bin").write_bytes(data)
    emptied = pa.nulls(rows.num_rows, LETTERS.field("letters").type)
    return rows.set_column(rows.column_names.index("letters"), "letters", emptied).set_column(
        rows.column_names.index("begin"), "begin", pa.array(begins, pa.int64())
    )


def read_letters(rows, folder):
    """Its inverse."""
    data = (folder / "letters.bin").read_bytes()
    letters = [None if r["begin"] is None else list(data[r["begin"] : r["begin"] + r["n"]]) for r in rows.to_pylist()]
    return rows.set_column(rows.column_names.index("letters"), "letters", pa.array(letters, LETTERS.field("letters").type))


BULKY = replace(LENGTH, name="bulky", measures=LETTERS, write_part=write_letters, read_part=read_letters)
PLAIN = replace(BULKY, write_part=None, read_part=None)
DOCUMENT = st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("xy"))
CONTENT = st.one_of(st.none(), st.binary(max_size=4))  # None: a failure
SHELVES = st.lists(st.dictionaries(DOCUMENT, CONTENT, min_size=1), min_size=1, max_size=6)


def filled(store, shelves, stage=BULKY):
    shelf = Shelf(store, "bulky", "f")
    for content in shelves:
        found = [
            {"id": id, "of": of, "failure": "malformed" if data is None else "", "failure_detail": ""}
            | {"letters": None if data is None else list(data), "begin": None, "n": None if data is None else len(data)}
            for (id, of), data in content.items()
        ]
        shelf.add(pa.Table.from_pylist(found, schema=corpus.store.shelf_schema(stage)), stage, {"version": 1})
    return shelf


def looked_up(store):
    """What every (id, of) is found to be: the content, read through the part it lies in."""
    shelf = Shelf(store, "bulky", "f")
    keys = [(i, o) for i in "abcdefgh" for o in "xy"]
    at = shelf.locate(pa.chunked_array([[i for i, _ in keys]]), pa.chunked_array([[o for _, o in keys]]))
    found = {}
    for key, spot in zip(keys, at.to_pylist(), strict=True):
        if spot is not None:
            entry = shelf.index().slice(spot, 1).to_pylist()[0]
            rows, part = shelf.take(pa.array([spot]), LETTERS.names), shelf.parts()[entry["part"]]
            bulky = (part / "letters.bin").exists()
            letters = (read_letters(rows, part) if bulky else rows)["letters"].to_pylist()[0]
            found[key] = None if entry["failure"] else bytes(letters)
    return found


@given(
    shelves=SHELVES,
    chosen=st.sets(st.integers(0, 5), min_size=1),
    out=st.sets(st.sampled_from("abcdefgh"), max_size=3),
    stage=st.sampled_from((BULKY, PLAIN)),
)
@settings(max_examples=40, deadline=None)
def test_rewriting_any_parts_changes_no_look_up_but_of_what_is_left_out(tmp_path_factory, shelves, chosen, out, stage):
    store = tmp_path_factory.mktemp("store")
    shelf = filled(store, shelves, stage)
    expected = {}
    for content in shelves:
        expected |= content
    assert looked_up(store) == expected
    parts = [part for n, part in enumerate(shelf.parts()) if n in chosen]
    if parts:
        new = rewrite(store, parts)
        assert looked_up(store) == expected
        if new is not None:
            ids = corpus.store.read_all(new, ["id"])["id"].to_pylist()
            record = read_record(new)
            assert ids == sorted(ids) and record["rows"] == len(ids) and record["fingerprint"] == {"version": 1} and problems(new) == []
    left = Shelf(store, "bulky", "f").parts()
    if left:
        new = rewrite(store, left, out)
        expected = {key: content for key, content in expected.items() if key[0] not in out}
        assert (new is None) == (not expected)
        assert looked_up(store) == expected
        assert [corpus.store.read_all(p, []).num_rows for p in Shelf(store, "bulky", "f").parts()] == ([len(expected)] if expected else [])


def test_a_kill_between_a_new_part_and_the_removal_of_the_old_is_harmless(tmp_path, monkeypatch):
    shelf = filled(tmp_path, [{("a", "x"): b"1", ("b", "x"): b"2"}, {("a", "x"): b"3"}, {("b", "x"): b"4"}])
    before, parts = looked_up(tmp_path), shelf.parts()
    whole = corpus.store.discard

    def killed(store, folder):
        if folder == parts[1]:
            raise KeyboardInterrupt
        whole(store, folder)

    monkeypatch.setattr(corpus.store, "discard", killed)
    with pytest.raises(KeyboardInterrupt):
        rewrite(tmp_path, parts[:2])
    monkeypatch.undo()
    assert len(Shelf(tmp_path, "bulky", "f").parts()) == 3 and looked_up(tmp_path) == before
    rewrite(tmp_path, Shelf(tmp_path, "bulky", "f").parts()[:2], {"b"})
    assert looked_up(tmp_path) == {("a", "x"): b"3", ("b", "x"): b"4"}


def test_a_single_part_that_would_stay_as_it_is_stays(tmp_path):
    (part,) = filled(tmp_path, [{("a", "x"): b"1"}]).parts()
    assert rewrite(tmp_path, [part], {"z"}) == part and rewrite(tmp_path, [part], {"a"}) is None
    assert Shelf(tmp_path, "bulky", "f").parts() == []


def test_a_part_with_files_that_nobody_can_read_is_left_alone(tmp_path):
    shelf = Shelf(tmp_path, "length", "f")
    with committed(tmp_path, shelf.folder / "part-0-a", {"kind": "part", "stage": "length", "rows": 1}) as folder:
        (folder / "rows.parquet").write_text("x")
        (folder / "tokens.bin").write_text("x")
    with pytest.raises(ValueError, match="does not say how they are read"):
        rewrite(tmp_path, shelf.parts())


@given(data=st.data(), sizes=st.lists(st.integers(1, 60), min_size=1, max_size=4))
@settings(max_examples=20, deadline=None)
def test_any_rows_in_any_order_are_read_whatever_is_kept_in_memory(tmp_path_factory, data, sizes):
    store = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as m:
        m.setattr(corpus.part, "GROUP_ROWS", (4, 4))
        m.setattr(corpus.part, "_GROUPS", corpus.part._Recent(2000))
        shelf, contents = Shelf(store, "length", "f"), []
        for size in sizes:
            ns = list(range(len(contents), len(contents) + size))
            shelf.add(rows([f"{n:05d}" for n in ns], ns), LENGTH, {})
            contents += ns
        for _ in range(4):
            wanted = data.draw(st.lists(st.sampled_from(contents), max_size=50))
            at = shelf.locate(
                pa.chunked_array([[f"{n:05d}" for n in wanted]], pa.string()), pa.chunked_array([["x"] * len(wanted)], pa.string())
            )
            assert shelf.take(at, ["n"])["n"].to_pylist() == wanted
            assert corpus.part._GROUPS.bytes <= 2000
        new = rewrite(store, shelf.parts())
        assert corpus.part.read_all(new)["n"].to_pylist() == contents
