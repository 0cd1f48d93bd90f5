"""A corpus stage in a walk: compute the key; build when there is no such artifact.

A pinned stage goes on using the artifact it was pinned to until its own settings, version, engines or input artifacts
change: new data does not move it, and the result says how far behind it is. Samples never pin. A build that finds nothing
to do raises Skip; that is remembered too, under the same key.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from corpus import sandbox
from corpus.canonical import digest, plain
from corpus.outcome import Skip
from corpus.reasons import changes, code_of, count_of
from corpus.result import StageResult, State
from corpus.stage import CorpusStage, Inputs
from corpus.store import committed, sha256
from corpus.walk import Walk
from corpus.workspace import Built, built


def artifact(walk: Walk, stage: CorpusStage) -> StageResult:
    """One step of the walk: the stage's artifact, from the pin, from the store, or built."""
    begun = time.monotonic()
    for name in stage.inputs:
        if name in walk.results and walk.results[name].status == "skipped" and name not in stage.optional:
            return StageResult(stage.name, "skipped", [f"needs {name}, which was skipped"], unit="artifact")
    inputs = Inputs(
        artifacts={n: walk.artifacts[n] for n in stage.inputs if n in walk.artifacts},
        views={n: walk.views[n] for n in stage.inputs if n in walk.views},
    )
    identity = plain(stage.identity()) | {"inputs": {n: a.digest for n, a in inputs.artifacts.items()}}
    shown = identity | {"code": code_of(stage.build)}
    why = changes(stage, shown, walk.last.get(stage.name))
    unsettled = [n for n in stage.inputs if n in walk.unknown or (n in walk.views and walk.pending)]
    data = {} if unsettled else {n: v.digest_of(stage.reads) for n, v in inputs.views.items()}
    pin = digest(identity)
    if stage.name not in walk.refit and not any(n in walk.unknown and n not in walk.views for n in stage.inputs):
        pinned = _pinned(walk, stage, pin)
        if pinned is not None:
            walk.artifacts[stage.name] = pinned
            behind = [_behind(stage, pinned, inputs, walk.pending)] if unsettled or pinned.record["data"] != data else []
            return _told(walk, stage, pinned, "cached", behind, 0, begun, shown)
    key = digest(identity | {"data": data})
    found = None if unsettled else built(walk.workspace.store / stage.name / key)
    if found is not None:
        return _settled(walk, stage, found, pin, [], 0, begun, shown)
    why = why or [_because(walk, stage, unsettled)]
    if walk.dry:
        walk.unknown.add(stage.name)
        return StageResult(stage.name, "would_run", why, "artifact", calls=1)
    walk.observer.started(stage.name, None, why)
    record = {"stage": stage.name, "identity": identity, "data": data, "documents": _count(inputs), "sensitive": stage.sensitive}
    return _settled(walk, stage, _build(walk, stage, inputs, key, record), pin, why, 1, begun, shown)


def _pinned(walk: Walk, stage: CorpusStage, identity: str) -> Built | None:
    pin = walk.workspace.pins().get(stage.name) if stage.pinned else None
    return built(walk.workspace.store / pin["folder"]) if pin and pin["identity"] == identity else None


def _build(walk: Walk, stage: CorpusStage, inputs: Inputs, key: str, record: dict[str, Any]) -> Built:
    store = walk.workspace.store
    target, scratch = store / stage.name / key, store / stage.name / f"work-{key}"
    scratch.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()

    def tell(done: float, total: float, note: str) -> None:
        walk.observer.advanced(stage.name, done, total, note)

    with committed(store, target, record) as folder:
        try:
            metrics = sandbox.build_one(stage, inputs, folder, scratch, walk.workers, walk.device, tell)
        except Skip as skip:
            record.update(skipped=str(skip), metrics={}, digest="")
        else:
            sealed = {str(f.relative_to(folder)): sha256(f) for f in sorted(folder.rglob("*")) if _bears(f)}
            record.update(metrics=metrics, digest=digest(sealed), seconds=round(time.monotonic() - begun, 3))
    shutil.rmtree(scratch, ignore_errors=True)
    made = built(target)
    assert made is not None
    return made


def _settled(
    walk: Walk, stage: CorpusStage, found: Built, pin: str, why: list[str], calls: int, begun: float, identity: dict[str, Any]
) -> StageResult:
    """An artifact of exactly these inputs is there: pin it and go on with it."""
    folder = str(found.path.relative_to(walk.workspace.store))
    if "skipped" in found.record:
        why = [found.record["skipped"]]
        return StageResult(stage.name, "skipped", why, "artifact", calls=calls, artifact=found.path.name, folder=folder, identity=identity)
    if stage.pinned and not walk.dry and walk.sample is None:
        walk.workspace.pin(stage.name, pin, folder)
    walk.artifacts[stage.name] = found
    return _told(walk, stage, found, "ran" if calls else "cached", why, calls, begun, identity)


def _told(
    walk: Walk, stage: CorpusStage, found: Built, status: State, why: list[str], calls: int, begun: float, identity: dict[str, Any]
) -> StageResult:
    return StageResult(
        stage.name,
        status,
        why,
        "artifact",
        documents_in=found.record["documents"],
        kept=found.record["documents"],
        calls=calls,
        seconds=time.monotonic() - begun,
        artifact=found.path.name,
        folder=str(found.path.relative_to(walk.workspace.store)),
        metrics=found.record["metrics"],
        identity=identity,
    )


def _behind(stage: CorpusStage, found: Built, inputs: Inputs, pending: int) -> str:
    now, then = _count(inputs) + pending, found.record["documents"]
    moved = f"{count_of(abs(now - then), 'document')} {'more' if now > then else 'fewer'}" if now != then else "other documents"
    return f"pinned; behind by {moved}: `--refit {stage.name}` makes it anew"


def _because(walk: Walk, stage: CorpusStage, unsettled: list[str]) -> str:
    if stage.name in walk.refit:
        return "asked for by --refit"
    if unsettled:
        return f"{unsettled[0]} would change"
    return "its inputs changed" if stage.name in walk.last else "never made"


def _count(inputs: Inputs) -> int:
    return max((v.table().num_rows for v in inputs.views.values()), default=0)


def _bears(path: Path) -> bool:
    """Whether a file is part of what an artifact is; logs of how it went (*.jsonl) and samples (*.md) are not."""
    return path.is_file() and path.suffix not in (".jsonl", ".md")
