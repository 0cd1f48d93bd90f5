"""Texts that other projects accepted for their test files, beside what is read here, by Docling, by markitdown and by pandoc.

A reference is a file of the folder `--references`, `<project>/[<kind>/...]<name>.md|.txt`; it is what the project's tests expect
of a source, so a text that its maintainers read and agreed to, and no hand transcript. Its source is looked for among the files
of `--raw` that came from the same project (`raw_manifest.jsonl` beside the folder states repository and path of each), by the
first of these that names exactly one text:

1. the source's base name is the reference's name without its last suffix (`a.docx.md` is `a.docx`);
2. the source's folder and base name, joined by `_`, are (`paper_main.tex.md` is `paper/main.tex`);
3. the source's base name without suffix is, among the PDF files and then among all (`a.md` is `a.pdf`);
4. the same after the parts of the name that say which OCR engine read it in which way (`a.tesseract.full_page.md` is `a.*`).

References without a source are listed by kind, not dropped. A source is read the way the pipeline does it: listed with its
members (a mail's attachments are documents of their own), each extracted, joined. The peers are called with their defaults, and
only for formats they name; Docling is not asked for PDF and images, where it needs weights. What cannot be read counts as a
similarity of 0. extract_score.py says what similarity and bag are. Several references can be of one source (what
different OCR engines read); the list of the worst names each source once, with the reference that is nearest.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from extract_score import bag, similarity, words
from rapidfuzz.distance import Levenshtein
from rich import box
from rich.console import Console
from rich.table import Table

SECONDS = 120  # a file, a tool
OWNERS = {"docling": "docling-project/docling", "markitdown": "microsoft/markitdown", "unstructured": "Unstructured-IO/unstructured"}
PANDOC = {
    ".docx": "docx",
    ".odt": "odt",
    ".epub": "epub",
    ".tex": "latex",
    ".html": "html",
    ".md": "markdown",
    ".csv": "csv",
    ".nxml": "jats",
    ".rst": "rst",
    ".rtf": "rtf",
    ".pptx": "pptx",
    ".xlsx": "xlsx",
    ".asciidoc": "asciidoc",
}
MARKITDOWN = frozenset(".docx .pptx .xlsx .xlsm .xls .pdf .html .csv .epub .msg .xml .md .txt".split())
WEIGHTS = frozenset(".pdf .jpg .png .webp .tif .tiff".split())


@dataclass
class Pair:
    """A reference and its source; `texts` and `scores` by tool, only for tools that name the format."""

    kind: str
    reference: Path
    source: Path
    texts: dict[str, str] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    bags: dict[str, float] = field(default_factory=dict)


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `references`."""
    parser.add_argument("--raw", type=Path, required=True, help="folder of source files, with raw_manifest.jsonl beside it")
    parser.add_argument("--references", type=Path, required=True, help="folder of reference texts, one folder a project")
    parser.add_argument("--worst", type=int, default=10, help="how many of the least similar to list")
    parser.add_argument("--show", default="", help="print the first differences to this reference (a part of its path)")
    parser.add_argument("--only", default="", help="only references whose path holds this")
    parser.add_argument("--tools", default="ours,docling,markitdown,pandoc", help="which tools to run")


def run(given: argparse.Namespace) -> None:
    """Reads every source with every tool and prints the tables."""
    warnings.simplefilter("ignore")
    console = Console(width=140)
    pairs, missing = matched(given.raw, given.references)
    wanted = given.show or given.only
    pairs = [pair for pair in pairs if wanted in str(pair.reference)]
    tools = {name: tool for name, tool in TOOLS.items() if name in given.tools.split(",")}
    seconds: Counter[str] = Counter()
    read: dict[tuple[str, Path], str | None] = {}
    for pair in pairs:
        reference = _reference(pair)
        for name, tool in tools.items():
            if (name, pair.source) not in read:
                began = time.perf_counter()
                read[name, pair.source] = _timed(tool, pair.source)
                seconds[name] += time.perf_counter() - began
            text = read[name, pair.source]
            if text is not None:
                pair.texts[name] = text
                pair.scores[name], pair.bags[name] = similarity(text, reference), bag(text, reference)
    if given.show:
        for pair in pairs:
            _differences(console, pair)
        return
    _by_kind(console, pairs, list(tools))
    console.print(f"seconds: {', '.join(f'{name} {seconds[name]:.0f}' for name in tools)}")
    _worst(console, pairs, list(tools), given.worst)
    _missing(console, missing)


def _reference(pair: Pair) -> str:
    return pair.reference.read_text(encoding="utf-8", errors="replace")


def matched(raw: Path, references: Path) -> tuple[list[Pair], list[tuple[str, Path]]]:
    """Pairs of reference and source, and references without one as (kind, path)."""
    sources: dict[str, list[tuple[Path, Path]]] = defaultdict(list)  # repository -> path there, file here
    for line in (raw.parent / "raw_manifest.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        sources[row["repo"]].append((Path(row["src"]), raw.parent / row["path"]))
    pairs, missing = [], []
    for reference in sorted(path for path in references.rglob("*") if path.is_file()):
        project, *folders = reference.relative_to(references).parts[:-1]
        found = _source(reference.stem, sources[OWNERS.get(project, "")])
        kind = folders[0] if folders else found.suffix[1:].lower() if found else project
        if found:
            pairs.append(Pair(kind, reference, found))
        else:
            missing.append((kind, reference))
    return pairs, missing


def _source(name: str, sources: list[tuple[Path, Path]]) -> Path | None:
    stem = name.split(".")[0]
    ways: tuple[Callable[[Path], bool], ...] = (
        lambda path: path.name == name,
        lambda path: f"{path.parent.name}_{path.name}" == name,
        lambda path: path.stem == name and path.suffix == ".pdf",
        lambda path: path.stem == name,
        lambda path: name.count(".") == 2 and path.stem == stem and path.suffix in WEIGHTS,
    )
    for way in ways:
        found = [here for there, here in sources if way(there)]
        if found and len({path.read_bytes() for path in found}) == 1:
            return found[0]
    return None


def ours(source: Path) -> str | None:
    """What the pipeline keeps of the file, its members joined."""
    from extractors import extract
    from extractors.containers.walk import open_file, read_member

    config, texts = extract.ExtractConfig(), []
    for member in open_file(str(source)):
        data = read_member(str(source), member.inner)
        row = extract.as_measurements(extract.extracted(config, data, member.kind), config)
        texts.append(row["text"])
    return "\n\n".join(texts)


_CONVERTERS: dict[str, Any] = {}


def docling(source: Path) -> str | None:
    """Docling's Markdown with its defaults; None for what needs weights or what it does not name."""
    from docling.document_converter import DocumentConverter
    from docling.exceptions import ConversionError

    if source.suffix.lower() in WEIGHTS:
        return None
    converter = _CONVERTERS.setdefault("docling", DocumentConverter())
    try:
        return str(converter.convert(source).document.export_to_markdown(image_placeholder=""))
    except ConversionError as error:
        if "format not allowed" in str(error).lower():
            return None
        raise


def markitdown(source: Path) -> str | None:
    """markitdown's Markdown, None for formats it does not name."""
    if source.suffix.lower() not in MARKITDOWN:
        return None
    from markitdown import MarkItDown

    return str(_CONVERTERS.setdefault("markitdown", MarkItDown(enable_plugins=False)).convert(source).text_content)


def pandoc(source: Path) -> str | None:
    """pandoc's Markdown (GitHub's), None for formats it does not name."""
    reader = PANDOC.get(source.suffix.lower())
    if reader is None:
        return None
    import pypandoc

    return str(pypandoc.convert_file(str(source), "gfm", format=reader, extra_args=["--wrap=none"]))


TOOLS: dict[str, Callable[[Path], str | None]] = {"ours": ours, "docling": docling, "markitdown": markitdown, "pandoc": pandoc}


def _timed(tool: Callable[[Path], str | None], source: Path) -> str | None:
    """The tool's text, '' where it fails or takes longer than SECONDS."""

    def late(number: int, frame: object) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        return tool(source)
    except Exception:  # its failure is its result
        return ""
    finally:
        signal.alarm(0)


def _by_kind(console: Console, pairs: list[Pair], tools: list[str]) -> None:
    table = Table(
        "kind", "tool", "read", "mean", "median", "worst", "bag mean", title="similarity to the reference, by kind", box=box.SIMPLE_HEAD
    )
    for kind in [*sorted({pair.kind for pair in pairs}), "all"]:
        chosen = [pair for pair in pairs if kind in (pair.kind, "all")]
        for name in tools:
            scores = [pair.scores[name] for pair in chosen if name in pair.scores]
            if scores:
                bags = [pair.bags[name] for pair in chosen if name in pair.bags]
                figures = [statistics.mean(scores), statistics.median(scores), min(scores), statistics.mean(bags)]
                done = sum(bool(pair.texts.get(name)) for pair in chosen)
                table.add_row(kind if name == tools[0] else "", name, f"{done}/{len(chosen)}", *(f"{figure:.3f}" for figure in figures))
    console.print(table)


def _worst(console: Console, pairs: list[Pair], tools: list[str], count: int) -> None:
    table = Table("reference", *(f"{name}" for name in tools), "our bag", title="least similar of ours", box=box.SIMPLE_HEAD)
    nearest: dict[Path, Pair] = {}
    for pair in pairs:
        if pair.scores.get("ours", 0.0) >= nearest.get(pair.source, pair).scores.get("ours", 0.0):
            nearest[pair.source] = pair
    for pair in sorted(nearest.values(), key=lambda pair: pair.scores.get("ours", 0.0))[:count]:
        scores = (f"{pair.scores[name]:.3f}" if name in pair.scores else "–" for name in tools)
        table.add_row("/".join((pair.kind, pair.reference.name)), *scores, f"{pair.bags.get('ours', 0.0):.3f}")
    console.print(table)


def _missing(console: Console, missing: list[tuple[str, Path]]) -> None:
    counts = Counter(kind for kind, _ in missing)
    table = Table("kind", "references", "names", title=f"{len(missing)} references have no source among the files", box=box.SIMPLE_HEAD)
    for kind, count in sorted(counts.items()):
        table.add_row(kind, str(count), ", ".join(path.stem for other, path in missing if other == kind))
    console.print(table)


def _differences(console: Console, pair: Pair, most: int = 12, around: int = 4) -> None:
    """The first differing places, a dozen words each."""
    theirs = words(_reference(pair))
    for name, text in pair.texts.items():
        mine = words(text)
        console.print(
            f"\n{pair.reference.name}: {name} {pair.scores[name]:.3f}, bag {pair.bags[name]:.3f}, {len(mine)} words, {len(theirs)} there"
        )
        changes = [block for block in Levenshtein.opcodes(mine, theirs) if block.tag != "equal"]
        for block in _joined(changes)[:most]:
            a0, a1, b0, b1 = block
            console.print(
                f"  … {' '.join(mine[max(0, a0 - around) : a0])} \\[", _cut(mine[a0:a1]), "] / [", _cut(theirs[b0:b1]), "]", markup=False
            )


def _joined(changes: list[Any]) -> list[tuple[int, int, int, int]]:
    """Changes with fewer than three equal words between them are one."""
    joined: list[tuple[int, int, int, int]] = []
    for change in changes:
        if joined and change.src_start - joined[-1][1] < 3:
            joined[-1] = (joined[-1][0], change.src_end, joined[-1][2], change.dest_end)
        else:
            joined.append((change.src_start, change.src_end, change.dest_start, change.dest_end))
    return joined


def _cut(listed: list[str], limit: int = 24) -> str:
    return " ".join(listed) if len(listed) <= limit else f"{' '.join(listed[:limit])} … {len(listed)} words"
