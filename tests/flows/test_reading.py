"""How documents were read can be seen: in the records, by SQL, in the report, at the end of a run."""

from __future__ import annotations

import dataclasses

import pytest

from corpus.stage import Stage
from corpus.workspace import Workspace
from extractors import extract, ingest
from flows import pipeline, report
from flows.cli import main

LATIN = "La città è più bella di così, perché il caffè è già pronto."


@pytest.fixture
def workspace(tmp_path, monkeypatch, capsys):
    way: tuple[Stage, ...] = (ingest.STAGE, dataclasses.replace(extract.STAGE, config=extract.ExtractConfig(max_chars=100)))
    monkeypatch.setattr(pipeline, "WAY", way)
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "antico.txt").write_bytes(LATIN.encode("cp1252"))
    (raw / "lungo.txt").write_text("parole " * 100)
    (raw / "vuoto.txt").write_bytes(b"")
    (raw / "rotto.json").write_text('{"text": "interrotto')
    place = tmp_path / "ws"
    assert main(["run", str(raw), "-w", str(place), "--set", "run.prefect=false", "--set", "run.workers=0"]) == 0
    said = capsys.readouterr()
    return place, said.out + said.err


def see(capsys, *arguments):
    assert main(["inspect", *map(str, arguments)]) == 0
    return capsys.readouterr().out


def test_a_run_says_what_was_read_only_in_part_and_where_to_look(workspace):
    assert "1 read only in part: athanor inspect" in workspace[1] and "extract --reason partial" in workspace[1]


def test_a_record_says_by_what_and_how_it_was_read(workspace, capsys):
    out = see(capsys, "extract", "-w", workspace[0], "--kept")
    assert "read by plain extract" in out and ", cp1252" in out
    assert "kept partial" in out and "not in the text: what follows after extract.max_chars" in out and "cut_at_max_chars" in out


def test_sql_reaches_the_provenance_of_what_is_not_redacted_yet(workspace, capsys):
    out = see(capsys, "-w", workspace[0], "--sql", "select distinct encoding from extract order by 1")
    assert "cp1252" in out and "utf-8" in out


def test_the_report_lists_formats_with_their_outcomes_and_what_is_missing(workspace):
    run = Workspace.open(workspace[0]).latest_run()
    page = report.page(run)
    assert "How documents were read" in page and "Read in part" in page and "lungo.txt" in page
    assert "empty 1" in page and "malformed 1" in page
