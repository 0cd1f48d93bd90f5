"""XML by families told by the root: JATS, Akoma Ntoso, TEI, FatturaPA, USLM, patents, RFC, DocBook, Formex, and any other.

One walk serves them all: an element with characters of its own is a paragraph, the ones around it are structure. A family (see
families.py) says what is left out, what is a heading and where the title is. Data (invoices, records) comes out under headings
as `name: value` lines, records of one shape as a table. Formulas are TeX (mathml.py), raised and lowered digits Unicode's.

What is read is what a reader of the document reads: its text with headings, tables, notes, the authors' names and affiliations
of a paper and its references, as the same paper has them as PDF. Left out: identifiers, dates of the making, permissions,
keywords, addresses, and the header of a TEI file; date, licence and identifier go to the metadata. XBRL is read by xbrl.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from extractors.decode import decode
from extractors.extract import ExtractConfig
from extractors.result import Extracted, markdown_table, one_line
from extractors.xml.bibliography import people, place, reference
from extractors.xml.data import records, table
from extractors.xml.families import FAMILIES, OTHER, RECORDS, Family
from extractors.xml.inline import FORMULAS, flat, inline, local, own_text
from extractors.xml.tree import parse

_NOTES = ("authorialNote", "footnote", "note", "fn", "NOTE")
_CODE = ("artwork", "sourcecode", "programlisting", "screen", "literallayout", "preformat", "verbatim", "code-block")
_LEVELS = frozenset("sec section div chapter title part article book div1 div2 level sect1 sect2 sect3 hcontainer sub-article".split())
_HEADING = re.compile(r"^(#{1,6}) ")


def read(data: bytes, kind: str, config: ExtractConfig) -> Extracted:
    """Text of an XML document by its family."""
    declared = re.match(rb"\s*<\?xml[^>]{0,100}encoding=[\"']([\w-]+)", data[:200])
    text, encoding = decode(data, declared[1].decode("ascii") if declared else "")
    root, warnings = parse(text)
    name = local(root)
    family = FAMILIES.get(name, OTHER)
    if name == "article" and not any(local(child) in ("front", "body", "front-stub") for child in root):
        family = FAMILIES["book"]  # DocBook has an article too
    if name == "xbrl":
        from extractors.xml import xbrl

        return xbrl.read(root, encoding, warnings)
    if family is OTHER and not _has_prose(root):
        family = RECORDS
    if family.data:
        body = "\n".join(records(root, family, 0)).strip()
    else:
        notes = _notes(root, family)
        body = "\n\n".join(_ranked([part for part in _blocks(root, family, 0) if part and part.strip()]) + notes)
    if any(local(element) in ("Attachment", "Allegati") for element in root.iter()) and family.data:
        warnings.append("attachments_left_out")
    metadata = {"family": family.name, "root": name, **_about(root, family)}
    lang = next((v for e in (root, *root[:3]) for k, v in e.attrib.items() if k.rsplit("}", 1)[-1] in ("lang", "language")), "")
    return Extracted(body, f"xml-{family.name}", _title(root, family), lang, metadata, warnings, encoding=encoding)


def _notes(root: Any, family: Family) -> list[str]:
    """Notes that stand within a sentence: taken out of it, `[^1]` in their place, for the end of the text."""
    found: list[str] = []
    parents = {child: parent for parent in root.iter() for child in parent if local(child) in _NOTES}
    for note, parent in parents.items():
        if not own_text(parent) or not (text := flat(note, family).strip()) or note.get("place") in ("margin", "inline"):
            continue
        found.append(f"[^{len(found) + 1}]: {text}")
        tail = note.tail
        note.clear()
        note.tag, note.text, note.tail = "note-mark", f"[^{len(found)}]", tail
    return found


def _blocks(element: Any, family: Family, level: int) -> Iterator[str]:
    name = local(element)
    if not name or name in family.skip:
        return
    if name in family.called and not any(local(child) in family.heads for child in element):
        yield _heading(family.called[name], level + 1)
    elif family.name == "rfc" and name == "section" and element.get("title"):
        yield _heading(str(element.get("title")), level + 1)
    if name in _CODE:
        yield f"```\n{''.join(element.itertext()).strip(chr(10))}\n```"
    elif name in FORMULAS:
        yield flat(element, family).strip()
    elif rows := table(element, family):
        yield markdown_table(rows)
    elif name in family.hypertext:
        from extractors.web.reader import html_text

        yield html_text("".join(element.itertext()))
    elif name in family.cited:
        yield from reference(element, family)
    elif name == "contrib-group":
        yield from people(element, family)
    elif name == "aff":
        yield place(element)
    elif name in family.heads and len(text := flat(element, family).strip()) < 300:
        yield _heading(text, level) if text else ""
    elif own_text(element) or name in family.blocks:
        yield from _mixed(element, family, level)
    else:
        yield from _structure(element, family, level + (name in _LEVELS))


def _heading(text: str, level: int) -> str:
    return f"{'#' * min(level + 1, 6)} {text}"


def _ranked(parts: list[str]) -> list[str]:
    """Headings from `#` on, without gaps between their levels."""
    used = sorted({len(found[1]) for part in parts if (found := _HEADING.match(part))})
    return [_HEADING.sub(lambda found: f"{'#' * (used.index(len(found[1])) + 1)} ", part) for part in parts]


def _mixed(element: Any, family: Family, level: int) -> Iterator[str]:
    """Characters with elements among them: inline ones belong to the paragraph, structure ends it."""
    line = [element.text or ""]
    for child in element:
        if _structural(child, family):
            yield _joined(line)
            line = []
            yield from _blocks(child, family, level)
        else:
            line.append(inline(child, family))
        line.append(child.tail or "")
    yield _joined(line)


def _joined(line: list[str]) -> str:
    return re.sub(r"[ \t\r\n\u00a0]+", " ", "".join(line)).strip()


def _structural(child: Any, family: Family) -> bool:
    """Whether a child of a paragraph is a block of its own."""
    name = local(child)
    if name in family.skip or not name or (name in FORMULAS and name != "disp-formula"):
        return False
    if name == "disp-formula" or name in _CODE or table(child, family):
        return True
    if len("".join(child.itertext()).strip()) < 40:  # a remark within a sentence
        return False
    if name in family.blocks and name not in ("num", "heading", "title"):
        return True
    return len(child) > 0 and not own_text(child) and name not in family.blocks and _deep(child)


def _structure(element: Any, family: Family, level: int) -> Iterator[str]:
    """Elements without characters of their own; a number joins what follows it."""
    number = ""
    for child in element:
        if local(child) in ("num", "label", "enum") and len(text := flat(child, family).strip()) < 30:
            number = f"{number} {text}".strip()
            continue
        for part in _blocks(child, family, level):
            if number and part and part.strip():
                hashes, _, rest = part.partition(" ") if part.startswith("#") else ("", "", part)
                part, number = f"{hashes} {number} {rest}".strip(), ""
            yield part
    if number:
        yield number


def _deep(element: Any) -> bool:
    """Structure rather than inline markup: it holds several elements with text of their own."""
    return sum(1 for inner in element.iter() if own_text(inner)) > 2


def _has_prose(root: Any) -> bool:
    """Sentences, or elements mixed with characters, rather than records."""
    long = short = 0
    for element in root.iter():
        if own_text(element):
            words = len((element.text or "").split()) + sum(len((child.tail or "").split()) for child in element)
            long, short = long + words * (words >= 8 or len(element) > 0), short + words * (words < 8 and len(element) == 0)
    return long > short


def _title(root: Any, family: Family) -> str:
    for wanted in family.title:
        for element in root.iter():
            if local(element) == wanted:
                text = one_line("".join(element.itertext()))
                if text:
                    return text
    return ""


def _about(root: Any, family: Family) -> dict[str, str]:
    """Date, licence and identifier, where the family has a place for them."""
    found: dict[str, str] = {}
    if family.data:
        return found
    for element in root.iter():
        name = local(element)
        if name == "FRBRdate" or name == "docDate":
            found.setdefault("date", one_line(element.get("date") or element.text)[:10])
        elif name in ("licence", "license", "license-p"):
            found.setdefault("licence", one_line("".join(element.itertext())))
        elif name == "article-id" and element.get("pub-id-type") == "doi":
            found.setdefault("url", "doi:" + one_line(element.text))
        elif name == "pub-date" and family.name == "jats":
            parts = {local(e): (e.text or "").zfill(2) for e in element}
            found.setdefault("date", "-".join(parts[k] for k in ("year", "month", "day") if k in parts))
    return found
