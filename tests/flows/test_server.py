"""The workspace's own Prefect server: starts, serves its pages, dies with its parent, and closes what the dead left open."""

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from corpus.outcome import Misuse, Stop
from flows import ui
from flows.server import HOST, Api, PrefectServer

ROOT = Path(__file__).resolve().parents[2]


def listening(port):
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0


def gone(port, seconds=8):
    """Whether nobody listens there any more, soon."""
    end = time.monotonic() + seconds
    while listening(port) and time.monotonic() < end:
        time.sleep(0.05)
    return not listening(port)


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """A workspace whose database exists: later starts take a third of the time."""
    workspace = tmp_path_factory.mktemp("ws")
    (workspace / "workspace.json").write_text("{}")
    with PrefectServer(workspace) as server:
        assert server.api_url == f"http://{HOST}:{server.port}/api", server.warning
        assert Api(server.api_url).call("GET", "/health") is True
        port = server.port
    assert gone(port, 1), "stopped when its context ends"
    assert not (workspace / "prefect" / "server.log").exists(), "nothing was complained about"
    return workspace


def command(how, workspace, pause):
    """The process of test_flow.py."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("test_flow", Path(__file__).with_name("test_flow.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.command(how, workspace, pause)


def test_a_killed_run_leaves_no_server_and_the_next_start_marks_it_crashed(started, tmp_path):
    workspace = tmp_path / "ws"
    shutil.copytree(started, workspace)
    run = subprocess.Popen(command("slow", workspace, 60), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert run.stderr is not None
        while not run.stderr.readline().startswith(b"extract"):
            assert run.poll() is None, "the run ended before its second stage"
        with PrefectServer(workspace) as beside:
            api = Api(beside.api_url)
            end = time.monotonic() + 5
            while len(api.all("task_runs")) < 2 and time.monotonic() < end:
                time.sleep(0.05)
            flow = api.all("flow_runs")[0]
            assert flow["state_name"] == "Running", "a run at work is left alone by another server"
        port = _port_of_child(run.pid)
        assert listening(port)
        run.kill()
        run.wait()
        assert gone(port), "the server died with its parent"
    finally:
        run.kill()
        run.communicate()
    with PrefectServer(workspace) as server:
        api = Api(server.api_url)
        assert [row["state_name"] for row in api.all("flow_runs")] == ["Crashed"]
        assert {row["name"]: row["state_name"] for row in api.all("task_runs")} == {"ingest": "Cached", "extract": "Crashed"}


def _port_of_child(pid):
    """Where the server that this process started listens."""
    import psutil

    ports = [c.laddr.port for child in psutil.Process(pid).children() for c in child.net_connections("tcp") if c.status == "LISTEN"]
    assert len(ports) == 1
    return ports[0]


def test_the_pages_come_from_a_copy_in_the_workspace_over_loopback_alone(started):
    import psutil

    with PrefectServer(started, ui=True) as server:
        connection = http.client.HTTPConnection(HOST, server.port, timeout=10)
        connection.request("GET", "/dashboard", headers={"Accept": "text/html"})
        page = connection.getresponse()
        text = page.read().decode()
        assert page.status == 200 and "<div id=" in text
        assert (started / "prefect" / "ui" / "v1" / "index.html").read_text(encoding="utf-8") == text
        connection.request("GET", "/ui-settings")
        assert f'"api_url":"http://{HOST}:{server.port}/api"' in connection.getresponse().read().decode()
        sockets = psutil.Process(server.process.pid).net_connections("inet")
        assert {end.ip for each in sockets for end in (each.laddr, each.raddr) if end} == {HOST}


def test_the_ui_command_says_where_it_is_and_ends_with_ctrl_c_in_silence(started, tmp_path):
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from flows.ui import serve; serve(sys.argv[1])"
    command = [sys.executable, "-P", "-c", code, str(started)]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = process.stdout.readline()
    assert said.startswith(f"http://{HOST}:") and "Ctrl-C" in said
    port = int(said.split()[0].rsplit(":", 1)[1])
    assert listening(port)
    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 0 and out == "" and err.strip() == ""
    assert gone(port, 2)


def test_a_taken_port_and_a_missing_workspace_are_one_sentence_each(started, tmp_path):
    with socket.create_server((HOST, 0)) as taken, pytest.raises(Stop, match=r"^Port \d+ cannot be used .*Leave out --port"):
        ui.serve(started, taken.getsockname()[1])
    with pytest.raises(Misuse, match="no workspace"):
        ui.serve(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_a_server_that_cannot_start_is_a_warning_and_not_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    with PrefectServer(tmp_path / "ws") as server:
        assert server.api_url is None
        assert server.warning.startswith("This run is not shown in Prefect: its server could not start")
