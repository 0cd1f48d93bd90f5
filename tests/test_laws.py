"""The laws on the real stages, up to the packed shards: what is new is measured, once, and nothing else.

Each step of the story changes the RAW folder or a setting and counts the measuring calls that the next run makes.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
import rawfolder

from corpus.engine import Engine
from corpus.outcome import Misuse, Stop
from corpus.stage import DocumentStage
from corpus.view import ViewReader
from corpus.workspace import Workspace
from flows.pipeline import WAY

DOCUMENTS = [s.name for s in WAY if isinstance(s, DocumentStage)]
UNTIL = "pack"


def run(workspace: Workspace, way=WAY, **options):
    """Run up to the shards; {stage: calls} of the document stages that made any, and all results."""
    engine = Engine(workspace, way, workers=0, **options)
    planned = {r.name: r.calls for r in engine.plan(UNTIL) if r.unit == "documents"}
    results = {r.name: r for r in engine.run(UNTIL)}
    for name in DOCUMENTS:
        result = results[name]
        assert result.kept + result.rejected + result.failed == result.documents_in
        assert not result.calls or planned[name], f"the plan did not foresee that {name} would measure"
    return {n: r.calls for n, r in results.items() if r.calls and n in DOCUMENTS}, results


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A workspace after its first full run."""
    base = tmp_path_factory.mktemp("laws")
    rawfolder.make(base / "raw")
    workspace = Workspace.create(base / "ws")
    workspace.add_source(base / "raw")
    calls, results = run(workspace)
    assert calls["ingest"] == 3 and calls["extract"] == 1005, "a.pdf, three mails, c.docx and a thousand rows"
    assert results["pack"].kept > 950, "most documents reach the shards"
    return base


@pytest.fixture
def copy(first, tmp_path):
    """A copy of that workspace and its RAW folder (they are movable)."""
    shutil.copytree(first, tmp_path / "all")
    return tmp_path / "all"


def opened(copy: Path) -> Workspace:
    return Workspace.open(copy / "ws")


def configured(**settings):
    """The way with `stage=(setting, value)` changed."""
    return tuple(
        s.with_config(dataclasses.replace(s.config, **{settings[s.name][0]: settings[s.name][1]})) if s.name in settings else s for s in WAY
    )


def test_touching_renaming_and_copying_a_file_measures_nothing(copy):
    raw = copy / "raw"
    (raw / "a.pdf").touch()
    assert run(opened(copy))[0] == {}
    (raw / "a.pdf").rename(raw / "z.bin")
    assert run(opened(copy))[0] == {}
    shutil.copy(raw / "z.bin", raw / "a.pdf")
    assert run(opened(copy))[0] == {}


def test_one_row_and_one_mail_more_are_measured_once_in_every_document_stage(copy):
    with open(copy / "raw" / "rows.jsonl", "a", encoding="utf-8") as f:
        f.write(rawfolder.row(5000))
    assert run(opened(copy))[0] == dict.fromkeys(DOCUMENTS, 1)
    with open(copy / "raw" / "b.mbox", "ab") as f:
        f.write(rawfolder.mbox([rawfolder.mail("Quarto", rawfolder.prose(99))]))
    assert run(opened(copy))[0] == dict.fromkeys(DOCUMENTS, 1)


def test_a_raised_version_with_the_same_output_measures_that_stage_and_none_after_it(copy):
    way = tuple(dataclasses.replace(s, version=s.version + 1) if s.name == "normalize" else s for s in WAY)
    assert run(opened(copy), way)[0] == {"normalize": 1005}


def test_a_threshold_moved_and_moved_back_measures_only_the_newly_admitted_later_on(copy):
    workspace = opened(copy)
    _, before = run(workspace)
    scores = ViewReader(workspace.store, before["prose"].folder).measurements(["score"])["score"].to_pylist()
    strict = configured(prose=("min_score", statistics.median(scores)))
    with open(copy / "raw" / "rows.jsonl", "a", encoding="utf-8") as f:
        f.writelines(rawfolder.row(n) for n in range(5000, 5020))
    calls, results = run(workspace, strict)
    admitted = calls["redact"]
    assert calls["prose"] == 20 and 0 < admitted < 20 and results["prose"].rejected > 300
    assert run(workspace)[0] == dict.fromkeys(("perplexity", "redact", "quality", "dedup", "paragraphs", "split", "pack"), 20 - admitted)
    assert run(workspace, strict)[0] == {} and run(workspace)[0] == {}, "back and forth is free"


def test_a_sample_then_everything_then_one_row_more_measures_what_is_new(first, tmp_path):
    shutil.copytree(first / "raw", tmp_path / "raw")
    workspace = Workspace.create(tmp_path / "ws")
    workspace.add_source(tmp_path / "raw")
    sampled, _ = run(workspace, sample=10)
    assert sampled["extract"] == 10 and not workspace.pins(), "samples never pin"
    full, results = run(workspace)
    alone = [n for n in DOCUMENTS[1:] if not next(s for s in WAY if s.name == n).inputs]  # needs no fitted artifact
    for name in alone:
        assert full[name] == results[name].documents_in - sampled.get(name, 0)
    with open(tmp_path / "raw" / "rows.jsonl", "a", encoding="utf-8") as f:
        f.write(rawfolder.row(5000))
    assert run(workspace)[0] == dict.fromkeys(DOCUMENTS, 1)


def test_a_file_removed_and_restored_with_one_row_more_measures_one(copy):
    raw, workspace = copy / "raw", opened(copy)
    shutil.move(raw / "rows.jsonl", copy / "aside.jsonl")
    with pytest.raises(Stop, match="1 of 3 files is gone.*--allow-removals"):
        run(workspace)
    few, _ = run(workspace, allow_removals=True)
    assert few in ({}, {"pack": 1}), "a set of five holds out a block of one, which is packed anew for it"
    (raw / "rows.jsonl").write_text((copy / "aside.jsonl").read_text("utf-8") + rawfolder.row(5000), "utf-8")
    assert run(workspace)[0] == dict.fromkeys(DOCUMENTS, 1)


def test_a_kill_in_the_middle_of_a_part_costs_that_part_only(first, tmp_path):
    shutil.copytree(first / "raw", tmp_path / "raw")
    code = """
import os, signal, sys
from pathlib import Path
from corpus.engine import Engine
from corpus.result import Nobody
from corpus.view import ViewReader
from corpus.workspace import Workspace
from flows.pipeline import WAY
class Killer(Nobody):
    def advanced(self, stage, done, total, note):
        if stage == "normalize" and done == 350:
            os.kill(os.getpid(), signal.SIGKILL)
workspace = Workspace.create(Path(sys.argv[1]) / "ws")
workspace.add_source(Path(sys.argv[1]) / "raw")
Engine(workspace, WAY, workers=2, observer=Killer(), part_rows=100, part_seconds=1e9).run("normalize")
"""
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(p for p in sys.path if p))
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=environment, capture_output=True, timeout=300)
    assert killed.returncode == -9
    workspace = Workspace.open(tmp_path / "ws")
    calls, _ = run(workspace)
    assert "extract" not in calls and calls["normalize"] == 1005 - 300


def test_another_raw_is_refused_and_a_raw_that_is_gone_loses_nothing(copy):
    raw, workspace = copy / "raw", opened(copy)
    before = {p: p.stat().st_mtime_ns for p in workspace.store.rglob("record.json")}
    raw.rename(copy / "elsewhere")
    with pytest.raises(Misuse, match="is not at"):
        run(workspace)
    raw.mkdir()
    with pytest.raises(Stop, match="3 of 3 files are gone"):
        run(workspace)
    assert {p: p.stat().st_mtime_ns for p in workspace.store.rglob("record.json")} == before


def test_incremental_is_from_scratch_given_the_same_pins(copy, tmp_path):
    raw, workspace = copy / "raw", opened(copy)
    lines = (raw / "rows.jsonl").read_text("utf-8").splitlines(keepends=True)
    (raw / "rows.jsonl").write_text("".join(lines[100:] + [rawfolder.row(7000), rawfolder.row(7001)]), "utf-8")
    _, grown = run(workspace)
    other = Workspace.create(tmp_path / "other")
    other.add_source(raw)
    assert other.take_pins(workspace) == ["ngram", "tokenizer"]
    _, scratch = run(other)
    assert {n: r.artifact for n, r in grown.items()} == {n: r.artifact for n, r in scratch.items()}
    record = json.loads((other.store / scratch["pack"].folder / "record.json").read_text())
    assert record["digest"] == json.loads((workspace.store / grown["pack"].folder / "record.json").read_text())["digest"]
