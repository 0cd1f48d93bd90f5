"""A workspace remembers, is private, lets one run work at a time, and can be checked and cleaned."""

from __future__ import annotations

import pytest
import toys

from corpus.engine import Engine
from corpus.keep import collect, verify
from corpus.outcome import Misuse, Stop
from corpus.workspace import Workspace


@pytest.fixture
def workspace(tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "a.txt").write_text("il gatto dorme")
    workspace = Workspace.create(tmp_path / "ws")
    workspace.add_source(raw)
    return workspace


def test_it_is_private_and_holds_no_absolute_path(workspace, tmp_path):
    Engine(workspace, toys.WAY, workers=0).run()
    assert workspace.path.stat().st_mode & 0o777 == 0o700
    for path in workspace.path.rglob("*.json"):
        assert str(tmp_path) not in path.read_text()
    assert workspace.sources() == {"raw": (tmp_path / "raw").resolve()}


def test_two_at_once_are_told_who_holds_it(workspace):
    with (
        workspace.locked("run"),
        pytest.raises(Stop, match=r"in use by `athanor run` \(process \d+"),
        Workspace.open(workspace.path).locked("gc"),
    ):
        pass
    with workspace.locked("gc"):
        pass


def test_a_folder_with_other_things_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(Misuse, match="holds other things"):
        Workspace.create(tmp_path)
    with pytest.raises(Misuse, match="There is no workspace"):
        Workspace.open(tmp_path / "nowhere")


def test_gc_keeps_what_is_used_and_verify_finds_what_is_altered(workspace):
    Engine(workspace, toys.WAY, workers=0).run()
    Engine(workspace, toys.replaced(toys.WAY, upper=toys.UpperConfig(shout=True)), workers=0).run()
    assert collect(workspace, dry_run=True) == collect(workspace)
    again = Engine(workspace, toys.replaced(toys.WAY, upper=toys.UpperConfig(shout=True)), workers=0)
    assert {r.status for r in again.run()} == {"cached"}
    count, wrong = verify(workspace)
    assert count > 6 and wrong == []
    next(workspace.store.glob("read/*/part-*/rows.parquet")).write_bytes(b"x")
    assert len(verify(workspace)[1]) == 1
