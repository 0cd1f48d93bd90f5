"""What a stage did in a run: the numbers of the contract, for people and for `--json`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

State = Literal["cached", "ran", "would_run", "skipped", "failed"]


@dataclass(frozen=True)
class StageResult:
    """One stage in one run (or plan). `calls` counts measure or build calls really made (or, in a plan, to be made)."""

    name: str
    status: State
    why: list[str] = field(default_factory=list)
    unit: str = "documents"
    documents_in: int = 0
    kept: int = 0
    rejected: int = 0
    failed: int = 0
    calls: int = 0
    seconds: float = 0.0
    artifact: str = ""  # key of the artifact or view
    folder: str = ""  # where it lies, relative to the store
    reasons: dict[str, int] = field(default_factory=dict)  # 'rejected:not_prose' -> documents; 'kept:…' where a rule said why
    metrics: dict[str, Any] = field(default_factory=dict)
    identity: dict[str, Any] = field(default_factory=dict)  # what the key was made of, for the reasons of the next plan

    def json(self) -> dict[str, Any]:
        """The contract's object, with reasons and metrics added."""
        return {
            "name": self.name,
            "status": self.status,
            "why": self.why,
            "unit": self.unit,
            "in": self.documents_in,
            "kept": self.kept,
            "rejected": self.rejected,
            "failed": self.failed,
            "calls": self.calls,
            "seconds": round(self.seconds, 3),
            "artifact": self.artifact,
            "folder": self.folder,
            "reasons": self.reasons,
            "metrics": self.metrics,
        }


class Observer(Protocol):
    """Somebody who watches a run: a terminal, a log file, Prefect."""

    def started(self, stage: str, total: int | None, why: list[str]) -> None:
        """A stage begins; `total` documents are to be measured (None for a build)."""

    def advanced(self, stage: str, done: float, total: float, note: str) -> None:
        """So much of it is done."""

    def ended(self, result: StageResult) -> None:
        """It is over."""


class Nobody:
    """An observer who looks away."""

    def started(self, stage: str, total: int | None, why: list[str]) -> None:
        return

    def advanced(self, stage: str, done: float, total: float, note: str) -> None:
        return

    def ended(self, result: StageResult) -> None:
        return
