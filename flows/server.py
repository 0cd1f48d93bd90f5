"""A Prefect server of the workspace's own: home, database and pages under WS/prefect, on a loopback port, gone with its parent.

    with PrefectServer(workspace) as server:
        server.api_url            # None, and server.warning says why, when it could not start

The listening socket is made here and handed down, so the first request simply waits until the server answers: no guessing of
ports, no polling. Only what records runs is started: no scheduler, late-run, automation or event services, no telemetry, no
block registration. Settings travel in the environment of the child alone; no absolute path is written.

Limits: the first start in a workspace creates the database, about 4 s more than the 2 s of the later ones. The file is also
the child's own script (it imports nothing of this project). PR_SET_PDEATHSIG exists on Linux only; elsewhere the child notices
its closed standard input. The parent's death signal is bound to the thread that starts the server: start it from the main one.
"""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

HOST = "127.0.0.1"
UNFINISHED = ["SCHEDULED", "PENDING", "RUNNING", "PAUSED", "CANCELLING"]
FINAL = ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"]

NEEDLESS = (
    "SCHEDULER", "LATE_RUNS", "FOREMAN", "PAUSE_EXPIRATIONS", "CANCELLATION_CLEANUP", "REPOSSESSOR", "CLEANUP_RECONCILER",
    "EVENT_PERSISTER", "EVENT_LOGGER", "TRIGGERS",
)  # fmt: skip

# Prefect reads this file from its home. Without it every log line of the process would reach the terminal through its console handler.
LOGGING = """\
version: 1
disable_existing_loggers: false
handlers:
  none: {class: logging.NullHandler}
  api: {class: prefect.logging.handlers.APILogHandler}
loggers:
  prefect: {level: INFO, handlers: [none], propagate: false}
  prefect.flow_runs: {level: NOTSET, handlers: [api], propagate: false}
  prefect.task_runs: {level: NOTSET, handlers: [api], propagate: false}
  EventsWorker: {level: INFO, handlers: [none], propagate: false}
  APILogWorker: {level: INFO, handlers: [none], propagate: false}
"""


class Api:
    """The few calls of Prefect's REST API used here, without its client (half a second of imports) and without proxies."""

    def __init__(self, url: str, timeout: float = 20.0) -> None:
        parts = urlsplit(url)
        self._host, self._port, self._root, self._timeout = parts.hostname or HOST, parts.port or 80, parts.path, timeout

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The decoded answer. Raises OSError or http.client.HTTPException when there is no server, ValueError when it refuses."""
        connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)
        try:
            payload = None if body is None else json.dumps(body)
            connection.request(method, self._root + path, payload, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            data = answer.read()
        finally:
            connection.close()
        if answer.status >= 400:
            raise ValueError(f"Prefect answered {answer.status} to {method} {path.split('/')[1]}")
        return json.loads(data) if data else None

    def all(self, kind: str, body: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """Every row of `flow_runs`, `task_runs` or `artifacts` that passes the filter."""
        rows: list[dict[str, Any]] = []
        while True:
            page = self.call("POST", f"/{kind}/filter", {**(body or {}), "limit": 200, "offset": len(rows)})
            rows += page
            if len(page) < 200:
                return rows

    def set_state(self, kind: str, id: str, type: str, name: str, message: str) -> None:
        """Force the state of one run."""
        self.call("POST", f"/{kind}/{id}/set_state", {"state": {"type": type, "name": name, "message": message}, "force": True})

    def close_dead_runs(self) -> int:
        """Set what a dead process left unfinished to Crashed; returns how many flow runs that were."""
        for kind in ("task_runs", "flow_runs"):
            dead = self.all(kind, {kind: {"state": {"type": {"any_": UNFINISHED}}}})
            for row in dead:
                self.set_state(kind, row["id"], "CRASHED", "Crashed", "The process that ran it ended before it was done.")
        return len(dead)


class PrefectServer:
    """The server of one workspace, as a context. `ui` serves the pages too; `port` 0 takes a free one.

    A run holds WS/prefect/lock while its server lives, so that runs left unfinished are closed only when nobody is at work on
    them; a server for the pages (`ui`) looks at the lock and lets it go.
    """

    def __init__(self, workspace: Path | str, *, ui: bool = False, port: int = 0, timeout: float = 90.0) -> None:
        self.home = Path(workspace).resolve() / "prefect"
        self.ui, self.port, self.timeout = ui, port, timeout
        self.api_url: str | None = None
        self.warning = ""
        self.seconds = 0.0  # from start to the first answer
        self.process: subprocess.Popen[bytes] | None = None
        self._lock: IO[str] | None = None
        self._begun = 0.0

    @property
    def url(self) -> str:
        """Where the pages are."""
        return f"http://{HOST}:{self.port}"

    @property
    def alive(self) -> bool:
        """Whether the child is there."""
        return self.process is not None and self.process.poll() is None

    def __enter__(self) -> PrefectServer:
        self.start()
        self.wait()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start the child and return at once; `wait` for it later, after other work. A port in use raises OSError."""
        self._begun = time.monotonic()
        with socket.create_server((HOST, self.port)) as listener:
            self.port = listener.getsockname()[1]
            try:
                self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
                (self.home / "logging.yml").write_text(LOGGING, encoding="utf-8")
                with open(self.home / "server.log", "wb") as log:
                    self.process = subprocess.Popen(
                        [sys.executable, "-P", os.path.abspath(__file__), str(listener.fileno()), "ui" if self.ui else "run"],
                        cwd=self.home,  # no settings file of the user's current folder is read
                        env=_clean(os.environ) | server_settings(self.home, self.port, self.ui),
                        stdin=subprocess.PIPE,
                        stdout=log,
                        stderr=log,
                        pass_fds=[listener.fileno()],
                        start_new_session=True,  # Ctrl-C reaches the run, which still has states to store
                    )
            except OSError as error:
                self.warning = f"This run is not shown in Prefect: its server could not start ({error.strerror or type(error).__name__})."

    def wait(self) -> bool:
        """Wait for the first answer; False, with `warning` set, when there will be none."""
        if self.process is None:
            return False
        api = Api(f"{self.url}/api", self.timeout)
        try:
            api.call("GET", "/health")
            self.api_url = f"{self.url}/api"
            self.seconds = time.monotonic() - self._begun
            self._close_dead_runs(Api(self.api_url))
        except (OSError, http.client.HTTPException, ValueError):
            self.stop()
            self.warning = "This run is not shown in Prefect: its server did not start; prefect/server.log in the workspace says more."
        return self.api_url is not None

    def _close_dead_runs(self, api: Api) -> None:
        import fcntl

        self._lock = open(self.home / "lock", "w", encoding="utf-8")  # noqa: SIM115 - held as long as the run
        try:
            fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._release()  # another run is at work here: what looks unfinished may well be alive
            return
        api.close_dead_runs()
        if self.ui:
            self._release()

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def stop(self) -> None:
        """End the child: asked first, then made to. The database is consistent either way."""
        process, self.process, self.api_url = self.process, None, None
        if process is not None:
            assert process.stdin is not None
            process.stdin.close()
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            log = self.home / "server.log"
            with contextlib.suppress(OSError):
                if log.stat().st_size == 0:
                    log.unlink()
        self._release()


def server_settings(home: Path, port: int, ui: bool) -> dict[str, str]:
    """The environment of the server child."""
    settings = {f"PREFECT_SERVER_SERVICES_{name}_ENABLED": "false" for name in NEEDLESS}
    return settings | {
        "DO_NOT_TRACK": "1",
        "PYTHONSAFEPATH": "1",
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": f"http://{HOST}:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "false",
        "PREFECT_SERVER_UI_ENABLED": str(ui).lower(),
        "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(home / "ui"),
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_SERVER_UI_V2_ENABLED": "false",  # the first page; its drawing of a run shows the artifacts legibly
        "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
        "PREFECT_LOGGING_LEVEL": "ERROR",
        # each state is written as it arrives: with a few dozen tasks a batch saves nothing and may be lost
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "1",
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    }


def client_settings(home: Path, api_url: str) -> dict[str, str]:
    """The environment under which Prefect's client settings are made."""
    return {
        "DO_NOT_TRACK": "1",
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": api_url,
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "PREFECT_LOGGING_TO_API_BATCH_INTERVAL": "0.5",
        "PREFECT_LOGGING_INTERNAL_LEVEL": "CRITICAL",
        "PREFECT_CLIENT_MAX_RETRIES": "1",
        "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
        # the exception of a flow that breaks would be pickled whatever the settings say: there is no place to put it
        "PREFECT_RESULTS_LOCAL_STORAGE_PATH": f"{os.devnull}/results",
        "PREFECT_TASKS_REFRESH_CACHE": "true",
    }


@contextlib.contextmanager
def connected(home: Path, api_url: str) -> Iterator[None]:
    """Prefect's client of this process talks to that server, and to nothing else, inside this context.

    Prefect reads its settings when it is imported, and once more here for the process that has imported it before. Loopback
    is taken out of any proxy; `DO_NOT_TRACK` stays set, as Prefect looks at it late. No heartbeats: nobody listens to them and
    their thread costs up to a second. A lost server must not hold up the run: events are tried three times without a pause,
    and logging keeps its own errors to itself.
    """
    before, noisy = dict(os.environ), logging.raiseExceptions
    exempt = ",".join(filter(None, [before.get("NO_PROXY") or before.get("no_proxy") or "", HOST]))
    try:
        for name in set(before) - set(_clean(before)):
            del os.environ[name]
        os.environ.update(client_settings(home, api_url))
        os.environ.update(NO_PROXY=exempt, no_proxy=exempt)
        from prefect.context import SettingsContext
        from prefect.events.clients import PrefectEventsClient
        from prefect.events.worker import EventsWorker
        from prefect.logging.configuration import setup_logging
        from prefect.settings import Profile, Settings

        settings = Settings().copy_with_update(updates={"flows.heartbeat_frequency": None})
        EventsWorker.set_client_override(PrefectEventsClient, reconnection_attempts=2)
        logging.raiseExceptions = False
        context = SettingsContext(profile=Profile(name="athanor", settings={}), settings=settings)
        with context:
            setup_logging(incremental=False)
            yield
    finally:
        logging.raiseExceptions = noisy
        for name in set(os.environ) - set(before):
            del os.environ[name]
        os.environ.update(before | {"DO_NOT_TRACK": "1"})


def _clean(environment: Any) -> dict[str, str]:
    return {name: value for name, value in environment.items() if not name.startswith("PREFECT_")}


def _serve(descriptor: int) -> None:
    """The child: serve on the socket it was given until it is told to stop or its parent is gone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    listener = socket.socket(fileno=descriptor)

    def leave_with_parent() -> None:
        sys.stdin.buffer.read()  # returns when the parent closes it or dies
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(4)
        os._exit(0)

    threading.Thread(target=leave_with_parent, daemon=True).start()
    import uvicorn
    from prefect.server.api.server import create_app

    app = create_app(final=True)
    options = uvicorn.Config(app, log_config=None, log_level="error", access_log=False, timeout_graceful_shutdown=1)
    uvicorn.Server(options).run(sockets=[listener])


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
