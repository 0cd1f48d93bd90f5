"""Ingest: a file to its members. What is measured is the bytes of the file; where it lies only decides what is curated.

The engine walks the sources, hashes the files and flattens the members; here is what one file holds, and
the settings the engine reads when it walks: `chat`, `hidden`, `ignore`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from corpus.config import decided, how, measured
from corpus.document import Document
from corpus.outcome import Circumstance, Outcome, kept
from corpus.stage import DocumentStage, Inputs, Measurements
from extractors.containers.walk import Limits, open_file


@dataclass(frozen=True)
class IngestConfig:
    """Limits within which containers are opened, and which files count."""

    max_depth: int = measured(6, "containers in containers: deeper ones are rejected as too_deep")
    max_members: int = measured(2_000_000, "members of one file: the rest is rejected as too_many_members")
    max_total_bytes: int = measured(8 << 30, "bytes one file may unpack to, in all")
    max_member_bytes: int = measured(1 << 30, "bytes one member may unpack to")
    max_ratio: float = measured(200.0, "unpacked to packed size: above it an archive member is rejected as zip_bomb")
    text_columns: tuple[str, ...] = measured(
        Limits.text_columns,
        "columns (lower case) with the text of a table, whose rows are then members; else a column of prose is looked for",
    )
    chat: tuple[str, ...] = decided(("chat/",), "places of curated chat: folders of a source (ending in /) or glob patterns of paths")
    chat_folders: tuple[str, ...] = how((), "folders outside RAW that hold nothing but curated chat; each becomes a source")
    named: dict[str, tuple[str, ...]] = decided(
        {}, "names for parts of RAW: name -> folders or patterns, as in chat; a document's `source` is this name, else its source's"
    )
    hidden: bool = decided(False, "look at files and folders whose name begins with a dot")
    ignore: tuple[str, ...] = decided(
        ("Thumbs.db", "desktop.ini", "~$*", "*.part", "*.crdownload", "__MACOSX"), "names of files or folders that are never looked at"
    )

    def limits(self) -> Limits:
        """The limits, as containers take them."""
        return Limits(
            self.max_depth,
            self.max_members,
            self.max_total_bytes,
            self.max_member_bytes,
            self.max_ratio,
            tuple(c.lower() for c in self.text_columns),
        )


def measure(config: IngestConfig, inputs: Inputs) -> Callable[[Document], Measurements]:
    """document {'id': hash of the file, 'path': where it lies now} -> {'members': [{id, inner, kind, size, status, reason, detail}]}."""
    limits = config.limits()

    def members(document: Document) -> Measurements:
        before = os.stat(document["path"])
        found = [asdict(member) for member in open_file(document["path"], limits)]
        now = os.stat(document["path"])
        if (before.st_size, before.st_mtime_ns) != (now.st_size, now.st_mtime_ns):
            raise Circumstance("growing", "the file was still being written; the next run takes it up")
        return {"members": found}

    return members


def decide(config: IngestConfig, m: dict[str, Any]) -> Outcome:
    """A file is always kept: its members carry what went wrong inside."""
    return kept()


_MEMBER = pa.struct(
    [
        pa.field("id", pa.string()),
        pa.field("inner", pa.string()),
        pa.field("kind", pa.string()),
        pa.field("size", pa.int64()),
        pa.field("status", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("detail", pa.string()),
    ]
)

STAGE = DocumentStage(
    name="ingest",
    version=2,
    config=IngestConfig(),
    doc="opens containers and lists members",
    engines=("charset-normalizer", "pyarrow", "python-oxmsg"),
    reads=(),
    measures=pa.schema([pa.field("members", pa.list_(_MEMBER), metadata={"doc": "what the file holds, in the order of the file"})]),
    measure=measure,
    decide=decide,
    sensitive=True,
    deadline=600.0,
)
