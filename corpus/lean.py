"""Libraries that others import only to see whether they are there, kept out of our processes.

Presidio and Docling look for transformers while they are imported; where it is installed that costs every worker process
seconds and some 150 MB, for models we do not run. Hidden while they are imported, it is there again afterwards for whoever
really uses it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def hidden(*names: str) -> Iterator[None]:
    """Within, importing these raises ImportError, unless they are imported already."""
    absent = [name for name in names if name not in sys.modules]
    for name in absent:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]
