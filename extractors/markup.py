"""XML by families told by the root: JATS, Akoma Ntoso, TEI, FatturaPA, RFC XML, and any other.

One walk serves them all: an element with characters of its own is a paragraph, the ones around it are structure. A family (see
families.py) says what is left out, what is a heading and where the title is. Data (invoices, records) comes out
as `name: value` lines. External entities and DTDs are never fetched; declared entities are expanded only when they are short
and hold no others, anything else is refused as xml_entities.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from corpus.outcome import Verdict
from extractors.decode import decode
from extractors.extract import ExtractConfig
from extractors.families import FAMILIES, OTHER, RECORDS, Family
from extractors.result import Extracted, markdown_table, one_line

_ENTITY = re.compile(r"<!ENTITY\s+(%\s+)?([\w.:-]+)\s+(SYSTEM|PUBLIC)?\s*(\"[^\"]*\"|'[^']*')?[^>]*>")
_DOCTYPE = re.compile(r"<!DOCTYPE[^\[>]*(?:\[(.*?)\]\s*)?>", re.S)


def read(data: bytes, kind: str, config: ExtractConfig) -> Extracted:
    """Text of an XML document by its family."""
    declared = re.match(rb"\s*<\?xml[^>]{0,100}encoding=[\"']([\w-]+)", data[:200])
    text, encoding = decode(data, declared[1].decode("ascii") if declared else "")
    root, warnings = _parse(text)
    name = _local(root)
    family = FAMILIES.get(name, OTHER)
    if family is OTHER and not _has_prose(root):
        family = RECORDS
    if family.data:
        body = "\n".join(_records(root, family, ""))
    else:
        body = "\n\n".join(part for part in _blocks(root, family, 0) if part)
    metadata = {"family": family.name, "root": name, **_about(root, family)}
    lang = next((v for e in (root, *root[:3]) for k, v in e.attrib.items() if k.rsplit("}", 1)[-1] in ("lang", "language")), "")
    return Extracted(body, f"xml-{family.name}", _title(root, family), lang, metadata, warnings, encoding=encoding)


def _parse(text: str) -> tuple[Any, list[str]]:
    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import ParseError, fromstring

    text, warnings = _entities(re.sub(r"^\s*<\?xml[^>]*\?>", "", text.lstrip("\ufeff \t\r\n")))
    try:
        return fromstring(text), warnings
    except DefusedXmlException as error:
        raise Verdict("xml_entities", "it declares entities that hold others or lie outside the file") from error
    except (ParseError, ValueError):
        return _recovered(text), [*warnings, "recovered_xml"]


def _entities(text: str) -> tuple[str, list[str]]:
    """The text without its DOCTYPE, short plain entities expanded."""
    doctype = _DOCTYPE.search(text[:200_000])
    if doctype is None:
        return text, []
    known, warnings = {}, []
    for parameter, name, outside, value in _ENTITY.findall(doctype[1] or ""):
        plain = value[1:-1] if value else ""
        if outside:
            known[name] = ""
            warnings.append("external_entity_left_out")
        elif parameter:
            continue
        elif len(plain) > 1000 or re.search(r"&(?!#|amp;|lt;|gt;|quot;|apos;)|%\w", plain):
            raise Verdict("xml_entities", "it declares entities that hold others")
        else:
            known[name] = plain
    text = text[: doctype.start()] + text[doctype.end() :]
    if known:
        names = re.compile(r"&(" + "|".join(map(re.escape, known)) + ");")
        if sum(len(known[m[1]]) for m in names.finditer(text)) > 10_000_000:
            raise Verdict("xml_entities", "its entities expand to more than 10 million characters")
        text = names.sub(lambda m: known[m[1]], text)
    return text, sorted(set(warnings))


def _recovered(text: str) -> Any:
    """What lxml can save of XML that is not well-formed; HTML's named entities are understood."""
    import html
    from xml.etree.ElementTree import fromstring

    from lxml import etree

    text = re.sub(
        r"&(?!(?:amp|lt|gt|quot|apos);)([A-Za-z]\w{1,30});", lambda m: "" if html.unescape(m[0]) == m[0] else html.unescape(m[0]), text
    )
    parser = etree.XMLParser(
        recover=True, resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, remove_comments=True, remove_pis=True
    )
    root = etree.fromstring(text.encode("utf-8", "replace"), parser)
    if root is None or not "".join(root.itertext()).strip():
        raise Verdict("malformed", "the XML is damaged or cut short")
    return fromstring(etree.tostring(root, encoding="unicode"))  # no DOCTYPE is left in it


def _local(element: Any) -> str:
    return element.tag.rsplit("}", 1)[-1] if isinstance(element.tag, str) else ""


def _own_text(element: Any) -> bool:
    return bool((element.text or "").strip()) or any((child.tail or "").strip() for child in element)


def _flat(element: Any, family: Family) -> str:
    """All characters inside, in one line."""
    parts = [element.text or ""]
    for child in element:
        if _local(child) and _local(child) not in family.skip:
            parts.append("\n" if _local(child) in ("br", "lb", "eol") else _flat(child, family))
        parts.append(child.tail or "")
    return re.sub(r"[ \t\r\n\u00a0]+", " ", "".join(parts))


def _blocks(element: Any, family: Family, level: int) -> Iterator[str]:
    name = _local(element)
    if not name or name in family.skip:
        return
    rows = _table(element, family)
    if rows:
        yield markdown_table(rows)
    elif name in family.heads and len(text := _flat(element, family).strip()) < 300:
        yield f"{'#' * max(1, min(level, 6))} {text}" if text else ""
    elif _own_text(element) or name in family.blocks:
        if any(
            _table(child, family) or (len(child) and not _own_text(child) and _local(child) not in family.blocks and _deep(child))
            for child in element
        ):
            yield (element.text or "").strip()
            for child in element:
                yield from _blocks(child, family, level)
                yield (child.tail or "").strip()
        else:
            yield _flat(element, family).strip()
    else:
        deeper = level + (name in ("sec", "section", "div", "chapter", "title", "part", "article", "book", "div1", "div2", "level"))
        number = ""
        for child in element:
            if _local(child) in ("num", "label", "enum") and len(text := _flat(child, family).strip()) < 30:
                number = f"{number} {text}".strip()
                continue
            for part in _blocks(child, family, deeper):
                if number and part:
                    hashes, _, rest = part.partition(" ") if part.startswith("#") else ("", "", part)
                    part, number = f"{hashes} {number} {rest}".strip(), ""
                yield part
        if number:
            yield number


def _deep(element: Any) -> bool:
    """Structure rather than inline markup: it holds several elements with text of their own."""
    return sum(1 for inner in element.iter() if _own_text(inner)) > 2


def _table(element: Any, family: Family) -> list[list[str]]:
    if _local(element) not in ("table", "informaltable", "tgroup", "texttable"):
        return []
    rows = [row for row in element.iter() if _local(row) in ("tr", "row")]
    return [[_flat(cell, family).strip() for cell in row if _local(cell) in ("td", "th", "entry", "cell")] for row in rows]


def _has_prose(root: Any) -> bool:
    """Sentences, or elements mixed with characters, rather than records."""
    long = short = 0
    for element in root.iter():
        if _own_text(element):
            words = len((element.text or "").split()) + sum(len((child.tail or "").split()) for child in element)
            long, short = long + words * (words >= 8 or len(element) > 0), short + words * (words < 8 and len(element) == 0)
    return long > short


def _records(element: Any, family: Family, path: str) -> Iterator[str]:
    """`name: value` lines, an empty line where a record of several values begins."""
    name = _local(element)
    if not name or name in family.skip:
        return
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    if len(element) == 0 or _own_text(element):
        value = _flat(element, family).strip()
        if value:
            yield f"{words}: {value}"
        return
    inner = [line for child in element for line in _records(child, family, name)]
    if len(inner) > 1 and path:
        yield f"\n{words}"
    yield from inner


def _title(root: Any, family: Family) -> str:
    for wanted in family.title:
        for element in root.iter():
            if _local(element) == wanted:
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
        name = _local(element)
        if name == "FRBRdate" or name == "docDate":
            found.setdefault("date", one_line(element.get("date") or element.text)[:10])
        elif name in ("licence", "license", "license-p"):
            found.setdefault("licence", one_line("".join(element.itertext())))
        elif name == "article-id" and element.get("pub-id-type") == "doi":
            found.setdefault("url", "doi:" + one_line(element.text))
        elif name == "pub-date" and family.name == "jats":
            parts = {_local(e): (e.text or "").zfill(2) for e in element}
            found.setdefault("date", "-".join(parts[k] for k in ("year", "month", "day") if k in parts))
    return found
