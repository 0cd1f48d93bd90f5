"""The data card of an exported corpus: README.md with a YAML head that Hugging Face reads, then plain tables.

It says what is in the files, how it came about and what to be careful about, from what the run recorded and the export
counted. Nothing in it is a path, and the only times are the run's own: the same corpus gives the same card.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from corpus.view import ViewReader
from corpus.workspace import Run
from flows import report_data, tables
from flows.licences import RESERVED

LOADED = {"train": "train", "val": "validation"}  # split as files call it -> as loaders do
SIZES = ((1e3, "n<1K"), (1e4, "1K<n<10K"), (1e5, "10K<n<100K"), (1e6, "100K<n<1M"), (1e7, "1M<n<10M"), (1e8, "10M<n<100M"))
COLUMNS = {
    "id": "hash of the bytes the document was made from",
    "text": "the text, redacted (prose)",
    "messages": "the messages, `role` and `content`, redacted (chat)",
    "form": "`prose` or `chat`",
    "lang": "ISO 639-1 code of the main language, `und` when unknown",
    "title": "title found in the document, redacted",
    "source": "name of the source",
    "kind": "format of the original",
    "family": "smallest id of the near duplicates it was chosen from; none is in both train and validation, but for `held` blocks",
    "quality": "quality score, 0 to 1",
    "licences": "licence statements found in it",
    "n_chars": "characters",
    "n_bytes": "bytes in UTF-8",
    "held": "the document gave a block to validation: this row is the rest (train) or the block (validation)",
}
REASONS = 4  # shown of a stage


def card(run: Run, view: ViewReader, counts: dict[str, Any], columns: Sequence[str], options: dict[str, Any]) -> str:
    """The whole file. counts: what `Written.close` gave; columns: those of the files; options: `seed`, `max_gb`, `shard_mb`."""
    sections = [
        ("What it holds", _parts(counts)),
        ("How to open it", _opening(counts)),
        ("Columns", _table(("column", "meaning"), [(f"`{name}`", COLUMNS[name]) for name in columns if _present(name, counts)])),
        ("Languages", _shares("language", counts["languages"])),
        ("Sources", _shares("source", counts["sources"])),
        ("From files to this corpus", _funnel(run)),
        ("Personal data", _personal(run)),
        ("Duplicates", _duplicates(run)),
        ("Evaluation sets", _evaluation(run)),
        ("Licences found", _licences(counts)),
        ("Settings that differ from the defaults", _settings(run, view.name)),
        ("How it was made", _made(run, view, options)),
        ("Limits", _limits(counts)),
    ]
    title = f"# A clean corpus, run {run.id}\n\nText taken out of documents, cleaned, redacted, without duplicates, and shuffled."
    body = "\n\n".join(f"## {name}\n\n{text}" for name, text in sections if text)
    return f"---\n{_head(run, counts)}---\n\n{title}\n\n{body}\n"


def _head(run: Run, counts: dict[str, Any]) -> str:
    import yaml

    languages = [code for code in counts["languages"] if code != "und"]
    rows = sum(part["rows"] for part in counts["parts"])
    head: dict[str, Any] = {"pretty_name": f"A clean corpus, run {run.id}"}
    head |= {"language": languages} if languages else {}
    head |= {"license": _license(counts), "size_categories": [next((name for most, name in SIZES if rows < most), "n>100M")]}
    head |= {"task_categories": ["text-generation"], "configs": []}
    for form in dict.fromkeys(part["form"] for part in counts["parts"]):
        files = [
            {"split": LOADED[part["split"]], "path": f"{'' if form == 'prose' else 'chat-'}{part['split']}-*.parquet"}
            for part in counts["parts"]
            if part["form"] == form
        ]
        head["configs"].append({"config_name": form, "data_files": files})
    head["configs"][0]["default"] = True
    return yaml.safe_dump(head, sort_keys=False, allow_unicode=True)


def _license(counts: dict[str, Any]) -> str:
    """One licence when every document states it and no other; 'other' when there are some, 'unknown' when none is stated."""
    found, documents = counts["licences"], _documents(counts)
    if len(found) == 1:
        ((name, of),) = found.items()
        if of["documents"] == documents and name != RESERVED and name.startswith("CC"):
            return name.lower()
    return "other" if found else "unknown"


def _parts(counts: dict[str, Any]) -> str:
    rows = [
        (p["form"], LOADED[p["split"]], *(tables.number(p[k]) for k in ("files", "rows", "documents", "chars")), tables.size(p["bytes"]))
        for p in counts["parts"]
    ]
    text = _table(("config", "split", "files", "rows", "documents", "characters", "text"), rows, right=5)
    extra = sum(p["rows"] - p["documents"] for p in counts["parts"])
    if extra:
        text += f"\n\n{extra:,} rows of validation are blocks of documents whose rest belongs to train; they are not counted as documents."
    if counts["left_out"]:
        text += f"\n\n{counts['left_out']:,} chat documents could not be read as messages and are left out."
    return text


def _opening(counts: dict[str, Any]) -> str:
    part = counts["parts"][0]
    name = ("" if part["form"] == "prose" else "chat-") + part["split"]
    lines = ["```python", "from datasets import load_dataset"]
    lines += [f'{form} = load_dataset("PATH", "{form}")' for form in dict.fromkeys(p["form"] for p in counts["parts"])]
    return "\n".join([*lines, "```", "", "```sql", f"select * from 'PATH/{name}-*.parquet' limit 10;", "```"])


def _present(name: str, counts: dict[str, Any]) -> bool:
    forms = {part["form"] for part in counts["parts"]}
    return {"text": "prose" in forms, "messages": "chat" in forms}.get(name, True)


def _shares(what: str, found: dict[str, Any]) -> str:
    whole = sum(of["bytes"] for of in found.values())
    rows = [
        (name or "(not known)", tables.number(of["documents"]), tables.size(of["bytes"]), f"{of['bytes'] / (whole or 1):.1%}")
        for name, of in found.items()
    ]
    return _table((what, "documents", "text", "of the text"), rows, right=3)


def _funnel(run: Run) -> str:
    rows = []
    for s in run.stages.values():
        if s["unit"] == "documents" and s["status"] != "skipped":
            reasons = sorted(s["reasons"].items(), key=lambda item: (-item[1], item[0]))
            told = [f"{key.partition(':')[2] or key} {n:,}" for key, n in reasons if key.partition(":")[0] != "kept"]
            more = [f"{len(told) - REASONS} others"] if len(told) > REASONS else []
            rows.append((s["name"], *(tables.number(s[k]) for k in ("in", "kept", "rejected", "failed")), ", ".join(told[:REASONS] + more)))
        if s["name"] == "split":
            break
    text = _table(("stage", "in", "kept", "rejected", "failed", "main reasons"), rows, right=(1, 2, 3, 4))
    sample = run.record.get("sample")
    return text + (f"\n\nThe run looked at a sample of {sample:,} documents." if sample else "")


def _personal(run: Run) -> str:
    from filters.pii.spans import KINDS

    found = report_data.redactions(run)
    if found is None:
        return ""
    kinds, touched, whole = found
    rows = [(f"`<{k}>`", KINDS.get(k, ""), tables.number(n)) for k, n in sorted(kinds.items(), key=lambda item: (-item[1], item[0])) if n]
    told = f"Found in {touched:,} of the {whole:,} documents that passed redaction, before quality and duplicates were judged."
    return f"{told} A placeholder stands where it was.\n\n" + _table(("placeholder", "what it stands for", "found"), rows, right=(2,))


def _duplicates(run: Run) -> str:
    found = report_data.duplicates(run)
    rows = [(reason, tables.number(n)) for reason, n in found[0].items()] if found else []
    if cut := report_data.boilerplate(run):
        rows.append(("paragraphs removed as boilerplate", tables.number(cut[0])))
        rows.append(("documents they were removed from", tables.number(cut[1])))
    return _table(("what", "count"), rows, right=(1,))


def _evaluation(run: Run) -> str:
    config = run.record.get("config", {}).get("split", {})
    if "eval_files" not in config:
        return ""
    if not config["eval_files"]:
        return "The corpus was not compared with any evaluation set."
    removed = run.stage("split")["reasons"].get("rejected:contaminated", 0)
    return (
        f"Compared with {len(config['eval_files'])} evaluation files or folders (content hash `{config['eval_digest']}`): "
        f"{removed:,} documents that held more than {config['max_overlap']:.0%} of the 13-word runs of an item were removed."
    )


def _licences(counts: dict[str, Any]) -> str:
    documents = _documents(counts)
    rows = [(name, tables.number(of["documents"]), f"{of['documents'] / documents:.1%}") for name, of in counts["licences"].items()]
    if not rows:
        return "No document states a licence in a usual form. That says nothing about rights: see the sources."
    told = "Statements found by their usual phrases, a document may have several. Where none is found the rights are not known."
    return f"{told}\n\n" + _table(("statement", "documents", "of all"), rows, right=(1, 2))


def _settings(run: Run, last: str) -> str:
    from flows.pipeline import WAY
    from flows.settings import keys

    names = list(run.stages)
    until = set(names[: names.index(last) + 1])
    rows = []
    for key, default, bears, doc in keys(WAY):
        value: Any = run.record.get("config", {})
        for step in key.split("."):
            value = value.get(step, default) if isinstance(value, dict) else default
        if key.partition(".")[0] in until and bears != "how" and value != default:
            rows.append((f"`{key}`", _shown(value), _shown(default), doc))
    return _table(("setting", "here", "default", "meaning"), rows)


def _made(run: Run, view: ViewReader, options: dict[str, Any]) -> str:
    seed, max_gb = options["seed"], options["max_gb"]
    given = "".join(f" --{name.replace('_', '-')} {value}" for name, value in options.items() if value is not None and name != "seed")
    versions = ", ".join(f"{name} {v}" for name, v in sorted(report_data.versions(run).items()) if name not in ("system", "machine"))
    order = f"Rows stand in the order of a hash of the seed ({seed}) and their id"
    order += f"; train is the first {max_gb:g} GB of them, and a larger export includes it" if max_gb is not None else ""
    return (
        f"    athanor export corpus --run {run.id} --seed {seed}{given}\n\nThe run began {run.record.get('started', '')}; "
        f"digest of the corpus `{view.digest}`. {order}.\n\nVersions: {versions}."
    )


def _limits(counts: dict[str, Any]) -> str:
    told = [
        "Personal data was replaced by rules and models, not by people: some names, nicknames and indirect descriptions are missed, "
        "and some words are replaced that are no personal data. Do not take it for anonymous.",
        "Text is as extraction left it: tables, formulas, figures and page furniture may be lost or out of place.",
        "Near duplicates below the threshold, translations and paraphrases are still there.",
        "Languages, quality and licences are judged by programs; a licence statement may be about another work.",
        "The opinions, errors and biases of the documents are in it.",
    ]
    if any(p["rows"] > p["documents"] for p in counts["parts"]):
        told.append("The corpus is small: validation has blocks of documents that are otherwise in train, which flatters a model.")
    return "\n".join(f"- {line}" for line in told)


def _documents(counts: dict[str, Any]) -> int:
    return sum(part["documents"] for part in counts["parts"])


def _shown(value: Any) -> str:
    """A setting's value; one that may name places is only said to be there."""
    if isinstance(value, str) and any(mark in value for mark in "/\\*"):
        return "(set)"
    if isinstance(value, dict):
        return ", ".join(f"{_shown(k)}: {_shown(v)}" for k, v in value.items()) or "(none)"
    if isinstance(value, (list, tuple)):
        return ", ".join(dict.fromkeys(map(_shown, value))) or "(none)"
    return "(none)" if value in (None, "") else tables.number(value)


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]], right: int | Sequence[int] = ()) -> str:
    """A Markdown table, or nothing. right: the columns aligned right, or how many of the last ones are."""
    rows = [[" ".join(str(cell).split()).replace("\\", "\\\\").replace("|", "\\|") for cell in row] for row in rows]
    if not rows:
        return ""
    aligned = range(len(columns) - right, len(columns)) if isinstance(right, int) else right
    lines = [columns, ["---:" if i in aligned else "---" for i in range(len(columns))], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
