"""Bytes to text: which encoding, and how sure.

Order: byte order mark; UTF-16/32 without one (by the position of the zero bytes); the encoding the file declares, when it
decodes; UTF-8; cp1252 when the bytes look Western (most Italian legacy text); a statistical guess; Latin-1, which never fails.
Mojibake (text decoded wrongly before it was stored) is left alone: it is repaired by `normalize`.
"""

from __future__ import annotations

import codecs
import re

_BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# Bytes above 127 that Italian and its neighbours use, in cp1252: accented letters, quotes, dashes, euro, degree, guillemets.
_WESTERN = frozenset(b"\x80\x85\x91\x92\x93\x94\x95\x96\x97\x99\xa0\xa3\xa7\xa9\xaa\xab\xae\xb0\xb2\xb7\xba\xbb") | frozenset(
    range(0xC0, 0x100)
)
_UNDEFINED = frozenset(b"\x81\x8d\x8f\x90\x9d")
_LETTER_BEFORE = re.compile(
    rb"[A-Za-z][\xe0\xe8\xe9\xec\xf2\xf9\xc0\xc8\xc9\xcc\xd2\xd9\xe1\xed\xf3\xfa\xe4\xf6\xfc\xf1\xe7](?![\x80-\xff])"
)


def decode(data: bytes, declared: str = "") -> tuple[str, str]:
    """Text and the name of the encoding it was read with. Never raises: what cannot be decoded becomes U+FFFD."""
    for mark, name in _BOMS:
        if data.startswith(mark):
            return data[len(mark) :].decode(name, "replace"), name
    wide = _wide(data)
    if wide:
        return data.decode(wide, "replace"), wide
    if declared:
        text = _try(data, declared)
        if text is not None:
            return text, declared.lower()
    text = _try(data, "utf-8")
    if text is not None:
        return text, "utf-8"
    almost = _almost_utf8(data)
    if almost is not None:
        return almost, "utf-8"
    name = _legacy(data)
    return data.decode(name, "replace"), name


def _try(data: bytes, encoding: str) -> str | None:
    try:
        return data.decode(encoding)
    except (UnicodeDecodeError, LookupError):
        return None


def _wide(data: bytes) -> str:
    """UTF-16 or UTF-32 without a mark, told by where the zero bytes of Western text fall."""
    head = data[:4000]
    head = head[: len(head) - len(head) % 4]
    if len(head) < 8 or 0 not in head:
        return ""
    zeros = [head[i::4].count(0) / (len(head) // 4) for i in range(4)]
    if zeros[1] > 0.9 and zeros[2] > 0.9 and zeros[3] > 0.9 and zeros[0] < 0.1:
        return "utf-32-le"
    if zeros[0] > 0.9 and zeros[1] > 0.9 and zeros[2] > 0.9 and zeros[3] < 0.1:
        return "utf-32-be"
    even, odd = (zeros[0] + zeros[2]) / 2, (zeros[1] + zeros[3]) / 2
    if odd > 0.7 and even < 0.1:
        return "utf-16-le"
    if even > 0.7 and odd < 0.1:
        return "utf-16-be"
    return ""


def _almost_utf8(data: bytes) -> str | None:
    """UTF-8 with a few bad bytes (a cut or spliced file), when there are far more good sequences than bad ones."""
    text = data.decode("utf-8", "replace")
    bad = text.count("\ufffd")
    good = sum(1 for c in text if c > "\x7f") - bad
    return text if good > 20 * bad else None


def _legacy(data: bytes) -> str:
    sample = data[:200_000]
    high = [b for b in sample if b > 127]
    if not high:
        return "cp1252"
    western = sum(1 for b in high if b in _WESTERN) / len(high)
    undefined = any(b in _UNDEFINED for b in high)
    if western > 0.9 and (len(_LETTER_BEFORE.findall(sample)) >= 0.3 * len(high) or len(high) < 0.1 * len(sample)):
        return "latin-1" if undefined else "cp1252"
    guess = _guess(sample)
    return guess or ("latin-1" if undefined else "cp1252")


def _guess(sample: bytes) -> str:
    from charset_normalizer import from_bytes

    best = from_bytes(sample[:20_000]).best()
    return best.encoding if best is not None and _try(sample[:20_000], best.encoding) is not None else ""
