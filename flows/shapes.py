"""A decoder's shape as the command line names it: a preset, a model's folder or a file, and fields to change.

athanor model show 350m --set n_layer=12 --set loop.passes=2
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from corpus.config import nearest
from corpus.outcome import Misuse
from model.config import DecoderConfig
from model.presets import PRESETS, preset


@dataclasses.dataclass(frozen=True)
class Shape:
    """A shape, what it is called, and what its folder says of it."""

    name: str
    config: DecoderConfig
    facts: dict[str, Any]


def chosen(given: str, sets: list[str]) -> Shape:
    """The shape of a preset, a model's folder or a file, with these fields changed. Misuse says what is wrong."""
    changes, path = _changes(sets), Path(given)
    named = given in PRESETS or not (path.exists() or len(path.parts) > 1 or path.suffix == ".json")
    if named and given not in PRESETS:
        raise Misuse(f"There is no preset '{given}'.{nearest(given, list(PRESETS))} `athanor model show` lists them.")
    path = path / "config.json" if path.is_dir() else path
    try:
        if named:
            return Shape(given, _changed(preset(given), PRESETS[given], changes), {})
        values = json.loads(path.read_text("utf-8"))
        facts = {k: v for k, v in values.items() if k != "decoder"} if "decoder" in values else {}
        shape = values.get("decoder", values)
        name = path.resolve().parent.name if path.name == "config.json" else path.stem
        return Shape(name, _changed(DecoderConfig.from_dict(shape), shape, changes), facts)
    except FileNotFoundError:
        raise Misuse(f"There is no '{path}'. Give a preset, a model's folder or its config.json.") from None
    except (json.JSONDecodeError, UnicodeDecodeError, TypeError, AttributeError):
        raise Misuse(f"'{path}' is not the config.json of a model.") from None
    except ValueError as error:
        raise Misuse(f"'{given if named else path}': {error}{'' if str(error).endswith('?') else '.'}") from None


def _changed(config: DecoderConfig, values: Any, changes: dict[str, Any]) -> DecoderConfig:
    """With other fields; of inner ones (loop.passes) the neighbours stay. Sizes that `values` leave out are derived again."""
    given = {key: value for key, value in config.to_dict().items() if key in values}
    for key, value in changes.items():
        inner = given.get(key)
        given[key] = {**inner, **value} if isinstance(inner, dict) and isinstance(value, dict) else value
    return DecoderConfig.from_dict(given)


def _changes(sets: list[str]) -> dict[str, Any]:
    """['n_layer=12', 'loop.passes=2'] -> {'n_layer': 12, 'loop': {'passes': 2}}; values are YAML."""
    changes: dict[str, Any] = {}
    if not sets:
        return changes
    import yaml

    from flows import strict_yaml

    for item in sets:
        path, equals, text = item.partition("=")
        name, *inner = path.strip().split(".")
        if not equals or not all((name, *inner)):
            raise Misuse(f"--set takes field=value, for example --set n_layer=12 or --set loop.passes=2, not '{item}'.")
        try:
            value = strict_yaml.load(text)
        except yaml.YAMLError:
            raise Misuse(f"--set {path}: the value is not valid YAML.") from None
        for key in reversed(inner):
            value = {key: value}
        before = changes.get(name)
        changes[name] = {**before, **value} if inner and isinstance(before, dict) else value
    return changes
