"""Law 2 on the stages that decide on the whole set: whatever happened to the folder, the clean corpus, the shards and the
stream of training rows are those of a new workspace with the same pins, for one worker or two."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from living import LINES, living

from corpus.engine import Engine
from corpus.result import Nobody, StageResult
from corpus.store import read_record
from corpus.view import ViewReader
from corpus.workspace import Workspace
from packer.rows import Rows


class Killed(BaseException):
    """The process is gone: nobody tidies up."""


class Killer(Nobody):
    """Kills at the n-th measured document."""

    def __init__(self, after: int) -> None:
        self.left = after

    def advanced(self, stage: str, done: float, total: float, note: str) -> None:
        self.left -= 1
        if self.left < 0:
            raise Killed


TEXT = st.tuples(st.lists(st.integers(0, len(LINES) - 1), min_size=1, max_size=5), st.integers(0, 3)).map(
    lambda t: "\n".join([*(LINES[n] for n in t[0]), *(f"nota {t[1]} in calce al testo" for _ in range(t[1] > 1))])
)
NAME = st.sampled_from("abcdefgh")
STEP = st.one_of(
    st.tuples(st.just("write"), NAME, TEXT),
    st.tuples(st.just("write"), NAME, TEXT),
    st.tuples(st.sampled_from(["rename", "copy"]), NAME, NAME),
    st.tuples(st.sampled_from(["remove", "restore"]), NAME, st.just("")),
    st.tuples(st.just("threshold"), st.sampled_from([0.4, 0.8]), st.just("")),
    st.tuples(st.just("repeated"), st.sampled_from([2, 3]), st.just("")),
    st.tuples(st.just("kill"), st.integers(0, 12), st.just("")),
)


def change(raw: Path, what: str, name: str, other: str) -> None:
    """Do to the RAW folder what the step says; a step on a file that is not there does nothing."""
    path, aside = raw / f"{name}.txt", raw.parent / f"{name}.aside"
    if what == "write":
        path.write_text(other)
    elif what == "restore" and aside.exists():
        shutil.move(aside, path)
    elif path.exists() and what == "remove":
        shutil.move(path, aside)
    elif path.exists() and what in ("rename", "copy") and name != other:
        (shutil.move if what == "rename" else shutil.copy)(path, raw / f"{other}.txt")


def essence(workspace: Workspace, results: list[StageResult]) -> dict[str, Any]:
    """What must be equal: of each stage key, counts and digest; and the training rows."""
    found: dict[str, Any] = {}
    for r in results:
        found[r.name] = (r.artifact, r.kept, r.rejected, r.failed, (read_record(workspace.store / r.folder) or {}).get("digest"))
    rows = Rows(ViewReader(workspace.store, results[-1].folder), seed=3, length=16)
    return found | {"rows": rows.next(30).tokens.tolist()}


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(STEP, min_size=3, max_size=9), st.sampled_from([0, 0, 1, 2]))
def test_any_history_ends_in_the_corpus_and_the_rows_of_a_new_workspace(history: list[Any], workers: int) -> None:
    with tempfile.TemporaryDirectory() as base:
        raw = Path(base) / "raw"
        raw.mkdir()
        for n, line in enumerate(LINES):
            (raw / f"sempre{n}.txt").write_text(f"{line}\n{LINES[(n * 2) % 9]}\n{LINES[0] if n % 2 else LINES[4]}\nfine del testo {n}")
        workspace = Workspace.create(Path(base) / "ws")
        workspace.add_source(raw)
        threshold, repeated = 0.8, 3
        results: list[StageResult] = []
        for what, first, second in [*history, ("end", "", "")]:
            threshold = first if what == "threshold" else threshold
            repeated = first if what == "repeated" else repeated
            if what not in ("threshold", "repeated", "kill", "end"):
                change(raw, what, first, second)
            way = living(threshold, repeated, 0.05)
            observer = Killer(first) if what == "kill" else None
            if what == "kill":
                change(raw, "write", f"nuovo{first}", LINES[first % 9] + " con qualche parola in più")
            engine = Engine(workspace, way, workers=0, allow_removals=True, observer=observer, part_rows=2)
            try:
                results = engine.run()
            except Killed:
                continue
            for r in results:
                assert r.kept + r.rejected + r.failed == r.documents_in
        other = Workspace.create(Path(base) / "new")
        other.add_source(raw)
        other.take_pins(workspace)
        assert essence(workspace, results) == essence(other, Engine(other, way, workers=workers).run())
        assert all(r.status in ("cached", "skipped") for r in Engine(workspace, way, workers=0).run())
