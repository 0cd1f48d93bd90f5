"""A workspace: the store, what was run, the sources it remembers, the pins, and the lock that lets one run work at a time.

    WS/workspace.json  WS/pins.json  WS/lock  WS/readers  WS/current
    WS/store/<stage>/<fingerprint or key>/…     WS/runs/<id>/{run.json, config.yaml, log.jsonl, report.html}

Movable: sources are remembered relative to the workspace, nothing else points out of it. Its folders are private (0700).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import socket
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from corpus.outcome import Misuse, Stop
from corpus.store import RECORD, TEMPORARY, read_record, write_json
from corpus.view import ViewReader

FORMAT = 1


@dataclass(frozen=True)
class Built:
    """An artifact in the store."""

    path: Path
    digest: str
    record: dict[str, Any]


class Run:
    """One run as it was recorded."""

    def __init__(self, workspace: Workspace, record: dict[str, Any]) -> None:
        self.workspace, self.record = workspace, record

    @property
    def id(self) -> str:
        return self.record["id"]

    @property
    def path(self) -> Path:
        return self.workspace.runs / self.id

    @cached_property
    def stages(self) -> dict[str, dict[str, Any]]:
        return {s["name"]: s for s in self.record.get("stages", [])}

    def stage(self, name: str) -> dict[str, Any]:
        """What the run recorded of a stage; Misuse names the stages it has."""
        if name not in self.stages:
            raise Misuse(f"Run {self.id} has no stage '{name}'; it has {', '.join(self.stages) or 'none'}.")
        return self.stages[name]

    def view(self, name: str) -> ViewReader:
        """The view of a document stage."""
        return ViewReader(self.workspace.store, self.stage(name)["folder"])

    def artifact(self, name: str) -> Built:
        """The artifact of a corpus stage."""
        found = built(self.workspace.store / self.stage(name)["folder"])
        if found is None:
            raise Stop(f"The artifact of '{name}' in run {self.id} is no longer in the store. `athanor run` makes it again.")
        return found


class Workspace:
    """The folder that holds everything Athanor knows."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.store = self.path / "store"
        self.runs = self.path / "runs"

    @classmethod
    def open(cls, path: Path) -> Workspace:
        """An existing workspace; Misuse when there is none."""
        workspace = cls(path)
        if not (workspace.path / "workspace.json").is_file():
            raise Misuse(f"There is no workspace at '{path}'. `athanor run RAW -w {path}` makes one.")
        if workspace.memory["format"] > FORMAT:
            raise Stop(f"The workspace at '{path}' was written by a newer Athanor. Upgrade, or choose another workspace with -w.")
        return workspace

    @classmethod
    def create(cls, path: Path) -> Workspace:
        """The workspace at `path`, made if there is none. A folder with other things in it is refused."""
        workspace = cls(path)
        if (workspace.path / "workspace.json").is_file():
            return cls.open(path)
        if workspace.path.exists() and not workspace.path.is_dir():
            raise Misuse(f"'{path}' is a file; give a folder for the workspace with -w.")
        if workspace.path.is_dir() and any(e.name not in ("lock",) for e in workspace.path.iterdir()):
            raise Misuse(f"'{path}' holds other things and is no workspace. Give a new or empty folder with -w.")
        workspace.path.mkdir(parents=True, exist_ok=True)
        workspace.path.chmod(0o700)
        workspace.store.mkdir(exist_ok=True)
        workspace.runs.mkdir(exist_ok=True)
        (workspace.path / "readers").touch(0o600)
        write_json(workspace.path / "workspace.json", {"format": FORMAT, "sources": []})
        return workspace

    @property
    def memory(self) -> dict[str, Any]:
        """The content of workspace.json."""
        return json.loads((self.path / "workspace.json").read_text("utf-8"))

    def remember(self, **changes: Any) -> None:
        """Change workspace.json."""
        write_json(self.path / "workspace.json", {**self.memory, **changes})

    # -- sources -------------------------------------------------------------------------------------------------

    def sources(self) -> dict[str, Path]:
        """The remembered RAW folders by name."""
        return {s["name"]: (self.path / s["path"]).resolve() for s in self.memory["sources"]}

    def chat_sources(self) -> set[str]:
        """Names of the sources that hold curated chat and nothing else."""
        return {s["name"] for s in self.memory["sources"] if s.get("chat")}

    def add_source(self, raw: Path, chat: bool = False) -> str:
        """One more RAW folder; returns the name it got (the folder's, made unique). `chat`: all of it is curated chat."""
        sources = self.sources()
        if raw.resolve() in sources.values():
            raise Misuse(f"'{raw}' is already a source of this workspace.")
        name = base = raw.resolve().name or "raw"
        while name in sources:
            name = f"{base}-{len(sources) + 1}"
        path = os.path.relpath(raw.resolve(), self.path)
        self.remember(sources=[*self.memory["sources"], {"name": name, "path": path, "chat": chat}])
        return name

    def remove_source(self, name: str) -> None:
        """Forget a RAW folder; its documents leave with the next run."""
        self.remember(sources=[s for s in self.memory["sources"] if s["name"] != name])

    # -- pins ----------------------------------------------------------------------------------------------------

    def pins(self) -> dict[str, dict[str, Any]]:
        """Artifacts that new data does not move: stage -> {identity, folder}."""
        path = self.path / "pins.json"
        return json.loads(path.read_text("utf-8")) if path.is_file() else {}

    def pin(self, stage: str, identity: str, folder: str) -> None:
        """Pin a stage to an artifact."""
        write_json(self.path / "pins.json", {**self.pins(), stage: {"identity": identity, "folder": folder}})

    def take_pins(self, other: Workspace) -> list[str]:
        """Pin what `other` has pinned, with copies of its artifacts; returns the stages."""
        for stage, pin in other.pins().items():
            target = self.store / pin["folder"]
            if not (target / RECORD).is_file():
                temporary = self.store / TEMPORARY / f"pin-{secrets.token_hex(6)}"
                shutil.copytree(other.store / pin["folder"], temporary)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.rename(temporary, target)
            self.pin(stage, pin["identity"], pin["folder"])
        return list(other.pins())

    # -- runs ----------------------------------------------------------------------------------------------------

    def run_ids(self) -> list[str]:
        """Recorded runs, oldest first."""
        return sorted(p.parent.name for p in self.runs.glob("*/run.json"))

    def run(self, id: str) -> Run:
        """A run by its id."""
        path = self.runs / id / "run.json"
        if not path.is_file():
            raise Misuse(f"There is no run '{id}'. The latest is {(self.run_ids() or ['none'])[-1]}.")
        return Run(self, json.loads(path.read_text("utf-8")))

    def latest_run(self, finished: bool = False) -> Run | None:
        """The newest run with any stage done (or the newest that finished)."""
        for id in reversed(self.run_ids()):
            run = self.run(id)
            if run.record.get("stages") and (not finished or run.record.get("status") == "finished"):
                return run
        return None

    def last_stages(self) -> dict[str, dict[str, Any]]:
        """For each stage what it was when it last ran (identity, folder): the reasons of a plan compare with it."""
        return {p.parent.name: json.loads(p.read_text("utf-8")) for p in self.store.glob("*/last.json")}

    def remember_stage(self, name: str, last: dict[str, Any]) -> None:
        """Note what a stage was in this run."""
        (self.store / name).mkdir(parents=True, exist_ok=True)
        write_json(self.store / name / "last.json", last)

    def new_run_id(self) -> str:
        """A name that sorts by time, to the millisecond."""
        now = time.time()
        return time.strftime("%Y%m%d-%H%M%S", time.gmtime(now)) + f"-{int(now % 1 * 1000):03d}{secrets.token_hex(1)}"

    # -- lock ----------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def locked(self, command: str, wait: bool = False) -> Iterator[None]:
        """One writer at a time. Busy: waits, or Stop says who holds it. Sweeps what a killed run left half-written."""
        with open(self.path / "lock", "a+", encoding="utf-8") as f:
            try:
                fcntl.flock(f, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                f.seek(0)
                raise Stop(f"The workspace is in use by {f.read().strip() or 'another process'}. Let it finish, or add --wait.") from None
            f.truncate(0)
            f.write(f"`athanor {command}` (process {os.getpid()} on {socket.gethostname()} since {time.strftime('%H:%M:%S')})")
            f.flush()
            shutil.rmtree(self.store / TEMPORARY, ignore_errors=True)
            try:
                yield
            finally:
                f.truncate(0)

    @contextlib.contextmanager
    def reading(self, command: str) -> Iterator[None]:
        """Nothing is removed while this lasts; any number may read, also while a run writes. Waits for a removal to end.

        Does nothing where the workspace cannot be written, since nothing can be removed from there. Not for who holds the
        lock of `locked` and wants to remove something: it would be put off by itself.
        """
        try:
            descriptor = os.open(self.path / "readers", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError:
            yield
            return
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            os.write(descriptor, f"{os.getpid()} {socket.gethostname()} {command}\n".encode())
            yield
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def unread(self, wait: bool = False) -> Iterator[str]:
        """Who reads, in words, or '': then nobody does, and nobody begins to until the block ends. `wait`: until nobody does."""
        with open(self.path / "readers", "a+", encoding="utf-8") as f:
            try:
                fcntl.flock(f, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                f.seek(0)
                yield _alive(f.read().splitlines())
                return
            f.truncate(0)
            yield ""


def _alive(readers: Iterable[str]) -> str:
    """The readers that still run, as far as this machine can tell."""
    found = []
    for line in readers:
        pid, host, command = line.split(" ", 2)
        with contextlib.suppress(ProcessLookupError):
            if host == socket.gethostname():
                with contextlib.suppress(PermissionError):  # of another user: alive
                    os.kill(int(pid), 0)
            found.append(f"`athanor {command}` (process {pid} on {host})")
    return " and ".join(dict.fromkeys(found)) or "another process"


def built(folder: Path) -> Built | None:
    """The artifact in this folder, if there is one."""
    record = read_record(folder)
    return Built(folder, record["digest"], record) if record else None
