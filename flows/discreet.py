"""Showing text of stages before redaction without showing personal data.

The text passes the run's own redaction, with the settings of the run; what that cannot do (a language without rules, a
text too short to judge) is not shown: its size is. `--raw` goes round this.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

from corpus import config as settings
from corpus.outcome import Circumstance, Stop, Verdict
from corpus.stage import DocumentStage, Inputs, Stage
from corpus.view import ViewReader, resolve
from corpus.workspace import Run
from flows import results

LONGEST = 20_000  # characters redacted for a preview


def redactor(run: Run) -> ViewReader | None:
    """The view that turns sensitive text into text that may be shown."""
    for view in results.views(run).values():
        if view.upstream is not None and results.sensitive(view.upstream) and not results.sensitive(view):
            return view
    return None


def masked(text: str) -> str:
    """What can be said of a text without showing any of it."""
    size = f"{len(text):,} characters, {len(text.split()):,} words, {len(text.splitlines()):,} lines"
    return f"‹{size}; not shown before redaction, --raw shows it›"


class Discretion:
    """Makes sensitive text showable; the redaction is set up when it is first needed."""

    def __init__(self, run: Run, way: tuple[Stage, ...]) -> None:
        self.run, self.way = run, way

    def show(self, text: str, fields: dict[str, Any]) -> str:
        """The text redacted, at most LONGEST characters of it; its size alone where that is not possible."""
        if not text:
            return ""
        if self._redact is None:
            return masked(text)
        fields = {**fields, "lang": self._languages.get(fields["id"]) or fields.get("lang")}  # known only after some stages
        piece = text if len(text) <= LONGEST else text[:LONGEST].rpartition(" ")[0]
        done = self._redact(piece, fields)
        return masked(text) if done is None else done

    @cached_property
    def _languages(self) -> dict[str, str]:
        """Languages as redaction knows them."""
        view = redactor(self.run)
        table = view.outcomes() if view else None
        if table is None or "lang" not in table.column_names:
            return {}
        return dict(zip(table["id"].to_pylist(), table["lang"].to_pylist(), strict=True))

    @cached_property
    def _redact(self) -> Callable[[str, dict[str, Any]], str | None] | None:
        view = redactor(self.run)
        stage = next((s for s in self.way if view and s.name == view.name), None)
        if view is None or not isinstance(stage, DocumentStage) or stage.measure is None or stage.text is None:
            return None
        recorded = view.record["config"]
        config = settings.load(resolve(recorded["class"]), recorded["values"], stage.name)
        set_up, text_of, decide = stage.measure, stage.text, stage.decide
        try:
            artifacts = {name: self.run.artifact(name) for name in stage.inputs if self.run.stages.get(name, {}).get("folder")}
            measure = set_up(config, Inputs(artifacts=artifacts))
        except (Stop, OSError):
            return None

        def redact(text: str, fields: dict[str, Any]) -> str | None:
            document = {name: fields.get(name, "") for name in stage.reads} | {"id": "", "text": text}
            try:
                m = measure(document)
                if decide is None or decide(config, m).status != "kept":
                    return None
                return text_of(config, m, text)
            except (Verdict, Circumstance, Stop):
                return None

        return redact
