"""A view in memory: what packer's stages and readers ask of the engine, and nothing more."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa

from corpus.canonical import digest_text
from corpus.stage import Inputs
from packer import pack
from packer.tokenizer import STAGE as TOKENIZER
from packer.tokenizer import TokenizerConfig, build


class Job:
    scratch = Path()
    workers = 1
    device = "cpu"

    def progress(self, done, total, note=""):
        assert 0 <= done <= total


class FakeView:
    """Documents {id, text, split}, and the parts they were packed into."""

    digest = "0" * 32

    def __init__(self, documents, parts=()):
        self._documents = sorted(documents, key=lambda d: d["id"])
        self._parts = list(parts)

    def table(self):
        return pa.table({"id": [d["id"] for d in self._documents], "split": [d["split"] for d in self._documents]})

    def documents(self, *fields, ids=None):
        for document in self._documents:
            if ids is None or document["id"] in ids:
                yield {"id": document["id"]} | {f: document.get(f) for f in fields}

    def parts(self):
        return self._parts


def document(text, split="train", held=None):
    return {"id": digest_text(text), "text": text, "split": split, "held": held}


def train_tokenizer(folder, documents, **settings):
    folder.mkdir(exist_ok=True)
    metrics = build(TokenizerConfig(**settings), Inputs(views={"split": FakeView(documents)}), folder, Job())
    return SimpleNamespace(path=folder, digest=metrics["hash"], record=metrics)


def packed(folder, tokenizer, *groups):
    """Pack each group of documents as one part, and the view over them all."""
    measure = pack.measure(pack.PackConfig(), Inputs(artifacts={TOKENIZER.name: tokenizer}))
    parts = []
    for number, group in enumerate(groups):
        part = folder / f"part-{number}"
        part.mkdir(parents=True)
        rows = [{"id": d["id"], **measure({"held": None} | d)} for d in sorted(group, key=lambda d: d["id"])]
        schema = pa.schema([pa.field("id", pa.string()), *pack.MEASURES])
        parts.append((part, pack.write_part(pa.Table.from_pylist(rows, schema=schema), part)))
    return FakeView([d for group in groups for d in group], parts)
