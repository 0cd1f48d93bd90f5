"""Who watches a run: a live line on a terminal, plain lines without one, a log file of JSON lines.

All are observers in the sense of `corpus.result.Observer`. They see stage names, counts, seconds and short notes such as a
loss; never a document. Everything goes to standard error, so that standard output stays the command's own.

Limits: the time left of the whole run weighs each stage by the seconds it took last time, and equally where that is unknown;
the live line moves when the engine reports, there is no clock thread (a thread that holds a lock while workers fork may hang them).
"""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from corpus.result import Observer, StageResult

Clock = Callable[[], float]


class Observers:
    """Several observers as one. `say` passes a sentence for people to those that can show it."""

    def __init__(self, *many: Observer | None) -> None:
        self.many: tuple[Observer, ...] = tuple(o for o in many if o is not None)

    def started(self, stage: str, total: int | None, why: list[str]) -> None:
        for observer in self.many:
            observer.started(stage, total, why)

    def advanced(self, stage: str, done: float, total: float, note: str) -> None:
        for observer in self.many:
            observer.advanced(stage, done, total, note)

    def ended(self, result: StageResult) -> None:
        for observer in self.many:
            observer.ended(result)

    def say(self, sentence: str) -> None:
        for observer in self.many:
            if (say := getattr(observer, "say", None)) is not None:
                say(sentence)

    def close(self) -> None:
        for observer in self.many:
            if (close := getattr(observer, "close", None)) is not None:
                close()


class Pace:
    """How fast a stage goes: units per second over the last half minute, and the seconds it still needs."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._marks: deque[tuple[float, float]] = deque([(clock(), 0.0)])
        self.done, self.total = 0.0, 0.0

    def mark(self, done: float, total: float) -> None:
        now = self._clock()
        self.done, self.total = done, total
        self._marks.append((now, done))
        while len(self._marks) > 2 and now - self._marks[0][0] > 30:
            self._marks.popleft()

    @property
    def rate(self) -> float:
        """Units per second; 0 while unknown."""
        (t0, d0), (t1, d1) = self._marks[0], self._marks[-1]
        return (d1 - d0) / (t1 - t0) if t1 > t0 and d1 > d0 else 0.0

    @property
    def left(self) -> float | None:
        """Seconds; None while unknown."""
        return max(0.0, self.total - self.done) / self.rate if self.rate and self.total else None

    @property
    def share(self) -> float:
        """Between 0 and 1."""
        return min(1.0, self.done / self.total) if self.total else 0.0


class Whole:
    """How far the run is, each stage weighed by the seconds it is expected to take."""

    def __init__(self, stages: Sequence[str], expected: Mapping[str, float] | None = None, clock: Clock = time.monotonic) -> None:
        known = {name: max(0.05, seconds) for name, seconds in (expected or {}).items()}
        usual = sum(known.values()) / len(known) if known else 1.0
        self._weights = {name: known.get(name, usual) for name in stages}
        self._clock, self._begun = clock, clock()
        self._over: set[str] = set()
        self._worked = 0.0  # weight of what really ran: cached stages say nothing about speed

    def end(self, result: StageResult) -> None:
        self._over.add(result.name)
        if result.status == "ran":
            self._worked += self._weights.get(result.name, 0.0)

    @property
    def count(self) -> tuple[int, int]:
        """Stages that are over, and all."""
        return len(self._over), len(self._weights)

    def share(self, stage: str, within: float) -> float:
        """Between 0 and 1, with `within` of the current stage done."""
        whole = sum(self._weights.values()) or 1.0
        return (sum(w for name, w in self._weights.items() if name in self._over) + self._current(stage, within)) / whole

    def left(self, stage: str, within: float) -> float | None:
        """Seconds; None before anything was worked on."""
        worked = self._worked + self._current(stage, within)
        if worked <= 0:
            return None
        to_do = sum(w for name, w in self._weights.items() if name not in self._over) - self._current(stage, within)
        return max(0.0, to_do) * (self._clock() - self._begun) / worked

    def _current(self, stage: str, within: float) -> float:
        return 0.0 if stage in self._over else self._weights.get(stage, 0.0) * within


class Lines:
    """Log lines: one when a stage begins, one at most every `every` seconds, one when it is over."""

    def __init__(
        self,
        stages: Sequence[str],
        expected: Mapping[str, float] | None = None,
        stream: IO[str] | None = None,
        every: float = 5.0,
        clock: Clock = time.monotonic,
    ) -> None:
        self._stream, self._every, self._clock = stream, every, clock
        self._whole = Whole(stages, expected, clock)
        self._pace, self._last = Pace(clock), clock()

    def started(self, stage: str, total: int | None, why: list[str]) -> None:
        self._pace, self._last = Pace(self._clock), self._clock()
        self.say(f"{stage}: {_count(total)}{_reasons(why)}")

    def advanced(self, stage: str, done: float, total: float, note: str) -> None:
        self._pace.mark(done, total)
        if self._clock() - self._last >= self._every:
            self._last = self._clock()
            self.say(f"{stage}: {_standing(self._pace, note)}; run {_run(self._whole, stage, self._pace)}")

    def ended(self, result: StageResult) -> None:
        self._whole.end(result)
        self.say(line(result))

    def say(self, sentence: str) -> None:
        print(sentence, file=self._stream or sys.stderr, flush=True)


class Live:
    """On a terminal: a moving line for the stage, a bar for the whole run, and a line that stays for each stage that is over."""

    def __init__(
        self,
        stages: Sequence[str],
        expected: Mapping[str, float] | None = None,
        stream: IO[str] | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        from rich.console import Console
        from rich.live import Live as RichLive

        self._clock, self._last = clock, 0.0
        self._whole, self._pace, self._stage, self._note = Whole(stages, expected, clock), Pace(clock), "", ""
        self._console = Console(file=stream or sys.stderr, highlight=False)
        self._live = RichLive(console=self._console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False)
        self._open = False

    def started(self, stage: str, total: int | None, why: list[str]) -> None:
        self._stage, self._note, self._pace = stage, _count(total) + _reasons(why), Pace(self._clock)
        self._show(force=True)

    def advanced(self, stage: str, done: float, total: float, note: str) -> None:
        self._stage, self._note = stage, note
        self._pace.mark(done, total)
        self._show()

    def ended(self, result: StageResult) -> None:
        self._whole.end(result)
        self._stage = ""
        colour = {"ran": "green", "cached": "blue", "skipped": "dim", "failed": "red"}.get(result.status, "")
        self._console.print(line(result), style=colour, markup=False, soft_wrap=True)
        over, every = self._whole.count
        if over >= every:
            self.close()
        else:
            self._show(force=True)

    def say(self, sentence: str) -> None:
        self._console.print(sentence, style="yellow", markup=False, soft_wrap=True)

    def close(self) -> None:
        """Give the terminal back; what stays are the lines of the stages."""
        if self._open:
            self._open = False
            self._live.stop()

    def _show(self, force: bool = False) -> None:
        if not force and self._clock() - self._last < 0.1:
            return
        self._last = self._clock()
        if not self._open:
            self._open = True
            self._live.start()
        self._live.update(self._picture(), refresh=True)

    def _picture(self) -> Any:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        def row(name: str, share: float, says: str) -> Table:
            grid = Table.grid(padding=(0, 1))
            grid.add_column(width=14)
            grid.add_column(width=30)
            grid.add_column(no_wrap=True, overflow="ellipsis")
            grid.add_row(Text(name), ProgressBar(100, share * 100, width=30), Text(says))
            return grid

        over, every = self._whole.count
        share = self._pace.share
        stage = row(self._stage, share, _standing(self._pace, self._note) if self._pace.total else self._note)
        run = row(f"run {over}/{every}", self._whole.share(self._stage, share), _run(self._whole, self._stage, self._pace))
        return Group(stage, run) if self._stage else run


class JsonlObserver:
    """WS/runs/<id>/log.jsonl: what happened when, one JSON object a line; at most one `advanced` every `every` seconds."""

    def __init__(self, path: Path, every: float = 5.0, clock: Clock = time.monotonic) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._every, self._clock, self._last = path, every, clock, 0.0

    def started(self, stage: str, total: int | None, why: list[str]) -> None:
        self._last = self._clock()
        self._write("started", stage=stage, total=total, why=why)

    def advanced(self, stage: str, done: float, total: float, note: str) -> None:
        if self._clock() - self._last >= self._every:
            self._last = self._clock()
            self._write("advanced", stage=stage, done=done, total=total, note=note)

    def ended(self, result: StageResult) -> None:
        shown = {k: v for k, v in result.json().items() if k != "name"}
        self._write("ended", stage=result.name, **shown)

    def say(self, sentence: str) -> None:
        self._write("said", sentence=sentence)

    def _write(self, event: str, **values: Any) -> None:
        entry = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, **values}
        with open(self._path, "a", encoding="utf-8") as log:
            log.write(json.dumps(entry, ensure_ascii=False, default=str) + "\n")


def watcher(stages: Sequence[str], expected: Mapping[str, float] | None = None, stream: IO[str] | None = None) -> Live | Lines:
    """The observer for people: live where the stream is a terminal, lines elsewhere. `expected`: seconds per stage, last time."""
    return Live(stages, expected, stream) if (stream or sys.stderr).isatty() else Lines(stages, expected, stream)


def line(result: StageResult) -> str:
    """A stage that is over, in one line."""
    head = f"{result.name:<12} {result.status:<8}"
    if result.status == "skipped":
        return f"{head} {'; '.join(result.why)}".rstrip()
    if result.unit == "documents":
        says = f"{result.documents_in:>9,} in {result.kept:>9,} kept {result.rejected:>7,} rejected {result.failed:>5,} failed"
    else:
        says = "built" if result.status == "ran" else ""
    says += f"  {result.calls:,} calls  {span(result.seconds)}" if result.status in ("ran", "failed") else ""
    return f"{head} {says}" + (_reasons(result.why) if result.status == "failed" else "")


def span(seconds: float) -> str:
    """12.3 s, 4 min 05 s, 2 h 10 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _count(total: int | None) -> str:
    return "building" if total is None else f"{total:,} documents to measure"


def _reasons(why: list[str]) -> str:
    return f" ({'; '.join(why)})" if why else ""


def _standing(pace: Pace, note: str) -> str:
    parts = [f"{pace.done:,.0f} of {pace.total:,.0f}", f"{pace.rate:,.1f}/s" if pace.rate else ""]
    parts += [f"{span(pace.left)} left" if pace.left is not None else "", note]
    return ", ".join(part for part in parts if part)


def _run(whole: Whole, stage: str, pace: Pace) -> str:
    left = whole.left(stage, pace.share)
    if left is not None:
        left = max(left, pace.left or 0.0)  # a first run has no usual times to go by: at least what the stage still needs
    return f"{whole.share(stage, pace.share):.0%}" + (f", about {span(left)} left" if left is not None else "")
