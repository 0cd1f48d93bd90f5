"""Settings: frozen dataclasses whose fields say what they bear on, read strictly from YAML and `--set`.

    @dataclass(frozen=True)
    class ProseConfig:
        chunk_chars: int = measured(1200, "length of the chunks that are scored, characters")
        min_score: float = decided(0.5, "documents with a lower prose score are rejected")
        deadline: float = how(30.0, "CPU seconds per document")

- `measured`: part of what is measured. Changed, the stage measures again.
- `decided`: a threshold or a mode. Changed, the stage decides again and measures nothing.
- `how`: speed, limits, devices. Never part of any identity.

For a corpus stage `measured` and `decided` weigh the same: both are in its key. Supported types: bool, int, float, str,
`X | None`, `tuple[X, ...]`, `dict[str, X]` and nested frozen dataclasses of the same kind.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from corpus.outcome import Misuse

T = TypeVar("T")


def _setting(bears: str, default: Any, doc: str) -> Any:
    metadata = {"bears": bears, "doc": doc}
    if isinstance(default, (dict, list)):
        return dataclasses.field(default_factory=lambda: type(default)(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def measured(default: Any, doc: str) -> Any:
    """A setting that bears on what is measured."""
    return _setting("measured", default, doc)


def decided(default: Any, doc: str) -> Any:
    """A setting that bears on decisions only."""
    return _setting("decided", default, doc)


def how(default: Any, doc: str) -> Any:
    """A setting without identity: it changes how the work is done, never its result."""
    return _setting("how", default, doc)


def bearing(config: Any, *kinds: str) -> dict[str, Any]:
    """The settings of these kinds, by name: what goes into a fingerprint or a key."""
    return {f.name: getattr(config, f.name) for f in dataclasses.fields(config) if f.metadata.get("bears", "measured") in kinds}


def nearest(word: str, known: typing.Iterable[str]) -> str:
    """` Did you mean 'x'?` or nothing."""
    close = difflib.get_close_matches(word, list(known), 1, 0.5)
    return f" Did you mean '{close[0]}'?" if close else ""


def load(cls: type[T], values: Mapping[str, Any], where: str = "") -> T:
    """Build `cls` from plain values; an unknown key or a wrong type is a Misuse that names the place and the remedy."""
    if not isinstance(values, Mapping):
        raise Misuse(f"Config '{where}' must be a mapping of settings, not {_shown(values)}.")
    hints = typing.get_type_hints(cls)
    names = {f.name for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in values:
        if key not in names:
            raise Misuse(f"Unknown config key '{_join(where, str(key))}'.{nearest(str(key), names)}")
    given = {key: _typed(hints[key], value, _join(where, key)) for key, value in values.items()}
    try:
        return cls(**given)
    except ValueError as error:
        raise Misuse(f"Config '{where}': {error}") from error


def _typed(hint: Any, value: Any, where: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        return _typed(next(a for a in args if a is not type(None)), value, where)
    if origin is typing.Literal:
        if value not in args:
            raise Misuse(f"Config '{where}' must be one of {', '.join(map(str, args))}, not {_shown(value)}.")
        return value
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise Misuse(f"Config '{where}' must be a list, not {_shown(value)}.")
        return tuple(_typed(args[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin is dict:
        if not isinstance(value, Mapping):
            raise Misuse(f"Config '{where}' must be a mapping, not {_shown(value)}.")
        return {str(k): _typed(args[1], v, f"{where}.{k}") for k, v in value.items()}
    if dataclasses.is_dataclass(hint):
        return load(hint, value, where)  # type: ignore[arg-type]
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is Any or (isinstance(value, hint) and (hint is bool or not isinstance(value, bool))):
        return value
    raise Misuse(f"Config '{where}' must be {_name(hint)}, not {_shown(value)}.")


def _name(hint: Any) -> str:
    return {int: "a whole number", float: "a number", str: "text", bool: "true or false"}.get(hint, str(hint))


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key
