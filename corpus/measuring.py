"""A document stage in a walk: look up what is known, measure what is missing part by part, decide, write the view."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from corpus import sandbox
from corpus.canonical import digest, plain
from corpus.decision import decide, read_hashes
from corpus.reasons import changes, code_of, count_of
from corpus.result import StageResult, State
from corpus.stage import DocumentStage, Inputs, Measurements
from corpus.store import Shelf, read_record, shelf_schema
from corpus.view import ViewReader, describe, digests, summary_of, write_view
from corpus.walk import Walk

PART_SIZE = 256 << 20  # characters, bytes and items in a part, about: it is put together in memory
Circumstances = dict[str, tuple[str, str]]  # document id -> (reason, detail) of what could not be measured this time


def documents(walk: Walk, stage: DocumentStage) -> StageResult:
    """One step of the walk: `stage` on the documents that the stage before it kept."""
    begun = time.monotonic()
    base = walk.tail
    assert base is not None
    lacking = [n for n in stage.inputs if n not in walk.artifacts and n not in walk.unknown and n not in stage.optional]
    if lacking:
        return StageResult(stage.name, "skipped", [f"needs {lacking[0]}, which was skipped"])
    if made_anew := [n for n in stage.inputs if n in walk.unknown]:
        return _guessed(walk, stage, base, made_anew[0])
    inputs = Inputs(artifacts={n: walk.artifacts[n] for n in stage.inputs if n in walk.artifacts})
    fingerprint, identity = fingerprint_of(stage, inputs)
    shelf = Shelf(walk.workspace.store, stage.name, fingerprint)
    key = digest([fingerprint, stage.decision(), base.digest])
    folder = f"{stage.name}/{fingerprint}/view-{key}"
    record = read_record(walk.workspace.store / folder)
    why = changes(stage, identity, walk.last.get(stage.name))
    if record is not None and record["complete"] and not walk.retry_failed and not walk.pending:
        return told(walk, stage, ViewReader(walk.workspace.store, folder), folder, identity, "cached", why, 0, begun)

    incoming = _read(stage, base)
    measurable = incoming.filter(pc.is_valid(incoming["of"]))
    missing = measurable.filter(_absent(shelf, measurable, walk.retry_failed))
    if missing.num_rows:
        everything = missing.num_rows == measurable.num_rows and stage.name in walk.last
        why.append(f"all {count_of(missing.num_rows, 'document')}" if everything else count_of(missing.num_rows, "new or changed document"))
    calls = missing.num_rows
    circumstances: Circumstances = {}
    if calls and not walk.dry:
        walk.observer.started(stage.name, calls, why)
        calls, circumstances = measure(walk, stage, inputs, shelf, identity, _given(walk, stage, base, missing), calls)

    table = decide(stage, base, shelf, incoming, circumstances, _earlier(walk, stage, fingerprint))
    made = describe(stage, fingerprint, base.folder) | seal(stage, key, table, circumstances)
    if walk.dry:
        calls += walk.pending
        walk.pending += missing.num_rows
        why = why or [f"{count_of(walk.pending, 'document')} still to come from before" if walk.pending else "its documents changed"]
        reader = ViewReader.of(walk.workspace.store, made, table, base)
        reader.folder = folder
    else:
        write_view(walk.workspace.store, walk.workspace.store / folder, table, made)
        reader = ViewReader(walk.workspace.store, folder)
    return told(walk, stage, reader, folder, identity, "would_run" if walk.dry else "ran", why or ["its documents changed"], calls, begun)


def fingerprint_of(stage: DocumentStage, inputs: Inputs) -> tuple[str, dict[str, Any]]:
    """(fingerprint, what it was made of): the shelf's name, and the identity that reasons compare."""
    identity = plain(stage.identity()) | {"inputs": {n: a.digest for n, a in inputs.artifacts.items()}}
    return digest(identity), identity | {"decision": plain(stage.decision()), "code": code_of(stage.measure)}


def measure(
    walk: Walk,
    stage: DocumentStage,
    inputs: Inputs,
    shelf: Shelf,
    identity: dict[str, Any],
    given: Iterator[dict[str, Any]],
    total: int,
    allowed: Callable[[Measurements], Measurements] | None = None,
) -> tuple[int, Circumstances]:
    """Measure these documents into new parts of the shelf; `allowed` is what may be remembered of a measurement.

    Returns the calls made and the circumstances.
    """
    schema = shelf_schema(stage)
    rows: list[dict[str, Any]] = []
    circumstances: Circumstances = {}
    written = time.monotonic()
    calls = size = 0

    def flush() -> None:
        nonlocal rows, size, written
        if rows:
            shelf.add(pa.Table.from_pylist(rows, schema=schema), stage, identity)
        rows, size, written = [], 0, time.monotonic()

    try:
        for document, said in sandbox.measure_all(stage, inputs, given, total, walk.workers):
            calls += 1
            row = {"id": document["id"], "of": document["of"], "failure": "", "failure_detail": ""}
            if said[0] == "ok":
                rows.append(row | _rounded(allowed(said[1]) if allowed else said[1]))
                size += sum(len(value) for value in said[1].values() if isinstance(value, (str, bytes, list)))
            elif said[0] == "verdict":
                rows.append(row | {"failure": said[1], "failure_detail": said[2]})
            else:
                circumstances[document["id"]] = (said[1], said[2])
            walk.observer.advanced(stage.name, calls, total, "")
            if len(rows) >= walk.part_rows or size > PART_SIZE or time.monotonic() - written > walk.part_seconds:
                flush()
    except KeyboardInterrupt:
        flush()  # what is measured is measured
        raise
    flush()
    return calls, circumstances


def seal(stage: DocumentStage, key: str, table: pa.Table, circumstances: Circumstances) -> dict[str, Any]:
    """The part of a view's record that is about its content. An incomplete view is never taken for a cached one."""
    columns = digests(table)
    return {
        "key": key,
        "digest": digest(columns),
        "columns": columns,
        "decision": plain(stage.decision()),
        "complete": not circumstances,
        "rows": table.num_rows,
        "summary": summary_of(table),
    }


def told(
    walk: Walk,
    stage: DocumentStage,
    reader: ViewReader,
    folder: str,
    identity: dict[str, Any],
    status: State,
    why: list[str],
    calls: int,
    begun: float,
) -> StageResult:
    """Go on with this view, and say what happened."""
    walk.tail = walk.views[stage.name] = reader
    summary = reader.summary()
    kept, rejected, failed = (sum(n for reason, n in summary.items() if reason.startswith(s)) for s in ("kept", "rejected", "failed"))
    return StageResult(
        stage.name,
        status,
        why,
        documents_in=kept + rejected + failed + (walk.pending if walk.dry else 0),
        kept=kept,
        rejected=rejected,
        failed=failed,
        calls=calls,
        seconds=time.monotonic() - begun,
        artifact=reader.record["key"],
        folder=folder,
        reasons={reason: n for reason, n in summary.items() if ":" in reason},
        identity=identity,
    )


def _guessed(walk: Walk, stage: DocumentStage, base: ViewReader, made_anew: str) -> StageResult:
    """In a plan, a stage whose input artifact would be made anew: every document would be measured again."""
    walk.pending += base.table().num_rows
    walk.views[stage.name] = base
    walk.unknown.add(stage.name)
    empty = ViewReader.of(walk.workspace.store, base.record, base.outcomes().slice(0, 0), base.upstream)
    walk.tail = empty
    return StageResult(stage.name, "would_run", [f"{made_anew} would be made anew"], documents_in=walk.pending, calls=walk.pending)


def _read(stage: DocumentStage, base: ViewReader) -> pa.Table:
    """The incoming documents with `of`; null for those that go by unmeasured."""
    incoming = base.table().drop_columns(["of"])
    of = read_hashes(incoming, stage.reads)
    if stage.passes_chat and "form" in incoming.column_names:
        of = pc.if_else(pc.equal(incoming["form"], "chat"), pa.scalar(None, pa.string()), of)
    return incoming.append_column("of", of)


def _absent(shelf: Shelf, measurable: pa.Table, retry_failed: bool) -> pa.Array:
    at = shelf.locate(measurable["id"], measurable["of"])
    absent = pc.is_null(at)
    if retry_failed:
        absent = pc.or_(absent, pc.not_equal(pc.fill_null(shelf.index()["failure"].take(at), ""), ""))
    return absent


def _given(walk: Walk, stage: DocumentStage, base: ViewReader, missing: pa.Table) -> Iterator[dict[str, Any]]:
    """The documents to measure: the fields read, `of`, and for the first stage after ingest where the bytes are."""
    ids, ofs = missing["id"].to_pylist(), iter(missing["of"].to_pylist())
    places = walk.places.of(ids) if base.upstream is None and walk.places else {}
    for document in base.documents(*stage.reads, ids=ids):
        document["of"] = next(ofs)
        if base.upstream is None:
            path, document["inner"] = places[document["id"]]
            document["path"] = str(path)
        yield document


def _earlier(walk: Walk, stage: DocumentStage, fingerprint: str) -> ViewReader | None:
    """The newest view on this shelf that was decided by the same settings."""
    wanted = plain(stage.decision())
    found: list[tuple[float, str]] = []
    for path in (walk.workspace.store / stage.name / fingerprint).glob("view-*"):
        record = read_record(path)
        if record and record["decision"] == wanted:
            found.append((record["created"], path.name))
    return ViewReader(walk.workspace.store, f"{stage.name}/{fingerprint}/{max(found)[1]}") if found else None


def _rounded(value: Any) -> Any:
    """Floats at six decimals, so that equal measurements compare equal."""
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)) and value and not isinstance(value[0], (int, str)):
        return [_rounded(v) for v in value]
    return value
