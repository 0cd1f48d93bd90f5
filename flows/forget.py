"""`athanor forget`: documents out of a workspace for good, and what is fitted on them named.

What is meant is looked up, what resembles it is listed and asked about, and after a yes: tombstones, an ordinary run as far
as nothing is fitted or trained, and every trace erased (corpus/forget.py). RAW is not touched; what lies there stays out.

The tombstones come first. From then on a kill costs nothing but time: the next run or `forget` goes on with the erasing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from corpus.engine import Engine
from corpus.forget import Erased, Tombstones, erase, tainted
from corpus.outcome import Misuse, Stop
from corpus.result import StageResult
from corpus.stage import DocumentStage
from corpus.workspace import Run, Workspace
from flows import likeness, tables
from flows.cli import answer
from flows.likeness import Likeness, Near
from flows.progress import JsonlObserver, Observers, watcher
from flows.run import Recorder, usual
from flows.settings import RunConfig, Way, configure
from flows.whereabouts import Target, Whereabouts

SHOWN = 40  # rows of a list


def forget(args: argparse.Namespace) -> int:
    """The command. 0 when it is done (or would be); 1 when it is done but the run that belongs to it failed."""
    workspace = Workspace.open(args.workspace)
    with workspace.locked("forget"):
        return Forgetting(workspace, args).do()


class Forgetting:
    """One `athanor forget`."""

    def __init__(self, workspace: Workspace, args: argparse.Namespace) -> None:
        self.workspace, self.args = workspace, args
        self.out = sys.stderr if args.json else sys.stdout
        latest = workspace.latest_run()
        if latest is None:
            raise Misuse(f"The workspace '{args.workspace}' has no run yet: there is nothing in it to forget.")
        self.latest = latest
        self.where = Whereabouts(workspace)
        self.tombstones = Tombstones.of(workspace)
        self.pending = self.tombstones.pending
        self.near: list[Near] = []  # left where they are
        self.taken: list[Near] = []  # forgotten, too

    def do(self) -> int:
        """Look up, ask, do, tell."""
        target = self.where.resolve(self.args.what, self.tombstones)
        for text in target.before:
            self._say(f"'{text}' was forgotten before; it stays out.")
        if target.ids:
            self._list(target)
            texts, shared = self._resembling(target)
            self.tombstones.add(target.ids, texts, shared, save=False)
        self._list_tainted(erased := erase(self.workspace, self.tombstones, dry=True) if target.ids or self.pending else Erased())
        if self.args.dry_run:
            self._say("Nothing was changed.")
            return self._told("planned", target, erased)
        if target.ids:
            self._confirm(target)
            self.tombstones.pending = True
            self.tombstones.save()
        elif not self.pending:
            return self._told("cached", target, erased)
        trouble, run = self._up_to_date()
        erased = erase(self.workspace)  # whatever became of the run
        self._sum_up(target, erased, run, trouble)
        return self._told("failed" if trouble or erased.put_off else "done", target, erased, run, trouble)

    # -- what is meant -------------------------------------------------------------------------------------------

    def _list(self, target: Target) -> None:
        rows = [[(places or [id])[0], f"and {len(places) - 1:,} more" if len(places) > 1 else ""] for id, places in target.places.items()]
        found = sum(map(len, target.places.values()))
        self._say(f"{_count(len(rows), 'document')} to forget, found in {_count(found, 'place')}:")
        self._table(("document", "the same bytes elsewhere"), sorted(rows))

    def _resembling(self, target: Target) -> tuple[likeness.Texts, list[Any]]:
        """List and ask about near duplicates, until nothing new turns up; takes those that are to go into the target."""
        known: set[str] = set()
        while True:
            texts = likeness.texts_of(self.workspace, target.ids)
            found = self._scan(texts)
            new = [n for n in found.near if n.id not in known]
            taken = self._asked([n for n in new if n.duplicate], [n for n in new if not n.duplicate])
            known |= {n.id for n in new}
            self.taken += taken
            self.near += [n for n in new if n not in taken]
            if not taken:
                stay = (runs for id, runs in found.shared.items() if id not in target.ids)
                return texts, [run for runs in stay for run in runs]
            target.places |= {n.id: places for n in taken if (places := self._places_of(n.id)) is not None}

    def _scan(self, texts: likeness.Texts) -> Likeness:
        def progress(done: int) -> None:
            if sys.stderr.isatty():
                print(f"\rcomparing with other documents: {done:,}", end="", file=sys.stderr)

        found = likeness.resembling(self.workspace, self.tombstones, texts, progress)
        if sys.stderr.isatty():
            print("\r\033[K", end="", file=sys.stderr)
        return found

    def _asked(self, near: list[Near], holders: list[Near]) -> list[Near]:
        """Those of the near duplicates that go, too."""
        places = self.where.places({n.id for n in [*near, *holders]})
        if near:
            self._say(f"{_count(len(near), 'near duplicate')}, which stay unless you say otherwise:")
            self._table(("similarity", "document", "id"), [[f"{n.alike:.2f}", places.get(n.id, ""), n.id] for n in near])
        if holders:
            self._say(f"{_count(len(holders), 'document')} that hold the text among others, and stay; name them to have them forgotten:")
            self._table(("part held", "document", "id"), [[f"{n.holds:.0%}", places.get(n.id, ""), n.id] for n in holders])
        if not near or self.args.dry_run:
            return near if self.args.near == "also" else []
        if self.args.near == "ask" and not _terminal():
            raise Misuse(f"{_count(len(near), 'near duplicate')} of it would stay: say --near also or --near leave.")
        also = self.args.near == "also" or (self.args.near == "ask" and _yes(f"Forget {'it' if len(near) == 1 else 'them'}, too?"))
        return near if also else []

    def _places_of(self, id: str) -> list[str]:
        return self.where.resolve([id], self.tombstones).places[id]

    def _list_tainted(self, erased: Erased) -> None:
        self.tombstones.tainted = erased.tainted
        self.fitted = tainted(self.workspace, self.tombstones)
        if self.fitted:
            self._say(f"Fitted or trained on it: {', '.join(self.fitted)}. Nothing can be taken out of them; this makes them anew:")
            self._say(f"  {self._renew()}")
        if self.args.dry_run and erased:
            self._say(f"Would rewrite or remove {_summary(erased)}.")
        for folder in erased.held:
            self._say(f"The artifact {folder} is in use and holds traces in its files.")

    def _renew(self) -> str:
        return f"athanor run -w {self.args.workspace} {' '.join(f'--refit {stage}' for stage in self.fitted)}"

    def _confirm(self, target: Target) -> None:
        question = f"Forget {_count(len(target.places), 'document')} for good?"
        if self.args.yes:
            return
        if not _terminal():
            raise Misuse("Nobody can be asked here: add --yes to forget for good, or --dry-run to see what that means.")
        if not _yes(question):
            raise Stop("Nothing was forgotten.")

    # -- doing it ------------------------------------------------------------------------------------------------

    def _way(self) -> tuple[Way, RunConfig, dict[str, Any]]:
        """The stages and settings of the latest run."""
        from flows.pipeline import WAY

        path = self.latest.path / "config.yaml"
        way, config, resolved = configure(WAY, path if path.is_file() else None)
        names = [s.name for s in way]
        until = self.latest.record.get("until")
        return (way[: names.index(until) + 1] if until in names else way), config, resolved

    def _up_to_date(self) -> tuple[str, Run | None]:
        """An ordinary run of the document stages, and of what follows as long as it is pinned. (what went wrong, the run)"""
        try:
            way, config, resolved = self._way()
        except Stop as stop:
            return str(stop), None
        sample, until = self.latest.record.get("sample"), self.latest.record.get("until")
        args = argparse.Namespace(argv=["forget"], sample=sample, until=until)
        recorded = Recorder(self.workspace, args, resolved, [s.name for s in way])
        recorded.record["command"] = "forget"
        people = watcher([s.name for s in way], usual(self.workspace))
        watching = Observers(people, JsonlObserver(recorded.folder / "log.jsonl"), recorded)
        trouble = ""
        try:
            with recorded.watching():
                _walk(self.workspace, way, config, sample, watching)
        except Stop as stop:
            trouble = str(stop)
        finally:
            watching.close()
        return trouble, self.workspace.run(recorded.id)

    # -- telling -------------------------------------------------------------------------------------------------

    def _sum_up(self, target: Target, erased: Erased, run: Run | None, trouble: str) -> None:
        if run is not None:
            tables.show_stages(list(run.stages.values()), self.out)
        if erased.put_off:
            later = "erasing is put off until the next run or `verify --forgotten`"
            print(f"athanor: the workspace is being read by {erased.put_off}: {later}.", file=sys.stderr)
        else:
            self._say(f"Forgotten: {_count(len(target.places), 'document')}. Rewritten or removed: {_summary(erased) or 'nothing'}.")
        for path in erased.exports:
            self._say(f"The export '{path}' held it and was removed; `athanor export` writes it anew.")
        self._say("RAW is untouched: files that lie there stay where they are, and stay out of this workspace.")
        self._say(f"`athanor verify --forgotten -w {self.args.workspace}` searches everything that is left.")
        if trouble:
            print(f"athanor: the documents stay out, but the run that belongs to it stopped: {trouble}", file=sys.stderr)

    def _told(self, status: str, target: Target, erased: Erased, run: Run | None = None, trouble: str = "") -> int:
        if self.args.json:
            near = [_json(n, n in self.taken) for n in [*self.taken, *self.near]]
            counts = {"forgotten": len(target.places), "near": len(near), "near_duplicates": near}
            counts |= {"parts_rewritten": erased.parts, "views_removed": erased.views, "artifacts_removed": erased.artifacts}
            counts |= {"files": erased.files, "exports": erased.exports, "held": erased.held, "tainted": list(self.fitted)}
            more = {"error": trouble} if trouble else {}
            stages = list(run.stages.values()) if run else []
            answer("forget", status, run.id if run else None, stages, **counts, renew=self._renew() if self.fitted else None, **more)
        return int(status == "failed")

    def _say(self, sentence: str) -> None:
        print(sentence, file=self.out)

    def _table(self, columns: Sequence[str], rows: list[list[str]]) -> None:
        tables.show(columns, rows[:SHOWN], self.out)
        if len(rows) > SHOWN:
            self._say(f"and {len(rows) - SHOWN:,} more")


def _walk(workspace: Workspace, way: Way, config: RunConfig, sample: int | None, watching: Observers) -> list[StageResult]:
    engine = Engine(workspace, way, workers=config.processes, device=config.device, sample=sample, observer=watching)
    last = max(i for i, stage in enumerate(way) if isinstance(stage, DocumentStage))
    for stage in way[: last + 1]:
        engine.step(stage.name)
    for result in engine.plan()[last + 1 :]:
        if result.status not in ("cached", "skipped"):
            break  # it would be fitted or trained: that is for `run`
        engine.step(result.name)
    return engine.results


def _summary(erased: Erased) -> str:
    counted = [(erased.parts, "part"), (erased.views, "view"), (erased.artifacts, "artifact"), (len(erased.files), "other file")]
    return ", ".join(_count(n, what) for n, what in [*counted, (len(erased.exports), "export")] if n)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _json(near: Near, forgotten: bool) -> dict[str, Any]:
    return {"id": near.id, "similarity": near.alike, "holds": near.holds, "forgotten": forgotten}


def _terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


def _yes(question: str) -> bool:
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes", "s", "sì", "si")
