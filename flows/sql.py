"""DuckDB over the records of a run, in memory, reading nothing but what is handed to it.

Tables: one per document stage (every document that entered it: outcome, small fields, measurements; `text` when asked
for), one per corpus stage (metric, value), `files` and `locators` of ingest, `stages` and `runs` of the workspace. Only
tables that the query names are loaded. The query cannot open files, load extensions or change settings.

What is sensitive stays out unless `raw`: of stages before redaction only numbers and a few fields that cannot hold text
are there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from corpus.outcome import Misuse
from corpus.view import ViewReader
from corpus.workspace import Run, Workspace
from flows import results

OUTCOME = ("id", "status", "reason", "value", "threshold", "detail", "of", "text_hash")
PROVENANCE = ("extractor", "extractor_version", "encoding", "pages", "page_range", "page_chars", "warnings")  # how it was read
HARMLESS = {*OUTCOME, *PROVENANCE, "kind", "form", "lang", "size", "curated"}
SHOWN = 1000  # rows fetched for a table on the terminal


def query(workspace: Workspace, run: Run, sql: str, raw: bool = False, limit: int = SHOWN) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Column names and at most `limit` rows. Raises Misuse with DuckDB's own sentence when the query is wrong."""
    import duckdb

    with duckdb.connect(":memory:", config={"python_enable_replacements": "false", "autoinstall_known_extensions": "false"}) as connection:
        for name, table in tables(workspace, run, sql, raw):
            connection.register(name, table)
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        try:
            result = connection.execute(sql)
            if result.description is None:
                return [], []
            return [column[0] for column in result.description], result.fetchmany(limit)
        except duckdb.Error as error:
            said = str(error).splitlines()[0].rstrip(".")
            if isinstance(error, duckdb.CatalogException):
                said += f". Tables are {', '.join(names(run))}"
            elif isinstance(error, duckdb.BinderException) and not raw:
                said += ". What may hold personal data is left out; --raw shows it"
            raise Misuse(f"The query was refused: {said}.") from None


def names(run: Run) -> list[str]:
    """Tables there are."""
    return [*run.stages, "files", "locators", "stages", "runs"]


def tables(workspace: Workspace, run: Run, sql: str, raw: bool) -> Iterator[tuple[str, pa.Table]]:
    """The tables that the query names."""
    words = {word.lower() for word in re.findall(r"\w+", sql)}
    for name, stage in run.stages.items():
        if name.lower() in words and stage["folder"]:
            yield (
                name,
                stage_table(run.view(name), raw, "text" in words) if stage["unit"] == "documents" else metrics_table(stage["metrics"]),
            )
    for name in ("files", "locators"):
        table = beside(run, name)
        if name in words and table is not None:
            yield name, table
    if "stages" in words:
        yield "stages", _rows([_stage_row(r, s) for r in _runs(workspace) for s in r.record["stages"]])
    if "runs" in words:
        yield (
            "runs",
            _rows(
                [
                    {k: v if isinstance(v, (int, float)) else _flat(v) for k, v in r.record.items() if k != "stages"}
                    for r in _runs(workspace)
                ]
            ),
        )


def stage_table(view: ViewReader, raw: bool = True, text: bool = False) -> pa.Table:
    """Every document that entered a stage: outcome, small fields, measurements (as `measured_x` where a field is called x)."""
    table = view.outcomes()
    if view.record["measures"]:
        measured = view.measurements(ids=table["id"].to_pylist())
        rows = pc.index_in(table["id"], value_set=measured["id"].combine_chunks())
        for name in measured.column_names[1:]:
            column = measured[name].take(rows)
            table = table.append_column(f"measured_{name}" if name in table.column_names else name, column)
    if not raw:
        table = _discreet(table, view)
    if text and (raw or not results.sensitive(view)) and "text" not in table.column_names:
        kept = table["status"].to_pylist()
        ids = [i for i, status in zip(table["id"].to_pylist(), kept, strict=True) if status == "kept"]
        texts = iter(view.texts(ids))
        table = table.append_column("text", pa.array([next(texts) if s == "kept" else None for s in kept], pa.large_string()))
    return table


def _discreet(table: pa.Table, view: ViewReader) -> pa.Table:
    """Without what may hold personal data. A redacting stage changes what it keeps: all else there is as it came."""
    harmless = [f.name for f in table.schema if f.name in HARMLESS or _numeric(f.type)]
    if results.sensitive(view):
        return table.select(harmless)
    if view.upstream is not None and results.sensitive(view.upstream):
        kept = pc.equal(table["status"], "kept")
        for i, field in enumerate(table.schema):
            if field.name not in harmless:
                table = table.set_column(i, field, pc.if_else(kept, table[field.name], pa.scalar(None, field.type)))
    return table


def beside(run: Run, name: str) -> pa.Table | None:
    """ingest's table of this name (files, locators), from whichever stage of the run has it."""
    for stage in run.stages.values():
        path = run.workspace.store / stage["folder"] / f"{name}.parquet"
        if stage["folder"] and path.is_file():
            return pq.read_table(path)
    return None


def metrics_table(metrics: dict[str, Any]) -> pa.Table:
    """What a corpus stage measured: metric, value (numbers only), json."""
    flat = [(name, value) for name, value in metrics.items()]
    values = [float(v) if isinstance(v, (int, float)) else None for _, v in flat]
    return pa.table(
        {
            "metric": pa.array([n for n, _ in flat], pa.string()),
            "value": pa.array(values, pa.float64()),
            "json": [_flat(v) for _, v in flat],
        }
    )


def _numeric(kind: pa.DataType) -> bool:
    """Whether values of this type are made of numbers only."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _numeric(kind.value_type)
    if pa.types.is_struct(kind):
        return all(_numeric(kind.field(i).type) for i in range(kind.num_fields))
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)


def _runs(workspace: Workspace) -> list[Run]:
    return [workspace.run(id) for id in workspace.run_ids()]


def _stage_row(run: Run, stage: dict[str, Any]) -> dict[str, Any]:
    plain = {k: v for k, v in stage.items() if k not in ("why", "reasons", "metrics", "identity")}
    return {"run": run.id, **plain, **{k: _flat(stage.get(k)) for k in ("why", "reasons", "metrics")}}


def _flat(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)


def _rows(rows: list[dict[str, Any]]) -> pa.Table:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return pa.table({name: [row.get(name) for row in rows] for name in columns})
