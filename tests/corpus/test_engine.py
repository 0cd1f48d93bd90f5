"""The engine's laws on toy stages: nothing measured twice, pins, plans that come true, nothing disappears."""

from __future__ import annotations

import dataclasses

import pytest
import toys

from corpus.engine import Engine
from corpus.outcome import Stop
from corpus.workspace import Workspace


@pytest.fixture
def raw(tmp_path):
    folder = tmp_path / "raw"
    folder.mkdir()
    (folder / "uno.txt").write_text("il gatto dorme")
    (folder / "due.txt").write_text("the cat sleeps")
    (folder / "tre.rows").write_text("rows\n" + "\n".join(f"riga {n} di prova" for n in range(20)))
    return folder


def run(workspace, way=toys.WAY, **options):
    toys.MEASURED.clear()
    options.setdefault("workers", 0)
    engine = Engine(workspace, way, **options)
    planned = {r.name: r for r in engine.plan()}
    results = {r.name: r for r in engine.run()}
    if not options["workers"]:
        calls = {name: r.calls for name, r in results.items() if r.calls}
        assert calls == dict(toys.MEASURED)
    for name, result in results.items():
        if result.unit == "documents":
            assert result.kept + result.rejected + result.failed == result.documents_in
        if planned[name].status == "cached":
            assert result.status == "cached" and result.calls == 0
    return results


def calls(results):
    return {name: r.calls for name, r in results.items() if r.calls}


def digests(workspace, results):
    return {
        n: (Engine, (workspace.store / r.folder / "record.json").read_text().split('"digest": ')[1][:34])[1]
        for n, r in results.items()
        if r.folder
    }


def test_a_first_run_measures_everything_once_and_a_second_nothing(workspace):
    first = run(workspace)
    assert calls(first) == {"ingest": 3, "read": 22, "upper": 22, "length": 22, "mark": 22, "vocabulary": 1, "count": 22}
    second = run(workspace)
    assert calls(second) == {} and {r.status for r in second.values()} == {"cached"}


def test_touching_renaming_and_copying_measure_nothing(workspace, raw):
    run(workspace)
    (raw / "uno.txt").touch()
    (raw / "due.txt").rename(raw / "renamed.txt")
    (raw / "copy.txt").write_text((raw / "uno.txt").read_text())
    assert calls(run(workspace)) == {}


def test_one_row_more_is_measured_once_in_every_stage_and_the_pin_holds(workspace, raw):
    run(workspace)
    with open(raw / "tre.rows", "a") as f:
        f.write("\n0a riga nuova")
    results = run(workspace)
    assert calls(results) == {"ingest": 1, "read": 1, "upper": 1, "length": 1, "mark": 1, "count": 1}
    assert "behind by 1 document more" in results["vocabulary"].why[0]
    assert calls(run(workspace, refit=("vocabulary",))) == {"vocabulary": 1, "count": 23}


def test_a_raised_version_with_equal_output_stops_there(workspace):
    run(workspace)
    way = toys.replaced(toys.WAY, upper=dataclasses.replace(toys.UPPER, version=2))
    results = run(workspace, way)
    assert calls(results) == {"upper": 22}
    assert results["upper"].why[0] == "version 1 → 2"
    assert calls(run(workspace)) == {}, "and back costs nothing"


def test_a_moved_threshold_measures_nothing_in_its_stage_and_later_only_the_newly_admitted(workspace, raw):
    (raw / "corto.txt").write_text("ab cd ef gh")
    strict = toys.replaced(toys.WAY, length=toys.LengthConfig(minimum=12))
    first = run(workspace, strict)
    assert first["length"].rejected == 1 and first["length"].reasons == {"rejected:too_short": 1}
    assert calls(run(workspace)) == {"mark": 1, "count": 1}
    assert calls(run(workspace, strict)) == {}
    assert calls(run(workspace)) == {}


def test_a_sample_first_is_not_measured_again_and_does_not_pin(workspace, raw):
    sampled = run(workspace, sample=10)
    assert sampled["read"].calls == 10 and not workspace.pins()
    full = run(workspace)
    assert {n: c for n, c in calls(full).items() if n not in ("vocabulary", "count")} == {
        n: 12 for n in ("read", "upper", "length", "mark")
    }
    assert workspace.pins()


def test_a_file_removed_and_restored_with_one_row_more_costs_one(workspace, raw):
    run(workspace)
    rows = (raw / "tre.rows").read_text()
    (raw / "tre.rows").unlink()
    with pytest.raises(Stop, match="--allow-removals"):
        run(workspace)
    assert calls(run(workspace, allow_removals=True)) == {}
    (raw / "tre.rows").write_text(rows + "\nuna riga nuova")
    assert calls(run(workspace)) == {"ingest": 1, "read": 1, "upper": 1, "length": 1, "mark": 1, "count": 1}


def test_a_verdict_is_remembered_and_a_circumstance_is_tried_again(workspace, raw):
    (raw / "veleno.txt").write_text("POISON")
    (raw / "lento.txt").write_text("SLOW")
    results = run(workspace)
    assert results["read"].reasons == {"failed:deadline": 1, "failed:malformed": 1}
    assert calls(run(workspace)) == {"read": 1}
    assert calls(run(workspace, retry_failed=True)) == {"read": 2}


def test_workers_give_the_same_views_as_this_process(workspace, raw, tmp_path):
    one = run(workspace)
    other = Workspace.create(tmp_path / "ws2")
    other.add_source(raw)
    two = run(other, workers=2)
    assert digests(workspace, one) == digests(other, two)
    assert {n: r.artifact for n, r in one.items()} == {n: r.artifact for n, r in two.items()}


def test_incremental_equals_from_scratch(workspace, raw, tmp_path):
    run(workspace, sample=5)
    run(workspace)
    (raw / "quattro.txt").write_text("un altro documento")
    (raw / "uno.txt").write_text("il gatto non dorme")
    (raw / "due.txt").unlink()
    grown = run(workspace, allow_removals=True)
    other = Workspace.create(tmp_path / "ws2")
    other.add_source(raw)
    other.take_pins(workspace)
    scratch = run(other)
    assert {n: r.artifact for n, r in grown.items()} == {n: r.artifact for n, r in scratch.items()}
    assert digests(workspace, grown) == digests(other, scratch)


def test_the_text_of_a_stage_is_assembled_from_the_shelves(workspace):
    run(workspace)
    folder = workspace.last_stages()["count"]["folder"]
    from corpus.view import ViewReader

    view = ViewReader(workspace.store, folder)
    texts = {d["text"] for d in view.documents("text", "n")}
    assert "IL GATTO DORME!" in texts and len(texts) == 22
    some = view.table()["id"][3].as_py()
    assert view.text_after(some).endswith("!")


def test_a_link_and_a_hidden_file_are_listed_with_their_reason(workspace, raw):
    (raw / "link.txt").symlink_to("/etc/hostname")
    (raw / ".nascosto").write_text("x")
    results = run(workspace)
    assert results["ingest"].reasons == {"rejected:hidden": 1, "rejected:link": 1}


def test_a_code_change_without_a_version_is_a_warning_in_the_plan(workspace):
    run(workspace)
    workspace.remember_stage(
        "length", {**workspace.last_stages()["length"], "identity": {**workspace.last_stages()["length"]["identity"], "code": "other"}}
    )
    plan = {r.name: r for r in Engine(workspace, toys.WAY, workers=0).plan()}
    assert plan["length"].status == "cached" and "version did not" in plan["length"].why[0]


def test_a_changed_setting_of_a_pinned_stage_ends_the_pin(workspace):
    run(workspace)
    way = toys.replaced(toys.WAY, vocabulary=toys.VocabularyConfig(top=3))
    plan = {r.name: r for r in Engine(workspace, way, workers=0).plan()}
    assert plan["vocabulary"].why == ["top 5 → 3"] and plan["count"].calls == 22
    assert calls(run(workspace, way)) == {"vocabulary": 1, "count": 22}


def test_a_plan_for_an_empty_workspace_reaches_the_stages_behind_a_fitted_one(workspace):
    way = (*toys.WAY, dataclasses.replace(toys.LENGTH, name="again"))
    plan = Engine(workspace, way, workers=0).plan()
    assert [r.status for r in plan] == ["would_run"] * len(way)
    assert Engine(workspace, way, workers=0).run()[-1].calls == 22
