"""Why a stage runs: what is different from the last time, in words."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from corpus.canonical import digest, digest_bytes
from corpus.stage import Stage

_IMPORT = re.compile(r"^[ \t]*(?:from|import)[ \t]+([\w.]+)(?:[ \t]+import[ \t]+\(?([\w, \t\n]+))?", re.MULTILINE)
_NAMED = re.compile(r"[\"']((?:[a-z_]+\.)+[a-z_]+)[\"']()")  # a module named in a table, imported when it is first needed


def changes(stage: Stage, identity: dict[str, Any], last: dict[str, Any] | None) -> list[str]:
    """What changed in a stage since it last ran: version, settings, engines, input artifacts; code without a version."""
    before = (last or {}).get("identity")
    if not before:
        return []
    found = []
    if before["version"] != identity["version"]:
        found.append(f"version {before['version']} → {identity['version']}")
    for part in ("config", "decision"):
        old, new = before.get(part) or {}, identity.get(part) or {}
        found += [f"{key} {_short(old.get(key))} → {_short(new.get(key))}" for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
    for name in sorted({*before["engines"], *identity["engines"]}):
        old_version, version = before["engines"].get(name), identity["engines"].get(name)
        if old_version != version:
            found.append(f"{name} {old_version or 'absent'} → {version or 'absent'}")
    found += [f"{name} was made anew" for name, value in identity["inputs"].items() if before["inputs"].get(name) != value]
    if not found and before.get("code") != identity.get("code"):
        found_code = f"warning: the code of '{stage.name}' changed and its version did not"
        return [found_code] if stage.version == before["version"] else []
    return found


def code_of(function: Callable[..., Any] | None) -> str:
    """Hash of the code a stage is made of: the module of its function and the project's modules it imports or names, wherever
    in the file, but not this room, whose code runs all stages alike."""
    path = inspect.getsourcefile(function) if function is not None else None
    if path is None or function is None or not Path(path).is_file():
        return ""
    return _code(Path(path), len(function.__module__.split(".")))


@cache
def _code(path: Path, depth: int) -> str:
    root = path.parents[depth - 1]
    found: set[Path] = set()
    pending = [path]
    while pending:
        module = pending.pop()
        if module in found:
            continue
        found.add(module)
        text = module.read_text("utf-8")
        for source, names in _IMPORT.findall(text) + _NAMED.findall(text):
            parts = source.split(".")
            if parts[0] != __package__:
                places = [root.joinpath(*parts), *(root.joinpath(*parts, (name.split() or [""])[0]) for name in names.split(","))]
                pending += [p.with_suffix(".py") for p in places if p.with_suffix(".py").is_file()]
    return digest([[str(p.relative_to(root)), digest_bytes(p.read_bytes())] for p in sorted(found)])


def count_of(number: int, noun: str) -> str:
    """`1 document`, `12,400 documents`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _short(value: Any) -> str:
    text = "unset" if value is None else str(value)
    return text if len(text) <= 40 else text[:37] + "..."
