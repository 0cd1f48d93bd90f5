"""Identity: one canonical encoding, one hash.

A value has an identity when it is built of None, bool, int, finite float, str, bytes, list, tuple, dict with str keys
and frozen dataclasses; anything else is refused, so that a lambda or an open file never silently becomes part of a key.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterable
from typing import Any


def plain(value: Any) -> Any:
    """The value in JSON terms. Raises TypeError for what has no canonical form."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TypeError(f"{value!r} has no canonical form")
        return value
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise TypeError("only dictionaries with string keys have a canonical form")
        return {key: plain(item) for key, item in value.items()}
    raise TypeError(f"a {type(value).__name__} has no canonical form")


def encode(value: Any) -> bytes:
    """Canonical bytes: JSON, sorted keys, no spaces, UTF-8."""
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest(value: Any) -> str:
    """32 hexadecimal digits of the canonical encoding."""
    return digest_bytes(encode(value))


def digest_bytes(data: bytes) -> str:
    """32 hexadecimal digits (BLAKE2b, 128 bits) of these bytes: the id of a member, the hash of a text."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def digest_text(text: str) -> str:
    """Hash of a text; lone surrogates (possible in extracted text) are kept apart instead of raising."""
    return digest_bytes(text.encode("utf-8", "surrogatepass"))


def digest_stream(pieces: Iterable[bytes | memoryview]) -> str:
    """Hash of the concatenation of these pieces."""
    h = hashlib.blake2b(digest_size=16)
    for piece in pieces:
        h.update(piece)
    return h.hexdigest()
