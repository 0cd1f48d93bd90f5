"""Characters: undo wrong decodings, drop what is invisible, write each character in one way.

Mojibake goes through ftfy, line by line and only where two non-ASCII characters meet, which costs clean text nothing.
NFKC is applied with care: ligatures, widths, presentation forms, fonts and hard spaces are folded, but superscripts,
subscripts, fractions, circled signs and spacing accents stay, because `10²`, `1ª` and `½` mean something else than
`102`, `1a` and `1⁄2`. Quotation marks and dashes are left as they are.

Limits: a text decoded with replacement characters (U+FFFD) cannot be mended, it is only counted.
"""

from __future__ import annotations

import html
import re
import unicodedata
from functools import lru_cache

_ENDS = re.compile(r"\r\n?|[\x0b\x0c\u2028\u2029]")
_INVISIBLE = re.compile(r"[\x00-\x08\x0e-\x1f\x7f\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb]")
_ESCAPE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_SOFT_BREAK = re.compile(r"(?<=\w)\u00ad[ \t]*\n[ \t]*(?=\w)")
_SUSPECT = re.compile(r"[^\x00-\x7f][^\x00-\x7f]|[ÂÃâÐ\x80-\x9f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z]{2,10}\d{0,2});")
_KEPT_FORMS = ("<super>", "<sub>", "<fraction>", "<circle>")
_ROUNDS = 8  # each repair can uncover another (an escaped entity, twice encoded text); real text needs at most three


def repair(text: str) -> str:
    """The same text in clean characters. Idempotent; line structure stays, but for soft hyphens at line ends."""
    for _ in range(_ROUNDS):
        before, text = text, _once(text)
        if text == before:
            break
    return text


def _once(text: str) -> str:
    if not text.isascii():
        text = _decode(text)
    if "&" in text and "<" not in text:  # with a `<` it may be markup or code that speaks about entities
        text = _ENTITY.sub(lambda m: html.unescape(m.group()), text)
    text = _ENDS.sub("\n", text)
    if "\x1b" in text:
        text = _ESCAPE.sub("", text)
    if "\u00ad" in text:
        text = _SOFT_BREAK.sub("", text)
    text = _INVISIBLE.sub("", text)
    return text if text.isascii() else _compose(text)


def _decode(text: str) -> str:
    """Mojibake and lone surrogates."""
    if _SURROGATE.search(text):
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if not _SUSPECT.search(text):
        return text
    import ftfy

    return "\n".join(ftfy.fix_encoding(line) if _SUSPECT.search(line) else line for line in text.split("\n"))


def _compose(text: str) -> str:
    """NFC, and NFKC for the forms that carry no meaning of their own."""
    text = unicodedata.normalize("NFC", text)
    changed = False
    for character in set(text):
        if character > "\x7f":
            folded = _fold(character)
            if folded != character:
                text, changed = text.replace(character, folded), True
    return unicodedata.normalize("NFC", text) if changed else text


@lru_cache(maxsize=65536)
def _fold(character: str) -> str:
    if unicodedata.category(character) == "Zs":
        return " "
    form = unicodedata.decomposition(character)
    if not form.startswith("<") or form.startswith(_KEPT_FORMS) or " 0020 03" in form or form.endswith(" 0020"):
        return character
    return unicodedata.normalize("NFKC", character)
