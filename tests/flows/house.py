"""A small house to test the door with: toy stages, one of them redacting, in this process and without Prefect."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import toys

from corpus.config import decided, measured
from corpus.outcome import kept, rejected
from corpus.stage import DocumentStage

SECRET = "Mario Rossi"


@dataclass(frozen=True)
class HideConfig:
    name: str = measured(SECRET, "what is hidden")
    foreign: str = decided("die ", "documents with this word have no rules")


def hide(config, inputs):
    def one(document):
        text = document["text"]
        return {"at": text.find(config.name), "foreign": config.foreign in text, "counts": json.dumps({"PERSONA": text.count(config.name)})}

    return one


def hidden(config, m):
    return rejected("no_name_model") if m["foreign"] else kept(title="")


def replaced(config, m, text):
    return text.replace(config.name, "<PERSONA>")


READ = dataclasses.replace(toys.READ, sensitive=True)
HIDE = DocumentStage(
    name="hide",
    version=1,
    config=HideConfig(),
    measures=pa.schema([("at", pa.int64()), ("foreign", pa.bool_()), ("counts", pa.string())]),
    writes=pa.schema([("title", pa.string())]),
    measure=hide,
    decide=hidden,
    text=replaced,
    edits=True,
)


def look(config, inputs):
    return lambda document: {"words": len(document["text"].split())}


LOOK = DocumentStage(  # leaves the text alone and says nothing of sensitivity
    name="look", version=1, config=toys.NothingConfig(), measures=pa.schema([("words", pa.int64())]), measure=look, decide=toys.everything
)
WAY = (toys.INGEST, READ, LOOK, HIDE, toys.LENGTH, toys.MARK, toys.VOCABULARY)


@dataclass
class House:
    """A raw folder, a workspace and the door between them."""

    raw: Path
    workspace: Path
    capsys: Any

    def call(self, *arguments: object) -> tuple[int, str, str]:
        """(exit code, stdout, stderr) of one command."""
        from flows.cli import main

        code = main([str(a) for a in arguments])
        said = self.capsys.readouterr()
        return code, said.out, said.err

    def run(self, *arguments: object) -> tuple[int, str, str]:
        """`athanor run` on the raw folder, without Prefect."""
        return self.call("run", self.raw, "-w", self.workspace, "--set", "run.prefect=false", *arguments)

    def ask(self, *arguments: object) -> dict[str, Any]:
        """The object of a command with --json."""
        _, out, _ = self.call(*arguments, "-w", self.workspace, "--json")
        return json.loads(out.splitlines()[-1])


def build(tmp_path: Path, monkeypatch: Any, capsys: Any) -> House:
    """The house, its raw folder filled."""
    from flows.settings import RunConfig

    monkeypatch.setattr("flows.pipeline.WAY", WAY)
    monkeypatch.setattr(RunConfig, "processes", property(lambda self: 0))
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "uno.txt").write_text(f"{SECRET} abita <b>in</b> via Po, è perché")
    (raw / "due.txt").write_text("il gatto dorme")
    (raw / "tre.txt").write_text(f"die Katze von {SECRET}")
    (raw / "quattro.txt").write_text("ab")
    (raw / "veleno.txt").write_text("POISON")
    return House(raw, tmp_path / "ws", capsys)
