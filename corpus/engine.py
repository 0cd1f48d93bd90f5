"""The engine: runs stages on views, measures what is missing and nothing else, and can say beforehand what it would do.

`plan()` and `step()` are the same walk; a plan stops short of measuring and building, and counts instead. The engine
knows nothing of Prefect or terminals: an Observer is told what happens.

For a document stage: look up (id, hash of the fields read) on the shelf, measure what is missing part by part, decide,
write the view. For a corpus stage: compute the key; build when there is no such artifact. A pinned corpus stage goes on
using the artifact it was pinned to until its own settings, version, engines or input artifacts change.
"""

from __future__ import annotations

import errno
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from corpus import intake, sandbox, sources
from corpus.canonical import digest, digest_bytes, plain
from corpus.decision import decide, digest_view, read_hashes
from corpus.outcome import Misuse, Skip, Stop
from corpus.reasons import changes, code_of, count_of
from corpus.result import Nobody, Observer, StageResult
from corpus.stage import CorpusStage, DocumentStage, Inputs, Stage
from corpus.store import Shelf, committed, read_record, shelf_schema
from corpus.view import ViewReader, describe, write_view
from corpus.workspace import Built, Workspace, built

PART_ROWS = 4096  # a part is written after so many documents,
PART_SECONDS = 10.0  # or so much time: what a kill may cost


class Engine:
    """Runs one way (a tuple of stages in order, `ingest` first) on one workspace."""

    def __init__(
        self,
        workspace: Workspace,
        way: tuple[Stage, ...],
        *,
        workers: int = 2,
        device: str = "cpu",
        observer: Observer | None = None,
        sample: int | None = None,
        refit: tuple[str, ...] = (),
        retry_failed: bool = False,
        allow_removals: bool = False,
        part_rows: int = PART_ROWS,
        part_seconds: float = PART_SECONDS,
    ) -> None:
        names = [s.name for s in way]
        for name in refit:
            fitted = [s.name for s in way if isinstance(s, CorpusStage)]
            if name not in fitted:
                raise Misuse(f"There is nothing fitted to renew in '{name}'; --refit takes one of {', '.join(fitted)}.")
        assert len(set(names)) == len(names), "two stages have one name"
        self.workspace, self.way = workspace, way
        self.workers, self.device, self.observer = workers, device, observer or Nobody()
        self.sample, self.refit, self.retry_failed, self.allow_removals = sample, refit, retry_failed, allow_removals
        self.part_rows, self.part_seconds = part_rows, part_seconds
        self.last = workspace.last_stages()
        self._forget()

    def _forget(self) -> None:
        self.results: dict[str, StageResult] = {}
        self.views: dict[str, ViewReader] = {}
        self.artifacts: dict[str, Built] = {}
        self.tail: ViewReader | None = None  # the last document stage's view
        self.pending = 0  # in a plan: documents on their way whose measurements are not known yet
        self.unknown: set[str] = set()  # in a plan: corpus stages whose artifact would be made
        self.places: dict[str, tuple[Path, str]] = {}

    # -- the two ways in -----------------------------------------------------------------------------------------

    def plan(self) -> list[StageResult]:
        """What `step` would do for every stage, and why. Changes nothing."""
        self._forget()
        try:
            for stage in self.way:
                self.results[stage.name] = self._walk(stage, dry=True)
            return list(self.results.values())
        finally:
            self._forget()

    def step(self, name: str) -> StageResult:
        """Run one stage; the earlier ones must have been run by this engine. Stop says what a person can do."""
        stage = next(s for s in self.way if s.name == name)
        try:
            result = self._walk(stage, dry=False)
        except OSError as error:
            raise _explained(error, stage.name) from error
        self.results[name] = result
        if result.status in ("cached", "ran"):
            self.workspace.remember_stage(name, {"identity": result.identity, "folder": result.folder})
        self.observer.ended(result)
        return result

    def run(self, until: str | None = None) -> list[StageResult]:
        """All stages in order, up to and with `until`."""
        for stage in self.way:
            self.step(stage.name)
            if stage.name == until:
                break
        return list(self.results.values())

    def _walk(self, stage: Stage, dry: bool) -> StageResult:
        if isinstance(stage, CorpusStage):
            return self._corpus(stage, dry)
        assert isinstance(stage, DocumentStage)
        return self._documents(stage, dry) if self.tail or self.results else self._ingest(stage, dry)

    # -- document stages -----------------------------------------------------------------------------------------

    def _ingest(self, stage: DocumentStage, dry: bool) -> StageResult:
        begun = time.monotonic()
        files: list[sources.File] = []
        for name, root in self.workspace.sources().items():
            if not root.is_dir():
                raise Misuse(f"The source '{name}' is not at '{root}' any more. Mount it, or `athanor source remove {name}`.")
            files += sources.scan(name, root, self.workspace.path)
        files = sources.hashed(files, self.workspace.store / stage.name / "stat.parquet", remember=not dry)
        vanished = self._vanished(files, dry)
        fingerprint, identity = self._fingerprint(stage)
        shelf = Shelf(self.workspace.store, stage.name, fingerprint)
        by_hash = {f.file: f for f in files if f.file}
        hashes = pa.chunked_array([pa.array(sorted(by_hash), pa.string())])
        blank = pa.chunked_array([pa.array([""] * len(by_hash), pa.string())])
        missing = hashes.filter(pc.is_null(shelf.locate(hashes, blank))).to_pylist()
        where = [[f.source, f.path, f.file, f.reason] for f in files]
        key = digest([fingerprint, stage.decision(), where, self.sample])
        folder = f"{stage.name}/{fingerprint}/view-{key}"
        record = read_record(self.workspace.store / folder)
        calls, circumstances = 0, {}
        if not dry and missing:
            self.observer.started(stage.name, len(missing), [f"{count_of(len(missing), 'new file')}"])
            documents = ({"id": h, "of": "", "path": str(by_hash[h].real)} for h in missing)
            calls, circumstances = self._measure(stage, Inputs(), shelf, identity, documents, len(missing))
        known = record is not None and record["complete"] and not missing
        if not known:
            view, listed, where_found = intake.members(files, shelf, circumstances, getattr(stage.config, "chat", ()), self.sample)
            record = {
                **describe(stage, fingerprint, None),
                "key": key,
                "digest": digest_view(view),
                "decision": plain(stage.decision()),
                "complete": not circumstances,
                "rows": view.num_rows,
            }
            if dry:
                reader = ViewReader.of(self.workspace.store, record, view, None)
                beside = where_found
            else:
                write_view(self.workspace.store, self.workspace.store / folder, view, record, {"files": listed, "locators": where_found})
                reader = ViewReader(self.workspace.store, folder)
                beside = where_found
        else:
            reader = ViewReader(self.workspace.store, folder)
            beside = reader.beside("locators")
        real = intake.paths(files)
        for row in beside.to_pylist():
            if (row["source"], row["path"]) in real:
                self.places.setdefault(row["id"], (real[row["source"], row["path"]], row["inner"]))
        self.pending = len(missing) if dry else 0
        why = changes(stage, identity, self.last.get(stage.name)) + vanished + ([count_of(len(missing), "new file")] if missing else [])
        return self._told(stage, reader, folder, key, identity, why, len(missing) if dry else calls, begun, dry, cached=known)

    def _documents(self, stage: DocumentStage, dry: bool) -> StageResult:
        begun = time.monotonic()
        base = self.tail
        assert base is not None
        inputs = Inputs(artifacts={n: self.artifacts[n] for n in stage.inputs if n in self.artifacts})
        lacking = [n for n in stage.inputs if n not in self.artifacts and n not in self.unknown and n not in stage.optional]
        if lacking:
            return StageResult(stage.name, "skipped", [f"needs {lacking[0]}, which was skipped"])
        if any(n in self.unknown for n in stage.inputs):
            return self._guessed(stage, base)
        fingerprint, identity = self._fingerprint(stage, inputs)
        shelf = Shelf(self.workspace.store, stage.name, fingerprint)
        key = digest([fingerprint, stage.decision(), base.digest])
        folder = f"{stage.name}/{fingerprint}/view-{key}"
        record = read_record(self.workspace.store / folder)
        why = changes(stage, identity, self.last.get(stage.name))
        if record is not None and record["complete"] and not self.retry_failed and not self.pending:
            return self._told(stage, ViewReader(self.workspace.store, folder), folder, key, identity, why, 0, begun, dry, cached=True)
        incoming = base.table().drop_columns(["of"])
        of = read_hashes(incoming, stage.reads)
        if stage.passes_chat and "form" in incoming.column_names:
            of = pc.if_else(pc.equal(incoming["form"], "chat"), pa.scalar(None, pa.string()), of)
        incoming = incoming.append_column("of", of)
        measurable = incoming.filter(pc.is_valid(incoming["of"]))
        at = shelf.locate(measurable["id"], measurable["of"])
        absent = pc.is_null(at)
        if self.retry_failed:
            failure = pc.fill_null(shelf.index()["failure"].take(at), "")
            absent = pc.or_(absent, pc.not_equal(failure, ""))
        missing = measurable.filter(absent)
        if missing.num_rows:
            why.append(self._new(stage, missing.num_rows, measurable.num_rows))
        calls, circumstances = missing.num_rows, {}
        if not dry and missing.num_rows:
            self.observer.started(stage.name, missing.num_rows, why)
            calls, circumstances = self._measure(stage, inputs, shelf, identity, self._given(stage, base, missing), missing.num_rows)
        table = decide(stage, base, shelf, incoming, circumstances, self._earlier(stage, fingerprint))
        made = {
            **describe(stage, fingerprint, base.folder),
            "key": key,
            "digest": digest_view(table),
            "decision": plain(stage.decision()),
            "complete": not circumstances,
            "rows": table.num_rows,
        }
        if dry:
            reader = ViewReader.of(self.workspace.store, made, table, base)
            reader.folder = folder
            calls += self.pending
            self.pending += missing.num_rows
            if self.pending and not why:
                why.append(f"{count_of(self.pending, 'document')} still to be measured before")
        else:
            write_view(self.workspace.store, self.workspace.store / folder, table, made)
            reader = ViewReader(self.workspace.store, folder)
            why = why or ["its documents changed"]
        return self._told(stage, reader, folder, key, identity, why, calls, begun, dry)

    def _guessed(self, stage: DocumentStage, base: ViewReader) -> StageResult:
        """In a plan, a stage whose input artifact would be made anew: every document is measured again."""
        count = base.table().num_rows + self.pending
        made = next(n for n in stage.inputs if n in self.unknown)
        self.pending = count
        self.tail = base
        self.views[stage.name] = base
        self.unknown.add(stage.name)
        return StageResult(stage.name, "would_run", [f"{made} would be made anew"], documents_in=count, calls=count)

    def _told(
        self,
        stage: DocumentStage,
        reader: ViewReader,
        folder: str,
        key: str,
        identity: dict[str, Any],
        why: list[str],
        calls: int,
        begun: float,
        dry: bool,
        cached: bool = False,
    ) -> StageResult:
        self.tail = self.views[stage.name] = reader
        summary = reader.summary()
        status = "cached" if cached else "would_run" if dry else "ran"
        return StageResult(
            stage.name,
            status,  # type: ignore[arg-type]
            why,
            documents_in=sum(summary.values()) + (self.pending if dry else 0),
            kept=sum(n for r, n in summary.items() if r.startswith("kept")),
            rejected=sum(n for r, n in summary.items() if r.startswith("rejected")),
            failed=sum(n for r, n in summary.items() if r.startswith("failed")),
            calls=calls,
            seconds=time.monotonic() - begun,
            artifact=key,
            folder=folder,
            reasons={r: n for r, n in summary.items() if not r.startswith("kept")},
            identity=identity,
        )

    def _given(self, stage: DocumentStage, base: ViewReader, missing: pa.Table) -> Iterator[dict[str, Any]]:
        """The documents to measure: the fields read, `of`, and for the first stage after ingest where the bytes are."""
        ofs = iter(missing["of"].to_pylist())
        for document in base.documents(*stage.reads, ids=missing["id"].to_pylist()):
            document["of"] = next(ofs)
            if base.upstream is None:
                path, document["inner"] = self.places[document["id"]]
                document["path"] = str(path)
            yield document

    def _measure(
        self, stage: DocumentStage, inputs: Inputs, shelf: Shelf, identity: dict[str, Any], documents: Iterator[dict[str, Any]], total: int
    ) -> tuple[int, dict[str, tuple[str, str]]]:
        """Measure, part by part. Returns the calls made and the circumstances: id -> (reason, detail)."""
        schema = shelf_schema(stage)
        rows: list[dict[str, Any]] = []
        circumstances: dict[str, tuple[str, str]] = {}
        written = time.monotonic()
        calls = 0

        def flush() -> None:
            nonlocal rows, written
            if rows:
                shelf.add(pa.Table.from_pylist(rows, schema=schema), stage, identity)
            rows, written = [], time.monotonic()

        try:
            for document, said in sandbox.measure_all(stage, inputs, documents, total, self.workers):
                calls += 1
                row = {"id": document["id"], "of": document["of"], "failure": "", "failure_detail": ""}
                if said[0] == "ok":
                    rows.append(row | _rounded(said[1]))
                elif said[0] == "verdict":
                    rows.append(row | {"failure": said[1], "failure_detail": said[2]})
                else:
                    circumstances[document["id"]] = (said[1], said[2])
                self.observer.advanced(stage.name, calls, total, "")
                if len(rows) >= self.part_rows or time.monotonic() - written > self.part_seconds:
                    flush()
        except KeyboardInterrupt:
            flush()  # what is measured is measured
            raise
        flush()
        return calls, circumstances

    def _fingerprint(self, stage: DocumentStage, inputs: Inputs | None = None) -> tuple[str, dict[str, Any]]:
        identity = plain(stage.identity()) | {"inputs": {n: a.digest for n, a in (inputs or Inputs()).artifacts.items()}}
        return digest(identity), identity | {"decision": plain(stage.decision()), "code": code_of(stage.measure)}

    def _earlier(self, stage: DocumentStage, fingerprint: str) -> ViewReader | None:
        """The newest view on this shelf that was decided by the same settings."""
        wanted = plain(stage.decision())
        found: list[tuple[float, str]] = []
        for path in (self.workspace.store / stage.name / fingerprint).glob("view-*"):
            record = read_record(path)
            if record and record["decision"] == wanted:
                found.append((record["created"], path.name))
        return ViewReader(self.workspace.store, f"{stage.name}/{fingerprint}/{max(found)[1]}") if found else None

    def _new(self, stage: DocumentStage, missing: int, of: int) -> str:
        if missing == of and stage.name in self.last:
            return f"all {count_of(of, 'document')} to be measured"
        return count_of(missing, "new or changed document")

    def _vanished(self, files: list[sources.File], dry: bool) -> list[str]:
        """Law 5: an unmounted share must not empty a corpus."""
        last = self.last.get(self.way[0].name)
        view = ViewReader(self.workspace.store, last["folder"]) if last else None
        if view is None or read_record(view.path) is None:
            return []
        names = set(self.workspace.sources())
        before = [r for r in view.beside("files").select(["source", "path", "file"]).to_pylist() if r["source"] in names]
        paths, hashes = {(f.source, f.path) for f in files}, {f.file for f in files}
        gone = [r for r in before if (r["source"], r["path"]) not in paths and r["file"] not in hashes]
        if not gone:
            return []
        said = f"{len(gone)} of {count_of(len(before), 'file')} {'is' if len(gone) == 1 else 'are'} gone"
        if len(gone) > 0.2 * len(before) and not self.allow_removals:
            if not dry:
                raise Stop(f"{said} from the sources, more than a fifth: nothing was run. If that is meant, add --allow-removals.")
            said += ", `run` will want --allow-removals"
        return [said]

    # -- corpus stages -------------------------------------------------------------------------------------------

    def _corpus(self, stage: CorpusStage, dry: bool) -> StageResult:
        begun = time.monotonic()
        given = {n: self.results[n] for n in stage.inputs if n in self.results}
        for name, result in given.items():
            if result.status == "skipped" and name not in stage.optional:
                return StageResult(stage.name, "skipped", [f"needs {name}, which was skipped"], unit="artifact")
        inputs = Inputs(
            artifacts={n: self.artifacts[n] for n in stage.inputs if n in self.artifacts},
            views={n: self.views[n] for n in stage.inputs if n in self.views},
        )
        identity = plain(stage.identity()) | {"inputs": {n: a.digest for n, a in inputs.artifacts.items()}}
        unsettled = [n for n in stage.inputs if n in self.unknown or (n in self.views and self.pending)]
        data = {} if unsettled and dry else {n: v.digest_of(stage.reads) for n, v in inputs.views.items()}
        pin_identity, key = digest(identity), digest(identity | {"data": data})
        told = identity | {"code": code_of(stage.build)}
        why = changes(stage, told, self.last.get(stage.name))
        if stage.pinned and stage.name not in self.refit and not any(n in self.unknown and n not in self.views for n in stage.inputs):
            pin = self.workspace.pins().get(stage.name)
            if pin and pin["identity"] == pin_identity and (artifact := built(self.workspace.store / pin["folder"])):
                self.artifacts[stage.name] = artifact
                behind = [] if artifact.record["data"] == data else [self._behind(stage, artifact, inputs)]
                return self._made(stage, artifact, behind, "cached", 0, begun, told)
        folder = self.workspace.store / stage.name / key
        artifact = None if unsettled and dry else built(folder)
        if artifact is None and dry:
            self.unknown.add(stage.name)
            return StageResult(stage.name, "would_run", why or [self._because(stage, unsettled)], "artifact", calls=1)
        if artifact is not None:
            return self._settled(stage, artifact, pin_identity, [], 0, begun, told, dry)
        why = why or [self._because(stage, [])]
        self.observer.started(stage.name, None, why)
        artifact = self._build(stage, inputs, key, {"stage": stage.name, "identity": identity, "data": data, "documents": _counts(inputs)})
        return self._settled(stage, artifact, pin_identity, why, 1, begun, told, dry)

    def _settled(
        self, stage: CorpusStage, artifact: Built, pin: str, why: list[str], calls: int, begun: float, identity: dict[str, Any], dry: bool
    ) -> StageResult:
        """An artifact of exactly these inputs is there: pin it (law 4: samples never pin) and go on with it."""
        folder = str(artifact.path.relative_to(self.workspace.store))
        if "skipped" in artifact.record:
            why = [artifact.record["skipped"]]
            return StageResult(
                stage.name, "skipped", why, "artifact", calls=calls, artifact=artifact.path.name, folder=folder, identity=identity
            )
        if stage.pinned and not dry and self.sample is None:
            self.workspace.pin(stage.name, pin, folder)
        self.artifacts[stage.name] = artifact
        return self._made(stage, artifact, why, "ran" if calls else "cached", calls, begun, identity)

    def _build(self, stage: CorpusStage, inputs: Inputs, key: str, record: dict[str, Any]) -> Built:
        store = self.workspace.store
        scratch = store / stage.name / f"work-{key}"
        scratch.mkdir(parents=True, exist_ok=True)
        begun = time.monotonic()
        target = store / stage.name / key

        def tell(done: float, total: float, note: str) -> None:
            self.observer.advanced(stage.name, done, total, note)

        with committed(store, target, record) as folder:
            try:
                metrics = sandbox.build_one(stage, inputs, folder, scratch, self.workers, self.device, tell)
            except Skip as skip:
                record.update(skipped=str(skip), metrics={}, sensitive=stage.sensitive, digest="")
            else:
                shutil.rmtree(folder / "tmp", ignore_errors=True)
                sealed = digest({str(f.relative_to(folder)): digest_bytes(f.read_bytes()) for f in sorted(folder.rglob("*")) if _bears(f)})
                record.update(metrics=metrics, sensitive=stage.sensitive, digest=sealed, seconds=round(time.monotonic() - begun, 3))
        shutil.rmtree(scratch, ignore_errors=True)
        made = built(target)
        assert made is not None
        return made

    def _made(
        self, stage: CorpusStage, artifact: Built, why: list[str], status: Any, calls: int, begun: float, identity: dict[str, Any]
    ) -> StageResult:
        relative = str(artifact.path.relative_to(self.workspace.store))
        documents = artifact.record["documents"]
        return StageResult(
            stage.name,
            status,
            why,
            "artifact",
            documents_in=documents,
            kept=documents,
            calls=calls,
            seconds=time.monotonic() - begun,
            artifact=artifact.path.name,
            folder=relative,
            metrics=artifact.record["metrics"],
            identity=identity,
        )

    def _behind(self, stage: CorpusStage, artifact: Built, inputs: Inputs) -> str:
        now, then = _counts(inputs), artifact.record["documents"]
        moved = f"{count_of(abs(now - then), 'document')} {'more' if now > then else 'fewer'}" if now != then else "other documents"
        return f"pinned; behind by {moved}: `--refit {stage.name}` makes it anew"

    def _because(self, stage: CorpusStage, unsettled: list[str]) -> str:
        if stage.name in self.refit:
            return "asked for by --refit"
        if unsettled:
            return f"{unsettled[0]} would change"
        return "its inputs changed" if stage.name in self.last else "never made"


def _counts(inputs: Inputs) -> int:
    return max((v.table().num_rows for v in inputs.views.values()), default=0)


def _bears(path: Path) -> bool:
    """Whether a file is part of what an artifact is; logs of how it went (*.jsonl) and samples are not."""
    return path.is_file() and path.suffix not in (".jsonl", ".md")


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)) and value and not isinstance(value[0], (int, str)):
        return [_rounded(v) for v in value]
    return value


def _explained(error: OSError, stage: str) -> Stop:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Stop(f"The disk is full (stage '{stage}'). Free some space and run again: what is finished is kept.")
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return Stop(
            f"The workspace cannot be written (stage '{stage}': {error.strerror}). Check its permissions, or choose another with -w."
        )
    return Stop(f"Stage '{stage}' could not go on: {error.strerror or type(error).__name__} ({Path(error.filename or '?').name}).")
