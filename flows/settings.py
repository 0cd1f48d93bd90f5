"""One YAML file configures everything: a section per stage, and `run` for how the work is done.

    run:   {workers: 4}
    prose: {min_score: 0.6}

What counts, from weak to strong: the default beside its stage, the file (`-c`), `--set section.key=value` (the value is
YAML). Reading is strict: an unknown section or key names the nearest known one, a wrong type says what is expected.
A workspace does not remember its configuration: each run keeps a copy of the one it used, for people.
"""

from __future__ import annotations

import dataclasses
import os
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corpus.canonical import plain
from corpus.config import how, load, nearest
from corpus.outcome import Misuse
from corpus.stage import Stage

Way = tuple[Stage, ...]


def cores() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class RunConfig:
    """How a run is done. Nothing here changes a result."""

    workers: int = how(0, "processes that measure documents; 0 is one per core")
    device: typing.Literal["auto", "cpu", "cuda"] = how("auto", "where models are trained and run")
    prefect: bool = how(True, "run through Prefect, so that its UI shows the run; without, the engine runs alone")
    report: bool = how(True, "write report.html after a run")
    gc: bool = how(True, "remove what nothing needs, and merge small parts, after a run")
    alarm_share: float = how(0.5, "say so when a source loses more than this share of its documents as duplicates, 0..1")

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise ValueError("'workers' must be 0 or more.")

    @property
    def processes(self) -> int:
        """Worker processes, resolved."""
        return self.workers or cores()


def configure(way: Way, file: Path | None = None, sets: Iterable[str] = ()) -> tuple[Way, RunConfig, dict[str, Any]]:
    """The way with these settings, how to run it, and everything resolved as plain values (what config.yaml holds).

    Raises Misuse, naming the place and the remedy.
    """
    values = _merge(_read(file) if file else {}, sets)
    sections = {stage.name: stage for stage in way if stage.config is not None}
    for name in values:
        if name != "run" and name not in sections:
            raise Misuse(f"Unknown config section '{name}'.{nearest(name, ['run', *sections])} Sections are: run, {', '.join(sections)}.")
    run = load(RunConfig, _section(values, "run"), "run")
    configured = tuple(
        stage.with_config(_overlay(stage.config, _section(values, stage.name), stage.name)) if stage.name in values else stage
        for stage in way
    )
    resolved = {"run": plain(run)} | {stage.name: plain(stage.config) for stage in configured if stage.config is not None}
    return configured, run, resolved


def keys(way: Way) -> list[tuple[str, Any, str, str]]:
    """Every key there is, as rows: name, default, what it bears on (measured, decided, how), what it means."""
    rows = []
    for name, config in [("run", RunConfig()), *((stage.name, stage.config) for stage in way if stage.config is not None)]:
        rows += _rows(name, config)
    return rows


def dump(resolved: Mapping[str, Any]) -> str:
    """Settings as YAML, in the order of the way."""
    import yaml

    return yaml.safe_dump(dict(resolved), sort_keys=False, allow_unicode=True, width=120)


def _rows(where: str, config: Any) -> list[tuple[str, Any, str, str]]:
    rows = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            rows += _rows(f"{where}.{field.name}", value)
        else:
            bears, doc = field.metadata.get("bears", "measured"), field.metadata.get("doc", "")
            rows.append((f"{where}.{field.name}", plain(value), bears, doc))
    return rows


def _overlay(config: Any, values: Mapping[str, Any], where: str) -> Any:
    """This config with some settings given: the others keep the value they have (a default may come from the way)."""
    given = load(type(config), values, where)
    changes = {}
    for name, value in values.items():
        old, new = getattr(config, name), getattr(given, name)
        nested = dataclasses.is_dataclass(old) and not isinstance(old, type) and isinstance(value, Mapping)
        changes[name] = _overlay(old, value, f"{where}.{name}") if nested else new
    try:
        return dataclasses.replace(config, **changes)
    except ValueError as error:
        raise Misuse(f"Config '{where}': {error}") from error


def _section(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = values.get(name)
    if section is None:
        return {}
    if not isinstance(section, Mapping):
        raise Misuse(f"Config section '{name}' must be a mapping of settings, not {section!r:.60}.")
    return section


def _read(file: Path) -> dict[str, Any]:
    import yaml

    from flows import strict_yaml

    try:
        values = strict_yaml.load(file.read_text("utf-8"))
    except FileNotFoundError:
        raise Misuse(f"There is no config file {file}.") from None
    except IsADirectoryError:
        raise Misuse(f"{file} is a folder; -c takes a YAML file.") from None
    except (PermissionError, UnicodeDecodeError):
        raise Misuse(f"The config file {file} cannot be read: it must be UTF-8 text you may read.") from None
    except yaml.YAMLError as error:
        raise Misuse(f"The config file {file} is not valid YAML{strict_yaml.problem(error)}.") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise Misuse(f"The config file {file} must hold sections (run:, prose:, ...), not a {type(values).__name__}.")
    return {str(key): value for key, value in values.items()}


def _merge(values: dict[str, Any], sets: Iterable[str]) -> dict[str, Any]:
    import yaml

    from flows import strict_yaml

    for item in sets:
        path, equals, text = item.partition("=")
        names = path.strip().split(".")
        if not equals or len(names) < 2 or not all(names):
            raise Misuse(f"--set takes section.key=value, for example --set prose.min_score=0.6, not '{item}'.")
        try:
            value = strict_yaml.load(text)
        except yaml.YAMLError:
            raise Misuse(f"--set {path}: the value is not valid YAML.") from None
        target = values
        for name in names[:-1]:
            inner = target.get(name)
            if inner is None:
                inner = {}
            elif not isinstance(inner, dict):
                raise Misuse(f"--set {path}: '{name}' is a value, not a section.")
            target[name] = dict(inner)
            target = target[name]
        target[names[-1]] = value
    return values
