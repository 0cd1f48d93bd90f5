"""The run as Prefect shows it, asked of a new server after the process that ran it has ended.

`main` is what that process does: it sends a made-up engine through the flow, in one of the ways of WAYS.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from corpus.outcome import Stop
from corpus.result import Nobody, StageResult
from flows import server as flows_server
from flows.flow import run
from flows.progress import Lines
from flows.server import FINAL, Api, PrefectServer

ROOT = Path(__file__).resolve().parents[2]
NAMES = ["ingest", "extract", "prose", "n_gram", "report"]
WAYS = ["mixed", "stops", "interrupted", "terminated", "lost", "unstartable"]
PRIVATE = "Mario Rossi of /home/mario"


class Engine:
    """One stage of each kind."""

    def __init__(self, way="mixed", pause=0.0):
        self.way = tuple(SimpleNamespace(name=name, doc=f"What {name} is for.") for name in NAMES)
        self.how, self.pause, self.observer = way, pause, Nobody()

    def step(self, name):
        counts = {"documents_in": 40, "kept": 36, "rejected": 3, "failed": 1}
        if name == "prose":
            self.misfortune()
        if name == "ingest":
            result = StageResult(name, "cached", **counts)
        elif name == "n_gram":
            result = StageResult(name, "skipped", ["no documents"], unit="artifact")
        elif name == "report" and self.how == "mixed":
            result = StageResult(name, "failed", [PRIVATE], unit="artifact")
        else:
            self.observer.started(name, 40, ["40 new documents"])
            for done in range(41):
                self.observer.advanced(name, done, 40, "")
            time.sleep(self.pause)
            reasons = {"rejected:not_prose": 3, "failed:encrypted": 1}
            result = StageResult(name, "ran", calls=40, seconds=1.5, reasons=reasons, metrics={"bpb": 1.25, "who": PRIVATE}, **counts)
        self.observer.ended(result)
        return result

    def misfortune(self):
        if self.how == "stops":
            raise Stop(f"{PRIVATE} has to be asked.")
        if self.how == "interrupted":
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
        if self.how == "terminated":
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)
        if self.how == "lost":
            SERVERS[-1].process.kill()


SERVERS: list[PrefectServer] = []


def main(way, workspace, pause="0"):
    start = PrefectServer.start

    def noted(server):
        SERVERS.append(server)
        start(server)

    PrefectServer.start = noted
    if way == "lost":  # Prefect's client waits some seconds before it asks a lost server again
        settings = flows_server.client_settings
        flows_server.client_settings = lambda *given: settings(*given) | {"PREFECT_CLIENT_MAX_RETRIES": "0"}
    if way == "unstartable":
        sys.executable = "/bin/false"
    engine = Engine(way, float(pause))
    print(" ".join(result.status for result in run(engine, Path(workspace), f"run-{way}", Lines(NAMES))))


def command(way, workspace, pause=0):
    """How to start `main` in a process of its own, from any folder."""
    here = Path(__file__).resolve()
    code = f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(here.parent)!r}]; import {here.stem}; {here.stem}.main(*sys.argv[1:])"
    return [sys.executable, "-P", "-c", code, way, str(workspace), str(pause)]


def send(way, workspace, home):
    """The flow in a process of its own, with a home and a current folder where nothing may appear."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_") and k != "DO_NOT_TRACK"}
    environment |= {"HOME": str(home), "HTTP_PROXY": "http://127.0.0.1:9", "PREFECT_API_URL": "http://127.0.0.1:9/api"}
    return subprocess.run(command(way, workspace), cwd=home, env=environment, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def past(tmp_path_factory):
    """Every way once, one process after the other, on one workspace; then what Prefect holds."""
    home, workspace = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("work") / "ws"
    processes = {way: send(way, workspace, home) for way in WAYS}
    left = sorted(path.name for path in (workspace / "prefect").iterdir())
    with PrefectServer(workspace) as server:
        assert server.api_url, server.warning
        api = Api(server.api_url)
        flows = {row["name"]: row for row in api.all("flow_runs")}
        tasks, artifacts = api.all("task_runs"), api.all("artifacts")
    return SimpleNamespace(home=home, workspace=workspace, processes=processes, left=left, flows=flows, tasks=tasks, artifacts=artifacts)


def tasks_of(past, way):
    """Task name -> its row, in the order they began."""
    rows = [row for row in past.tasks if row["flow_run_id"] == past.flows[f"run-{way}"]["id"]]
    return {row["name"]: row for row in sorted(rows, key=lambda row: row["start_time"])}


def test_every_state_is_final_and_stored_after_the_process_has_ended(past):
    assert set(past.flows) == {f"run-{way}" for way in WAYS if way != "unstartable"}
    assert all(row["state_type"] in FINAL for row in [*past.flows.values(), *past.tasks])
    assert list(tasks_of(past, "mixed")) == NAMES, "one task a stage, named like it, in order"


def test_cached_skipped_and_failed_stages_are_shown_as_such(past):
    tasks = tasks_of(past, "mixed")
    states = {name: (row["state_type"], row["state_name"]) for name, row in tasks.items()}
    assert states == {
        "ingest": ("COMPLETED", "Cached"),
        "extract": ("COMPLETED", "Completed"),
        "prose": ("COMPLETED", "Completed"),
        "n_gram": ("COMPLETED", "Skipped"),
        "report": ("FAILED", "Failed"),
    }
    assert tasks["n_gram"]["state"]["message"] == "no documents"
    assert tasks["extract"]["state"]["message"] == "36 of 40 kept, 3 rejected, 1 failed, 40 calls, 1.5 s"
    assert past.flows["run-mixed"]["state"]["message"] == "2 ran, 1 cached, 1 skipped, 1 failed: report"


def test_each_stage_has_a_table_and_a_running_one_its_progress(past):
    tasks = tasks_of(past, "mixed")
    kinds = {name: Counter(a["type"] for a in past.artifacts if a["task_run_id"] == row["id"]) for name, row in tasks.items()}
    assert all(kind["markdown"] == 1 for kind in kinds.values())
    assert [name for name, kind in kinds.items() if kind["progress"]] == ["extract", "prose"]
    bars = [a["data"] for a in past.artifacts if a["type"] == "progress" and a["flow_run_id"] == past.flows["run-mixed"]["id"]]
    assert bars == [100.0, 100.0]
    table = next(a["data"] for a in past.artifacts if a["task_run_id"] == tasks["extract"]["id"] and a["type"] == "markdown")
    assert "| ran | 40 | 36 | 3 | 1 | 40 | 1.5 |" in table and "| rejected:not_prose | 3 |" in table and "| bpb | 1.25 |" in table


def test_the_terminal_shows_what_the_observer_says_and_not_a_word_of_prefect(past):
    process = past.processes["mixed"]
    assert process.returncode == 0
    assert process.stdout == "cached ran ran skipped failed\n"
    lines = process.stderr.splitlines()
    assert [line.split()[0].rstrip(":") for line in lines] == ["ingest", "extract", "extract", "prose", "prose", "n_gram", "report"]
    assert "prefect" not in process.stderr.lower()


def test_nothing_is_written_outside_the_workspace_and_no_result_inside(past):
    assert list(past.home.rglob("*")) == []
    assert [path.name for path in past.workspace.iterdir()] == ["prefect"]
    known = {"lock", "logging.yml", "memo_store.toml", "prefect.db", "prefect.db-shm", "prefect.db-wal", "server.log"}
    assert set(past.left) <= known, "no storage of results, no pickle"


def test_no_path_and_no_message_of_an_error_reaches_prefect(past):
    for path in (past.workspace / "prefect").glob("prefect.db*"):
        data = path.read_bytes()
        assert PRIVATE.encode() not in data and b"Mario" not in data
        assert str(past.workspace).encode() not in data and str(ROOT).encode() not in data and str(past.home).encode() not in data


def test_what_the_engine_raises_goes_through_and_the_stage_is_failed(past):
    assert past.processes["stops"].returncode == 1
    assert past.processes["stops"].stderr.rstrip().endswith(f"Stop: {PRIVATE} has to be asked.")
    assert {name: row["state_name"] for name, row in tasks_of(past, "stops").items()} == {
        "ingest": "Cached", "extract": "Completed", "prose": "Failed",
    }  # fmt: skip
    assert past.flows["run-stops"]["state_name"] == "Failed"


@pytest.mark.parametrize(("way", "code"), [("interrupted", -signal.SIGINT), ("terminated", 143)])
def test_a_run_that_is_told_to_stop_is_cancelled_and_the_process_ends_as_told(past, way, code):
    assert past.processes[way].returncode == code
    assert past.flows[f"run-{way}"]["state_name"] == "Cancelled"
    assert tasks_of(past, way)["prose"]["state_name"] == "Crashed"


def test_a_run_outlives_its_server_and_says_so_once(past):
    process = past.processes["lost"]
    assert process.stdout == "cached ran ran skipped ran\n"
    assert len(re.findall("Prefect", process.stderr)) == 1 and "Prefect was lost on the way" in process.stderr
    assert past.flows["run-lost"]["state_name"] == "Crashed", "closed by the next start"


def test_a_run_goes_on_without_a_server_that_cannot_start(past):
    process = past.processes["unstartable"]
    assert process.returncode == 0
    assert process.stdout == "cached ran ran skipped ran\n"
    said = [text for text in process.stderr.splitlines() if "Prefect" in text]
    assert len(said) == 1 and "its server did not start" in said[0]
