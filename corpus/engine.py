"""The engine: runs stages on views, measures what is missing and nothing else, and can say beforehand what it would do.

`plan()` and `step()` are the same walk along the way (corpus.walk); a plan stops short of measuring and building, and
counts instead. The engine knows nothing of Prefect or terminals: an Observer is told what happens.
"""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

from corpus.building import artifact
from corpus.intake import ingest
from corpus.measuring import documents
from corpus.outcome import Misuse, Stop
from corpus.result import Nobody, Observer, StageResult
from corpus.stage import CorpusStage, DocumentStage, Stage
from corpus.walk import Walk
from corpus.workspace import Workspace

PART_ROWS = 4096  # a part is written after so many documents,
PART_SECONDS = 10.0  # or so much time: what a kill may cost


class Engine:
    """Runs one way (a tuple of stages in order, the ingest stage first) on one workspace."""

    def __init__(
        self,
        workspace: Workspace,
        way: tuple[Stage, ...],
        *,
        workers: int = 2,
        device: str = "cpu",
        observer: Observer | None = None,
        sample: int | None = None,
        refit: tuple[str, ...] = (),
        retry_failed: bool = False,
        allow_removals: bool = False,
        rehash: bool = False,
        part_rows: int = PART_ROWS,
        part_seconds: float = PART_SECONDS,
    ) -> None:
        fitted = [s.name for s in way if isinstance(s, CorpusStage)]
        for name in refit:
            if name not in fitted:
                raise Misuse(f"There is nothing fitted to renew in '{name}'; --refit takes one of {', '.join(fitted)}.")
        if len({s.name for s in way}) != len(way):
            raise ValueError("two stages have one name")
        self.workspace, self.way = workspace, way
        self._walk = Walk(
            workspace,
            observer or Nobody(),
            workers,
            device,
            sample,
            refit,
            retry_failed,
            allow_removals,
            part_rows,
            part_seconds,
            rehash,
            last=workspace.last_stages(),
        )

    @property
    def observer(self) -> Observer:
        """Who is told what happens; may be set until the first step."""
        return self._walk.observer

    @observer.setter
    def observer(self, observer: Observer) -> None:
        self._walk.observer = observer

    @property
    def results(self) -> list[StageResult]:
        """What the steps so far did."""
        return list(self._walk.results.values())

    def plan(self, until: str | None = None) -> list[StageResult]:
        """What `run` would do for every stage, and why. Changes nothing."""
        walk = replace(self._walk, dry=True, results={}, views={}, artifacts={}, tail=None, places=None, unknown=set())
        for stage in self._upto(until):
            _step(walk, stage)
        return list(walk.results.values())

    def step(self, name: str) -> StageResult:
        """Run one stage; the earlier ones must have been run by this engine. Stop says what a person can do."""
        stage = next(s for s in self.way if s.name == name)
        try:
            result = _step(self._walk, stage)
        except OSError as error:
            raise _explained(error, name) from error
        if result.status in ("cached", "ran"):
            self.workspace.remember_stage(name, {"identity": result.identity, "folder": result.folder})
        self.observer.ended(result)
        return result

    def run(self, until: str | None = None) -> list[StageResult]:
        """All stages in order, up to and with `until`."""
        for stage in self._upto(until):
            self.step(stage.name)
        return self.results

    def _upto(self, until: str | None) -> tuple[Stage, ...]:
        names = [s.name for s in self.way]
        return self.way if until is None else self.way[: names.index(until) + 1]


def _step(walk: Walk, stage: Stage) -> StageResult:
    if isinstance(stage, CorpusStage):
        result = artifact(walk, stage)
    else:
        assert isinstance(stage, DocumentStage)
        result = documents(walk, stage) if walk.results else ingest(walk, stage)
    walk.results[stage.name] = result
    return result


def _explained(error: OSError, stage: str) -> Stop:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Stop(f"The disk is full (stage '{stage}'). Free some space and run again: what is finished is kept.")
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return Stop(
            f"The workspace cannot be written (stage '{stage}': {error.strerror}). Check its permissions, or choose another with -w."
        )
    return Stop(f"Stage '{stage}' could not go on: {error.strerror or type(error).__name__} ({Path(error.filename or '?').name}).")
