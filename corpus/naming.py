"""Functions and classes by name: what a record keeps of the code that made a folder, enough to read it again."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any


def reference(function: Callable[..., Any] | type | None) -> str | None:
    """A function or class by name: `module:qualname`."""
    return f"{function.__module__}:{function.__qualname__}" if function else None


def resolve(name: str) -> Any:
    """What `reference` named."""
    module, _, qualname = name.partition(":")
    found = importlib.import_module(module)
    for piece in qualname.split("."):
        found = getattr(found, piece)
    return found
