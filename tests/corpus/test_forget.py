"""Tombstones, and a store without what they stand for."""

from __future__ import annotations

import json
import shutil
import stat

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import toys
from hypothesis import given, settings
from hypothesis import strategies as st
from leftovers import holding

from corpus import store
from corpus.canonical import digest_bytes
from corpus.engine import Engine
from corpus.forget import erase, tainted
from corpus.keep import collect, verify
from corpus.outcome import Stop
from corpus.tombstones import KEY, STONES, Tombstones
from corpus.traces import Search
from corpus.view import ViewReader
from corpus.workspace import Workspace

STORY = "Il notaio Pancrazio dipinse la barca zirconiana di legno mentre fuori pioveva da tre giorni e nessuno lo vide mai"
ROW = "Seconda riga del registro comunale in cui la vedova Gelsomina vende il mulino quarzifero al cugino del farmacista"
OTHER = "Una maestra raccoglie le olive sul monte e poi torna a casa con il cesto pieno prima che faccia davvero buio"


@pytest.fixture
def raw(tmp_path):
    folder = tmp_path / "raw"
    folder.mkdir()
    (folder / "storia.txt").write_text(STORY)
    (folder / "altra.txt").write_text(OTHER)
    (folder / "molte.rows").write_text(f"prima riga del registro comunale\n{ROW}\nterza riga del registro comunale")
    (folder / "gatto.txt").write_text("il gatto dorme")
    return folder


@pytest.fixture
def workspace(tmp_path, raw):
    made = Workspace.create(tmp_path / "ws")
    made.add_source(raw)
    run(made)
    return made


def run(workspace, **options):
    """{stage: result}; results add up."""
    toys.MEASURED.clear()
    results = {r.name: r for r in Engine(workspace, toys.WAY, workers=0, **options).run()}
    for r in results.values():
        assert r.kept + r.rejected + r.failed == r.documents_in
    return results


def forget(workspace, *texts):
    """Tombstones for these bytes; returns the ids."""
    ids = [digest_bytes(t.encode()) for t in texts]
    Tombstones.of(workspace).add(ids, {i: [t] for i, t in zip(ids, texts, strict=True)})
    return ids


def digests(workspace):
    folders = {n: last["folder"] for n, last in workspace.last_stages().items()}
    return {n: ViewReader(workspace.store, folder).digest for n, folder in folders.items() if "view-" in folder}


def test_a_tombstone_tells_who_was_forgotten_and_says_nothing_of_it(workspace):
    (id,) = forget(workspace, STORY)
    stones = Tombstones.of(workspace)
    assert stones and stones.pending and stones.has(id) and not stones.has(digest_bytes(b"x"))
    assert holding(workspace.path / "..", "zirconiana")  # the search of this test does find things
    kept = (workspace.path / STONES).read_text() + (workspace.path / KEY).read_text()
    assert id not in kept and "pancrazio" not in kept.lower() and "storia" not in kept
    assert stat.S_IMODE((workspace.path / KEY).stat().st_mode) == 0o600


def test_without_the_key_nothing_runs_so_that_nothing_comes_back(workspace):
    forget(workspace, STORY)
    (workspace.path / KEY).unlink()
    with pytest.raises(Stop, match="missing or damaged"):
        run(workspace)


def test_forgotten_is_gone_stays_out_and_nothing_is_measured_again(workspace):
    (id,) = forget(workspace, STORY)
    results = run(workspace)
    done = erase(workspace)
    assert done.parts and done.views and not Tombstones.of(workspace).pending
    assert holding(workspace.path, id, STORY) == {}
    assert results["ingest"].documents_in == 5 and results["mark"].kept == 5
    again = run(workspace)
    assert toys.MEASURED == {} and {r.status for r in again.values()} == {"cached"}
    assert verify(workspace)[1] == []
    toys.MEASURED.clear()
    (workspace.sources()["raw"] / "ancora.txt").write_text(STORY)  # the same bytes in a new place
    assert run(workspace)["ingest"].kept == 5 and toys.MEASURED == {} and holding(workspace.path, id) == {}


def test_a_row_of_a_container_goes_and_the_others_stay(workspace):
    (id,) = forget(workspace, ROW)
    run(workspace)
    assert toys.MEASURED == {}, "the container is not opened again"
    erase(workspace)
    assert holding(workspace.path, id, ROW) == {}
    assert run(workspace)["ingest"].kept == 5 and toys.MEASURED == {}
    (workspace.sources()["raw"] / "molte.rows").write_text(f"riga nuova del registro\n{ROW}")
    results = run(workspace)
    assert results["ingest"].kept == 4 and holding(workspace.path, id, ROW) == {}, "nor when the container has changed"


def test_it_stays_out_of_an_erased_store_that_is_made_anew(workspace):
    (id,) = forget(workspace, STORY)
    run(workspace)
    erase(workspace)
    shutil.rmtree(workspace.store)
    workspace.store.mkdir()
    assert run(workspace)["ingest"].kept == 5 and holding(workspace.path, id, STORY) == {}


def test_incremental_after_forgetting_equals_from_scratch_with_the_same_tombstones_and_pins(workspace, tmp_path, raw):
    forget(workspace, STORY)
    run(workspace)
    erase(workspace)
    (raw / "nuova.txt").write_text("una riga nuova arriva dopo")
    run(workspace)
    scratch = Workspace.create(tmp_path / "scratch")
    scratch.add_source(raw)
    for name in (KEY, STONES):
        shutil.copy(workspace.path / name, scratch.path / name)
    scratch.take_pins(workspace)
    run(scratch)
    assert digests(scratch) == digests(workspace)


@given(st.lists(st.sampled_from(range(6)), max_size=4), st.booleans())
@settings(max_examples=15, deadline=None)
def test_any_documents_erased_before_or_after_the_run_end_in_the_same_workspace(tmp_path_factory, chosen, first):
    base = tmp_path_factory.mktemp("any")
    (base / "raw").mkdir()
    texts = [f"documento numero {n} con parole sue {n * 7919} e basta così" for n in range(6)]
    for n, text in enumerate(texts):
        (base / "raw" / f"{n}.txt").write_text(text)
    made = Workspace.create(base / "ws")
    made.add_source(base / "raw")
    run(made)
    ids = forget(made, *(texts[n] for n in set(chosen)))
    if first:
        erase(made)
    run(made)
    if not first:
        erase(made)
    assert holding(made.path, *ids, *(texts[n] for n in set(chosen))) == {}
    assert run(made)["mark"].kept == 6 - len(set(chosen)) and toys.MEASURED == {}


@pytest.mark.parametrize("stop", [store.discard, store.rewrite, store.write_json])
def test_a_kill_anywhere_in_the_erasing_is_made_good_by_erasing_again(workspace, monkeypatch, stop):
    ids = forget(workspace, STORY, ROW)
    run(workspace)
    for after in range(1, 40, 3):
        calls = iter(range(after))

        def killed(*args, _calls=calls, **kwargs):
            if next(_calls, None) is None:
                raise KeyboardInterrupt
            return stop(*args, **kwargs)

        with monkeypatch.context() as patched:
            for module in ("corpus.forget", "corpus.tombstones"):
                patched.setattr(f"{module}.{stop.__name__}", killed, raising=False)
            try:
                erase(workspace)
            except KeyboardInterrupt:
                assert Tombstones.of(workspace).pending
                continue
        break
    erase(workspace)
    assert holding(workspace.path, *ids, STORY, ROW) == {} and not Tombstones.of(workspace).pending
    assert tainted(workspace) == {"vocabulary": [workspace.pins()["vocabulary"]["folder"]]}, "the views are gone, the names not"
    assert run(workspace)["mark"].kept == 4 and toys.MEASURED == {}


def test_what_was_rejected_on_the_way_leaves_the_views_behind_it_readable(workspace):
    """Nobody after `length` has seen it: their views stay, tied to the new views before them."""
    (workspace.sources()["raw"] / "corto.txt").write_text("no")
    run(workspace)
    before = workspace.last_stages()["mark"]["folder"]
    (id,) = forget(workspace, "no")
    results = run(workspace)
    assert results["mark"].status == "cached" and results["mark"].folder == before
    erase(workspace)
    view = ViewReader(workspace.store, before)
    assert view.text_after(digest_bytes(STORY.encode())).startswith("IL NOTAIO") and holding(workspace.path, id) == {}
    assert verify(workspace)[1] == [] and not collect(workspace).removed and view.text_after(digest_bytes(OTHER.encode()))


def test_what_was_fitted_on_it_is_named_until_it_is_made_anew(workspace):
    assert tainted(workspace) == {}
    forget(workspace, STORY)
    run(workspace)
    assert erase(workspace).tainted == [workspace.pins()["vocabulary"]["folder"]] == tainted(workspace)["vocabulary"]
    run(workspace, refit=("vocabulary",))
    assert tainted(workspace) == {}


def test_what_was_fitted_before_it_came_is_not_named(tmp_path, raw):
    (raw / "storia.txt").unlink()
    made = Workspace.create(tmp_path / "ws")
    made.add_source(raw)
    record(made, run(made))
    (raw / "storia.txt").write_text(STORY)
    record(made, run(made))
    forget(made, STORY)
    run(made)
    assert erase(made).tainted == []


def record(workspace, results):
    """What the door writes of a run."""
    folder = workspace.runs / workspace.new_run_id()
    folder.mkdir()
    store.write_json(folder / "run.json", {"id": folder.name, "status": "finished", "stages": [r.json() for r in results.values()]})


def test_planted_traces_are_cleaned_wherever_they_lie(workspace):
    (id,) = forget(workspace, STORY)
    run(workspace)
    path = workspace.path
    (path / "runs" / "x").mkdir()
    (path / "runs" / "x" / "log.jsonl").write_text(f'{{"event": "said {id}"}}\n{{"event": "other"}}\n')
    (path / "notes.md").write_text(f"una riga\n{STORY}\n")
    (path / "page.html").write_text(f"<p>{STORY.replace(' ', '</p> <p>')}")
    (path / "deep.json").write_text(json.dumps({"a": [id.upper(), {"b": STORY.replace("e", "é") + " " + STORY}], "c": 1}))
    pq.write_table(pa.table({"who": ["a", id], "n": [1, 2]}), path / "table.parquet")
    (path / "store" / "read" / "work-1").mkdir()
    (path / "store" / "read" / "work-1" / "scratch.bin").write_bytes(b"\0" + id.encode())
    (path / "prefect").mkdir()
    (path / "prefect" / "prefect.db").write_bytes(b"SQLite format 3\0" + id.encode())
    assert len(holding(path, id, STORY)) > 7
    done = erase(workspace)
    assert holding(path, id, "zirconiana") == {}
    assert (path / "runs" / "x" / "log.jsonl").read_text() == '{"event": "other"}\n'
    assert json.loads((path / "deep.json").read_text())["c"] == 1 and pq.read_table(path / "table.parquet")["n"].to_pylist() == [1]
    assert {"prefect", "store/read/work-1", "notes.md", "page.html"} <= set(done.files)


def test_an_export_of_it_is_removed_and_what_is_not_of_the_export_is_left(workspace, tmp_path):
    out, digest = tmp_path / "out", digests(workspace)["mark"]
    out.mkdir()
    pq.write_table(pa.table({"text": ["ab"]}), out / "train.parquet")
    store.write_json(out / "record.json", {"kind": "export", "digest": digest, "files": {"train.parquet": {}}})
    (out / "mio.txt").write_text("mio")
    workspace.remember(exports=[{"path": "../out"}, {"path": "../gone"}])
    forget(workspace, STORY)
    run(workspace)
    assert erase(workspace).exports == ["../out"]
    assert [p.name for p in out.iterdir()] == ["mio.txt"] and workspace.memory["exports"] == [{"path": "../gone"}]


def test_a_copy_that_stays_is_no_trace_of_the_one_that_was_forgotten(workspace):
    stones = Tombstones.of(workspace)
    copy = f"{STORY} e poi basta"
    shared = [stones.candidates(copy).runs]
    stones.add(["a" * 32], {"a" * 32: [f"{STORY} {OTHER}"]}, shared)
    search = Search(Tombstones.of(workspace))
    assert search.share(search.text([copy])) == 0.0
    assert search.share(search.text([f"prima {STORY} {OTHER} dopo"])) == 1.0
    assert 0 < search.share(search.text([OTHER])) < 1


@given(st.text(max_size=200), st.text(max_size=200))
@settings(max_examples=60, deadline=None)
def test_a_text_is_found_in_whatever_surrounds_it(tmp_path_factory, before, after):
    made = Workspace.create(tmp_path_factory.mktemp("found") / "ws")
    (id,) = forget(made, STORY)
    search = Search(Tombstones.of(made))
    assert search.share(search.text([f"{before}\n{STORY}\n{after}"])) == 1.0
    assert search.share(search.text([before, after])) == 0.0
    assert search.ids(f"{before}{id}{after}".encode("utf-8", "surrogatepass")) == {id}
