"""XBRL instances: the report's texts, in the order of the file.

A fact is a figure or a text. Texts of a report are blocks of HTML or plain sentences; figures stand in the tables of those
blocks, so their bare values, which say nothing without the taxonomy, are left out with the warning `figures_left_out`. The
heading is what the cover says: form, name, end of the period.
"""

from __future__ import annotations

import re
from typing import Any

from extractors.result import Extracted, one_line

_COVER = ("DocumentType", "EntityRegistrantName", "DocumentPeriodEndDate")


def read(root: Any, encoding: str, warnings: list[str]) -> Extracted:
    """Text of an XBRL instance whose root element this is."""
    cover: dict[str, str] = {}
    texts: list[str] = []
    figures = 0
    for fact in root:
        name = fact.tag.rsplit("}", 1)[-1] if isinstance(fact.tag, str) else ""
        value = (fact.text or "").strip()
        if not fact.get("contextRef") or not value:
            continue
        if name in _COVER:
            cover.setdefault(name, one_line(value))
        if fact.get("unitRef"):
            figures += 1
        elif "<" in value:
            texts.append(_markdown(value))
        elif len(value.split()) > 3:
            texts.append(one_line(value, 100_000))
    title = " ".join(cover[name] for name in _COVER if name in cover)
    body = "\n\n".join(filter(None, [f"# {title}" if title else "", *dict.fromkeys(texts)]))
    if figures:
        warnings.append(f"figures_left_out: {figures}")
    metadata = {"family": "xbrl", "root": "xbrl", "date": cover.get("DocumentPeriodEndDate", "")}
    return Extracted(body, "xml-xbrl", title, "", metadata, warnings, encoding=encoding)


def _markdown(html: str) -> str:
    """A block of HTML as Markdown with its tables."""
    from lxml import html as parser

    from extractors.result import markdown_table

    tree = parser.fromstring(f"<div>{html}</div>")
    parts: list[str] = []
    line: list[str] = []

    def end() -> None:
        if text := re.sub(r"\s+", " ", "".join(line)).strip():
            parts.append(text)
        line.clear()

    def walk(element: Any) -> None:
        if not isinstance(element.tag, str) or element.tag in ("script", "style"):
            return
        if element.tag == "table":
            end()
            rows = [[re.sub(r"\s+", " ", cell.text_content()).strip() for cell in row.iter("td", "th")] for row in element.iter("tr")]
            kept = [at for at in range(max(map(len, rows), default=0)) if any(at < len(row) and row[at] for row in rows)]
            table = [[row[at] if at < len(row) else "" for at in kept] for row in rows if any(row)]
            parts.append(markdown_table(table))
            return
        block = element.tag in ("p", "div", "li", "tr", "br", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol")
        if block:
            end()
        line.append(element.text or "")
        for child in element:
            walk(child)
            line.append(child.tail or "")
        if block:
            end()

    walk(tree)
    end()
    return "\n\n".join(part for part in parts if part)
