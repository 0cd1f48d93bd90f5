"""Numbers of the report, taken from what a run recorded. Each function gives nothing where a run has nothing of the kind,
so that a way with other stages still has a report.

Columns are found by name in whichever stage has them: `lang`, `kind`; `length`, `chars` (characters) and `n_tokens`;
`counts` (JSON: kind -> spans replaced); reasons that end in `_duplicate`.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pyarrow.compute as pc

from corpus.workspace import Run
from flows import results, sql

CHARACTERS = ("length", "chars", "n_chars", "characters")
SAMPLED = 2000  # documents whose text is measured where no stage remembers its length


def totals(run: Run) -> dict[str, Any]:
    """files, bytes, documents, clean, tokens, params, val_bpb, as far as they are known."""
    found: dict[str, Any] = {}
    files = sql.beside(run, "files")
    if files is not None:
        found |= {"files": files.num_rows, "bytes": pc.sum(files["size"]).as_py() or 0}
    documents = [s for s in run.stages.values() if s["unit"] == "documents" and s["folder"]]
    if documents:
        found |= {"documents": documents[0]["in"], "clean": documents[-1]["kept"]}
    tokens = _column(run, ("n_tokens",))
    if tokens is not None:
        found["tokens"] = int(sum(tokens))
    for stage in run.stages.values():
        for key in ("params", "val_bpb"):
            if isinstance(stage["metrics"].get(key), (int, float)):
                found.setdefault(key, stage["metrics"][key])
    return found


def kinds(run: Run) -> dict[str, int]:
    """Members by format, as ingest found them."""
    for view in results.views(run).values():
        table = view.outcomes()
        return dict(Counter((k or "unknown").partition(":")[0] for k in table["kind"].to_pylist())) if "kind" in table.column_names else {}
    return {}


def languages(run: Run) -> dict[str, int]:
    """Kept documents by language."""
    view = results.clean(run)
    table = view.table() if view else None
    return dict(Counter(k or "und" for k in table["lang"].to_pylist())) if table is not None and "lang" in table.column_names else {}


def lengths(run: Run) -> dict[str, list[float]]:
    """Lengths of the documents kept: unit -> values."""
    found = {}
    characters = _column(run, CHARACTERS)
    if characters is None:
        characters = _measured_now(run)
    if characters:
        found["characters"] = characters
    tokens = _column(run, ("n_tokens",))
    if tokens:
        found["tokens"] = tokens
    return found


def redactions(run: Run) -> tuple[dict[str, int], int, int] | None:
    """(spans replaced by kind, documents touched, documents looked at)."""
    for view in results.views(run).values():
        if "counts" in view.record["measures"]:
            rows = [json.loads(c) if c else {} for c in view.measurements(["counts"])["counts"].to_pylist()]
            kinds: Counter[str] = Counter()
            for row in rows:
                kinds.update(row)
            return dict(kinds), sum(bool(row) for row in rows), len(rows)
    return None


def duplicates(run: Run) -> tuple[dict[str, int], list[float]] | None:
    """(documents removed by reason, similarities of the near ones)."""
    counts: Counter[str] = Counter()
    similar: list[float] = []
    for name, view in results.views(run).items():
        reasons = {k.partition(":")[2]: n for k, n in run.stage(name)["reasons"].items() if k.endswith("_duplicate")}
        counts.update({reason.replace("_", " "): n for reason, n in reasons.items()})
        if any(reason.startswith("near") for reason in reasons):
            table = view.outcomes()
            near = table.filter(pc.and_(pc.equal(table["status"], "rejected"), pc.starts_with(table["reason"], "near")))
            similar += [v for v in near["value"].to_pylist() if v is not None]
    return (dict(counts), similar) if counts else None


def templates(run: Run) -> list[tuple[str, int]]:
    """(smallest id, distinct texts) of the families that were kept whole, largest first."""
    for view in results.views(run).values():
        table = view.table()
        if "family_size" in table.column_names:
            whole = table.group_by("family").aggregate([("family_size", "max"), ([], "count_all")]).to_pylist()
            found = [(row["family"], row["family_size_max"]) for row in whole if row["count_all"] > 1]
            return sorted(found, key=lambda family: (-family[1], family[0]))
    return []


def boilerplate(run: Run) -> tuple[int, int] | None:
    """(paragraphs removed, documents they were removed from); None where none were."""
    for view in results.views(run).values():
        if "kept:boilerplate_cut" in view.summary():
            table = view.outcomes()
            cut = table.filter(pc.equal(table["reason"], "boilerplate_cut"))["value"]
            return int(pc.sum(cut).as_py()), len(cut)
    return None


def bits_per_byte(run: Run) -> dict[str, dict[str, float]]:
    """model -> ('all' or language) -> bits per byte of held-out text."""
    for _, folder in results.artifacts(run):
        path = folder / "evaluation.json"
        if path.is_file():
            found = json.loads(path.read_text("utf-8")).get("bpb", {})
            return {name: {k: v for k, v in row.items() if isinstance(v, (int, float))} for name, row in found.items()}
    return {}


def reading(run: Run) -> list[tuple[str, dict[str, int]]]:
    """Each format that entered extraction and what became of its documents: 'kept', 'kept:partial', 'rejected:empty' … -> how many."""
    view = results.views(run).get("extract")
    if view is None:
        return []
    table = view.outcomes().group_by(["kind", "status", "reason"]).aggregate([([], "count_all")])
    found: dict[str, dict[str, int]] = {}
    for row in table.to_pylist():
        outcome = f"{row['status']}:{row['reason']}" if row["reason"] else row["status"]
        counts = found.setdefault((row["kind"] or "unknown").partition(":")[0], {})  # rows of tables: the column does not matter
        counts[outcome] = counts.get(outcome, 0) + row["count_all"]
    return sorted(found.items(), key=lambda item: (-sum(item[1].values()), item[0]))


def partial(run: Run) -> list[tuple[str, str]]:
    """(where, what is missing) of every document of which extraction could read a part only, by place."""
    view = results.views(run).get("extract")
    if view is None:
        return []
    table = view.outcomes()
    rows = table.filter(pc.equal(table["reason"], "partial")).select(["id", "detail"]).to_pylist()
    where = results.locators(run)
    return sorted((_place(where, row["id"]), row["detail"]) for row in rows)


def failures(run: Run) -> list[tuple[str, str, str, str]]:
    """(where, stage, reason, detail) of every document that failed, by place."""
    where, rows = results.locators(run), []
    for name, view in results.views(run).items():
        table = view.outcomes()
        for row in table.filter(pc.equal(table["status"], "failed")).select(["id", "reason", "detail"]).to_pylist():
            rows.append((_place(where, row["id"]), name, row["reason"], row["detail"]))
    return sorted(rows)


def _place(where: dict[str, list[str]], document: str) -> str:
    places = where.get(document) or [document]
    return places[0] + (f" (and {len(places) - 1:,} more)" if len(places) > 1 else "")


def versions(run: Run) -> dict[str, str]:
    """Athanor, Python and the libraries named by the stages as part of their results."""
    found = dict(run.record.get("versions", {}))
    for stage in run.record.get("stages", []):
        for name, version in (stage.get("identity") or {}).get("engines", {}).items():
            if version:
                found[name] = version
    return found


def _measured_now(run: Run) -> list[float]:
    """Characters of some of the documents kept, the same ones every time; none where the store no longer has their text."""
    view = results.clean(run)
    try:
        return [float(len(text)) for text in view.texts(view.table()["id"].to_pylist()[:SAMPLED])] if view else []
    except FileNotFoundError:
        return []


def _column(run: Run, names: tuple[str, ...]) -> list[float] | None:
    """This measurement of the documents the last stage kept, from the last redacted stage that has it."""
    everything = results.views(run)
    last = list(everything.values())[-1] if everything else None
    for view in reversed(list(everything.values())):
        name = next((n for n in names if n in view.record["measures"]), None)
        if name and last is not None and not results.sensitive(view):
            ids = last.table()["id"].to_pylist()
            return [float(v) for v in view.measurements([name], ids=ids)[name].to_pylist() if v is not None]
    return None
