"""Rich Text Format: text without its formatting. Own reader, since the format is small: groups, control words, escapes.

Tables come out as tab-separated cells; pictures, fonts, styles, headers and footers are left out.
"""

from __future__ import annotations

import re

from corpus.outcome import Verdict
from extractors.extract import ExtractConfig
from extractors.result import Extracted, one_line
from extractors.xml.families import names

_TOKEN = re.compile(r"\\([a-zA-Z]{1,32})(-?\d{1,10})? ?|\\'([0-9a-fA-F]{2})|\\([^a-zA-Z'])|([{}])|[\r\n]+|([^\\{}\r\n]+)")
_SKIPPED = names(
    """fonttbl colortbl stylesheet info pict object header footer headerl headerr headerf footerl footerr footerf ftnsep ftnsepc
    filetbl listtable listoverridetable revtbl rsidtbl generator themedata datastore latentstyles xmlnstbl fldinst mmathPr
    bkmkstart bkmkend"""
)
_WORDS = {
    "par": "\n\n",
    "sect": "\n\n",
    "page": "\n\n",
    "line": "\n",
    "tab": "\t",
    "cell": "\t",
    "row": "\n",
    "emdash": "—",
    "endash": "–",
    "lquote": "‘",
    "rquote": "’",
    "ldblquote": "“",
    "rdblquote": "”",
    "bullet": "•",
    "emspace": " ",
    "enspace": " ",
}
_PAGES = {"ansi": "cp1252", "mac": "mac_roman", "pc": "cp437", "pca": "cp850"}


def read(data: bytes, kind: str, config: ExtractConfig) -> Extracted:
    """Text of an RTF file; its title from the information group."""
    source = data.decode("latin-1")
    title = re.search(r"\{\\info.{0,400}?\{\\title ([^{}\\]{1,300})\}", source, re.S)
    page, text, depth = _strip(source)
    warnings = ["cut_short"] if depth > 0 else []
    if not text.strip() and depth > 0:
        raise Verdict("malformed", "the RTF file is cut short")
    return Extracted(text, "rtf", one_line(title[1]) if title else "", encoding=page, warnings=warnings)


def _strip(source: str) -> tuple[str, str, int]:
    """Code page, text, and how many groups were left open."""
    page, out, pending = "cp1252", [], bytearray()
    stack: list[tuple[bool, int]] = []
    skipping, after_unicode, to_skip, starred = False, 1, 0, False
    for match in _TOKEN.finditer(source):
        word, number, hexed, symbol, brace, plain = match.groups()
        if hexed is None and pending:
            out.append(pending.decode(page, "replace"))
            pending.clear()
        if brace == "{":
            stack.append((skipping, after_unicode))
            starred, to_skip = False, 0
        elif brace == "}":
            if not stack:
                break
            skipping, after_unicode = stack.pop()
            to_skip = 0
        elif symbol is not None:
            if symbol == "*":
                starred = True
            elif not skipping:
                out.append({"~": "\u00a0", "_": "-", "\n": "\n\n", "\r": "\n\n"}.get(symbol, symbol if symbol in "\\{}" else ""))
        elif word is not None:
            if starred and word not in ("shpinst", "shptxt"):
                skipping = True
            starred = False
            if word in _SKIPPED:
                skipping = True
            elif word in _PAGES:
                page = _PAGES[word]
            elif word == "ansicpg" and number:
                page = _page(number, page)
            elif word == "uc" and number:
                after_unicode = int(number)
            elif word == "u" and number and not skipping:
                out.append(chr(int(number) % 65536))
                to_skip = after_unicode
            elif word == "bin" and number:
                continue
            elif not skipping and word in _WORDS:
                out.append(_WORDS[word])
        elif hexed is not None:
            if to_skip:
                to_skip -= 1
            elif not skipping:
                pending.append(int(hexed, 16))
        elif plain is not None and not skipping:
            out.append(plain[to_skip:].encode("latin-1").decode(page, "replace"))
            to_skip = max(0, to_skip - len(plain))
    if pending:
        out.append(pending.decode(page, "replace"))
    text = "".join(out).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return page, text, len(stack)


def _page(number: str, default: str) -> str:
    try:
        "".encode(f"cp{number}")
        return f"cp{number}"
    except LookupError:
        return {"10000": "mac_roman", "65001": "utf-8"}.get(number, default)
