"""The door: what is said, where it is said, and with which exit code."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import house
import pytest

from corpus.engine import Engine
from corpus.outcome import Stop
from corpus.workspace import Workspace

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def home(tmp_path, monkeypatch, capsys):
    return house.build(tmp_path, monkeypatch, capsys)


def outside(folder: Path, *arguments: str, path: str = "") -> subprocess.CompletedProcess:
    """The command in a process of its own, started in `folder` with `python -m`."""
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join([str(ROOT), *([path] if path else [])]))
    return subprocess.run(
        [sys.executable, "-m", "flows.cli", *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )


def test_help_imports_nothing_heavy():
    heavy = "{'torch', 'pyarrow', 'prefect', 'yaml', 'rich', 'numpy'}"
    code = f"import sys, flows.cli; flows.cli.parser(); sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60).returncode == 0


def test_a_users_own_train_and_model_do_not_shadow_the_rooms(tmp_path):
    for name in ("train", "model", "filters", "inspect"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('shadowed')")
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.txt").write_text("ciao")
    done = outside(tmp_path, "plan", "raw", "--json", path=".")
    assert done.returncode == 0, done.stderr
    stages = json.loads(done.stdout.splitlines()[-1])["stages"]
    assert stages[0]["name"] == "ingest" and stages[0]["calls"] == 1
    assert not (tmp_path / "workspace").exists()


def test_a_mistake_on_the_real_command_line_is_one_sentence(tmp_path):
    done = outside(tmp_path, "run", "nowhere", "--json")
    assert done.returncode == 2
    assert done.stderr == "athanor: There is no folder 'nowhere'. Check the path.\n"
    assert json.loads(done.stdout)["status"] == "failed"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rum"], "There is no command 'rum'. Did you mean 'run'?"),
        (["run", "{raw}", "--jsn"], "no option '--jsn' here. Did you mean '--json'?"),
        (["run", "{raw}", "--sample", "0"], "'0' is not a whole number above 0"),
        (["run", "{raw}", "--until", "packk"], "--until: there is no stage 'packk'"),
        (["run", "{raw}", "--refit", "length"], "--refit takes one of vocabulary"),
        (["run", "{raw}/uno.txt"], "is a file; RAW is the folder"),
        (["run", "{raw}", "--set", "hide.nam=x"], "Unknown config key 'hide.nam'. Did you mean 'name'?"),
        (["run", "{raw}", "--set", "length.minimum=many"], "'length.minimum' must be a whole number"),
        (["run", "{raw}", "-c", "{raw}/none.yaml"], "There is no config file"),
        (["run"], "There is no workspace at"),
        (["inspect"], "There is no workspace at"),
        (["generate", "Ciao"], "There is no workspace at"),
        (["inspect", "--kept", "--failed"], "not allowed with"),
        (["source", "add", "{raw}/none"], "There is no folder"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(home, arguments, said):
    code, out, err = home.call(
        *[a.format(raw=home.raw) for a in arguments], *(["-w", home.workspace] if len(arguments) != 1 or arguments[0] != "rum" else [])
    )
    assert code == 2 and out == ""
    assert said in err and err.startswith("athanor: ") and err.count("\n") == 1


def test_a_run_prints_a_table_and_a_second_says_that_all_is_cached(home, monkeypatch):
    code, out, err = home.run()
    assert code == 0
    assert out.split("\n")[1].split() == ["stage", "status", "in", "kept", "rejected", "failed", "calls", "seconds", "why"]
    assert "report.html" in out and "1 failed: athanor inspect" in out
    assert (home.workspace / "runs").is_dir() and "hide" in err

    monkeypatch.setattr("flows.flow.run", None)  # nothing of Prefect is needed to say it
    code, out, _ = home.call("run", home.raw, "-w", home.workspace)
    assert (code, out) == (0, "Everything is up to date: 7 stages, all cached.\n")
    assert len(Workspace.open(home.workspace).run_ids()) == 1


def test_raw_may_be_left_out_once_it_is_known(home):
    home.run()
    (home.raw / "sei.txt").write_text("un altro gatto")
    code, out, _ = home.call("run", "-w", home.workspace, "--set", "run.prefect=false")
    assert code == 0 and "1 new file" in out
    assert "vocabulary is behind by 1 document more: athanor run -w" in out


def test_json_is_the_contract_on_the_last_line_and_all_else_goes_to_stderr(home):
    code, out, err = home.run("--json")
    assert code == 0 and out.count("\n") == 1 and "rejected" in err
    answer = json.loads(out)
    assert {"command", "status", "run", "stages", "generation"} <= set(answer)
    names = {"name", "status", "why", "unit", "in", "kept", "rejected", "failed", "calls", "seconds", "artifact"}
    for stage in answer["stages"]:
        assert names <= set(stage)
        if stage["unit"] == "documents":
            assert stage["kept"] + stage["rejected"] + stage["failed"] == stage["in"]
    assert [s["name"] for s in answer["stages"]] == [s.name for s in house.WAY]
    again = home.ask("run", home.raw)
    assert again["status"] == "cached" and {s["status"] for s in again["stages"]} == {"cached"}


def test_plan_tells_and_changes_nothing(home):
    code, out, _ = home.call("plan", home.raw, "-w", home.workspace)
    assert code == 0 and "7 of 7 stages would run" in out
    assert not home.workspace.exists()
    home.run()
    before = sorted(p.relative_to(home.workspace) for p in home.workspace.rglob("*"))
    assert "Everything is up to date" in home.call("plan", "-w", home.workspace)[1]
    code, out, _ = home.call("plan", "-w", home.workspace, "--set", "length.minimum=20")
    assert "minimum 3 → 20" in out and "stages would run" in out
    assert sorted(p.relative_to(home.workspace) for p in home.workspace.rglob("*")) == before


def test_failed_documents_are_no_failure_unless_asked(home):
    assert home.run()[0] == 0
    code, _, err = home.run("--max-failed", "0")
    assert code == 1 and "1 documents failed, more than --max-failed 0" in err


def test_nothing_left_is_a_failure_that_names_the_stage(home):
    code, _, err = home.run("--set", "length.minimum=1000")
    assert code == 1
    assert "No document is left. Most were lost in 'length' (rejected:too_short)" in err


def test_another_raw_is_refused_with_the_commands_that_may_have_been_meant(home, tmp_path):
    home.run()
    (tmp_path / "other").mkdir()
    code, _, err = home.call("run", tmp_path / "other", "-w", home.workspace)
    assert code == 2 and "athanor source add" in err and "another workspace" in err
    home.raw.rename(tmp_path / "moved")
    code, _, err = home.run()
    assert code == 2 and "Mount it, or forget it with `athanor source remove" in err


def test_a_raw_folder_inside_the_workspace_is_refused(home):
    home.run()
    code, _, err = home.call("run", home.workspace / "runs", "-w", home.workspace)
    assert code == 2 and "lies inside the workspace" in err


def test_a_sample_stops_early_and_does_not_pin(home):
    home.run("--sample", "2", "--until", "mark")
    workspace = Workspace.open(home.workspace)
    run = workspace.latest_run()
    assert list(run.stages) == ["ingest", "read", "look", "hide", "length", "mark"]
    assert run.stage("ingest")["in"] == 2 and run.record["sample"] == 2
    assert not workspace.pins()


def interrupting(error: BaseException, stage: str):
    """Engine.step that raises at a stage."""
    real = Engine.step

    def step(self, name):
        if name == stage:
            raise error
        return real(self, name)

    return step


@pytest.mark.parametrize(
    ("error", "code", "said", "status"),
    [
        (KeyboardInterrupt(), 130, "the same command goes on from here", "interrupted"),
        (Stop("The models are too large. Choose smaller ones."), 1, "The models are too large. Choose smaller ones.", "failed"),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "The disk is full. Free some space", "failed"),
        (OSError(errno.EROFS, "Read-only file system"), 1, "The file system is read-only. Choose a workspace", "failed"),
        (MemoryError(), 1, "Out of memory. Lower run.workers", "failed"),
    ],
)
def test_a_run_that_stops_says_why_and_the_next_goes_on(home, monkeypatch, error, code, said, status):
    with monkeypatch.context() as patched:
        patched.setattr(Engine, "step", interrupting(error, "length"))
        got, out, err = home.run("--json")
    assert got == code and said in err and "Traceback" not in err
    answer = json.loads(out)
    assert answer["status"] == "failed" and [s["name"] for s in answer["stages"]][:4] == ["ingest", "read", "look", "hide"]
    assert Workspace.open(home.workspace).run(answer["run"]).record["status"] == status
    assert (status == "failed") == (answer["stages"][-1]["status"] == "failed")
    code, out, _ = home.run("--json")
    assert code == 0 and [s["calls"] for s in json.loads(out)["stages"][:3]] == [0, 0, 0]


def test_a_defect_leaves_its_trace_in_a_file_and_no_document_in_it(home, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(Engine, "step", interrupting(ValueError("Anna Bianchi"), "length"))
        code, _, err = home.run()
    assert code == 1 and "'run' met a defect (ValueError). Details: " in err
    log = Path(err.strip().rsplit("Details: ")[1])
    assert log.name == "crash.log" and "ValueError" in log.read_text() and "test_cli.py" in log.read_text()
    for text in (log.read_text(), err, (log.parent / "run.json").read_text()):
        assert "Anna" not in text


def test_a_workspace_in_use_says_who_holds_it(home):
    home.run()
    (home.raw / "sei.txt").write_text("un altro gatto")
    with Workspace.open(home.workspace).locked("run"):
        code, _, err = home.run()
    assert code == 1 and "in use by `athanor run` (process" in err and "--wait" in err


def test_sources_are_added_listed_and_removed(home, tmp_path):
    home.run()
    (tmp_path / "altro").mkdir()
    (tmp_path / "altro" / "nove.txt").write_text("una casa nuova")
    assert home.call("source", "add", tmp_path / "altro", "-w", home.workspace)[0] == 0
    assert [s["name"] for s in home.ask("source", "list")["sources"]] == ["raw", "altro"]
    assert home.call("source", "add", tmp_path / "altro", "-w", home.workspace)[0] == 2
    assert home.call("run", "-w", home.workspace, "--set", "run.prefect=false")[0] == 0
    assert home.call("source", "remove", "altro", "-w", home.workspace)[0] == 0
    assert [s["name"] for s in home.ask("source", "list")["sources"]] == ["raw"]
    assert home.call("source", "remove", "altro", "-w", home.workspace)[0] == 2


def test_a_folder_of_chat_may_be_added_before_the_raw_folder(home, tmp_path):
    (tmp_path / "dialoghi").mkdir()
    (tmp_path / "dialoghi" / "a.txt").write_text("ciao, come stai?")
    assert home.call("source", "add", tmp_path / "dialoghi", "--chat", "-w", home.workspace)[0] == 0
    assert home.run()[0] == 0
    assert [(s["name"], s["chat"]) for s in home.ask("source", "list")["sources"]] == [("dialoghi", True), ("raw", False)]
    rows = home.ask("inspect", "--sql", "select locator from locators join ingest using (id) where curated")["rows"]
    assert rows == [["dialoghi:a.txt"]]


def test_verify_finds_an_altered_file(home):
    home.run()
    assert home.call("verify", "-w", home.workspace)[0] == 0
    artifact = next((home.workspace / "store" / "vocabulary").glob("*/words.json"))
    artifact.write_text("[]")
    code, out, _ = home.call("verify", "-w", home.workspace)
    assert code == 1 and "words.json is altered" in out
    assert home.ask("verify")["problems"]


def test_a_run_leaves_no_more_than_gc_would_keep(home):
    for top in range(1, 6):
        home.run("--set", f"vocabulary.top={top}")
    assert home.ask("gc", "--dry-run")["removed"] == []


def test_gc_tells_before_it_removes_and_the_next_run_measures_nothing(home):
    for top in range(1, 6):
        home.run("--set", f"vocabulary.top={top}", "--set", "run.gc=false")
    planned = home.ask("gc", "--dry-run")
    assert planned["removed"] and all((home.workspace / w["folder"]).is_dir() for w in planned["removed"])
    home.ask("gc")
    assert not any((home.workspace / w["folder"]).is_dir() for w in planned["removed"])
    _, out, _ = home.run("--set", "vocabulary.top=5", "--json")
    assert not any(stage["calls"] for stage in json.loads(out)["stages"])
