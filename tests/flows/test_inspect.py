"""Inspect: what is shown of the records, and that personal data is not."""

from __future__ import annotations

import house
import pytest

from flows.textdiff import changes


@pytest.fixture
def home(tmp_path, monkeypatch, capsys):
    found = house.build(tmp_path, monkeypatch, capsys)
    assert found.run()[0] == 0
    return found


def see(home, *arguments):
    code, out, err = home.call("inspect", *arguments, "-w", home.workspace)
    assert code == 0, err
    return out


def test_without_a_stage_the_funnel_of_the_latest_run_is_shown(home):
    lines = {line.split()[0]: line.split() for line in see(home).splitlines()[2:]}
    assert lines["read"][1:5] == ["5", "4", "0", "1"]
    assert lines["length"][1:] == ["3", "2", "1", "0", "too_short", "1"]
    assert lines["vocabulary"][1] == "words"


def test_a_record_has_its_place_its_reason_and_the_number_that_decided(home):
    (record,) = home.ask("inspect", "length", "--rejected")["records"]
    assert record["locators"] == ["quattro.txt"] and record["reason"] == "too_short"
    assert (record["value"], record["threshold"], record["preview"]) == (2.0, 3.0, "ab")
    assert "rejected too_short (2 against 3)" in see(home, "length", "--rejected")


def test_all_failures_of_a_run_are_found_without_naming_a_stage(home):
    found = home.ask("inspect", "--failed")
    assert [(r["stage"], r["locators"], r["reason"], r["detail"]) for r in found["records"]] == [
        ("read", ["veleno.txt"], "malformed", "a poison document")
    ]


def test_limit_says_how_many_there_are(home):
    assert "1 of 2; --limit" in see(home, "mark", "--kept", "--limit", "1")
    assert home.ask("inspect", "mark", "--kept", "--limit", "1")["total"] == 2


def test_an_unknown_reason_or_stage_names_the_known_ones(home):
    code, _, err = home.call("inspect", "length", "--reason", "too_long", "-w", home.workspace)
    assert code == 2 and "Reasons are too_short." in err
    code, _, err = home.call("inspect", "lenght", "-w", home.workspace)
    assert code == 2 and "it has ingest, read, look, hide, length, mark, vocabulary" in err


def test_text_before_redaction_is_shown_redacted_unless_raw(home):
    for stage in ("read", "look"):  # a stage that leaves the text alone leaves it sensitive
        shown = see(home, stage, "--kept")
        assert house.SECRET not in shown and "<PERSONA> abita" in shown and "Mario" not in shown
        assert f"{house.SECRET} abita" in see(home, stage, "--kept", "--raw")


def test_what_redaction_has_no_rules_for_is_not_shown_at_all(home):
    (record,) = home.ask("inspect", "hide", "--rejected")["records"]
    assert record["reason"] == "no_name_model"
    assert record["preview"].startswith("‹25 characters, 5 words") and "title" not in record


def test_the_diff_of_redaction_shows_no_personal_data_unless_raw(home):
    assert "only personal data was replaced; --raw shows it" in see(home, "hide", "--diff")
    assert house.SECRET not in see(home, "hide", "--diff")
    assert f"[-{house.SECRET}-]{{+<PERSONA>+}}" in see(home, "hide", "--diff", "--raw")


def test_the_diff_of_a_stage_shows_what_it_changed(home):
    found = {r["locators"][0]: r["diff"] for r in home.ask("inspect", "mark", "--diff")["records"]}
    assert found["due.txt"] == ["@ line 1", "~ il gatto dorme{+!+}"]
    assert "No text was changed here." in see(home, "length", "--diff")


def test_an_artifact_is_shown_with_its_numbers_and_files(home):
    out = see(home, "vocabulary")
    assert "words.json" in out and "words" in out


def query(home, sql, *options):
    return home.ask("inspect", "--sql", sql, *options)


def test_sql_reaches_every_stage(home):
    assert query(home, "select reason, measured_n from length where status = 'rejected'")["rows"] == [["too_short", 2]]
    assert query(home, "select locator from locators join read using (id) where status = 'failed'")["rows"] == [["veleno.txt"]]
    assert query(home, "select count(*), sum(size) > 0 from files")["rows"] == [[5, True]]
    assert query(home, "select value from vocabulary where metric = 'words'")["rows"][0][0] > 0
    assert query(home, "select s.name from stages s join runs r on s.run = r.id where s.rejected = 1 order by 1")["rows"] == [
        ["hide"],
        ["length"],
    ]
    assert "reason" in see(home, "--sql", "select reason from length")


def test_sql_gives_text_after_redaction_and_none_from_before(home):
    texts = [row[0] for row in query(home, "select text from hide where text is not null")["rows"]]
    assert any("<PERSONA>" in t for t in texts) and not any(house.SECRET in t for t in texts)
    for stage in ("read", "look"):
        code, _, err = home.call("inspect", "--sql", f"select text from {stage}", "-w", home.workspace)
        assert code == 2 and "--raw shows it" in err
    assert any(house.SECRET in (row[0] or "") for row in query(home, "select text from read", "--raw")["rows"])


def test_sql_hides_the_small_fields_of_what_redaction_did_not_keep(home):
    everything = "".join(str(query(home, f"select * from {stage}")["rows"]) for stage in ("read", "look", "hide"))
    assert "Mario" not in everything and "die K" not in everything
    assert "Mario" in str(query(home, "select * from read", "--raw")["rows"])


@pytest.mark.parametrize(
    "sql",
    [
        "select * from read_text('/etc/hostname')",
        "select * from read_parquet('{ws}/store/read/*/*/rows.parquet')",
        "copy length to '{ws}/out.csv'",
        "attach '{ws}/new.db'",
        "set enable_external_access = true",
        "install httpfs",
        "select * from nothing",
        "selec 1",
    ],
)
def test_sql_can_neither_read_nor_write_nor_change_settings(home, sql):
    code, out, err = home.call("inspect", "--sql", sql.format(ws=home.workspace), "-w", home.workspace)
    assert code == 2 and out == "" and err.startswith("athanor: The query was refused: ") and err.count("\n") == 1
    assert not (home.workspace / "out.csv").exists()


def test_only_changed_lines_are_in_a_diff():
    before = "uno\ndue\ntre\nquattro\ncinque"
    assert changes(before, before) == []
    assert changes(before, before.replace("tre\n", "")) == ["@ line 3", "- tre"]
    assert changes(before, before.replace("due", "due e\u00a0mezzo")) == ["@ line 2", "~ due{+ e␣mezzo+}"]
    assert changes("perche`", "completamente diverso") == ["@ line 1", "- perche`", "+ completamente diverso"]
