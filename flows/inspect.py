"""`athanor inspect`: the funnel of a run, the records of a stage, what a stage changed, SQL over everything.

What a stage let through is shown as it left, what it rejected or could not process as it came. Text of stages before
redaction is shown redacted, titles not at all, unless `--raw`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from corpus.outcome import Misuse
from corpus.view import ViewReader
from corpus.workspace import Run, Workspace
from flows import results, sql, tables, textdiff
from flows.cli import answer
from flows.discreet import Discretion, masked

PREVIEW = 240  # characters
DIFF_LINES = 40
COLORS = {"-": "31", "+": "32", "~": "33", "@": "36"}


def inspect(args: argparse.Namespace) -> int:
    """The command."""
    workspace = Workspace.open(args.workspace)
    run = workspace.run(args.run) if args.run else workspace.latest_run()
    if run is None:
        raise Misuse(f"The workspace '{args.workspace}' has no run yet. `athanor run` makes one.")
    if args.sql:
        return _sql(workspace, run, args)
    if args.stage is None and not (args.status or args.reason or args.diff):
        return _funnel(run, args)
    names = [args.stage] if args.stage else list(results.views(run))
    if args.stage and run.stage(args.stage)["unit"] == "artifact":
        return _artifact(run, args)
    found: list[dict[str, Any]] = []
    total = 0
    for name in names:
        if not run.stage(name)["folder"]:
            raise Misuse(f"'{name}' has no records in this run: {'; '.join(run.stage(name)['why']) or run.stage(name)['status']}.")
        rows = chosen(run.view(name), args.status, args.reason, args.diff)
        total += rows.num_rows
        found += records(run, name, rows.slice(0, max(0, args.limit - len(found))), args.raw, args.diff)
    _reason_is_known(run, names, args)
    if args.json:
        answer("inspect", "done", run.id, [run.stage(n) for n in names], records=found, total=total)
    else:
        _print(run, names, found, total, args)
    return 0


def chosen(view: ViewReader, status: str | None = None, reason: str | None = None, changed: bool = False) -> pa.Table:
    """Rows of a view with this status and reason, in id order; with `changed`, those kept whose text the stage changed."""
    table = view.outcomes()
    if changed:
        table = table.filter(pc.equal(table["status"], "kept"))
        before = view.upstream.outcomes() if view.upstream else view.outcomes()
        hashes = before["text_hash"].take(pc.index_in(table["id"], value_set=before["id"]))
        table = table.filter(pc.not_equal(table["text_hash"], hashes))
    if status:
        table = table.filter(pc.equal(table["status"], status))
    if reason:
        table = table.filter(pc.equal(table["reason"], reason))
    return table


def records(run: Run, name: str, rows: pa.Table, raw: bool = False, diff: bool = False) -> list[dict[str, Any]]:
    """One object per document: id, stage, locators, outcome, and a preview or the changes of its text."""
    view, where = run.view(name), results.locators(run)
    shower, read_by = _Shower(run, view, raw), _provenance(view, rows["id"].to_pylist())
    found = []
    for row in rows.to_pylist():
        record = {"id": row["id"], "stage": name, "locators": where.get(row["id"], [])}
        record |= {k: row[k] for k in ("status", "reason", "value", "threshold", "detail")}
        record |= {k: row[k] for k in ("kind", "lang") if row.get(k)}
        record |= read_by.get(row["id"], {})
        if row.get("title") and shower.may(row):
            record["title"] = row["title"]
        if diff:
            record["diff"] = shower.diff(row)
        else:
            record["preview"] = _short(shower.text(row))
        found.append(record)
    return found


def _provenance(view: ViewReader, ids: list[str]) -> dict[str, dict[str, Any]]:
    """How each of these documents was read, where this stage is the one that read them."""
    columns = [name for name in sql.PROVENANCE if name in view.record["measures"]]
    if "extractor" not in columns or not ids:
        return {}
    rows = view.measurements(ids=ids).select(["id", *columns]).to_pylist()
    return {row.pop("id"): {key: value for key, value in row.items() if value} for row in rows}


class _Shower:
    """Texts of one stage's documents, as they may be shown."""

    def __init__(self, run: Run, view: ViewReader, raw: bool) -> None:
        from flows.pipeline import WAY

        self.view, self.raw, self.discretion = view, raw, Discretion(run, WAY)
        self.sensitive = results.sensitive(view)
        self.before_is_sensitive = view.upstream is not None and results.sensitive(view.upstream)

    def may(self, row: dict[str, Any]) -> bool:
        """Whether this document's small fields may be shown here."""
        return self.raw or not (self.sensitive if row["status"] == "kept" else self.sensitive or self.before_is_sensitive)

    def text(self, row: dict[str, Any]) -> str:
        if row["status"] == "kept":
            return self._shown(self.view.text_after(row["id"]), row, self.sensitive)
        return self._shown(self.view.text_before(row["id"]), row, self.before_is_sensitive)

    def diff(self, row: dict[str, Any]) -> list[str]:
        before, after = self.view.text_before(row["id"]), self.view.text_after(row["id"])
        old, new = self._shown(before, row, self.before_is_sensitive), self._shown(after, row, self.sensitive)
        if before and (old == masked(before) or new == masked(after)):
            return [f"@ {masked(before)}", f"@ {masked(after)}"]
        return textdiff.changes(old, new)

    def _shown(self, text: str, row: dict[str, Any], sensitive: bool) -> str:
        return self.discretion.show(text, row) if sensitive and not self.raw else text


def _short(text: str) -> str:
    flat = " ".join(text[: PREVIEW * 4].split())
    return flat if len(flat) <= PREVIEW else flat[: PREVIEW - 1] + "…"


def _reason_is_known(run: Run, names: list[str], args: argparse.Namespace) -> None:
    known = {key.partition(":")[2] for name in names for key in run.stage(name)["reasons"]}
    if args.reason and args.reason not in known:
        raise Misuse(f"No document here has the reason '{args.reason}'. Reasons are {', '.join(sorted(known)) or 'none'}.")


def _funnel(run: Run, args: argparse.Namespace) -> int:
    stages = list(run.stages.values())
    if args.json:
        answer("inspect", "done", run.id, stages)
        return 0
    print(f"run {run.id}  {run.record['status']}  {run.record['started']}")
    rows = []
    for s in stages:
        counts = ["", "", "", ""] if s["unit"] == "artifact" else [tables.number(s[k]) for k in ("in", "kept", "rejected", "failed")]
        rows.append([s["name"], *counts, _numbers(s["metrics"]) if s["unit"] == "artifact" else _reasons(s["reasons"], 4)])
    tables.show(("stage", "in", "kept", "rejected", "failed", "reasons, numbers"), rows, right={"in", "kept", "rejected", "failed"})
    return 0


def _artifact(run: Run, args: argparse.Namespace) -> int:
    stage = run.stage(args.stage)
    folder = run.workspace.store / stage["folder"]
    record = run.artifact(args.stage).record if stage["folder"] and stage["status"] != "skipped" else {}
    if args.json:
        answer("inspect", "done", run.id, [stage], artifact=str(folder), files=record.get("files", {}))
        return 0
    print(f"{stage['name']}  {stage['status']}  {'; '.join(stage['why'])}".rstrip())
    if record:
        print(f"artifact  {folder}")
        tables.show(("metric", "value"), [[k, _value(v)] for k, v in stage["metrics"].items()])
        print()
        tables.show(("file", "size"), [[n, tables.size(f["bytes"])] for n, f in record["files"].items()], right={"size"})
    return 0


def _print(run: Run, names: list[str], found: list[dict[str, Any]], total: int, args: argparse.Namespace) -> None:
    color = sys.stdout.isatty()
    if len(names) == 1:
        s = run.stage(names[0])
        counts = f"{s['in']:,} in, {s['kept']:,} kept, {s['rejected']:,} rejected, {s['failed']:,} failed"
        print(f"{s['name']}  {counts}  {_reasons(s['reasons'], 12)}".rstrip())
    for record in found:
        print()
        for line in _lines(record, len(names) > 1):
            print(
                f"\033[{COLORS[line[2]]}m{line}\033[0m" if color and line[:2] == "  " and line[2:3] in COLORS and "diff" in record else line
            )
    if total > len(found):
        print(f"\n{len(found):,} of {total:,}; --limit {min(total, args.limit * 5)} shows more.")
    elif not found:
        print("No text was changed here." if args.diff else "No such document.")


def _lines(record: dict[str, Any], several: bool) -> Iterator[str]:
    places = record["locators"]
    where = places[0] + (f" (and {len(places) - 1:,} more)" if len(places) > 1 else "") if places else "no longer in the raw folder"
    yield f"{record['id']}  {where}"
    against = ""
    if record["value"] is not None:
        against = f" ({tables.number(record['value'])}" + (
            f" against {tables.number(record['threshold'])})" if record["threshold"] is not None else ")"
        )
    stage = f"{record['stage']}: " if several else ""
    facts = ", ".join(record[k] for k in ("kind", "lang") if k in record)
    yield f"  {stage}{record['status']}{' ' + record['reason'] if record['reason'] else ''}{against}  {facts}".rstrip()
    if record.get("extractor"):
        yield f"  {_read_by(record)}"
    for key in ("detail", "title", "preview"):
        if record.get(key):
            yield f"  {record[key]}"
    lines = record.get("diff", [])
    yield from (f"  {line}" for line in lines[:DIFF_LINES])
    if len(lines) > DIFF_LINES:
        yield f"  … {len(lines) - DIFF_LINES:,} more lines"
    if "diff" in record and not lines:
        yield "  only personal data was replaced; --raw shows it"


def _read_by(record: dict[str, Any]) -> str:
    """`read by docling-pdf 2.143.0, pages 1-12 of 1,830 characters, utf-8; pages_need_ocr: 3`."""
    facts = [f"read by {record['extractor']} {record['extractor_version']}"]
    if record.get("pages"):
        chars = record.get("page_chars")
        facts.append(f"pages {record['page_range']}" + (f" of {sum(chars) // len(chars):,} characters" if chars else ""))
    facts += [record["encoding"]] if record.get("encoding") else []
    return "; ".join([", ".join(facts), *record.get("warnings", [])])


def _sql(workspace: Workspace, run: Run, args: argparse.Namespace) -> int:
    columns, rows = sql.query(workspace, run, args.sql, args.raw)
    if args.json:
        answer("inspect", "done", run.id, columns=columns, rows=[[_plain(v) for v in row] for row in rows])
    elif columns:
        numeric = {c for i, c in enumerate(columns) if rows and all(isinstance(r[i], (int, float)) or r[i] is None for r in rows)}
        tables.show(columns, [[_value(v) for v in row] for row in rows], right=numeric)
        if len(rows) == sql.SHOWN:
            print(f"The first {sql.SHOWN:,} rows; LIMIT and OFFSET reach the others.")
    return 0


def _reasons(reasons: dict[str, int], most: int) -> str:
    shown = [f"{key.partition(':')[2] or key} {count:,}" for key, count in list(reasons.items())[:most]]
    return ", ".join(shown) + (f", {len(reasons) - most} more reasons" if len(reasons) > most else "")


def _numbers(metrics: dict[str, Any]) -> str:
    plain = {k: v for k, v in metrics.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}
    return ", ".join(f"{k} {tables.number(v)}" for k, v in list(plain.items())[:5])


def _value(value: Any) -> str:
    if value is None or isinstance(value, (int, float, str)):
        return tables.number(value) if not isinstance(value, str) else value
    return json.dumps(_plain(value), ensure_ascii=False)


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return str(value)
