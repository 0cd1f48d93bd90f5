"""The duplicate finder and its peers behind one call: texts in, a family number for each text out.

All with word 5-grams and, but for datatrove, the words Athanor has (`\\w+`, lower case), in the same bands. What differs:

datasketch  SHA-1 of each shingle, 128 permutations; what shares a band is a duplicate, or, verified, what its signatures
            estimate to be at the threshold
rensa       its own hash, as many permutations as the bands have rows in all (it wants a whole number of rows a band);
            verified by the estimate, too
datatrove   spaCy words, after numbers have become 0 and accents and punctuation have gone; xxhash of each shingle, 64-bit
            values; buckets x hashes = bands x rows; what shares a bucket is a duplicate, nothing is verified. Most of its time
            goes to spaCy, so it also runs with its simplified text cut at blanks ("datatrove, blanks")
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import struct
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dedup_texts import SHINGLE, WORD

from corpus.stage import Inputs
from filters.dedup import stage
from filters.dedup.families import bands, components

CONFIG = stage.DedupConfig(collapse_templates=True)
SHAPE = bands(CONFIG.threshold, CONFIG.permutations, CONFIG.false_negatives)


def shingled(text: str) -> list[str]:
    """The word shingles of a text as a peer is given them."""
    words = WORD.findall(text.lower())
    return [" ".join(words[i : i + SHINGLE]) for i in range(max(1, len(words) - SHINGLE + 1))]


def joined(size: int, pairs: Iterable[tuple[int, int]]) -> list[int]:
    """Family numbers from pairs."""
    return components(size, np.array(list(pairs), np.int64).reshape(-1, 2)).tolist()


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Nothing on standard error, from child processes neither: datatrove logs pages."""
    saved = os.dup(2)
    with open(os.devnull, "wb") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def athanor(texts: list[str], work: Path) -> list[int]:
    """The stage's measure and elect."""
    measure = stage.measure(CONFIG, Inputs())
    rows = [
        {"id": f"{n:09}", "quality": 1.0, "form": "prose"} | measure({"id": "", "form": "prose", "text": t}) for n, t in enumerate(texts)
    ]
    outcomes = stage.elect(CONFIG, pa.Table.from_pylist(rows), lambda ids: [texts[int(i)] for i in ids])
    survivor = [n if o.status == "kept" else int(o.detail.split(",")[0].split()[-1]) for n, o in enumerate(outcomes)]
    return [int(outcomes[n].fields["family"]) for n in survivor]


def _families(texts: list[str], sketched: Callable[[list[str]], Any], lsh: Any, verified: bool) -> list[int]:
    """Each text is looked up among those before it, then added; `verified`: candidates count from the threshold on."""
    sketches, pairs = [], []
    for n, text in enumerate(texts):
        sketch = sketched(shingled(text))
        sketches.append(sketch)
        pairs += [(other, n) for other in lsh.query(sketch) if not verified or sketch.jaccard(sketches[other]) >= CONFIG.threshold]
        lsh.insert(n, sketch)
    return joined(len(texts), pairs)


def _datasketch(texts: list[str], verified: bool) -> list[int]:
    from datasketch import MinHash, MinHashLSH

    def sketched(strings: list[str]) -> Any:
        sketch = MinHash(CONFIG.permutations)
        sketch.update_batch([s.encode() for s in strings])
        return sketch

    return _families(texts, sketched, MinHashLSH(num_perm=CONFIG.permutations, params=SHAPE), verified)


def datasketch(texts: list[str], work: Path) -> list[int]:
    """MinHashLSH as it is."""
    return _datasketch(texts, False)


def datasketch_verified(texts: list[str], work: Path) -> list[int]:
    """MinHashLSH, candidates verified by the estimate."""
    return _datasketch(texts, True)


def _rensa(texts: list[str], verified: bool) -> list[int]:
    import rensa

    permutations = SHAPE[0] * SHAPE[1]

    def sketched(strings: list[str]) -> Any:
        sketch = rensa.RMinHash(num_perm=permutations, seed=1)
        sketch.update(strings)
        return sketch

    return _families(texts, sketched, rensa.RMinHashLSH(threshold=CONFIG.threshold, num_perm=permutations, num_bands=SHAPE[0]), verified)


def rensa(texts: list[str], work: Path) -> list[int]:
    """RMinHashLSH as it is."""
    return _rensa(texts, False)


def rensa_verified(texts: list[str], work: Path) -> list[int]:
    """RMinHashLSH, candidates verified by the estimate."""
    return _rensa(texts, True)


def datatrove(texts: list[str], work: Path) -> list[int]:
    """The first three stages of its MinHash pipeline."""
    source, folder = work / "texts", work / "datatrove"
    source.mkdir(parents=True)
    with open(source / "00000.jsonl", "w", encoding="utf-8") as lines:
        lines.writelines(json.dumps({"id": str(n), "text": text}) + "\n" for n, text in enumerate(texts))
    with silent():
        for stage_ in datatrove_stages(source, folder, 1, 1, blanks=False)[:3]:
            stage_.run()
    family = list(range(len(texts)))
    first: dict[int, int] = {}
    for file in (folder / "remove").glob("*.clusters"):
        for n, cluster in struct.iter_unpack("<2I", file.read_bytes()):
            family[n] = first.setdefault(cluster, n)
    return family


def datatrove_words(blanks: bool) -> Any:
    """What datatrove is given as language: Italian, so spaCy's words, or a tokenizer of ours that cuts at blanks."""
    from datatrove.utils.word_tokenizers import WordTokenizer

    class Blanks(WordTokenizer):
        def word_tokenize(self, text: str) -> list[str]:
            return text.split()

        def sent_tokenize(self, text: str) -> list[str]:
            return text.splitlines()

        def span_tokenize(self, text: str) -> list[tuple[int, int]]:
            return [match.span() for match in re.finditer(r"\S+", text)]

    return Blanks() if blanks else "ita"


def datatrove_stages(source: Path, folder: Path, tasks: int, workers: int, blanks: bool) -> list[Any]:
    """Its four stages as it documents them: signature, buckets, clusters, filter; one task a JSONL shard."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers import JsonlWriter

    config = MinhashConfig(n_grams=SHINGLE, num_buckets=SHAPE[0], hashes_per_bucket=SHAPE[1])
    signatures, buckets, remove = (str(folder / name) for name in ("signatures", "buckets", "remove"))

    def reader() -> Any:
        return JsonlReader(str(source), compression=None, glob_pattern="*.jsonl")

    def executor(name: str, pipeline: list[Any], tasks: int) -> Any:
        return LocalPipelineExecutor(pipeline=pipeline, tasks=tasks, workers=workers, logging_dir=str(folder / "logs" / name))

    return [
        executor("signatures", [reader(), MinhashDedupSignature(signatures, config=config, language=datatrove_words(blanks))], tasks),
        executor("buckets", [MinhashDedupBuckets(signatures, buckets, config=config)], SHAPE[0]),
        executor("clusters", [MinhashDedupCluster(buckets, remove, config=config, save_cluster_id=True)], 1),
        executor(
            "filter",
            [reader(), MinhashDedupFilter(remove), JsonlWriter(str(folder / "kept"), output_filename="${rank}.jsonl", compression=None)],
            tasks,
        ),
    ]


FINDERS = {
    "athanor": athanor,
    "datasketch": datasketch,
    "datasketch, verified": datasketch_verified,
    "rensa": rensa,
    "rensa, verified": rensa_verified,
    "datatrove": datatrove,
}
