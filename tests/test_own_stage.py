"""A stage of one's own is one file and one line: plan, inspect, --sql and report know it at once."""

from __future__ import annotations

import json

import pytest
import shouting

import flows.pipeline
from flows.cli import main


@pytest.fixture
def house(tmp_path, monkeypatch):
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "piano.txt").write_text("Il fiume scorre piano verso il mare, e nessuno lo disturba.")
    (raw / "forte.txt").write_text("COMPRATE ADESSO, NON ASPETTATE, PREZZI MAI VISTI!")
    monkeypatch.setattr(flows.pipeline, "WAY", (*flows.pipeline.WAY[:3], shouting.STAGE))  # the one line
    return ["-w", str(tmp_path / "ws")], str(raw)


def said(capsys, *words):
    code = main(list(words))
    out = capsys.readouterr().out
    assert code == 0, out
    return out


def test_it_is_planned_run_inspected_queried_and_reported(house, capsys, tmp_path):
    ws, raw = house
    plan = json.loads(said(capsys, "plan", raw, *ws, "--json").splitlines()[-1])
    assert plan["stages"][-1]["name"] == "shouting" and plan["stages"][-1]["status"] == "would_run"
    done = json.loads(said(capsys, "run", raw, *ws, "--json", "--set", "run.prefect=false").splitlines()[-1])
    mine = done["stages"][-1]
    assert (mine["in"], mine["kept"], mine["rejected"], mine["calls"]) == (2, 1, 1, 2)
    assert "forte.txt" in said(capsys, "inspect", "shouting", "--rejected", *ws)
    assert "1" in said(capsys, "inspect", "--sql", "select count(*) as n from shouting where capitals < 0.3", *ws)
    moved = json.loads(said(capsys, "plan", raw, *ws, "--json", "--set", "shouting.max_share=1.0").splitlines()[-1])["stages"][-1]
    assert moved["calls"] == 0 and moved["kept"] == 2 and moved["why"] == ["max_share 0.3 → 1.0"]
    said(capsys, "report", *ws)
    (report,) = (tmp_path / "ws" / "runs").glob("*/report.html")
    assert "shouting" in report.read_text("utf-8")
