"""`athanor doctor`: what is here, what is missing, and what to do about it, one line each.

A check ends as `ok`, `note` (works, with a limit) or `bad` (will not work). The exit code is 1 when something is bad.
`--keys` lists every configuration key instead.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

from corpus.outcome import Stop
from corpus.workspace import Workspace
from extractors import ocr
from extractors.extract import ExtractConfig
from extractors.office import legacy
from flows import tables
from flows.cli import answer
from flows.settings import configure, cores, keys
from model.compiled import COMPILERS, Unavailable, library

LIBRARIES = {  # distribution -> what it does here
    "pyarrow": "tables",
    "duckdb": "inspect --sql",
    "docling-slim": "PDF and office files",
    "pypdfium2": "PDF text",
    "trafilatura": "web pages",
    "ftfy": "mojibake",
    "lingua-language-detector": "languages",
    "presidio-analyzer": "personal data",
    "datasketch": "near duplicates",
    "tokenizers": "BPE",
    "safetensors": "models on disk",
}
FORMATS = {
    "pdf": "docling_parse",
    "docx, pptx, xlsx": "docx",
    "odt, ods, odp": "odf",
    "html": "trafilatura",
    "e-mail": "email",
    "images": "PIL",
}
SPACY = {"it": ("it_core_news_lg", "it_core_news_md", "it_core_news_sm"), "en": ("en_core_web_lg", "en_core_web_md", "en_core_web_sm")}


@dataclass(frozen=True)
class Check:
    """One line."""

    what: str
    state: str  # ok, note, bad
    found: str
    remedy: str = ""


def doctor(args: argparse.Namespace) -> int:
    """The command."""
    from flows.pipeline import WAY

    way, _, _ = configure(WAY, args.config, args.sets)
    out = sys.stderr if args.json else sys.stdout
    if args.keys:
        rows = keys(way)
        tables.show(("key", "value", "bears on", "meaning"), [[k, tables.number(v), bears, doc] for k, v, bears, doc in rows], out)
        if args.json:
            answer("doctor", "done", keys=[{"key": k, "value": v, "bears": b, "doc": d} for k, v, b, d in rows])
        return 0
    reading = next((stage.config for stage in way if stage.name == "extract"), ExtractConfig())
    checks = [*machine(args.workspace), *libraries(reading), *workspace_health(args.workspace)]
    tables.show(
        ("check", "", "found", "what to do"),
        [[c.what, c.state, c.found, c.remedy] for c in checks],
        out,
        styles=[_style(c) for c in checks],
    )
    bad = [c for c in checks if c.state == "bad"]
    print(f"{len(bad)} problems." if bad else "Ready.", file=out)
    if args.json:
        answer("doctor", "failed" if bad else "done", checks=[c.__dict__ for c in checks])
    return int(bool(bad))


def machine(near: Path) -> Iterator[Check]:
    """Python, processors, memory, disk, compiler, device."""
    version = sys.version_info
    ok = version >= (3, 11)
    yield Check(
        "python", "ok" if ok else "bad", f"{version.major}.{version.minor}.{version.micro}", "" if ok else "use Python 3.11 or newer"
    )
    yield Check("processors", "ok", str(cores()))
    memory = _memory()
    if memory:
        enough = memory >= 4e9
        yield Check("memory", "ok" if enough else "note", tables.size(memory), "" if enough else "set run.workers to 1")
    folder = next(p for p in (near.resolve(), *near.resolve().parents) if p.is_dir())
    free = shutil.disk_usage(folder).free
    yield Check(
        "disk",
        "ok" if free > 2e9 else "note",
        f"{tables.size(free)} free",
        "" if free > 2e9 else "`athanor gc` frees space; or choose another -w",
    )
    if not os.access(folder, os.W_OK):
        yield Check("workspace", "bad", "cannot be written", "check its permissions, or choose another folder with -w")
    compiler = next((c for c in COMPILERS if shutil.which(c)), "")
    yield Check(
        "C++ compiler",
        "ok" if compiler else "note",
        compiler or "none",
        "" if compiler else "install one: training is up to twice as fast, writing several times",
    )


def libraries(reading: ExtractConfig) -> Iterator[Check]:
    """torch and its device, Prefect, the libraries of the stages, formats, language packages, programs."""
    torch = _version("torch")
    if torch:
        import torch as t

        name = t.cuda.get_device_name(0) if t.cuda.is_available() else f"CPU, {t.get_num_threads()} threads"
        yield Check("torch", "ok", f"{torch}, {name}")
        yield _writing()
    else:
        yield Check("torch", "bad", "missing", "pip install torch")
    prefect = _version("prefect")
    yield Check("prefect", "ok" if prefect else "note", prefect or "missing", "" if prefect else "runs go on without its pages")
    for name, use in LIBRARIES.items():
        found = _version(name)
        yield Check(
            name, "ok" if found else "bad", f"{found}, {use}" if found else f"missing ({use})", "" if found else f"pip install {name}"
        )
    lacking = [kind for kind, module in FORMATS.items() if util.find_spec(module) is None]
    yield Check(
        "formats",
        "note" if lacking else "ok",
        f"without {'; '.join(lacking)}" if lacking else ", ".join(FORMATS),
        "install again with all extras" if lacking else "",
    )
    for lang, packages in SPACY.items():
        found = next((p for p in packages if util.find_spec(p)), "")
        remedy = "" if found else f"names of people are found by rules; {packages[0]} (a spaCy package) finds more"
        yield Check(f"names, {lang}", "ok" if found else "note", found or "rules", remedy)
    layout = util.find_spec("torchvision") is not None
    yield Check(
        "page layout",
        "ok" if layout else "note",
        "models" if layout else "rules",
        "" if layout else "the extra 'layout' adds Docling's models",
    )
    for what, module in (("scanned pages", ocr), ("old office files", legacy)):
        there, remedy = module.found(reading)
        yield Check(what, "note" if remedy else "ok", there or "not read", remedy)


def _writing() -> Check:
    """How a model writes on the processor. Compiles what is missing, so that the first conversation need not (seconds)."""
    from model.few_tokens import SOURCE

    try:
        library(SOURCE)
    except Unavailable as reason:
        return Check("writing", "note", f"by Python's modules: {reason}", "a C++ compiler with OpenMP makes it several times faster")
    return Check("writing", "ok", "by compiled code")


def workspace_health(path: Path) -> Iterator[Check]:
    """The workspace's sources, runs and size; nothing where there is none."""
    if not (path / "workspace.json").is_file():
        yield Check("workspace", "ok", "none yet", "")
        return
    try:
        workspace = Workspace.open(path)
        for name, source in workspace.sources().items():
            there = source.is_dir()
            remedy = "" if there else f"mount it, or `athanor source remove {name} -w {path}`"
            yield Check(f"source {name}", "ok" if there else "bad", "there" if there else "not there", remedy)
        run = workspace.latest_run()
        yield Check(
            "latest run",
            "ok" if run and run.record["status"] == "finished" else "note",
            f"{run.id} {run.record['status']}" if run else "none",
        )
        used = sum(f.stat().st_size for f in workspace.path.rglob("*") if f.is_file())
        yield Check("size", "ok", tables.size(used))
    except (Stop, ValueError, KeyError) as error:
        said = str(error) if isinstance(error, Stop) else "its records cannot be read"
        yield Check("workspace", "bad", said, "choose another folder with -w")


def _memory() -> int:
    """Bytes of memory this machine has, or the container's limit where that is lower; 0 when unknown."""
    try:
        physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return 0
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.is_file() else ""
    return min(physical, int(text)) if text.isdecimal() else physical


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def _style(check: Check) -> str:
    return {"ok": "", "note": "yellow", "bad": "red"}[check.state]
