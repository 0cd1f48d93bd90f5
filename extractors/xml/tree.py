"""Bytes of XML to a tree: entities, DTDs, and what can be saved of XML that is not well-formed.

External entities and DTDs are never fetched; declared entities are expanded only when they are short and hold no others,
anything else is refused as xml_entities. XML that is not well-formed is recovered (`recovered_xml`); where the root element is
never closed, its end is missing (`cut_short`).
"""

from __future__ import annotations

import re
from typing import Any

from corpus.outcome import Verdict

_ENTITY = re.compile(r"<!ENTITY\s+(%\s+)?([\w.:-]+)\s+(SYSTEM|PUBLIC)?\s*(\"[^\"]*\"|'[^']*')?[^>]*>")
_DOCTYPE = re.compile(r"<!DOCTYPE[^\[>]*(?:\[(.*?)\]\s*)?>", re.S)
_ROOT = re.compile(r"<([A-Za-z_][\w:.-]*)")


def parse(text: str) -> tuple[Any, list[str]]:
    """The root of XML that is already decoded, an element of the standard library, and warnings. Raises Verdict."""
    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import ParseError, fromstring

    text, warnings = _entities(re.sub(r"^\s*<\?xml[^>]*\?>", "", text.lstrip("\ufeff \t\r\n")))
    try:
        return fromstring(text), warnings
    except DefusedXmlException as error:
        raise Verdict("xml_entities", "it declares entities that hold others or lie outside the file") from error
    except (ParseError, ValueError):
        return _recovered(text), [*warnings, "recovered_xml", *["cut_short"] * _unclosed(text)]


def _unclosed(text: str) -> bool:
    """Whether elements of the root's name are opened more often than closed."""
    root = _ROOT.search(text)
    if root is None:
        return False
    name = re.escape(root[1])
    opened = sum(not tag.endswith("/>") for tag in re.findall(rf"<{name}(?:\s[^<>]*)?>", text))
    return opened > len(re.findall(rf"</{name}\s*>", text))


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
    return _plain(root)


def _plain(element: Any) -> Any:
    """A tree of the standard library with bare names: the prefixes of a damaged file may be declared nowhere."""
    from xml.etree.ElementTree import Element

    copy = Element(element.tag.rpartition("}")[2].rpartition(":")[2], {k.rpartition("}")[2]: v for k, v in element.attrib.items()})
    copy.text, copy.tail = element.text, element.tail
    copy.extend(_plain(child) for child in element if isinstance(child.tag, str))
    return copy
