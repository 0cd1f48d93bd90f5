"""Decontamination: does a document hold an item of an evaluation set?

An item is one text of an evaluation file: a string of a JSON or JSONL row, a line of a text file, a Parquet cell, gzip
allowed. Its runs of 13 words (Brown et al. 2020, appendix C; items of 8 to 12 words are one run) are looked for in the
document; the measure is the share of the item's runs that the document holds, of the item that has most.

Limits: a paraphrase or a translation is not found; items of fewer than 8 words are too common to look for.
"""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from corpus.canonical import digest_stream
from corpus.outcome import Misuse
from filters.dedup.signature import count_words, distinct, grams, normal_form

RUN, SHORTEST = 13, 8
_KINDS = (".jsonl", ".ndjson", ".json", ".txt", ".md", ".csv", ".tsv", ".parquet")


def files_of(paths: tuple[str, ...]) -> list[tuple[str, Path]]:
    """(name, file) of the evaluation files under these files and folders, in name order. Misuse for one that is not there."""
    found: dict[str, Path] = {}
    for path in map(Path, paths):
        if not path.exists():
            raise Misuse(f"Config 'split.eval_files': there is no file or folder '{path}'.")
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and file.name.removesuffix(".gz").endswith(_KINDS):
                found[f"{path.name}/{file.relative_to(path).as_posix()}" if path.is_dir() else file.name] = file
    if paths and not found:
        raise Misuse("Config 'split.eval_files': no evaluation file there ends in " + ", ".join(_KINDS) + " (or with .gz after it).")
    return sorted(found.items())


def digest_of(paths: tuple[str, ...]) -> str:
    """Hash of the evaluation files' names and bytes; '' for none."""
    if not paths:
        return ""
    return digest_stream(
        piece for name, file in files_of(paths) for piece in (f"{name}\0{file.stat().st_size}\0".encode(), file.read_bytes())
    )


def items_of(file: Path) -> Iterator[tuple[int, str]]:
    """(row from 1, text) of each item of an evaluation file. Misuse when it cannot be read."""
    name = file.name.removesuffix(".gz")
    try:
        if name.endswith(".parquet"):
            import pyarrow.parquet as pq

            for number, row in enumerate(pq.read_table(file).to_pylist(), 1):
                yield from ((number, text) for text in _strings(row))
            return
        content = (gzip.decompress(file.read_bytes()) if file.name.endswith(".gz") else file.read_bytes()).decode("utf-8", "replace")
        if name.endswith(".json"):
            rows = json.loads(content)
            for number, row in enumerate(rows if isinstance(rows, list) else [rows], 1):
                yield from ((number, text) for text in _strings(row))
            return
        for number, line in enumerate(content.split("\n"), 1):
            yield from (
                (number, text) for text in (_strings(json.loads(line)) if name.endswith(("jsonl", "ndjson")) and line.strip() else [line])
            )
    except (OSError, ValueError) as error:
        raise Misuse(f"Config 'split.eval_files': '{file.name}' cannot be read ({type(error).__name__}).") from error


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)


class Index:
    """The runs of words of all evaluation items."""

    def __init__(self, paths: tuple[str, ...]) -> None:
        import numpy as np

        self.names: list[str] = []
        sizes: list[int] = []
        runs: dict[int, list[tuple[Any, int]]] = defaultdict(list)
        for name, file in files_of(paths):
            for number, text in items_of(file):
                codes = normal_form(text)
                words = count_words(codes)
                if words < SHORTEST:
                    continue
                own = distinct(grams(codes, RUN))
                runs[min(RUN, words)].append((own, len(self.names)))
                self.names.append(f"{name}:{number}")
                sizes.append(len(own))
        self._sizes = np.array(sizes, np.int64)
        self._runs: dict[int, tuple[Any, Any]] = {}
        for length, found in runs.items():
            keys = np.concatenate([own for own, _ in found])
            owners = np.repeat([owner for _, owner in found], [len(own) for own, _ in found])
            order = np.argsort(keys, kind="stable")
            self._runs[length] = keys[order], owners[order]

    def overlap(self, text: str) -> tuple[float, str]:
        """(share of the item's runs in the text, name of the item) for the item with the largest share; (0, '') for none."""
        import numpy as np

        codes = normal_form(text)
        words = count_words(codes)
        hits = np.zeros(len(self.names), np.int64)
        for length, (keys, owners) in self._runs.items():
            if words < length:
                continue
            own = distinct(grams(codes, length))
            left, right = np.searchsorted(keys, own, "left"), np.searchsorted(keys, own, "right")
            for a, b in zip(left[right > left].tolist(), right[right > left].tolist(), strict=True):
                hits[owners[a:b]] += 1
        if not hits.any():
            return 0.0, ""
        share = hits / self._sizes
        best = int(share.argmax())
        return float(share[best]), self.names[best]
