"""The state of one walk along the way: what the stages so far have made, and what the runner allows.

A plan is a walk with `dry` set: the same steps, stopping short of measuring, building and writing. What it cannot know it
counts: `pending` documents whose measurements are still to be made, `unknown` stages whose artifact would be made anew.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from corpus.result import Observer, StageResult
from corpus.sources import Places
from corpus.view import ViewReader
from corpus.workspace import Built, Workspace


@dataclass
class Walk:
    """See the module's head. `last` is what each stage was when it last ran (Workspace.last_stages)."""

    workspace: Workspace
    observer: Observer
    workers: int
    device: str
    sample: int | None
    refit: tuple[str, ...]
    retry_failed: bool
    allow_removals: bool
    part_rows: int
    part_seconds: float
    rehash: bool = False
    dry: bool = False
    last: dict[str, dict[str, Any]] = field(default_factory=dict)
    results: dict[str, StageResult] = field(default_factory=dict)
    views: dict[str, ViewReader] = field(default_factory=dict)
    artifacts: dict[str, Built] = field(default_factory=dict)
    tail: ViewReader | None = None  # the last document stage's view
    places: Places | None = None  # where the members' bytes lie
    pending: int = 0
    unknown: set[str] = field(default_factory=set)
