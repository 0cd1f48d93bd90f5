"""Markdown stays as it is written, but for what a reader of the page would not see.

Front matter goes to the metadata; comments, definitions of links and rows of badges leave; HTML in it is brought to Markdown
(tables, lists) or to its text. Code is not touched, and tags that are none of HTML's are not either.
"""

from __future__ import annotations

import html
import re
from typing import Any

from extractors.decode import decode
from extractors.extract import ExtractConfig
from extractors.light.plain import undecoded
from extractors.result import Extracted, first_heading, markdown_table, one_line
from extractors.xml.families import names

_FRONT = re.compile(r"\A\s*(?:---[ \t]*\n(.*?)\n(?:---|\.\.\.)|\+\+\+[ \t]*\n(.*?)\n\+\+\+)[ \t]*(?:\n|\Z)", re.S)
_CODE = re.compile(r"(^[ \t]*(`{3,}+|~{3,}+).*?^[ \t]*\2[`~]*[ \t]*$|(?<!`)(`+)(?!`)[^\n]*?(?<!`)\3(?!`))", re.S | re.M)
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)|<(script|style)\b.*?</\1\s*>", re.S | re.I)
_BADGES = re.compile(r"(?m)^[ \t]*(?:\[!\[[^\]]*\]\([^)\s]*\)\]\([^)\s]*\)[ \t]*)+$\n?")
_DEFINITION = re.compile(r"(?m)^ {0,3}\[(?!\^)([^\]\n]+)\]:[ \t]+<?[^\s>]+>?(?:[ \t]+(?:\"[^\"\n]*\"|'[^'\n]*'|\([^)\n]*\)))?[ \t]*$\n?")
_UNDERLINED = re.compile(r"(?m)(?:(?<=\n\n)|\A)(?![-*+>#|\s]|\d+[.)] )([^\n|]++)\n(=|-)\2{2,}[ \t]*$")
_TABLE = re.compile(r"<table\b.*?</table\s*>", re.S | re.I)
_TAG = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9]*)\b((?:[^<>\"']|\"[^\"]*\"|'[^']*')*)>")
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});")
_ALT = re.compile(r"\balt\s*=\s*(?:\"([^\"]*)\"|'([^']*)')", re.I)
_INLINE = names(
    """a abbr acronym b bdi bdo big cite code del dfn em font i ins kbd mark q s samp small span strike strong sub sup time tt u var wbr
    img input label button svg path iframe video audio source picture"""
)
_BLOCKS = names(
    """address article aside blockquote br center dd details div dl dt fieldset figcaption figure footer form h1 h2 h3 h4 h5 h6 header hr
    li main nav ol p pre section summary table tbody td tfoot th thead tr ul caption html body"""
)
_KEPT = {"date": "date", "data": "date", "license": "licence", "licence": "licence", "licenza": "licence", "url": "url", "canonical": "url"}


def read(data: bytes, kind: str, config: ExtractConfig) -> Extracted:
    """The text; title, date, url, licence and language of its front matter, or its first heading."""
    text, encoding = decode(data)
    text = text.replace("\r\n", "\n")
    front = _FRONT.match(text)
    fields = _fields(front[1] or front[2] or "") if front else {}
    if front and fields:
        text = text[front.end() :]
    warnings = undecoded(text, data)
    text = _seen(text)
    title = one_line(fields.pop("title", "")) or first_heading(text)
    language = str(fields.pop("lang", ""))
    fields.pop("", None)
    return Extracted(text, "markdown", title, language, fields, warnings, encoding=encoding)


def _fields(front: str) -> dict[str, Any]:
    """What a front matter says: `name: value` or `name = value` lines; values in several lines are not looked at."""
    found: dict[str, Any] = {}
    for name, value in re.findall(r"(?m)^[\"']?([\w-]+)[\"']?[ \t]*[:=][ \t]*(.*)$", front):
        key = {"title": "title", "titolo": "title", "lang": "lang", "language": "lang"}.get(name.lower(), _KEPT.get(name.lower(), ""))
        value = one_line(value.strip().strip("\"'"))
        found.setdefault(key or "", value)
    return found


def _seen(text: str) -> str:
    """The text without what a page does not show; pieces of code stay as they are."""
    pieces, at = [], 0
    defined: set[str] = set()
    for code in _CODE.finditer(text):
        pieces += [(text[at : code.start()], False), (code[0], True)]
        at = code.end()
    pieces.append((text[at:], False))
    out = []
    for piece, is_code in pieces:
        if not is_code:
            piece = _BADGES.sub("", _COMMENT.sub("", piece))
            piece = _UNDERLINED.sub(lambda match: f"{'#' if match[2] == '=' else '##'} {match[1]}", piece)
            defined |= {name.lower() for name in _DEFINITION.findall(piece)}
            piece = _DEFINITION.sub("", piece)
            if "<" in piece:
                piece = _TAG.sub(_tag, _TABLE.sub(_table, piece))
            piece = _ENTITY.sub(lambda match: html.unescape(match[0]), piece)
        out.append(piece)
    text = "".join(out)
    if defined:  # [words][name] reads as its words once the definition is gone
        text = re.sub(r"\[([^\[\]\n]+)\][ ]?\[([^\[\]\n]*)\]", lambda m: m[1] if (m[2] or m[1]).lower() in defined else m[0], text)
    return text


def _tag(match: re.Match[str]) -> str:
    closing, name, rest = match[1], match[2].lower(), match[3]
    if name == "img":
        alt = _ALT.search(rest)
        return one_line(alt[1] or alt[2] or "") if alt else ""
    if name in _INLINE:
        return ""
    if name == "li" and not closing:
        return "\n- "
    if len(name) == 2 and name[0] == "h" and name[1].isdigit():
        return "\n\n" if closing else f"\n\n{'#' * int(name[1])} "
    if name in ("br", "li"):
        return "\n"
    return "\n\n" if name in _BLOCKS else match[0]


def _table(match: re.Match[str]) -> str:
    """An HTML table as a Markdown one; its text when it cannot be parsed."""
    import lxml.etree
    import lxml.html

    try:
        table = lxml.html.fragment_fromstring(match[0])
    except (lxml.etree.LxmlError, ValueError):
        return match[0]
    rows = [[str(cell.text_content()) for cell in row if cell.tag in ("td", "th")] for row in table.iter("tr")]
    return f"\n\n{markdown_table([row for row in rows if row])}\n\n"
