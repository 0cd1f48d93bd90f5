"""A small way of toy stages: enough to walk the engine through its laws without a heavy library.

`MEASURED` counts measuring calls by stage; it sees them when the engine runs in this process (workers=0).
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from corpus.canonical import digest_bytes
from corpus.config import decided, measured
from corpus.outcome import Circumstance, Verdict, kept, rejected
from corpus.stage import CorpusStage, DocumentStage

MEASURED: Counter[str] = Counter()


def everything(config, m):
    return kept()


def titled(config, m):
    return kept(form="prose", title=m["text"][:5])


def measured_text(config, m, text):
    return m["text"]


def exclaimed(config, m, text):
    return text + "!"


@dataclass(frozen=True)
class IngestConfig:
    chat: tuple[str, ...] = decided(("chat/",), "chat places")


def open_file(config, inputs):
    def one(document):
        MEASURED["ingest"] += 1
        data = Path(document["path"]).read_bytes()
        if b"\x00broken" in data:
            raise Verdict("malformed", "not a container")
        lines = data.split(b"\n") if document["path"].endswith(".rows") or data.startswith(b"rows\n") else [data]
        found = []
        for n, line in enumerate(lines):
            if line and line != b"rows":
                inner = str(n) if len(lines) > 1 else ""
                found.append(
                    {
                        "id": digest_bytes(line),
                        "inner": inner,
                        "kind": "text",
                        "size": len(line),
                        "status": "kept",
                        "reason": "",
                        "detail": "",
                    }
                )
        return {"members": found}

    return one


MEMBER = pa.struct(
    [
        ("id", pa.string()),
        ("inner", pa.string()),
        ("kind", pa.string()),
        ("size", pa.int64()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
    ]
)
INGEST = DocumentStage(
    name="ingest",
    version=1,
    config=IngestConfig(),
    reads=(),
    measures=pa.schema([("members", pa.list_(MEMBER))]),
    measure=open_file,
    decide=everything,
)


@dataclass(frozen=True)
class ReadConfig:
    encoding: str = measured("utf-8", "encoding")


def read(config, inputs):
    def one(document):
        MEASURED["read"] += 1
        data = Path(document["path"]).read_bytes()
        if document["inner"]:
            data = data.split(b"\n")[int(document["inner"])]
        if data.startswith(b"POISON"):
            raise Verdict("malformed", "a poison document")
        if data.startswith(b"SLOW"):
            raise Circumstance("deadline", "took too long")
        return {"text": data.decode(config.encoding)}

    return one


READ = DocumentStage(
    name="read",
    version=1,
    config=ReadConfig(),
    reads=("kind",),
    measures=pa.schema([("text", pa.string())]),
    writes=pa.schema([("form", pa.string()), ("title", pa.string())]),
    measure=read,
    decide=titled,
    text=measured_text,
)


@dataclass(frozen=True)
class UpperConfig:
    shout: bool = measured(False, "measured setting")


def upper(config, inputs):
    def one(document):
        MEASURED["upper"] += 1
        return {"text": document["text"].upper().replace("  ", " ")}

    return one


UPPER = DocumentStage(
    name="upper",
    version=1,
    config=UpperConfig(),
    measures=pa.schema([("text", pa.string())]),
    measure=upper,
    decide=everything,
    text=measured_text,
)


@dataclass(frozen=True)
class LengthConfig:
    minimum: int = decided(3, "shorter documents are rejected")


def length(config, inputs):
    def one(document):
        MEASURED["length"] += 1
        return {"n": len(document["text"])}

    return one


def long_enough(config, m):
    return kept(n=m["n"]) if m["n"] >= config.minimum else rejected("too_short", m["n"], config.minimum)


LENGTH = DocumentStage(
    name="length",
    version=1,
    config=LengthConfig(),
    measures=pa.schema([("n", pa.int64())]),
    writes=pa.schema([("n", pa.int64())]),
    measure=length,
    decide=long_enough,
)


@dataclass(frozen=True)
class NothingConfig:
    pass


def mark(config, inputs):
    def one(document):
        MEASURED["mark"] += 1
        return {"letters": len(set(document["text"]))}

    return one


MARK = DocumentStage(
    name="mark",
    version=1,
    config=NothingConfig(),
    measures=pa.schema([("letters", pa.int64())]),
    measure=mark,
    decide=everything,
    text=exclaimed,
    edits=True,
)


@dataclass(frozen=True)
class VocabularyConfig:
    top: int = measured(5, "words kept")


def vocabulary(config, inputs, folder, job):
    MEASURED["vocabulary"] += 1
    words = Counter(w for d in inputs.views["mark"].documents("text") for w in d["text"].split())
    (folder / "words.json").write_text(json.dumps(sorted(words)[: config.top]))
    return {"words": len(words)}


VOCABULARY = CorpusStage(name="vocabulary", version=1, config=VocabularyConfig(), inputs=("mark",), build=vocabulary, pinned=True)


def count(config, inputs):
    words = json.loads((inputs.artifacts["vocabulary"].path / "words.json").read_text())

    def one(document):
        MEASURED["count"] += 1
        return {"known": sum(w in words for w in document["text"].split())}

    return one


COUNT = DocumentStage(
    name="count",
    version=1,
    config=NothingConfig(),
    inputs=("vocabulary",),
    measures=pa.schema([("known", pa.int64())]),
    measure=count,
    decide=everything,
)

WAY = (INGEST, READ, UPPER, LENGTH, MARK, VOCABULARY, COUNT)


def replaced(way, **changes):
    """The way with some stages' configs (or whole stages) replaced, by name."""
    return tuple(
        stage
        if stage.name not in changes
        else (
            changes[stage.name] if isinstance(changes[stage.name], (DocumentStage, CorpusStage)) else stage.with_config(changes[stage.name])
        )
        for stage in way
    )
