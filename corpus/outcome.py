"""What became of a document at a stage, and the errors, each named by what the runner must do.

Every document that enters a stage leaves it *kept* (with a reason where a rule did something to it), *rejected* (a rule
said no; reason, number and threshold are data) or *failed*. A failure is a *verdict* on the bytes (encrypted, malformed),
remembered like any measurement, or a *circumstance* (deadline, memory, a killed worker), listed and tried again at the
next run.

`reason` is a machine-readable word (snake_case); `detail` one sentence for a person. Neither ever holds text of the
document: they go to logs, reports and Prefect.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal["kept", "rejected", "failed"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A decision on one document.

    `value` is the number that decided and `threshold` what it was held against (None where there is none);
    `fields` are the document fields the stage sets on a kept document (never `text`, see Stage.text).
    """

    status: Status = "kept"
    reason: str = ""
    value: float | None = None
    threshold: float | None = None
    detail: str = ""
    fields: dict[str, Any] = field(default_factory=dict)


def kept(**fields: Any) -> Outcome:
    """The document goes on, with these fields set."""
    return Outcome(fields=fields)


def rejected(reason: str, value: float | None = None, threshold: float | None = None, detail: str = "") -> Outcome:
    """A rule said no."""
    return Outcome("rejected", reason, value, threshold, detail)


class Verdict(Exception):
    """Raised while measuring: these bytes cannot be processed, ever. Remembered as a failure of the document."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


class Circumstance(Exception):
    """Raised while measuring: not now (deadline, memory, changed underfoot). Listed, not remembered, tried again."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


class Skip(Exception):
    """Raised by a corpus stage's build: there is nothing to do, and this sentence says why. The stage is `skipped`."""


class Stop(Exception):
    """The run cannot go on; the message is one sentence for the user and says what to do. Exit code 1."""


class Misuse(Stop):
    """The command line or the configuration is wrong; the message says what is right. Exit code 2."""
