"""A corpus of invented sentences, packed in memory: what the training stages ask of the engine, and nothing more."""

from __future__ import annotations

import random
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa

from corpus.canonical import digest_text
from corpus.chatml import render
from corpus.stage import Inputs
from packer import pack
from packer import tokenizer as tokenizer_stage

SUBJECTS = {"it": ("il comune", "la scuola", "un contratto", "la legge"), "en": ("the town", "a school", "this contract", "the law")}
VERBS = {"it": ("approva", "prevede", "riguarda", "chiede"), "en": ("approves", "provides for", "concerns", "requires")}
ENDS = {"it": ("con urgenza", "ogni anno"), "en": ("at once", "every year")}


class View:
    """Documents with id, text, split, lang, form; and the parts they were packed into."""

    digest = "0" * 32

    def __init__(self, documents, parts=()):
        self._documents = sorted(documents, key=lambda d: d["id"])
        self._parts = list(parts)

    def table(self):
        return pa.table({name: [d[name] for d in self._documents] for name in ("id", "split", "lang", "form")})

    def documents(self, *fields, ids=None):
        for document in self._documents:
            if ids is None or document["id"] in ids:
                yield {"id": document["id"]} | {f: document.get(f) for f in fields}

    def parts(self):
        return self._parts


class Job:
    """A job whose progress can be watched."""

    workers, device = 1, "cpu"

    def __init__(self, scratch: Path, watch=lambda done, note: None):
        self.scratch, self.watch = scratch, watch
        scratch.mkdir(parents=True, exist_ok=True)

    def progress(self, done, total, note=""):
        self.watch(done, note)


def sentences(lang, count, rng):
    parts = (SUBJECTS[lang], VERBS[lang], SUBJECTS[lang], ENDS[lang])
    return " ".join(" ".join(map(rng.choice, parts)) + "." for _ in range(count)).capitalize()


def documents(count=40, chats=6):
    rng, found = random.Random(7), []
    for number in range(count):
        lang = ("it", "en")[number % 2]
        found.append({"text": sentences(lang, 12, rng), "split": "val" if number % 8 > 5 else "train", "lang": lang, "form": "prose"})
    for number in range(chats):
        messages = [{"role": "user", "content": sentences("it", 1, rng)}, {"role": "assistant", "content": sentences("it", 2, rng)}]
        found.append({"text": render(messages), "split": "val" if number == 0 else "train", "lang": "it", "form": "chat"})
    return [{"id": digest_text(d["text"]), **d} for d in found]


def packed(folder: Path, found):
    """Inputs with the views 'split' and 'pack' and the artifact 'tokenizer'."""
    split = View(found)
    (folder / "tokenizer").mkdir(parents=True)
    config = tokenizer_stage.TokenizerConfig(vocab_size=320)
    tokenizer_stage.build(config, Inputs(views={"split": split}), folder / "tokenizer", Job(folder / "scratch"))
    tokenizer = SimpleNamespace(path=folder / "tokenizer", digest="", record={})
    measure = pack.measure(pack.PackConfig(), Inputs(artifacts={"tokenizer": tokenizer}))
    part = folder / "part-0"
    part.mkdir()
    rows = [{"id": d["id"], **measure({"held": None} | d)} for d in sorted(found, key=lambda d: d["id"]) if d["form"] == "prose"]
    schema = pa.schema([pa.field("id", pa.string()), *pack.MEASURES])
    table = pack.write_part(pa.Table.from_pylist(rows, schema=schema), part)
    return Inputs(artifacts={"tokenizer": tokenizer}, views={"split": split, "pack": View(found, [(part, table)])})


def with_artifact(inputs, name, path):
    return Inputs(artifacts={**inputs.artifacts, name: SimpleNamespace(path=path, digest="", record={})}, views=inputs.views)


def build(stage, inputs, folder: Path, **settings):
    """Run a corpus stage with these settings into `folder`; its metrics, and the inputs with the artifact added."""
    folder.mkdir(parents=True, exist_ok=True)
    watch = settings.pop("watch", lambda done, note: None)
    scratch = settings.pop("scratch", folder.with_name(folder.name + "-scratch"))
    metrics = stage.build(type(stage.config)(**settings), inputs, folder, Job(scratch, watch))
    return metrics, with_artifact(inputs, stage.name, folder)
