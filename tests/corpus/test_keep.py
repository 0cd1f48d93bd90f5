"""gc: what is needed stays, small parts become few, nothing that is read changes, and nobody is disturbed."""

from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import pyarrow as pa
import pytest
import toys
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus import compact, keep
from corpus.compact import mergeable
from corpus.engine import Engine
from corpus.keep import collect, verify
from corpus.outcome import kept
from corpus.stage import DocumentStage
from corpus.store import Shelf, found_parts, read_record, write_json
from corpus.view import ViewReader
from packer import pack, tokenizer
from packer.rows import Rows


def in_training(config, m):
    return kept(split="train")


SPLIT = DocumentStage(
    "split",
    1,
    toys.NothingConfig(),
    measures=pa.schema([("n", pa.int64())]),
    measure=toys.length,
    writes=pa.schema([("split", pa.string()), ("held", pa.string())]),
    decide=in_training,
)
PACKED = (toys.INGEST, toys.READ, toys.MARK, SPLIT, tokenizer.STAGE, pack.STAGE)


@pytest.fixture
def raw(tmp_path):
    folder = tmp_path / "raw"
    folder.mkdir()
    for n in range(12):
        (folder / f"{n}.txt").write_text(f"Il comune numero {n} delibera la spesa di euro {n}00 per la scuola. " * (1 + n % 3))
    return folder


def run(workspace, way=toys.WAY, **options):
    """A run as the command records it."""
    results = Engine(workspace, way, workers=0, **options).run()
    id = workspace.new_run_id()
    (workspace.runs / id).mkdir()
    stages = [{"name": r.name, "unit": r.unit, "folder": r.folder, "status": r.status} for r in results]
    write_json(workspace.runs / id / "run.json", {"id": id, "status": "finished", "stages": stages})
    return {r.name: r for r in results}


def content(workspace, results):
    """Everything that can be read of a run's views."""
    found = {}
    for name, result in results.items():
        if result.unit == "documents" and result.folder:
            view = ViewReader(workspace.store, result.folder)
            columns = [c for c in view.record["measures"] if c != "offset"]  # where a document lies in a shard may change
            found[name] = (view.digest, view.outcomes(), view.measurements(columns), list(view.documents("text")))
    return found


def everything(workspace):
    return sorted(str(p.relative_to(workspace.path)) for p in workspace.path.rglob("*"))


def test_compaction_leaves_every_view_and_the_packed_rows_as_they_were(workspace):
    results = run(workspace, PACKED, part_rows=1)
    before = content(workspace, results)
    stream = Rows(ViewReader(workspace.store, results["pack"].folder), seed=1, length=16)
    rows = stream.next(20).tokens
    done = collect(workspace)
    assert {m.shelf.parent.name for m in done.merged} == {"ingest", "read", "mark", "split", "pack"} and not done.removed
    assert all(len(m.parts) == m.rows == 12 and m.after < m.bytes for m in done.merged)
    assert all(len(found_parts(m.shelf)) == 1 for m in done.merged)
    assert content(workspace, results) == before and verify(workspace)[1] == []
    again = Rows(ViewReader(workspace.store, results["pack"].folder), seed=1, length=16)
    again.seek({**stream.state(), "epoch": 0, "cursor": 0})
    np.testing.assert_array_equal(again.next(20).tokens, rows)
    assert {r.status for r in run(workspace, PACKED).values()} == {"cached"}
    assert collect(workspace) == keep.Collected()


@given(texts=st.lists(st.one_of(st.none(), st.tuples(st.integers(1, 5), st.integers(0, 3))), min_size=1, max_size=8), data=st.data())
@settings(max_examples=40, deadline=None)
def test_tokens_come_back_as_they_were_written_for_any_rows_of_a_part(tmp_path_factory, texts, data):
    folder = tmp_path_factory.mktemp("part")
    sizes = {"n_bytes": 1, "held_bytes": 1, "offset": 0, "tokenizer": "t", "vocab_size": 300}
    rows = [
        {"tokens": [(7 * n + i) % 300 for i in range(sum(t))], "n_tokens": t[0], "held_tokens": t[1], **sizes} if t else {}
        for n, t in enumerate(texts)
    ]
    written = pack.write_part(pa.Table.from_pylist(rows, schema=pack.MEASURES), folder)
    some = data.draw(st.lists(st.integers(0, len(rows) - 1), unique=True))
    back = pack.read_part(written.take(pa.array(some, pa.int64())), folder)
    assert back.schema == pack.MEASURES and back["tokens"].to_pylist() == [rows[n].get("tokens") for n in some]


def test_a_dry_run_changes_nothing_and_tells_the_truth(workspace):
    run(workspace, part_rows=1)
    for n in range(4):
        run(workspace, toys.replaced(toys.WAY, vocabulary=toys.VocabularyConfig(top=n + 1), length=toys.LengthConfig(n)))
    before = everything(workspace)
    told = collect(workspace, dry_run=True)
    assert everything(workspace) == before and told.removed and told.merged and told.bytes > 0
    for w in told.removed:
        assert w.bytes == sum(f.stat().st_size for f in w.path.rglob("*") if f.is_file() and f.name != "record.json")
    assert all(m.bytes == sum((p / "rows.parquet").stat().st_size for p in m.parts) for m in told.merged)
    done = collect(workspace)
    assert done == told and not any(w.path.exists() for w in done.removed)
    assert not any(p.exists() for m in done.merged for p in m.parts)


def test_the_last_three_runs_and_the_run_of_the_model_stay_readable(workspace):
    ways = [toys.replaced(toys.WAY, upper=toys.UpperConfig(shout=bool(n % 2)), length=toys.LengthConfig(n)) for n in range(6)]
    runs = [run(workspace, way) for way in ways]
    ids = workspace.run_ids()
    write_json(workspace.path / "current", {"run": ids[0], "artifacts": {"vocabulary": runs[0]["vocabulary"].folder}})
    (workspace.runs / "99999999-failed-at-once").mkdir()
    write_json(workspace.runs / "99999999-failed-at-once" / "run.json", {"id": "99999999-failed-at-once", "stages": []})
    before = [content(workspace, results) for results in runs]
    assert collect(workspace).removed
    for n in (0, 3, 4, 5):
        assert content(workspace, runs[n]) == before[n]
        assert workspace.run(ids[n]).artifact("vocabulary")
    with pytest.raises(FileNotFoundError):
        content(workspace, runs[1])


def test_what_an_interrupted_run_measured_is_not_lost(workspace):
    for n in range(4):
        run(workspace, toys.replaced(toys.WAY, length=toys.LengthConfig(n)))
    shelf = Shelf(workspace.store, "upper", "another-fingerprint")
    rows = {"id": ["a"], "of": ["x"], "failure": [""], "failure_detail": [""], "text": ["A"]}
    shelf.add(pa.table(rows), toys.UPPER, {})
    run(workspace)
    collect(workspace)
    assert len(Shelf(workspace.store, "upper", "another-fingerprint").parts()) == 1


def test_who_reads_puts_gc_off_and_is_named(workspace):
    run(workspace, part_rows=1)
    before = everything(workspace)
    with workspace.reading("chat"), workspace.reading("report"):
        done = collect(workspace)
        assert "`athanor chat` (process" in done.put_off and "report" in done.put_off and done.merged
        assert set(everything(workspace)) - set(before) <= {"readers"}
    assert collect(workspace).put_off == ""


def test_a_reader_that_died_is_not_waited_for_and_wait_waits_for_one_that_lives(workspace):
    run(workspace, part_rows=1)
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom corpus.workspace import Workspace\n"
        "with Workspace(Path(sys.argv[1])).reading('ui'): print('reads', flush=True); time.sleep(60)"
    )
    reader = subprocess.Popen([sys.executable, "-c", code, workspace.path], stdout=subprocess.PIPE)
    assert reader.stdout.readline() == b"reads\n"
    assert "`athanor ui`" in collect(workspace).put_off
    threading.Timer(0.3, reader.kill).start()
    assert collect(workspace, wait=True).merged
    reader.communicate()


def test_reading_what_cannot_be_written_needs_no_lock(workspace, monkeypatch):
    run(workspace, part_rows=1)

    def refused(*args, **options):
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as m:
        m.setattr("os.open", refused)
        with workspace.reading("inspect"):
            assert workspace.run_ids()
    assert collect(workspace).merged


@given(sizes=st.lists(st.integers(1, 300), min_size=1, max_size=120))
@settings(max_examples=60, deadline=None)
def test_however_many_increments_come_a_row_is_moved_a_logarithmic_number_of_times(sizes):
    parts, moved = [], 0
    for size in sizes:
        parts = sorted([*parts, size])
        if len(parts) > compact.MANY and (count := compact._doubling(parts)):
            moved += sum(parts[:count])
            parts = sorted([sum(parts[:count]), *parts[count:]])
        assert len(parts) <= compact.MANY + np.log2(sum(sizes)) + 1
    assert moved <= sum(sizes) * np.log2(sum(sizes) + 1)


def test_merging_in_steps_leaves_large_parts_alone(tmp_path):
    shelf = Shelf(tmp_path, "length", "f")
    for n in [1] * 9 + [40]:
        ids = [f"{len(shelf.parts()):04d}{i:04d}" for i in range(n)]
        shelf.add(pa.table({"id": ids, "of": ids, "failure": [""] * n, "failure_detail": [""] * n, "n": range(n)}), toys.LENGTH, {})
    (step,) = mergeable(shelf.folder, in_steps=True)
    assert step.rows == 9 and len(step.parts) == 9
    (full,) = mergeable(shelf.folder, in_steps=False)
    assert full.rows == 49
    compact.merge(tmp_path, step)
    assert [read_record(p)["rows"] for p in found_parts(shelf.folder)] == [9, 40] and not mergeable(shelf.folder, in_steps=False)


def test_parts_near_the_target_are_not_merged_again(tmp_path, monkeypatch):
    monkeypatch.setattr(compact, "ROWS_TARGET", 4)
    shelf = Shelf(tmp_path, "length", "f")
    for n in range(12):
        ids = [f"{n:04d}"]
        shelf.add(pa.table({"id": ids, "of": ids, "failure": [""], "failure_detail": [""], "n": [n]}), toys.LENGTH, {})
    planned = mergeable(shelf.folder, in_steps=False)
    assert [m.rows for m in planned] == [4, 4, 4]
    for m in planned:
        compact.merge(tmp_path, m)
    assert len(found_parts(shelf.folder)) == 3
    found = Shelf(tmp_path, "length", "f")
    assert found.take(pa.array(range(12)), ["n"])["n"].to_pylist() and sorted(found.index()["key"].to_pylist())[0] == "00000000"
