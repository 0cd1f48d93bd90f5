"""Bytes with a few of them flipped, in ever wider steps."""

from __future__ import annotations

from collections.abc import Iterator


def damaged(data: bytes, times: int = 12) -> Iterator[bytes]:
    """The data, damaged in as many ways, the same each time."""
    for step in range(times):
        broken = bytearray(data)
        for at in range(step * 7 % 97, len(data), 97 + 31 * step):
            broken[at] ^= 0x55
        yield bytes(broken)
