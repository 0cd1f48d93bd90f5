"""Why a stage runs: what is different from the last time, in words."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from corpus.canonical import digest_bytes
from corpus.stage import Stage


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
    for name, version in identity["engines"].items():
        old_version = before["engines"].get(name)
        if old_version != version:
            found.append(f"{name} {old_version or 'absent'} → {version or 'absent'}")
    found += [f"{name} was made anew" for name, value in identity["inputs"].items() if before["inputs"].get(name) != value]
    if not found and before.get("code") != identity.get("code"):
        found_code = f"warning: the code of '{stage.name}' changed and its version did not"
        return [found_code] if stage.version == before["version"] else []
    return found


def code_of(function: Callable[..., Any] | None) -> str:
    """Hash of the module a stage's function lives in."""
    if function is None:
        return ""
    path = inspect.getsourcefile(function)
    return digest_bytes(Path(path).read_bytes()) if path and Path(path).is_file() else ""


def count_of(number: int, noun: str) -> str:
    """`1 document`, `12,400 documents`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _short(value: Any) -> str:
    text = "unset" if value is None else str(value)
    return text if len(text) <= 40 else text[:37] + "..."
