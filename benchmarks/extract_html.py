"""Main text of web pages: shingle F1 and pages a second, beside trafilatura's own modes and what training corpora are made with.

`--pages` is a folder in the form of the article extraction benchmark of Scrapinghub: ground-truth.json (id -> articleBody) and
html/<id>.html.gz. The measure is theirs: a text is its `\\w+` tokens, a page counts the 4-grams found, wrong and missed, each
page weighs the same; precision and recall are means over the pages that have any, F1 is made of these two means. Markdown's
marks are no `\\w`, so they cost nobody anything. The ± is the standard deviation over 1,000 draws of as many pages.

Everybody gets the decoded page (Athanor its bytes), one after the other in this process. Pages a second are those of processor
time, in the best of `--rounds` rounds, in which all take their turn. `x bare` is Athanor's throughput over that of a bare loop
around trafilatura in the mode Athanor has, without and with its metadata, which Athanor always reads.

datatrove   its Trafilatura extractor as it comes (precision, deduplication), on the trafilatura that is installed here
resiliparse the main content without alternative texts, as DCLM and Dolma take it
jusText     with the parameters of NeMo Curator, the stop words of the language that the page declares, English otherwise
"""

from __future__ import annotations

import argparse
import gzip
import importlib.metadata
import json
import logging
import random
import re
import statistics
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from extractors.extract import ExtractConfig, as_measurements, extracted

TRAFILATURA: dict[str, dict[str, Any]] = {
    "default": {},
    "fast": {"fast": True},
    "fast-recall": {"fast": True, "favor_recall": True},
    "precision": {"favor_precision": True},
    "recall": {"favor_recall": True},
}
SHINGLE = 4
_TOKEN = re.compile(r"\w+")

Counts = tuple[float, float, float]  # shares of 4-grams found, wrong, missed
Reader = Callable[[bytes, str], str]


@dataclass(frozen=True)
class Page:
    """A page and the text a person took from it."""

    data: bytes
    html: str
    body: str


def arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `extract.py html`."""
    parser.add_argument("--pages", type=Path, required=True, help="folder with ground-truth.json and html/*.html.gz")
    parser.add_argument("--rounds", type=int, default=3, help="the fastest of so many counts")
    parser.add_argument("--worst", type=int, default=0, help="also print the pages where Athanor is farthest behind trafilatura")


def run(given: argparse.Namespace) -> None:
    """Print F1, precision, recall and throughput of everybody."""
    logging.disable(logging.CRITICAL)
    pages = load(given.pages)
    scores: dict[str, list[Counts]] = {}
    speeds: dict[str, float] = {}
    named = readers()
    texts, seconds = read_all(named, list(pages.values()), given.rounds)
    print(f"{len(pages)} pages, {sum(len(page.data) for page in pages.values()) / 1e6:.1f} MB\n")
    print(f"{'':<26}{'version':<9}{'F1':>7}{'±':>7}{'precision':>11}{'recall':>8}{'pages/s':>9}")
    for name, (library, _) in named.items():
        speeds[name] = len(pages) / seconds[name]
        scores[name] = [matched(page.body, text) for page, text in zip(pages.values(), texts[name], strict=True)]
        f1, precision, recall = measures(scores[name])
        version = importlib.metadata.version(library) if library else ""
        print(f"{name:<26}{version:<9}{f1:>7.4f}{deviation(scores[name]):>7.4f}{precision:>11.4f}{recall:>8.4f}{speeds[name]:>9.1f}")
    mode = ExtractConfig().html
    best = max((name for name in named if name.startswith("trafilatura")), key=lambda name: measures(scores[name])[0])
    bare, full = (speeds["athanor"] / speeds[f"trafilatura {name}"] for name in (mode, "with metadata"))
    print(f"\nathanor: mode {mode}, {bare:.2f} x bare, {full:.2f} x bare with metadata; best of trafilatura's modes: {best}")
    for key, ours, theirs in worst(list(pages), scores["athanor"], scores[best], given.worst):
        print(f"  {key[:16]}  {ours:.3f}  {theirs:.3f}")


def load(folder: Path) -> dict[str, Page]:
    """id -> page, for the pages that lie in the folder."""
    truth = json.loads((folder / "ground-truth.json").read_text("utf-8"))
    pages = {}
    for path in sorted((folder / "html").glob("*.html.gz")):
        data = gzip.decompress(path.read_bytes())
        pages[path.name.split(".")[0]] = Page(data, data.decode("utf-8"), truth[path.name.split(".")[0]].get("articleBody", ""))
    return pages


def readers() -> dict[str, tuple[str, Reader]]:
    """Name -> distribution and function, ours first."""
    import trafilatura
    from datatrove.pipeline.extractors import Trafilatura as Datatrove
    from inscriptis import get_text
    from readability import Document
    from resiliparse.extract.html2text import extract_plain_text

    def bare(options: dict[str, Any]) -> Reader:
        return lambda data, html: trafilatura.extract(html, include_comments=False, **options) or ""

    datatrove = Datatrove()

    def with_metadata(data: bytes, html: str) -> str:
        found = trafilatura.bare_extraction(html, include_comments=False, with_metadata=True, **TRAFILATURA[ExtractConfig().html])
        return str(found.text) if found is not None else ""

    return {
        "athanor": ("", athanor),
        **{f"trafilatura {mode}": ("trafilatura", bare(options)) for mode, options in TRAFILATURA.items()},
        "trafilatura with metadata": ("trafilatura", with_metadata),
        "datatrove": ("datatrove", lambda data, html: datatrove.extract(html) or ""),
        "resiliparse": ("resiliparse", lambda data, html: extract_plain_text(html, main_content=True, alt_texts=False)),
        "jusText (NeMo Curator)": ("justext", justext),
        "readability-lxml": ("readability-lxml", lambda data, html: get_text(Document(data).summary())),
        "inscriptis, all text": ("inscriptis", lambda data, html: get_text(html)),
    }


def athanor(data: bytes, html: str) -> str:
    """The whole way of a member, with its metadata."""
    config = ExtractConfig()
    return str(as_measurements(extracted(config, data, "html"), config)["text"])


def justext(data: bytes, html: str) -> str:
    """NeMo Curator's parameters; it detects the language, here the page says it."""
    from justext import justext as paragraphs
    from justext.utils import get_stoplist
    from trafilatura.settings import JUSTEXT_LANGUAGES

    lang = re.search(r"<html[^>]{0,400}?\blang\s*=\s*[\"']?([a-z]{2})", html[:4096], re.I)
    words = get_stoplist(JUSTEXT_LANGUAGES.get(lang[1].lower() if lang else "en", "English"))
    found = paragraphs(
        data,
        words,
        length_low=70,
        length_high=200,
        stopwords_low=0.30,
        stopwords_high=0.32,
        max_link_density=0.2,
        max_heading_distance=200,
    )
    return "\n".join(paragraph.text for paragraph in found if not paragraph.is_boilerplate)


def read_all(named: dict[str, tuple[str, Reader]], pages: list[Page], rounds: int) -> tuple[dict[str, list[str]], dict[str, float]]:
    """Texts of all pages and the seconds of the fastest round, by reader."""
    from trafilatura.meta import reset_caches

    texts: dict[str, list[str]] = {}
    seconds = dict.fromkeys(named, float("inf"))
    for _ in range(rounds + 1):  # the first one imports and fills caches
        for name, (_, read) in named.items():
            reset_caches()  # what datatrove has seen, it leaves out the next time
            start = time.process_time()
            texts[name] = [tried(read, page) for page in pages]
            seconds[name] = min(seconds[name], time.process_time() - start)
    return texts, seconds


def tried(read: Reader, page: Page) -> str:
    """Text of one page; what a peer raises is a page without text."""
    try:
        return read(page.data, page.html)
    except Exception:
        if read is athanor:
            raise
        return ""


def matched(body: str, text: str) -> Counts:
    """Shares of the 4-grams of both texts that are found, wrong and missed; they add up to 1."""
    wanted, got = shingles(body), shingles(text)
    found = float((wanted & got).total())
    wrong, missed = got.total() - found, wanted.total() - found
    total = found + wrong + missed
    return (found / total, wrong / total, missed / total) if total else (0.0, 0.0, 0.0)


def shingles(text: str) -> Counter[tuple[str, ...]]:
    """4-grams of the tokens, with their counts; a shorter text is one shingle."""
    tokens = _TOKEN.findall(text)
    return Counter(tuple(tokens[i : i + SHINGLE]) for i in range(max(1, len(tokens) - SHINGLE + 1)) if tokens)


def measures(counts: list[Counts]) -> tuple[float, float, float]:
    """F1, precision and recall of many pages."""
    precision = statistics.mean(share(found, wrong, missed) for found, wrong, missed in counts if found + wrong > 0)
    recall = statistics.mean(share(found, missed, wrong) for found, wrong, missed in counts if found + missed > 0)
    return 2 * precision * recall / (precision + recall), precision, recall


def share(found: float, against: float, other: float) -> float:
    """Precision or recall of one page; nothing wrong and nothing missed is 1."""
    return 1.0 if against == other == 0 else found / (found + against)


def deviation(counts: list[Counts], draws: int = 1000) -> float:
    """Standard deviation of F1 when the pages are drawn anew."""
    chance = random.Random(0)
    return statistics.stdev(measures(chance.choices(counts, k=len(counts)))[0] for _ in range(draws))


def worst(keys: list[str], ours: list[Counts], theirs: list[Counts], count: int) -> list[tuple[str, float, float]]:
    """The pages with the largest loss of found 4-grams."""
    rows = [(key, our[0], their[0]) for key, our, their in zip(keys, ours, theirs, strict=True)]
    return sorted(rows, key=lambda row: row[1] - row[2])[:count]
