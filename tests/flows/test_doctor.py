"""Doctor: one line per check, a remedy where one is due, and every configuration key."""

from __future__ import annotations

import house
import pytest

from flows import doctor


@pytest.fixture
def home(tmp_path, monkeypatch, capsys):
    return house.build(tmp_path, monkeypatch, capsys)


def test_every_check_that_is_not_ok_has_a_remedy(home):
    home.run()
    found = home.ask("doctor")
    assert {c["what"] for c in found["checks"]} >= {
        "python",
        "disk",
        "torch",
        "prefect",
        "names, it",
        "scanned pages",
        "old office files",
        "source raw",
        "latest run",
        "size",
    }
    for check in found["checks"]:
        assert check["state"] == "ok" or check["remedy"], check


def test_a_missing_library_is_bad_and_named(home, monkeypatch):
    monkeypatch.setitem(doctor.LIBRARIES, "no-such-distribution", "nothing")
    code, out, _ = home.call("doctor", "-w", home.workspace)
    assert code == 1 and "pip install no-such-distribution" in out


def test_a_source_that_is_gone_is_bad(home, tmp_path):
    home.run()
    home.raw.rename(tmp_path / "moved")
    (check,) = [c for c in home.ask("doctor")["checks"] if c["what"] == "source raw"]
    assert check["state"] == "bad" and "athanor source remove raw" in check["remedy"]


def test_a_damaged_workspace_is_bad_and_no_crash(home):
    home.run()
    (home.workspace / "workspace.json").write_text("{")
    assert [c["found"] for c in home.ask("doctor")["checks"]][-1] == "its records cannot be read"


def test_the_keys_are_listed_with_the_values_that_count(home):
    code, out, _ = home.call("doctor", "--keys", "--set", "length.minimum=9")
    rows = {line.split()[0]: line.split()[1:3] for line in out.splitlines()}
    assert code == 0 and rows["length.minimum"] == ["9", "decided"] and "run.workers" in rows
    assert home.ask("doctor", "--keys")["keys"][0]["key"] == "run.workers"
