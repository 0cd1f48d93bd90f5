"""What a run left behind, read for people: curves, samples, numbers, places. Nothing here computes a result.

Training stages leave `*loss*.jsonl` files, one object a line with `step` and numbers; evaluation leaves `samples.md`:
a heading per model, quoted blocks that begin with the bold prompt. A stage that leaves none is simply not drawn.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from corpus.view import ViewReader
from corpus.workspace import Run, Workspace


def current_run(workspace: Workspace) -> str | None:
    """Id of the run whose model is the current one."""
    path = workspace.path / "current"
    return json.loads(path.read_text("utf-8"))["run"] if path.is_file() else None


def artifacts(run: Run) -> Iterator[tuple[dict[str, Any], Path]]:
    """(stage row, folder) of every artifact the run used and the store still has."""
    for stage in run.stages.values():
        folder = run.workspace.store / stage["folder"] if stage["folder"] else None
        if stage["unit"] == "artifact" and folder is not None and folder.is_dir():
            yield stage, folder


def samples(run: Run) -> list[dict[str, str]]:
    """Texts the trained models wrote: {prompt, text, kind}; the chat model's first, since it is what people talk with."""
    found: list[dict[str, str]] = []
    for _, folder in artifacts(run):
        path = folder / "samples.md"
        if path.is_file():
            found += _quoted(path.read_text("utf-8"))
    return sorted(found, key=lambda s: s["kind"] != "sft")


def _quoted(text: str) -> list[dict[str, str]]:
    found, kind, block = [], "", []
    for line in [*text.split("\n"), ""]:
        if line.startswith("> "):
            block.append(line[2:])
            continue
        if block:
            prompt, _, rest = "\n".join(block).removeprefix("**").partition("**")
            found.append({"prompt": prompt, "text": rest, "kind": kind})
            block = []
        if line.startswith("## "):
            kind = line[3:].strip()
    return found


def curves(run: Run) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """stage -> series -> (step, value): the training curves."""
    found: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for stage, folder in artifacts(run):
        for path in sorted(folder.glob("*.jsonl")):
            for row in _lines(path):
                step = row.get("step")
                if not isinstance(step, (int, float)) or isinstance(step, bool):
                    continue
                for name, value in row.items():
                    if name != "step" and isinstance(value, (int, float)) and not isinstance(value, bool):
                        found.setdefault(stage["name"], {}).setdefault(name, []).append((float(step), float(value)))
    return found


def locators(run: Run) -> dict[str, list[str]]:
    """id -> the places it was found, in order."""
    found: dict[str, list[str]] = {}
    for stage in run.stages.values():
        path = run.workspace.store / stage["folder"] / "locators.parquet" if stage["folder"] else None
        if path and path.is_file():
            for row in pq.read_table(path, columns=["id", "locator"]).to_pylist():
                found.setdefault(row["id"], []).append(row["locator"])
            break
    return found


def views(run: Run) -> dict[str, ViewReader]:
    """The run's document views that are still in the store, in order."""
    return {
        n: run.view(n)
        for n, s in run.stages.items()
        if s["unit"] == "documents" and s["folder"] and (run.workspace.store / s["folder"]).is_dir()
    }


def sensitive(view: ViewReader) -> bool:
    """Whether the text behind a view may hold personal data: a stage that leaves the text alone leaves it as it came."""
    return view.sensitive or (view.record["text"] is None and view.upstream is not None and sensitive(view.upstream))


def clean(run: Run) -> ViewReader | None:
    """The last view of the run whose text may be shown: redacted, with a text."""
    found = [v for v in views(run).values() if v.upstream is not None and not sensitive(v)]
    return found[-1] if found else None


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    if not path.is_file():
        return
    for line in path.read_text("utf-8").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue  # the last line of a log may be cut
        if isinstance(row, dict):
            yield row
