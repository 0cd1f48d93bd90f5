"""The duplicate finder against its peers, in one run at the same parameters. Prints tables.

    python benchmarks/dedup.py quality --corpus FOLDER [--each 40] [--raw-groups FILE --workspace WS]
    python benchmarks/dedup.py speed --corpus FOLDER
    python benchmarks/dedup.py scale --corpus FOLDER --documents 10000 100000 1000000 --work FOLDER [--peer-limit N]
    python benchmarks/dedup.py second-crawl --corpus FOLDER --known 1000000 --new 100000 --work FOLDER

It needs the extra `bench`. FOLDER of --corpus holds `it_train.jsonl.gz` and `en_train.jsonl.gz` (rows with text).
dedup_peers.py says what each peer does, dedup_texts.py what the texts are, dedup_scale.py how the large sets are run.

quality       near duplicates of every kind planted in real texts among other real texts. True similarity is that of the sets
              of shingles, as strings. A pair is found when both are in one family. Then pairs of any texts: the precision of
              all pairs found, and the recall of those at the threshold that anybody found. With --raw-groups, known groups
              of files of a workspace: those whose documents came as far as dedup, or (--after) as another stage.
speed         one thread: signatures of 3 kB documents, tokenisation included.
scale         read JSONL, decide, write the kept documents as JSONL, with two worker processes; peak memory is the sum of the
              resident sets of all processes, CPU the sum of their times. --peer-limit leaves datatrove with spaCy's words
              out above so many documents.
second-crawl  new documents against known ones, whose measurements are there: only the new are measured.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import dedup_peers as peers
import dedup_scale as scale
import dedup_texts as corpus

from corpus.stage import Inputs
from filters.dedup import stage
from filters.dedup.signature import Signer, normal_form, shingles

THRESHOLD = peers.CONFIG.threshold


def quality(given: argparse.Namespace) -> None:
    """Precision and recall."""
    texts = corpus.read(given.corpus)
    pairs, everything = [], []
    for kind, text, near in corpus.planted(texts, given.each):
        value = corpus.jaccard(corpus.shingles(text), corpus.shingles(near))
        pairs.append((kind, value, len(everything), len(everything) + 1))
        everything += [text, near]
    everything += [t[:5000] for t in texts[:: max(1, len(texts) // 4000)]]
    print(
        f"{len(pairs)} planted pairs among {len(everything)} texts; threshold {THRESHOLD}, {peers.SHAPE[0]} bands of {peers.SHAPE[1]} rows"
    )
    families = {name: run(finder, everything) for name, finder in peers.FINDERS.items()}

    header = [f"{low:.1f}-{high:.1f}" for low, high in corpus.BANDS]
    print("\nplanted pairs found, by true similarity (below the threshold: wrongly)")
    print(f"{'':22}" + "".join(f"{h:>9}" for h in header) + f"{'precision':>11}{'recall':>9}{'F1':>7}")
    at = [band_of(value) for _, value, _, _ in pairs]
    print(f"{'pairs':22}" + "".join(f"{at.count(b):9}" for b in range(len(header))))
    for name, family in families.items():
        found = [family[a] == family[b] for _, _, a, b in pairs]
        shares = [np.mean([f for f, b in zip(found, at, strict=True) if b == band]) for band in range(len(header))]
        print(f"{name:22}" + "".join(f"{share:9.3f}" for share in shares) + scores(found, [value >= THRESHOLD for _, value, _, _ in pairs]))

    print(f"\nplanted pairs from {THRESHOLD} on that were found, by kind")
    print(f"{'':22}" + "".join(f"{kind:>16}" for kind in corpus.KINDS))
    for name, family in families.items():
        share = {k: np.mean([family[a] == family[b] for kind, v, a, b in pairs if kind == k and v >= THRESHOLD]) for k in corpus.KINDS}
        print(f"{name:22}" + "".join(f"{share[kind]:16.3f}" for kind in corpus.KINDS))

    sets: dict[int, frozenset[str]] = {}
    reported = {name: pairs_of(family) for name, family in families.items()}
    union = sorted(set().union(*reported.values()) | {(a, b) for _, _, a, b in pairs})
    for a, b in union:
        for n in (a, b):
            sets.setdefault(n, corpus.shingles(everything[n]))
    true = {pair: corpus.jaccard(sets[pair[0]], sets[pair[1]]) >= THRESHOLD for pair in union}
    print(f"\nall pairs, planted or not; {sum(true.values())} known at the threshold")
    print(f"{'':22}{'pairs':>9}{'precision':>11}{'recall':>9}{'F1':>7}")
    for name, found in reported.items():
        print(f"{name:22}{len(found):9}{scores([pair in found for pair in union], list(true.values()))}")
    if given.raw_groups:
        raw_groups(given.raw_groups, given.workspace, given.after)


def run(finder: Callable[[list[str], Path], list[int]], texts: list[str]) -> list[int]:
    """Family numbers of the texts."""
    with tempfile.TemporaryDirectory() as work:
        return finder(texts, Path(work))


def band_of(value: float) -> int:
    """Number of the band of similarities, -1 below all."""
    return next((n for n, (low, high) in enumerate(corpus.BANDS) if low <= value < high or value == high == 1.0), -1)


def pairs_of(family: list[int]) -> set[tuple[int, int]]:
    """All pairs within families."""
    members = defaultdict(list)
    for n, head in enumerate(family):
        members[head].append(n)
    return {pair for group in members.values() for pair in itertools.combinations(group, 2)}


def scores(found: list[bool], true: list[bool]) -> str:
    """Precision, recall and F1."""
    right = sum(f and t for f, t in zip(found, true, strict=True))
    precision, recall = right / max(1, sum(found)), right / max(1, sum(true))
    return f"{precision:11.3f}{recall:9.3f}{2 * precision * recall / max(1e-9, precision + recall):7.3f}"


def raw_groups(file: Path, workspace: Path, after: str | None) -> None:
    """Known groups of real files: how many of them each finder sees."""
    from corpus.workspace import Workspace

    last = Workspace.open(workspace).latest_run()
    assert last is not None
    view = last.view(after) if after else last.view("dedup").upstream
    assert view is not None
    ids = view.table()["id"].to_pylist()
    texts = [text for start in range(0, len(ids), 1024) for text in view.texts(ids[start : start + 1024])]
    place = {id: n for n, id in enumerate(ids)}
    located = last.view("ingest").beside("locators")
    by_path: dict[str, set[str]] = defaultdict(set)
    for path, id in zip(located["path"].to_pylist(), located["id"].to_pylist(), strict=True):
        by_path[path].add(id)
    groups = [json.loads(line) for line in file.read_text("utf-8").splitlines() if line]
    found = {name: run(finder, texts) for name, finder in peers.FINDERS.items()}
    counts: dict[str, Counter[str]] = defaultdict(Counter, {"groups": Counter(), "fewer than two came so far": Counter()})
    for group in groups:
        members = [{i for path, some in by_path.items() if f"raw/{path}".endswith(p) or path == p for i in some} for p in group["paths"]]
        here = [m for m in members if any(i in place for i in m)]
        kind = group["kind"]
        counts["groups"][kind] += 1
        if len(here) < 2:
            counts["fewer than two came so far"][kind] += 1
            continue
        for name, family in found.items():
            heads = [{family[place[i]] for i in m if i in place} for m in here]
            together = max(sum(h in other for other in heads) for h in set().union(*heads))
            counts[f"{name}, whole"][kind] += together == len(heads)
            counts[f"{name}, in part"][kind] += 1 < together < len(heads)
    kinds = sorted({g["kind"] for g in groups})
    print(f"\nknown groups of files among {len(ids)} documents after {view.name}: found whole (all that came so far) or in part")
    print(f"{'':40}" + "".join(f"{kind:>11}" for kind in kinds))
    for name, row in counts.items():
        print(f"{name:40}" + "".join(f"{row[kind]:11}" for kind in kinds))


def speed(given: argparse.Namespace) -> None:
    """MB/s of signatures."""
    whole = "\n".join(corpus.read(given.corpus)[::40])
    texts = [whole[i : i + 3000] for i in range(0, 3000 * 400, 3000)]
    size = sum(len(t.encode()) for t in texts) / 1e6
    measure, signer = stage.measure(peers.CONFIG, Inputs()), Signer(peers.CONFIG.permutations)
    from datasketch import MinHash
    from rensa import RMinHash

    def loop(text: str) -> Any:
        sketch = MinHash(peers.CONFIG.permutations)
        for shingle in peers.shingled(text):
            sketch.update(shingle.encode())
        return sketch

    def batch(text: str) -> Any:
        sketch = MinHash(peers.CONFIG.permutations)
        sketch.update_batch([s.encode() for s in peers.shingled(text)])
        return sketch

    def rensa(text: str) -> Any:
        sketch = RMinHash(num_perm=peers.CONFIG.permutations, seed=1)
        sketch.update(peers.shingled(text))
        return sketch.digest()

    from datatrove.pipeline.dedup import MinhashDedupSignature
    from datatrove.pipeline.dedup.minhash import MinhashConfig

    minhash = MinhashConfig(corpus.SHINGLE, 16, 8)
    troves = [MinhashDedupSignature("/nowhere", config=minhash, language=peers.datatrove_words(blanks)) for blanks in (False, True)]
    ways: dict[str, Callable[[str], Any]] = {
        "datatrove": lambda t: troves[0].get_signature(troves[0].get_shingles(t)),
        "datatrove, blanks": lambda t: troves[1].get_signature(troves[1].get_shingles(t)),
        "datasketch update loop": loop,
        "datasketch update_batch": batch,
        "(the shingles as strings alone)": peers.shingled,
        "rensa": rensa,
        "athanor, whole measurement": lambda t: measure({"id": "", "form": "prose", "text": t}),
        "athanor, signature": lambda t: signer(shingles(normal_form(t), corpus.SHINGLE)),
    }
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(given.rounds):
        for name, way in ways.items():
            some = texts[:40] if "loop" in name or "trove" in name else texts
            begun = time.process_time()
            for text in some:
                way(text)
            best[name] = min(best[name], (time.process_time() - begun) / len(some) * len(texts))
    print(f"signatures of {len(texts)} documents of 3 kB, {peers.CONFIG.permutations} permutations, word {corpus.SHINGLE}-grams, one core")
    print(f"{'':34}{'MB/s':>8}{'documents/s':>13}{'x update loop':>15}")
    for name, seconds in best.items():
        print(f"{name:34}{size / seconds:8.1f}{len(texts) / seconds:13.0f}{best['datasketch update loop'] / seconds:15.1f}")


def main() -> None:
    """See the module's head."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("quality", "speed", "scale", "second-crawl"):
        commands.add_parser(name).add_argument("--corpus", type=Path, required=True)
    of = commands.choices
    of["quality"].add_argument("--each", type=int, default=40, help="pairs of each kind and band of similarity")
    of["quality"].add_argument("--raw-groups", type=Path, help="JSONL: kind and paths of known groups")
    of["quality"].add_argument("--workspace", type=Path, help="the workspace that holds their documents")
    of["quality"].add_argument("--after", help="look for the groups among the documents of this stage, not of the one before dedup")
    of["speed"].add_argument("--rounds", type=int, default=5)
    for name in ("scale", "second-crawl"):
        of[name].add_argument("--work", type=Path, required=True, help="folder for the documents and what is made of them")
    of["scale"].add_argument("--documents", type=int, nargs="+", default=[10_000, 100_000])
    of["scale"].add_argument("--only", nargs="+", choices=list(scale.WAYS), default=list(scale.WAYS), help="who runs")
    of["scale"].add_argument("--peer-limit", type=int, default=None, help="leave datatrove with spaCy's words out above so many documents")
    of["second-crawl"].add_argument("--known", type=int, default=1_000_000)
    of["second-crawl"].add_argument("--new", type=int, default=100_000)
    given = parser.parse_args()
    {"quality": quality, "speed": speed, "scale": scale.scale, "second-crawl": scale.second_crawl}[given.command](given)


if __name__ == "__main__":
    main()
