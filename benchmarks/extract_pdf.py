"""PDFs: our reader beside its peers, on typeset texts of known truth, on real documents with references, and for speed.

    python benchmarks/extract.py pdf --laws FOLDER [--documents 20] [--layouts hyphens notes] [--readers athanor pdfium] [--work FOLDER]
    python benchmarks/extract.py pdf --raw FOLDER --references FOLDER [--pages 600]

Typeset (extract_typeset.py: layouts and truth): similarity is word edit similarity, mean and worst, bag the same words without
their order (extract_score.py); whole is the share of paragraphs of twelve words and more that come out as one paragraph, or as
one item of a list, letter for letter; pages/s per second of CPU. `across` are the documents of all layouts whose two columns are
painted row by row: their order in the file is not the order of reading.

Real: similarity with the reference that another project publishes for the same file (--references holds the folders docling,
unstructured and markitdown of them). These are what those programs gave with their models, corrected or not: near is good, 1 is
not the goal.

Speed: digital PDFs of --raw, drawn until --pages pages are together, none longer than --longest; one process, one thread, after
a warm-up, of those that every reader reads whole; for our reader also where the time goes (extract_pdf_split.py).

With --work the typeset PDFs, their truths and what each reader made of them stay there.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from extract_pdf_peers import READERS, WAYS, Reader, quiet
from extract_pdf_split import split
from extract_score import bag, similarity
from extract_typeset import LAYOUTS, laws, typeset

_PAGES = 2_000


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which groups run follows from the folders given."""
    parser.add_argument("--laws", type=Path, help="folder of plain texts to typeset")
    parser.add_argument("--documents", type=int, default=20, help="typeset documents per layout")
    parser.add_argument("--layouts", nargs="+", choices=LAYOUTS, default=LAYOUTS)
    parser.add_argument("--readers", nargs="+", choices=tuple(READERS), default=tuple(READERS))
    parser.add_argument("--worst", type=int, default=0, help="also name our worst typeset documents")
    parser.add_argument("--raw", type=Path, help="folder of real documents")
    parser.add_argument("--references", type=Path, help="folder of references for them")
    parser.add_argument("--pages", type=int, default=600, help="pages of real PDFs to take the time of; 0: none")
    parser.add_argument("--longest", type=int, default=40, help="pages of the longest PDF to take the time of")
    parser.add_argument("--work", type=Path, help="folder in which PDFs, truths and texts stay")


def run(given: argparse.Namespace) -> None:
    """The tables."""
    for library in ("OMP", "MKL", "OPENBLAS", "NUMEXPR"):
        os.environ[f"{library}_NUM_THREADS"] = "1"
    quiet()
    readers = {name: READERS[name] for name in given.readers}
    with tempfile.TemporaryDirectory() as scratch:
        work = given.work or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        if given.laws:
            typeset_group(given, readers, work)
        if given.raw and given.references:
            real_group(given.raw, given.references, readers)
        if given.raw and given.pages:
            speed_group(given.raw, readers, given.pages, given.longest)


# --- typeset ---


@dataclass
class Score:
    """One document by one reader."""

    document: str
    similarity: float
    bag: float
    whole: int
    paragraphs: int
    pages: int
    seconds: float


def score(text: str, truth: dict[str, Any]) -> tuple[float, float, int]:
    """Best similarity and bag over the truths; paragraphs that came out whole."""
    truths = truth["truths"].values()
    blocks = {_letters(block) for block in re.split(r"\n\s*\n|\n(?=[-*•] )", text)}
    whole = sum(_letters(paragraph) in blocks for paragraph in truth["paragraphs"])
    return max(similarity(text, t) for t in truths), max(bag(text, t) for t in truths), whole


def _letters(text: str) -> str:
    return "".join(c for c in text if c.isalnum())


def typeset_group(given: argparse.Namespace, readers: dict[str, Reader], work: Path) -> None:
    """A table for each layout, and one for what is painted across the columns."""
    texts = laws(given.laws)
    if not texts:
        raise SystemExit("--laws holds no plain text long enough to typeset")
    scores: dict[tuple[str, str], list[Score]] = defaultdict(list)
    warm(readers, texts, work)
    for layout in given.layouts:
        for number in range(given.documents):
            path = work / f"{layout}-{number:02}.pdf"
            truth = typeset(layout, number, texts, path)
            for name, reader in readers.items():
                text, pages, seconds = timed(reader, path.read_bytes(), _PAGES)
                path.with_suffix(f".{name}.txt").write_text(text, "utf-8")
                if pages != truth["pages"]:
                    print(f"! {name} read {pages} of {truth['pages']} pages of {path.name}")
                best, words, whole = score(text, truth)
                found = Score(path.stem, best, words, whole, len(truth["paragraphs"]), truth["pages"], seconds)
                for group in [layout] + ["across"] * truth["across"]:
                    scores[group, name].append(found)
    for group in (*given.layouts, "across"):
        rows = [[name, *_summary(scores[group, name])] for name in readers if scores[group, name]]
        if rows:
            count, pages = len(scores[group, next(iter(readers))]), sum(s.pages for s in scores[group, next(iter(readers))])
            table(f"{group}: {count} documents, {pages} pages", ("reader", "similarity", "worst", "bag", "whole", "pages/s"), rows)
    say_ways()
    ours = sorted((s for layout in given.layouts for s in scores[layout, "athanor"]), key=lambda s: s.similarity)[: given.worst]
    for s in ours:
        print(f"  {s.document}  {s.similarity:.4f}  bag {s.bag:.4f}  whole {s.whole} of {s.paragraphs}")


def _summary(scores: Sequence[Score]) -> list[str]:
    count = len(scores)
    return [
        f"{sum(s.similarity for s in scores) / count:.4f}",
        f"{min(s.similarity for s in scores):.4f}",
        f"{sum(s.bag for s in scores) / count:.4f}",
        f"{sum(s.whole for s in scores) / max(1, sum(s.paragraphs for s in scores)):.3f}",
        f"{sum(s.pages for s in scores) / max(1e-9, sum(s.seconds for s in scores)):.1f}",
    ]


def warm(readers: dict[str, Reader], texts: list[list[str]], work: Path) -> None:
    """Each reader reads one document outside the time: imports and first calls."""
    path = work / "warm.pdf"
    typeset("columns", 0, texts, path)
    for reader in readers.values():
        timed(reader, path.read_bytes(), _PAGES)


def timed(reader: Reader, data: bytes, pages: int) -> tuple[str, int, float]:
    """Text, pages and CPU seconds of all threads; nothing where the reader fails."""
    start = time.process_time()
    try:
        text, count = reader(data, pages)
    except Exception:  # a peer's failure on a file is its score, not the end of the run
        text, count = "", 0
    return text, count, time.process_time() - start


# --- real documents ---


def real_group(raw: Path, references: Path, readers: dict[str, Reader]) -> None:
    """A row for each document with a reference."""
    rows = []
    totals: Counter[str] = Counter()
    pairs = list(matched(raw, references))
    for path, reference in pairs:
        truth, data = reference.read_text("utf-8", "replace"), path.read_bytes()
        row = [path.name[:44], reference.relative_to(references).parts[0]]
        for name, reader in readers.items():
            text, _, _ = timed(reader, data, _PAGES)
            near = similarity(text, truth)
            totals[name] += near
            row.append(f"{near:.3f} {bag(text, truth):.3f}")
        rows.append(row)
    rows.append(["mean", "", *(f"{totals[name] / max(1, len(pairs)):.3f}" for name in readers)])
    table(f"real: {len(pairs)} documents, similarity and bag", ("document", "reference", *readers), rows)
    say_ways()


def matched(raw: Path, references: Path) -> Iterable[tuple[Path, Path]]:
    """PDFs and their references: by the repository a file came from, where a manifest beside the folder tells it, or by name."""
    manifest = raw.parent / "raw_manifest.jsonl"
    sources = {}
    if manifest.exists():
        for line in manifest.read_text("utf-8").splitlines():
            entry = json.loads(line)
            sources[raw.parent / entry["path"]] = entry["repo"]
    pdfs = sorted(raw.rglob("*.pdf"))
    for reference in sorted(p for p in references.rglob("*") if p.suffix in (".md", ".txt")):
        project, *between = reference.relative_to(references).parts
        if between[:-1] not in ([], ["pdf"]):
            continue
        name = reference.name.removesuffix(reference.suffix).removesuffix(".pdf") + ".pdf"
        same = [p for p in pdfs if p.name == name]
        same.sort(key=lambda p: project not in sources.get(p, "").lower())
        if same:
            yield same[0], reference


# --- speed ---


def speed_group(raw: Path, readers: dict[str, Reader], pages: int, longest: int) -> None:
    """Pages per CPU second on real digital PDFs."""
    documents, total = digital(raw, pages, longest)
    if not documents:
        return
    counts, results = [], {}
    for name, reader in readers.items():
        timed(reader, documents[0][0], _PAGES)
        results[name] = [timed(reader, data, _PAGES) for data, _ in documents]
    for number, (_, count) in enumerate(documents):
        if all(results[name][number][1] == count for name in readers):
            counts.append(number)
    rows = []
    for name in readers:
        missed = sum(read[1] != count for read, (_, count) in zip(results[name], documents, strict=True))
        read = [results[name][number] for number in counts]
        seconds, done = sum(r[2] for r in read), sum(r[1] for r in read)
        rows.append([name, str(missed), f"{seconds:.1f}", f"{done / max(seconds, 1e-9):.1f}", f"{sum(len(r[0]) for r in read):,}"])
    pages = sum(documents[number][1] for number in counts)
    title = f"speed: {len(counts)} of {len(documents)} real PDFs, those every reader read whole, {pages} of {total} pages"
    table(title, ("reader", "not read whole", "CPU s", "pages/s", "characters"), rows)
    if "athanor" in readers:
        with split() as parts:
            for number in counts:
                timed(readers["athanor"], documents[number][0], _PAGES)
        shares = sorted(((seconds / sum(parts.values()), part) for part, seconds in parts.items()), reverse=True)
        print("  athanor: " + ", ".join(f"{part} {100 * share:.0f} %" for share, part in shares))
    say_ways()


def digital(raw: Path, pages: int, longest: int) -> tuple[list[tuple[bytes, int]], int]:
    """PDFs with text on most of their pages and the number of these, in a drawn order, until `pages` pages are together."""
    import pypdfium2

    paths = sorted(raw.rglob("*.pdf"))
    random.Random(1).shuffle(paths)
    found: list[tuple[bytes, int]] = []
    total, seen = 0, set()
    for path in paths:
        data = path.read_bytes()
        try:
            with pypdfium2.PdfDocument(data) as pdf:
                count = len(pdf)
                if not 0 < count <= longest or data in seen:
                    continue
                written = sum(len(pdf[n].get_textpage().get_text_bounded().strip()) > 100 for n in range(count))
        except pypdfium2.PdfiumError:
            continue
        if written > 0.5 * count:
            found.append((data, count))
            seen.add(data)
            total += count
        if total >= pages:
            break
    return found, total


def say_ways() -> None:
    """By which ways our reader went since last asked: a fallback must not pass for the reader."""
    if WAYS:
        print("  athanor read by: " + ", ".join(f"{way} {count}" for way, count in WAYS.most_common()))
        WAYS.clear()


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table of text columns, the first to the left."""
    widths = [max(len(row[n]) for row in [head, *rows]) for n in range(len(head))]
    print(f"\n{title}")
    for row in [head, *rows]:
        print("  " + "  ".join(c.ljust(w) if n == 0 else c.rjust(w) for n, (c, w) in enumerate(zip(row, widths, strict=True))))
