"""A source that loses most of its documents as duplicates is named, with the numbers."""

from __future__ import annotations

from pathlib import Path

from living import GRADE, LINES
from toys import INGEST, READ

from corpus.engine import Engine
from corpus.workspace import Run, Workspace
from filters.dedup import stage as dedup
from flows import alarms


def test_a_source_that_loses_more_than_its_share_is_named_and_others_are_not(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "ws")
    for name, copies in (("copie", 1), ("originali", 30)):
        (tmp_path / name).mkdir()
        for n in range(30):
            text = (
                " ".join(LINES[k % 9] for k in range(3))
                if copies == 1
                else f"{n} " + " ".join(f"{word}{n}" for word in LINES[n % 9].split())
            )
            (tmp_path / name / f"{n}.txt").write_text(text + "\n" * n)
        workspace.add_source(tmp_path / name)
    results = Engine(workspace, (INGEST, READ, GRADE, dedup.STAGE), workers=0).run()
    run = Run(workspace, {"id": "x", "stages": [r.json() for r in results]})
    assert alarms.losses(run, 0.5) == [{"stage": "dedup", "source": "copie", "in": 30, "removed": 29, "share": 0.9667}]
    assert "29 of the 30 documents of 'copie' (97%)" in alarms.sentence(alarms.losses(run, 0.5)[0], "ws")
    assert alarms.losses(run, 0.97) == []
