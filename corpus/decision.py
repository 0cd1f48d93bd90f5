"""From measurements to a view's table: who is kept, and what the documents now are.

Deciding is cheap and is simply done again when a threshold moves. When only the documents changed, the rows of an
earlier view with the same decision are taken over: a row depends on nothing but (id, of) and the settings. A stage that
elects decides on the whole set, so its rows are always computed anew (only the hashes of texts it changes are taken over).
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from corpus.canonical import digest_text
from corpus.document import FIELDS
from corpus.outcome import Outcome, kept
from corpus.stage import DocumentStage
from corpus.store import Shelf, row_keys
from corpus.view import BLOCK, OUTCOME, ViewReader, touched

PASSED = kept()
FAILURE = ("failure", "failure_detail")


def read_hashes(table: pa.Table, reads: tuple[str, ...]) -> pa.Array | pa.ChunkedArray:
    """`of` for every row: the hash of the fields a stage reads (the text's own hash when it reads nothing else)."""
    columns = ["text_hash" if r == "text" else r for r in reads]
    if columns == ["text_hash"]:
        return table["text_hash"]
    if not columns:
        return pa.array([""] * table.num_rows, pa.string())
    missing = [c for c in columns if c not in table.column_names]
    if missing:
        raise ValueError(f"no earlier stage writes {', '.join(missing)}")
    pieces = [pc.fill_null(pc.cast(table[c], pa.string()), "\x00") for c in columns]
    joined = pc.binary_join_element_wise(*pieces, "\x1f").to_pylist()
    memo: dict[str, str] = {}
    return pa.array([memo[j] if j in memo else memo.setdefault(j, digest_text(j)) for j in joined], pa.string())


def view_schema(stage: DocumentStage, incoming: pa.Table) -> pa.Schema:
    """Columns of the stage's view: outcome, the incoming small fields, its own."""
    names = {f.name for f in OUTCOME} | {"of"}
    small = [incoming.schema.field(n) for n in incoming.column_names if n not in names and n not in stage.writes.names]
    known = [FIELDS.field(w.name) if w.name in FIELDS.names else w for w in stage.writes]
    return pa.schema([pa.field(f.name, f.type) for f in [*OUTCOME, *small, *known]])


def decide(
    stage: DocumentStage,
    base: ViewReader,
    shelf: Shelf,
    incoming: pa.Table,
    circumstances: dict[str, tuple[str, str]],
    earlier: ViewReader | None,
) -> pa.Table:
    """The view's table, in id order.

    incoming: the documents with `of` (null: goes by unmeasured). circumstances: id -> (reason, detail) of those that
    could not be measured this time. Documents neither measured nor in `circumstances` (in a plan) are left out.
    """
    schema = view_schema(stage, incoming)
    at = shelf.locate(pc.fill_null(incoming["id"], ""), pc.fill_null(incoming["of"], "\x00"))
    if stage.elect is not None:
        return _elected(stage, base, shelf, incoming, at, circumstances, earlier).sort_by("id")
    tables = []
    if earlier is not None and earlier.outcomes().schema.names == schema.names:
        old = earlier.outcomes()
        old = old.filter(pc.invert(pc.equal(old["status"], "failed")))
        found = pc.index_in(
            row_keys(incoming["id"], pc.fill_null(incoming["of"], "\x00")), value_set=row_keys(old["id"], pc.fill_null(old["of"], "\x00"))
        )
        known = pc.and_(pc.is_valid(found), pc.is_valid(incoming["of"]))
        own = ["status", "reason", "value", "threshold", "detail", *stage.writes.names, *(["text_hash"] if stage.text else [])]
        taken = incoming.filter(known)
        rows = old.take(pc.filter(found, known))
        tables.append(pa.table({f.name: rows[f.name] if f.name in own else taken[f.name] for f in schema}, schema=schema))
        at = pc.filter(at, pc.invert(known))
        incoming = incoming.filter(pc.invert(known))
    for start in range(0, incoming.num_rows, BLOCK):
        tables.append(_decided(stage, base, shelf, incoming.slice(start, BLOCK), at.slice(start, BLOCK), circumstances, schema))
    return pa.concat_tables(tables).sort_by("id") if tables else schema.empty_table()


def _decided(
    stage: DocumentStage,
    base: ViewReader,
    shelf: Shelf,
    block: pa.Table,
    at: Any,
    circumstances: dict[str, tuple[str, str]],
    schema: pa.Schema,
) -> pa.Table:
    spots = at.to_pylist()
    rows = block.to_pylist()
    entries = shelf.index().take(at.drop_null())
    measured = shelf.take(at.drop_null(), stage.measures.names).to_pylist() if stage.measures.names else [{}] * entries.num_rows
    results = iter(zip(entries["failure"].to_pylist(), entries["failure_detail"].to_pylist(), measured, strict=True))
    incoming = dict(zip(block["id"].to_pylist(), base.texts(block["id"].to_pylist()), strict=True)) if stage.text and stage.edits else {}
    out = []
    assert stage.decide is not None
    for row, spot in zip(rows, spots, strict=True):
        text_hash = row["text_hash"]
        if spot is not None:
            failure, detail, m = next(results)
            outcome = Outcome("failed", failure, detail=detail) if failure else stage.decide(stage.config, m)
            if stage.text and outcome.status == "kept":
                text_hash = digest_text(stage.text(stage.config, m, incoming.get(row["id"], "")))
        elif row["of"] is None:
            outcome = PASSED
        elif row["id"] in circumstances:
            reason, detail = circumstances[row["id"]]
            outcome = Outcome("failed", reason, detail=detail)
        else:
            continue
        out.append(_row(row, outcome, text_hash))
    return pa.Table.from_pylist(out, schema=schema)


def _elected(
    stage: DocumentStage,
    base: ViewReader,
    shelf: Shelf,
    incoming: pa.Table,
    at: Any,
    circumstances: dict[str, tuple[str, str]],
    earlier: ViewReader | None,
) -> pa.Table:
    """Column by column: an election is on the whole set, and the set may be large."""
    assert stage.elect is not None
    verdict = [column.take(at) for column in shelf.index().select(FAILURE).columns]  # '' where it was measured
    failed = pc.not_equal(pc.fill_null(verdict[0], ""), "")
    failures = dict(
        zip(incoming["id"].filter(failed).to_pylist(), zip(*(c.filter(failed).to_pylist() for c in verdict), strict=True), strict=True)
    )
    measured = pc.and_(pc.is_valid(at), pc.invert(failed))
    candidates = incoming.filter(measured)
    measurements = shelf.take(pc.filter(at, measured), stage.measures.names)
    rows = candidates.select(["id", *stage.elects_on])
    for name in stage.measures.names:
        rows = rows.append_column(name, measurements[name])
    elected = iter(stage.elect(stage.config, rows, base.texts))
    outcomes: list[Outcome | None] = []
    for id, of, chosen in zip(*(c.to_pylist() for c in (incoming["id"], incoming["of"], measured)), strict=True):
        if chosen:
            outcomes.append(next(elected))
        elif of is None:
            outcomes.append(PASSED)
        elif id in failures or id in circumstances:
            reason, detail = failures.get(id) or circumstances[id]
            outcomes.append(Outcome("failed", reason, detail=detail))
        else:
            outcomes.append(None)  # a plan has not measured it
    known = [o is not None for o in outcomes]
    said = [o for o in outcomes if o is not None]
    present = incoming.filter(pa.array(known, pa.bool_()))
    columns = {
        "status": [o.status for o in said],
        "reason": [o.reason for o in said],
        "value": [_rounded(o.value) for o in said],
        "threshold": [_rounded(o.threshold) for o in said],
        "detail": [o.detail for o in said],
        **{name: [o.fields.get(name) for o in said] for name in stage.writes.names},
    }
    schema = view_schema(stage, incoming)
    table = pa.table({f.name: pa.array(columns[f.name], f.type) if f.name in columns else present[f.name] for f in schema}, schema=schema)
    return _retexted(stage, base, shelf, table, earlier) if stage.text else table


def _retexted(stage: DocumentStage, base: ViewReader, shelf: Shelf, table: pa.Table, earlier: ViewReader | None) -> pa.Table:
    """The table with the hashes of the texts that the election changed; those of an equal earlier row are taken over."""
    assert stage.text is not None
    hashes = table["text_hash"].to_pylist()
    names = ["id", "of", *stage.writes.names]
    changed = touched(table, stage.writes.names)
    before: dict[Any, str] = {}
    if earlier is not None and earlier.outcomes().schema.equals(table.schema):
        old = earlier.outcomes()
        old = old.filter(touched(old, stage.writes.names))
        before = dict(zip(zip(*(old[n].to_pylist() for n in names), strict=True), old["text_hash"].to_pylist(), strict=True))
    rows = table.filter(changed).select(names).to_pylist()
    places = pc.indices_nonzero(changed).to_pylist()
    todo = []
    for place, row in zip(places, rows, strict=True):
        known = before.get(tuple(row.values()))
        if known is None:
            todo.append((place, row))
        else:
            hashes[place] = known
    for start in range(0, len(todo), BLOCK):
        block = todo[start : start + BLOCK]
        at = shelf.locate(pa.chunked_array([[r["id"] for _, r in block]]), pa.chunked_array([[r["of"] for _, r in block]]))
        measurements = shelf.take(at, stage.measures.names).to_pylist() if stage.measures.names else [{}] * len(block)
        for (place, row), m, text in zip(block, measurements, base.texts([r["id"] for _, r in block]), strict=True):
            hashes[place] = digest_text(stage.text(stage.config, m | row, text))
    return table.set_column(table.column_names.index("text_hash"), "text_hash", pa.array(hashes, pa.string()))


def _row(row: dict[str, Any], outcome: Outcome, text_hash: str) -> dict[str, Any]:
    return {
        **row,
        **outcome.fields,
        "status": outcome.status,
        "reason": outcome.reason,
        "value": _rounded(outcome.value),
        "threshold": _rounded(outcome.threshold),
        "detail": outcome.detail,
        "text_hash": text_hash,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(float(value), 6)
