"""A stage is a plain value: a name, a version, typed frozen settings, engines, and functions of its own module.

It knows nothing of Prefect, of the store, of who runs it. Two kinds:

*Document stage*, one document in, one outcome out:
    measure(config, inputs) -> (document -> measurements)   costly, remembered on a shelf; the outer call sets up once per worker
    decide(config, measurements) -> Outcome                 cheap, thresholds and modes, computed again whenever asked
    elect(config, rows, texts) -> list[Outcome]             instead of decide, when the decision is on the whole set
    text(config, measurements, text) -> str                 the document's new text, for stages that change it
  `texts` gives the incoming texts of a list of ids, for an election that must look at some of them again. What an electing
  stage writes is among the measurements that its `text` is given; a document for which it wrote nothing keeps its text.
*Corpus stage*, the whole set in, a folder out:
    build(config, inputs, folder, job) -> metrics

The functions live at the top of a module, so that a worker process finds them by name. Raise `version` whenever the
result changes for the same input; a library that takes part in the result is named in `engines`.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import pyarrow as pa

from corpus.config import bearing
from corpus.document import Document
from corpus.outcome import Outcome

Measurements = dict[str, Any]
Texts = Callable[[list[str]], list[str]]  # ids -> their texts, in the order asked for
EMPTY = pa.schema([])


class View(Protocol):
    """The kept documents of a document stage, as a corpus stage or a measurer sees them. Always in id order."""

    @property
    def digest(self) -> str:
        """Equal digests mean equal documents."""

    def digest_of(self, fields: Iterable[str]) -> str:
        """The same for these fields only."""

    def table(self) -> pa.Table:
        """Kept documents: id, text_hash and every small field."""

    def measurements(self, columns: list[str] | None = None) -> pa.Table:
        """Kept documents: id and what this stage measured."""

    def documents(self, *fields: str, ids: list[str] | None = None) -> Iterator[Document]:
        """Kept documents one by one with these fields (`text` is assembled from the shelves)."""

    def parts(self) -> list[tuple[Path, pa.Table]]:
        """For a stage with write_part: each part's folder in use, with the kept rows that lie in it (id, row, columns)."""


class Artifact(Protocol):
    """What a corpus stage built."""

    @property
    def digest(self) -> str:
        """Equal digests mean equal content."""

    @property
    def path(self) -> Path:
        """Its folder."""

    @property
    def record(self) -> dict[str, Any]:
        """Its record.json: identity, metrics, counts."""


@dataclass(frozen=True)
class Inputs:
    """What a stage is given beside its documents: artifacts and views by stage name."""

    artifacts: Mapping[str, Artifact] = field(default_factory=dict)
    views: Mapping[str, View] = field(default_factory=dict)


class Job(Protocol):
    """What a build may use of its runner."""

    scratch: Path  # survives a kill; removed when the artifact is finished
    workers: int
    device: str

    def progress(self, done: float, total: float, note: str = "") -> None:
        """Tell how far the build is; `note` is a short line such as a loss."""


@dataclass(frozen=True)
class Stage:
    """What every stage has."""

    name: str
    version: int
    config: Any
    doc: str = ""  # one line for plan, report and Prefect
    engines: tuple[str, ...] = ()  # distributions (PyPI names) whose version takes part in the result
    tools: Callable[[Any], Mapping[str, str]] | None = None  # programs and weights found on this machine, with their versions
    inputs: tuple[str, ...] = ()  # names of earlier stages whose artifact (or, for a corpus stage, view) is given
    optional: tuple[str, ...] = ()  # those of `inputs` that may have been skipped
    environment: Mapping[str, str] = field(default_factory=dict)  # of the processes that run it

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            function = getattr(self, f.name)
            if callable(function) and "<" in getattr(function, "__qualname__", ""):
                raise ValueError(
                    f"stage '{self.name}': {f.name} must be a function at the top of a module, so that a worker finds it by name"
                )

    def with_config(self, config: Any) -> Any:
        """The same stage with other settings."""
        return dataclasses.replace(self, config=config)

    def engine_versions(self) -> dict[str, str]:
        """Installed version of each engine ('' when it is absent), and of the tools this machine has."""
        return {name: _version(name) for name in self.engines} | dict(self.tools(self.config) if self.tools else {})


@dataclass(frozen=True)
class DocumentStage(Stage):
    """One document in, one outcome out. See the module's head for the functions."""

    reads: tuple[str, ...] = ("text",)  # fields `measure` receives (beside id); their hash is what a measurement is of
    measures: pa.Schema = EMPTY  # columns of the shelf
    writes: pa.Schema = EMPTY  # small fields set by Outcome.fields
    measure: Callable[[Any, Inputs], Callable[[Document], Measurements]] | None = None
    decide: Callable[[Any, Measurements], Outcome] | None = None
    elect: Callable[[Any, pa.Table, Texts], list[Outcome]] | None = None
    elects_on: tuple[str, ...] = ()  # small fields of the documents that `elect` sees beside id and the measurements
    text: Callable[[Any, Measurements, str], str] | None = None
    edits: bool = False  # `text` needs the incoming text (else it gets '')
    write_part: Callable[[pa.Table, Path], pa.Table] | None = None  # moves bulk columns to files of its own in the part's folder
    read_part: Callable[[pa.Table, Path], pa.Table] | None = None  # its inverse: rows of the part with their bulk columns back
    passes_chat: bool = False  # documents with form == 'chat' go by unmeasured
    sensitive: bool = False  # its results hold unredacted text
    deadline: float = 60.0  # CPU seconds per document
    memory: int = 4 << 30  # bytes per worker

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.edits and "text" not in self.reads:
            raise ValueError(f"stage '{self.name}' edits the text and must read it")
        if (self.decide is None) == (self.elect is None):
            raise ValueError(f"stage '{self.name}' must have either decide or elect")
        if (self.write_part is None) != (self.read_part is None):
            raise ValueError(f"stage '{self.name}' must have both write_part and read_part, or neither")

    def identity(self) -> dict[str, Any]:
        """What a measurement depends on beside the document (the inputs' digests are added by the engine)."""
        return {"stage": self.name, "version": self.version, "config": bearing(self.config, "measured"), "engines": self.engine_versions()}

    def decision(self) -> dict[str, Any]:
        """What a decision depends on beside the measurements."""
        return bearing(self.config, "decided")


@dataclass(frozen=True)
class CorpusStage(Stage):
    """The whole set in, a folder out. Its key is over name, version, settings, engines and the digests of its inputs."""

    build: Callable[[Any, Inputs, Path, Job], dict[str, Any]] | None = None
    reads: tuple[str, ...] = ("text",)  # fields of the input views it reads: others do not change its key
    pinned: bool = False  # fitted on data: new data does not move it (a changed config, version or engine does)
    sensitive: bool = False
    unit: Literal["artifact"] = "artifact"

    def identity(self) -> dict[str, Any]:
        """What the artifact depends on beside its inputs."""
        return {
            "stage": self.name,
            "version": self.version,
            "config": bearing(self.config, "measured", "decided"),
            "engines": self.engine_versions(),
        }


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""
