"""From measurements to a view's table: who is kept, and what the documents now are.

Deciding is cheap and is simply done again when a threshold moves. When only the documents changed, the rows of an
earlier view with the same decision are taken over: a row depends on nothing but (id, of) and the settings. A stage that
elects decides on the whole set, so its rows are always computed anew.
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
from corpus.view import BLOCK, OUTCOME, ViewReader, digest_rows

PASSED = kept()


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
        return _elected(stage, shelf, incoming, at, circumstances).cast(schema).sort_by("id")
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


def _elected(stage: DocumentStage, shelf: Shelf, incoming: pa.Table, at: Any, circumstances: dict[str, tuple[str, str]]) -> pa.Table:
    assert stage.elect is not None
    entries = shelf.index().take(at.drop_null())
    present = incoming.filter(pc.is_valid(at))
    good = pc.equal(entries["failure"], "")
    candidates = present.filter(good)
    measured = shelf.take(at.drop_null().filter(good.combine_chunks() if isinstance(good, pa.ChunkedArray) else good), stage.measures.names)
    table = candidates.select(["id", *stage.elects_on])
    for name in stage.measures.names:
        table = table.append_column(name, measured[name])
    outcomes = dict(zip(candidates["id"].to_pylist(), stage.elect(stage.config, table), strict=True))
    failures = dict(
        zip(present["id"].to_pylist(), zip(entries["failure"].to_pylist(), entries["failure_detail"].to_pylist(), strict=True), strict=True)
    )
    out = []
    for row in incoming.to_pylist():
        id = row["id"]
        if id in outcomes:
            outcome = outcomes[id]
        elif row["of"] is None:
            outcome = PASSED
        elif id in failures or id in circumstances:
            reason, detail = failures.get(id) or circumstances[id]
            outcome = Outcome("failed", reason, detail=detail)
        else:
            continue
        out.append(_row(row, outcome, row["text_hash"]))
    return pa.Table.from_pylist(out, schema=view_schema(stage, incoming))


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


def digest_view(table: pa.Table) -> str:
    """The view's digest: kept rows, everything a later stage may see."""
    kept_rows = table.filter(pc.equal(table["status"], "kept"))
    leave = {"status", "reason", "value", "threshold", "detail", "of"}
    return digest_rows(kept_rows, [n for n in sorted(table.column_names) if n not in leave])
