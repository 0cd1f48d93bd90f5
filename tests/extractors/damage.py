"""Bytes with a few of them flipped, in ever wider steps, and what must come of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from corpus.outcome import Verdict


def damaged(data: bytes, times: int = 12) -> Iterator[bytes]:
    """The data, damaged in as many ways, the same each time."""
    for step in range(times):
        broken = bytearray(data)
        for at in range(step * 7 % 97, len(data), 97 + 31 * step):
            broken[at] ^= 0x55
        yield bytes(broken)


def ends_in_text_or_a_verdict(data: bytes, measured: Callable[[bytes], dict[str, Any]]) -> None:
    """Asserts that none of these damages ends in anything else."""
    for broken in damaged(data):
        try:
            found = measured(broken)
        except Verdict as verdict:
            assert verdict.reason and verdict.detail
        else:
            assert isinstance(found["text"], str)
