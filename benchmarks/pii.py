"""Precision and recall of the redaction, by kind, on public data sets with spans; and its speed.

    python benchmarks/pii.py DATA [--limit N]

DATA holds `pii/*.jsonl.gz` (English, synthetic: presidio-research) and `ner/*.jsonl.gz` (Italian: KIND; Italian and
English: WikiNEuRal). A gold entity is found when at least half of its characters are covered by a span of its kind; a
span is right when it touches a gold entity of its kind. What the default configuration leaves in the text is not counted.
The rules were improved on errors in the presidio and WikiNEuRal files and in KIND's training files: their figures are those of a
development set. No error in the KIND test files was looked at. Rows are sentences,
so a surname known from elsewhere in a document plays no part.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from filters.pii.analyzer import Analyzer
from filters.redact import RedactConfig

KINDS = {
    "PERSON": "PERSONA",
    "PER": "PERSONA",
    "EMAIL_ADDRESS": "EMAIL",
    "PHONE_NUMBER": "TELEFONO",
    "CREDIT_CARD": "CARTA",
    "IBAN_CODE": "IBAN",
    "IP_ADDRESS": "IP",
    "US_SSN": "SSN",
    "ADDRESS": "INDIRIZZO",
    "STREET_ADDRESS": "INDIRIZZO",
}
SETS = (
    ("presidio generated", "en", "pii/presidio_generated_large_half.jsonl.gz"),
    ("presidio synth v2", "en", "pii/presidio_synth_v2_half.jsonl.gz"),
    ("WikiNEuRal val", "en", "ner/wikineural_en_val.jsonl.gz"),
    ("WikiNEuRal val", "it", "ner/wikineural_it_val.jsonl.gz"),
    ("KIND Wikinews test", "it", "ner/kind_wikinews_test_half.jsonl.gz"),
    ("KIND fiction test", "it", "ner/kind_fiction_test_half.jsonl.gz"),
    ("KIND De Gasperi test", "it", "ner/kind_degasperi_test_half.jsonl.gz"),
    ("KIND Moro test", "it", "ner/kind_moro_test_half.jsonl.gz"),
)
Gold = list[tuple[int, int, str]]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("data", type=Path)
    arguments.add_argument("--limit", type=int, default=2000, help="rows of each set")
    arguments.add_argument("--errors", default="", help="print missed (-) and wrong (+) spans of this kind")
    given = arguments.parse_args()
    analyzers = {lang: Analyzer(lang) for lang in ("it", "en")}
    print(f"{'set':22}{'lang':5}{'kind':11}{'gold':>6}{'spans':>7}{'precision':>11}{'recall':>8}{'F1':>7}")
    size, seconds = 0, 0.0
    for name, lang, file in SETS:
        hits: dict[str, Counter[str]] = {}
        for row in rows(given.data / file)[: given.limit]:
            text, gold = read(row)
            start = time.process_time()
            spans = [s for s in analyzers[lang].find([text])[0] if s.score >= RedactConfig().min_score]
            seconds, size = seconds + time.process_time() - start, size + len(text.encode())
            count(hits, text, gold, [(s.start, s.end, s.kind) for s in spans], given.errors)
        for kind in ("PERSONA", "EMAIL", "TELEFONO", "CARTA", "IBAN", "IP", "SSN", "INDIRIZZO"):
            c = hits.get(kind, Counter())
            if c["gold"]:
                precision, recall = c["right"] / max(1, c["spans"]), c["found"] / c["gold"]
                f1 = 2 * precision * recall / max(1e-9, precision + recall)
                print(f"{name:22}{lang:5}{kind:11}{c['gold']:6}{c['spans']:7}{precision:11.3f}{recall:8.3f}{f1:7.3f}")
    print(f"names by {analyzers['it'].ner}; {size / 1e6:.2f} MB of short texts at {size / 1e6 / seconds:.2f} MB per CPU second, one core")
    for lang, analyzer in analyzers.items():
        long = sample(given.data, lang)
        start = time.process_time()
        analyzer.find([long])
        print(
            f"one document of {len(long.encode()) / 1e6:.2f} MB ({lang})"
            f": {len(long.encode()) / 1e6 / (time.process_time() - start):.2f} MB/s"
        )


def rows(path: Path) -> list[dict[str, Any]]:
    """The objects of a compressed file with one JSON object a line."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def read(row: dict[str, Any]) -> tuple[str, Gold]:
    """Text and gold spans of a row: with spans, or tokens with tags (BIO or bare) that are joined by spaces."""
    if "spans" in row:
        return row["full_text"], [
            (s["start_position"], s["end_position"], KINDS[s["entity_type"]]) for s in row["spans"] if s["entity_type"] in KINDS
        ]
    text = ""
    gold: Gold = []
    before = "O"
    for token, tag in zip(row["tokens"], row["tags"], strict=True):
        text += ("" if not text or token in ".,;:)" or text[-1] in "'’(" else " ") + token
        label = tag.split("-")[-1]
        if label in KINDS:
            start = gold.pop()[0] if label == before and not tag.startswith("B-") else len(text) - len(token)
            gold.append((start, len(text), KINDS[label]))
        before = label
    return text, gold


def count(hits: dict[str, Counter[str]], text: str, gold: Gold, spans: Gold, errors: str) -> None:
    for start, end, kind in gold:
        covered = sum(max(0, min(end, e) - max(start, s)) for s, e, k in spans if k == kind)
        hits.setdefault(kind, Counter()).update(gold=1, found=int(2 * covered >= end - start))
        if errors == kind and 2 * covered < end - start:
            print("-", repr(text[max(0, start - 40) : start]), repr(text[start:end]), repr(text[end : end + 20]))
    for start, end, kind in spans:
        right = any(k == kind and s < end and start < e for s, e, k in gold)
        hits.setdefault(kind, Counter()).update(spans=1, right=int(right))
        if errors == kind and not right:
            print("+", repr(text[max(0, start - 40) : start]), repr(text[start:end]), repr(text[end : end + 20]))


def sample(data: Path, lang: str) -> str:
    """A long text: the sentences of WikiNEuRal."""
    return "\n".join(read(row)[0] for row in rows(data / f"ner/wikineural_{lang}_val.jsonl.gz"))


if __name__ == "__main__":
    main()
