"""Law 2: incremental is from scratch. Whatever happened to the RAW folder and the settings on the way, the views, digests
and artifact keys of the last run are those of a new workspace that was given the same pins."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import toys
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from corpus.engine import Engine
from corpus.store import read_record
from corpus.workspace import Workspace

WORDS = st.sampled_from("gatto cane sole luna mare ab x POISON".split())
TEXT = st.lists(WORDS, min_size=1, max_size=4).map(" ".join)
NAME = st.sampled_from("abcdef")
STEP = st.one_of(
    st.tuples(st.just("write"), NAME, TEXT),
    st.tuples(st.just("rows"), NAME, st.lists(TEXT, max_size=4).map(lambda rows: "\n".join(["rows", *rows]))),
    st.tuples(st.just("remove"), NAME, st.just("")),
    st.tuples(st.just("rename"), NAME, NAME),
    st.tuples(st.just("copy"), NAME, NAME),
    st.tuples(st.just("minimum"), st.sampled_from([3, 6, 30]), st.just("")),
    st.tuples(st.just("shout"), st.booleans(), st.just("")),
    st.tuples(st.just("sample"), st.integers(1, 3), st.just("")),
)


def change(raw: Path, what: str, name: str, other: str) -> None:
    """Do to the RAW folder what the step says; a step on a file that is not there does nothing."""
    path = raw / f"{name}.txt"
    if what in ("write", "rows"):
        path.write_text(other)
    elif path.exists() and what == "remove":
        path.unlink()
    elif path.exists() and what in ("rename", "copy") and name != other:
        (shutil.move if what == "rename" else shutil.copy)(path, raw / f"{other}.txt")


def essence(workspace: Workspace, results) -> dict:
    """Per stage what must be equal."""
    digests = {r.name: (read_record(workspace.store / r.folder) or {}).get("digest") for r in results}
    return {r.name: (r.artifact, r.kept, r.rejected, r.failed, digests[r.name]) for r in results}


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(STEP, min_size=1, max_size=8))
def test_any_history_ends_where_a_new_workspace_begins(history):
    with tempfile.TemporaryDirectory() as base:
        raw = Path(base) / "raw"
        raw.mkdir()
        (raw / "sempre.txt").write_text("rows\nil gatto dorme\nla luna piena\n")
        workspace = Workspace.create(Path(base) / "ws")
        workspace.add_source(raw)
        minimum, shout, results = 3, False, []
        for what, first, second in [*history, ("end", "", "")]:
            if what == "minimum":
                minimum = first
            elif what == "shout":
                shout = first
            else:
                change(raw, what, str(first), str(second))
            way = toys.replaced(toys.WAY, length=toys.LengthConfig(minimum=minimum), upper=toys.UpperConfig(shout=shout))
            sample = first if what == "sample" else None
            engine = Engine(workspace, way, workers=0, sample=sample, allow_removals=True)
            planned = {r.name: r.calls for r in engine.plan()}
            results = engine.run()
            for r in results:
                assert r.kept + r.rejected + r.failed == r.documents_in
                assert not r.calls or planned[r.name], f"{r.name} measured what the plan did not foresee"
        other = Workspace.create(Path(base) / "new")
        other.add_source(raw)
        other.take_pins(workspace)
        assert essence(workspace, results) == essence(other, Engine(other, way, workers=0).run())
        assert all(r.status in ("cached", "skipped") for r in Engine(workspace, way, workers=0).run())
