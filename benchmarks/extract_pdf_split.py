"""Where the CPU time of our PDF reader goes: parse, layout, assembly, the rest.

A profiling timer interrupts the reader every millisecond of CPU time; the time since the last interruption goes to the innermost
part of the stack that is known. So it does not depend on how the functions are called and costs the reader next to nothing; a
call into C is counted, whole, where it was made.
"""

from __future__ import annotations

import signal
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# part of a file's path -> part of the work, the first that fits
_PARTS = (
    ("/docling_parse/", "parse"),
    ("/docling/backend/", "parse"),
    ("/pypdfium2", "parse"),
    ("/docling/models/", "assembly"),
    ("/docling_core/", "assembly"),
    ("/extractors/pdf/parsing.py", "parse"),
    ("/extractors/pdf/pdfium.py", "parse"),
    ("/extractors/ocr.py", "rest"),
    ("/extractors/pdf/reader.py", "rest"),
    ("/extractors/extract.py", "rest"),
    ("/extractors/", "layout"),
    ("/docling/", "rest"),
)


@contextmanager
def split() -> Iterator[dict[str, float]]:
    """CPU seconds by part, filled while the body runs."""
    spent: dict[str, float] = defaultdict(float)
    last = time.process_time()

    def tick(_: int, frame: FrameType | None) -> None:
        nonlocal last
        now = time.process_time()
        spent[_part(frame)] += now - last
        last = now

    before = signal.signal(signal.SIGPROF, tick)
    signal.setitimer(signal.ITIMER_PROF, 0.001, 0.001)
    try:
        yield spent
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _part(frame: FrameType | None) -> str:
    while frame is not None:
        for where, part in _PARTS:
            if where in frame.f_code.co_filename:
                return part
        frame = frame.f_back
    return "rest"
