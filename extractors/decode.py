"""Bytes to text: which encoding, and how sure.

Order: byte order mark; UTF-16/32 without one (by where the zero bytes fall); the encoding the file declares, when it decodes (a
declared Western one gives way to UTF-8, which nothing else looks like); UTF-8; of the Western ones (Windows, DOS, Macintosh) the
one in which the letters above 127 stand where letters stand; a statistical guess; Latin-1, which never fails.
Mojibake (text decoded wrongly before it was stored) is left alone: it is repaired by `normalize`.
"""

from __future__ import annotations

import codecs
import re
from collections import Counter
from itertools import islice

_BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_WESTERN = ("cp1252", "cp850", "mac_roman")  # in the order of preference
_DECLARED_WESTERN = frozenset("latin-1 latin1 iso-8859-1 iso8859-1 iso-8859-15 windows-1252 cp1252 us-ascii ascii".split())
_LOWER = "àèéìòùáíóúâêîôûäëïöüñçãõåæøœÿß"
_UPPER = "ÀÈÉÌÒÙÁÍÓÚÂÊÎÔÛÄËÏÖÜÑÇÃÕÅÆØŒ"
_LETTER = re.compile(
    rf"(?<=[A-Za-z{_LOWER}])[{_LOWER}](?![A-Z])|[{_LOWER}](?=[a-z])|(?<![a-z{_LOWER}])[{_UPPER}](?=[A-Za-z{_LOWER}])"
    rf"|(?<=[A-Z])[{_UPPER}]|(?<![^\s(\"'«“])[ÈÉÀ](?=[\s'’])|(?<=\s)à(?=\s)"
)
_SIGNS = frozenset("’‘“”«»–—…°€§·•©®ªº\u00a0")
_HIGH = bytes(range(128, 256))
_LETTERS = bytes([*range(65, 91), *range(97, 123)])
_ABOVE = re.compile(rb"[\x80-\xff]")
_ENOUGH = 500  # bytes above 127 that are weighed
_SAMPLE = 200_000  # bytes


def decode(data: bytes, declared: str = "") -> tuple[str, str]:
    """Text and the name of the encoding it was read with. Never raises: what cannot be decoded becomes U+FFFD."""
    for mark, name in _BOMS:
        if data.startswith(mark):
            return data[len(mark) :].decode(name, "replace"), name
    wide = _wide(data)
    if wide:
        return data.decode(wide, "replace"), wide
    if b"\x1b$" in data[:4000] and (text := _try(data, "iso2022_jp")) is not None:
        return text, "iso2022_jp"
    if declared.lower() in _DECLARED_WESTERN:
        declared = "cp1252" if _try(data, "utf-8") is None else "utf-8"
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
    return _two_bytes(head)


def _two_bytes(head: bytes) -> str:
    """UTF-16 of another alphabet: one byte of each pair is zero or the alphabet's number."""
    upper = [sum(n for _, n in Counter(head[start::2]).most_common(2)) / (len(head) // 2) for start in (0, 1)]
    if len(head) < 40 or max(upper) < 0.9 or min(upper) > 0.6:
        return ""
    name = "utf-16-be" if upper[0] > upper[1] else "utf-16-le"
    text = head.decode(name, "replace")
    return name if sum(1 for c in text if c.isalnum() or c.isspace()) > 0.7 * len(text) else ""


def _almost_utf8(data: bytes) -> str | None:
    """UTF-8 with a few bad bytes (a cut or spliced file), when there are far more good sequences than bad ones."""
    text = data.decode("utf-8", "replace")
    bad = text.count("\ufffd")
    good = sum(1 for c in text if c > "\x7f") - bad
    return text if good > 20 * bad else None


def _legacy(data: bytes) -> str:
    sample = data[:_SAMPLE]
    high = len(sample) - len(sample.translate(None, _HIGH))
    letters = len(sample) - len(sample.translate(None, _LETTERS))
    best, points, seen = "", 0.0, 0
    if 2 * high <= letters + 4:
        places = [match.start() + 1 for match in islice(_ABOVE.finditer(sample), _ENOUGH)]
        padded, seen = b"\n" + sample + b"\n", len(places)
        around = b"".join(padded[at - 1 : at + 2] for at in places)  # each with its neighbours
        for name in _WESTERN:
            text = around.decode(name, "replace")
            found = sum(1.0 if _LETTER.match(text, at) else 0.5 if text[at] in _SIGNS else 0.0 for at in range(1, len(text), 3))
            if found > points:
                best, points = name, found
    if points < 0.45 * seen or not seen:
        best = _guess(sample) or "cp1252"
    return "latin-1" if best == "cp1252" and _try(data, best) is None else best


def _guess(sample: bytes) -> str:
    from charset_normalizer import from_bytes

    best = from_bytes(sample[:20_000]).best()
    return best.encoding if best is not None and _try(sample[:20_000], best.encoding) is not None else ""
