"""`athanor report`: one self-contained HTML file about a run, the same for the same run.

From files to tokens: the funnel, every stage and its reasons, what the clean corpus is like, what was replaced, how
training went, what the models write, what failed and where. Shows no text and no title from before redaction; what the
models write comes from redacted text.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from corpus.outcome import Misuse
from corpus.store import write_file
from corpus.workspace import Run, Workspace
from flows import report_data as data
from flows import report_html as h
from flows import results, tables
from flows.cli import answer

FAILURES = 500  # rows shown


def report(args: argparse.Namespace) -> int:
    """The command: write the report of a run, say where it is."""
    workspace = Workspace.open(args.workspace)
    run = workspace.run(args.run) if args.run else workspace.latest_run()
    if run is None:
        raise Misuse(f"The workspace '{args.workspace}' has no run yet. `athanor run` makes one.")
    path = write(run, args.output)
    print(path, file=sys.stderr if args.json else sys.stdout)
    if args.json:
        answer("report", "done", run.id, list(run.stages.values()), report=str(path))
    return 0


def write(run: Run, path: Path | None = None) -> Path:
    """Write the page (default: WS/runs/<id>/report.html); returns where."""
    path = path or run.path / "report.html"
    if not path.parent.is_dir():
        raise Misuse(f"There is no folder '{path.parent}' to write the report to.")
    write_file(path, page(run).encode("utf-8", "replace"))
    return path


def page(run: Run) -> str:
    """The whole page."""
    record = run.record
    lead = f"<p>Run {h.esc(run.id)} · {h.esc(record['status'])} · {h.esc(_moment(record['started']))}"
    lead += f" to {h.esc(_moment(record['ended']))}</p>" if record.get("ended") else "</p>"
    if record.get("sample"):
        lead += f"<p>A sample of {record['sample']:,} documents.</p>"
    sections = [
        ("From files to tokens", _funnel(run)),
        ("Stages", _stages(run)),
        ("Reasons", _reasons(run)),
        ("How documents were read", _reading(run)),
        ("The clean corpus", _corpus(run)),
        ("Personal data", _personal(run)),
        ("Duplicates", _duplicates(run)),
        ("Training", _training(run)),
        ("Evaluation", _evaluation(run)),
        ("What the models write", _samples(run)),
        ("Failures", _failures(run)),
        ("Configuration and versions", _configuration(run)),
    ]
    return h.page("Athanor: a run", lead + h.tiles(_tiles(run)), sections)


def _tiles(run: Run) -> list[tuple[str, str]]:
    numbers = data.totals(run)
    names = {
        "files": "files",
        "bytes": "raw",
        "documents": "documents found",
        "clean": "documents kept",
        "tokens": "tokens",
        "params": "parameters",
        "val_bpb": "bits per byte, held-out",
    }
    shown = {k: tables.size(v) if k == "bytes" else f"{v:.3f}" if k == "val_bpb" else f"{v:,}" for k, v in numbers.items()}
    return [(names[k], shown[k]) for k in names if k in shown]


def _funnel(run: Run) -> str:
    rows = [
        (s["name"], s["kept"], s["rejected"], s["failed"])
        for s in run.stages.values()
        if s["unit"] == "documents" and s["status"] != "skipped"
    ]
    numbers = data.totals(run)
    remark = "Documents that went on, were rejected by a rule, or could not be processed, stage by stage."
    if "files" in numbers:
        remark += f" {numbers['files']:,} files hold {numbers.get('documents', 0):,} different documents"
        remark += f"; what is left is {numbers['tokens']:,} tokens." if "tokens" in numbers else "."
    return h.funnel(rows, "documents kept, rejected and failed at each stage") + h.note(remark) if rows else ""


def _stages(run: Run) -> str:
    stages = list(run.stages.values())
    return h.table(
        tables.STAGE_COLUMNS,
        tables.stage_rows(stages),
        right=("in", "kept", "rejected", "failed", "calls", "seconds"),
        classes=[s["status"] for s in stages],
    )


def _reasons(run: Run) -> str:
    rows = []
    for s in run.stages.values():
        for key, count in s["reasons"].items():
            status, _, reason = key.partition(":")
            rows.append((s["name"], status, reason or "(none given)", f"{count:,}", h.share(count, s["in"])))
    return h.table(("stage", "outcome", "reason", "documents", "of the stage's"), rows, right=("documents", "of the stage's"))


def _reading(run: Run) -> str:
    rows = []
    for kind, outcomes in data.reading(run):
        parts, others = outcomes.pop("kept:partial", 0), outcomes.pop("kept:fallback", 0)
        whole = outcomes.pop("kept", 0) + parts + others
        why = ", ".join(f"{reason.partition(':')[2]} {count:,}" for reason, count in sorted(outcomes.items()))
        lost = [sum(n for reason, n in outcomes.items() if reason.startswith(status)) for status in ("rejected", "failed")]
        rows.append((kind, *(f"{n:,}" if n else "" for n in (whole, parts, others, *lost)), why))
    if not rows:
        return ""
    numbers = ("read", "in part", "another way", "rejected", "failed")
    body = h.table(("format", *numbers, "why not"), rows, right=numbers)
    missing = data.partial(run)
    if missing:
        body += "<h3>Read in part</h3>" + h.table(("where", "what is missing"), missing[:FAILURES])
        if len(missing) > FAILURES:
            body += h.note(f"The first {FAILURES:,} of {len(missing):,}; `athanor inspect extract --reason partial` lists all.")
    return body


def _corpus(run: Run) -> str:
    kinds, languages, lengths = data.kinds(run), data.languages(run), data.lengths(run)
    body = '<div class="pair">'
    for title, items in (("Formats, as found", kinds), ("Languages, as kept", languages)):
        body += f"<div><h3>{title}</h3>{h.bars(_most(items, 12), title, 420)}</div>" if items else ""
    body += "</div>"
    for unit, values in lengths.items():
        body += f"<h3>Length of the documents kept, {h.esc(unit)}</h3>{h.histogram(values, unit + ', logarithmic', 'length of documents')}"
    return body if kinds or languages or lengths else ""


def _personal(run: Run) -> str:
    found = data.redactions(run)
    if found is None:
        return ""
    kinds, touched, whole = found
    remark = f"Found in {touched:,} of {whole:,} documents ({h.share(touched, whole)}); counted by kind, what was found is not kept."
    return h.bars(_most(kinds, 20), "personal data found, by kind") + h.note(remark)


def _duplicates(run: Run) -> str:
    found = data.duplicates(run)
    if found is None:
        return ""
    counts, similar = found
    body = h.bars(list(counts.items()), "documents removed as duplicates")
    if similar:
        rows = [
            (
                f"{low / 20:.2f} to {low / 20 + 0.05:.2f}",
                sum(low <= int(v * 20 + 1e-9) < low + 1 or (low == 19 and v >= 1) for v in similar),
            )
            for low in range(20)
        ]
        body += "<h3>Similarity of near duplicates to the one that stays</h3>" + h.bars(
            [r for r in rows if r[1]], "similarity of near duplicates"
        )
    templates = data.templates(run)
    if templates:
        many = f"{len(templates):,} families of texts on one template were kept whole; `dedup.collapse_templates` keeps one of each."
        body += "<h3>Templates</h3>" + h.note(many) + h.table(("family (smallest id)", "texts"), templates[:20], right=("texts",))
    cut = data.boilerplate(run)
    if cut:
        body += h.note(f"{cut[0]:,} boilerplate paragraphs were removed from {cut[1]:,} documents; one document keeps each.")
    return body


def _training(run: Run) -> str:
    body = ""
    for name, series in results.curves(run).items():
        losses = {k: v for k, v in series.items() if k in ("loss", "val_loss")}
        rest = {k: series[k] for k in series if k.startswith("val_") and k not in losses}
        drawn = h.curves(losses, f"{name}: loss over steps") + "".join(h.curves({k: v}, f"{name}: {k} over steps") for k, v in rest.items())
        if drawn:
            facts = run.stage(name)["metrics"]
            known = [
                f"{key.replace('_', ' ')} {tables.number(facts[key])}"
                for key in ("params", "steps", "tokens", "tokens_per_second", "seconds")
                if key in facts
            ]
            body += f"<h3>{h.esc(name)}</h3>{drawn}{h.note(', '.join(known))}"
    return body


def _evaluation(run: Run) -> str:
    body = ""
    bpb = data.bits_per_byte(run)
    if bpb:
        languages = list(dict.fromkeys(lang for row in bpb.values() for lang in row))
        rows = [(name, *(f"{row[lang]:.4f}" if lang in row else "" for lang in languages)) for name, row in bpb.items()]
        body += "<h3>Bits per byte of held-out text, less is better</h3>" + h.table(("model", *languages), rows, right=languages)
    rows = [
        (s["name"], k, tables.number(v))
        for s in run.stages.values()
        if s["unit"] == "artifact"
        for k, v in s["metrics"].items()
        if _plain(v)
    ]
    if rows:
        body += f"<details><summary>All numbers</summary>{h.table(('stage', 'number', 'value'), rows, right=('value',))}</details>"
    return body


def _samples(run: Run) -> str:
    return "".join(
        f"<blockquote><cite>{h.esc(s['kind'])}</cite><b>{h.esc(s['prompt'])}</b>{h.esc(s['text'])}</blockquote>"
        for s in results.samples(run)
    )


def _failures(run: Run) -> str:
    rows = data.failures(run)
    if not rows:
        return h.note("Nothing failed.") if any(s["unit"] == "documents" for s in run.stages.values()) else ""
    body = h.table(("where", "stage", "reason", "detail"), rows[:FAILURES])
    return body + (
        h.note(f"The first {FAILURES:,} of {len(rows):,}; `athanor inspect --failed --limit {len(rows)}` lists all.")
        if len(rows) > FAILURES
        else ""
    )


def _configuration(run: Run) -> str:
    from flows.settings import dump

    body = f"<details><summary>Configuration of this run</summary><pre>{h.esc(dump(run.record.get('config', {})))}</pre></details>"
    versions = [(name, version) for name, version in sorted(data.versions(run).items())]
    return body + "<h3>Versions that take part in the results</h3>" + h.table(("what", "version"), versions)


def _most(items: dict[str, int], most: int) -> list[tuple[str, float]]:
    ranked = sorted(items.items(), key=lambda item: (-item[1], item[0]))
    rest = sum(v for _, v in ranked[most:])
    return [(k, float(v)) for k, v in ranked[:most]] + ([(f"{len(ranked) - most} others", float(rest))] if rest else [])


def _moment(stamp: str) -> str:
    return stamp.replace("T", " ").replace("Z", " UTC")


def _plain(value: Any) -> bool:
    return isinstance(value, (int, float, str)) and not isinstance(value, bool)
