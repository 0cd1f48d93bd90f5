"""What a page says about itself: title, date, author, site, address, licence and language.

Looked for, in this order, in its meta elements (Open Graph, Dublin Core, Highwire and plain names), in JSON-LD, in links and
microdata, and last in what it shows: the <title>, a byline, a sentence of licence in English or Italian. The date is htmldate's,
the original one, from marked places only: a date anywhere in the text is as likely to be that of an event or of a law. Where a
numeric date is ambiguous, the day comes first. Nothing depends on the day of the run.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import re
from collections.abc import Iterator
from typing import Any

from extractors.result import one_line

_TITLES = ("og:title", "citation_title", "dcterms.title", "dc.title", "twitter:title")
_AUTHORS = ("author", "citation_author", "dcterms.creator", "dc.creator", "article:author", "og:article:author", "parsely-author")
_SITES = ("og:site_name", "application-name", "dcterms.publisher", "dc.publisher", "citation_journal_title")
_URLS = ("og:url", "twitter:url", "citation_public_url")
_LICENCES = ("dcterms.license", "dc.rights.license", "dc.rights", "dcterms.rights", "license", "licence", "rights")
_LANGUAGES = ("content-language", "dcterms.language", "dc.language", "og:locale", "language")
_PUBLISHED = (
    *("article:published_time", "og:article:published_time", "citation_publication_date", "citation_date", "dcterms.issued"),
    *("dcterms.created", "dcterms.date", "dc.date", "datepublished", "pubdate", "parsely-pub-date", "date"),
)
_BYLINES = "//*[@itemprop='author' or contains(@class, 'author') or contains(@class, 'byline') or contains(@class, 'autore')]"
_BYLINE = re.compile(r"(?:^|[\s_-])(?:author(?:[_-]?name)?|byline|autore)(?:$|\s)")
_SAYS = re.compile(r"(?:\s+(?:says|dice|scrive|ha scritto|send an email|follow|segui)\b.*|\s*:)$", re.I)
_BY = re.compile(
    r"^(?:(?:scritto |pubblicato |written |posted |published )?(?:da|di|by)\b|autore\s*:|author\s*:|a cura di\b)\s*:?\s*", re.I
)
_CC = re.compile(
    r"creativecommons\.org/(?:licenses/(by(?:-(?:nc|sa|nd))*|sampling\+?|nc-sampling\+?)/(\d\.\d)|(publicdomain/zero|publicdomain/mark)/(\d\.\d))",
    re.I,
)
_VERSION = r"(?:[ ,]*(?:v\.? ?|version )?\d\.\d)?"
_NAMES = (
    r"CC[ -]?(?:0|ZERO|BY(?:[ -](?:NC|SA|ND))*)",
    r"Creative Commons(?: (?:Attribuzione|Attribution|Zero|BY)[\w-]*"
    r"(?: ?[–-] ?(?:Non|Condividi|Share|No)[ -]?\w+(?: allo stesso modo| opere derivate)?)*)?",
    r"(?:IODL|Italian Open Data Licen[sc]e|Open Government Licen[sc]e|Apache Licen[sc]e|MIT Licen[sc]e)",
    r"GNU (?:Free Documentation|(?:Lesser |Affero )?General Public) Licen[sc]e",
)
_SENTENCE = re.compile(  # ... released under the ...; ... rilasciato con licenza d'uso ...
    r"(?:licen[sc]ed? (?:under|by)|under (?:an?|the)(?: terms of (?:an?|the))?|licenza|licen[sc]e ?:)[\s:]*"
    r"(?:(?:la|the|an?|d['’]uso|aperta|open) )*"
    rf"(?P<name>(?:{'|'.join(_NAMES)}){_VERSION})",
    re.I,
)


def metadata(tree: Any, html: str, text: str) -> dict[str, str]:
    """title, date, author, sitename, url, licence, lang; '' where the page does not say. `html` is its source, `text` what it shows."""
    said = _declared(tree)
    nodes = list(_linked_data(tree))
    links = tree.xpath("//*[@rel][@href]")
    url = _first(said, _URLS) or _link(links, "canonical") or _of(nodes, "url") or _saved_from(html[:2000])
    return {
        "title": _title(tree, said, nodes),
        "date": _iso(_first(said, _PUBLISHED)) or _iso(_of(nodes, "datePublished")) or _date(tree, url),
        "author": _author(tree, links, said, nodes),
        "sitename": _first(said, _SITES) or _named(_value(nodes, "publisher")),
        "url": url if url.startswith(("http://", "https://")) else "",
        "licence": _licence(tree, links, said, nodes, html, text),
        "lang": _language(tree, said, nodes),
    }


def _declared(tree: Any) -> dict[str, str]:
    """Meta elements: name in lower case -> the first content; several authors are joined."""
    said: dict[str, str] = {}
    for element in tree.iter("meta"):
        name = next((value for key in ("property", "name", "itemprop", "http-equiv") if (value := element.get(key))), "").strip().lower()
        content = " ".join((element.get("content") or "")[:2000].split())
        if name and content:
            said[name] = f"{said[name]}; {content}" if name == "citation_author" and name in said else said.get(name, content)
    return said


def _linked_data(tree: Any) -> Iterator[dict[str, Any]]:
    """The JSON-LD nodes of pages and works; those of breadcrumbs, organisations and the like say nothing about the text."""
    for script in tree.iter("script"):
        if (script.get("type") or "").strip().lower() == "application/ld+json" and script.text and len(script.text) < 1_000_000:
            with contextlib.suppress(ValueError, RecursionError):
                stack = [json.loads(script.text, strict=False)]
                while stack:
                    node = stack.pop(0)
                    if isinstance(node, list):
                        stack.extend(node[:50])
                    elif isinstance(node, dict):
                        stack.extend(node[key] for key in ("@graph", "mainEntity") if isinstance(node.get(key), (dict, list)))
                        if re.search(r"Article|Posting|WebPage|Report|Legislation|Creative|Book|Dataset|Document", str(node.get("@type"))):
                            yield node


def _title(tree: Any, said: dict[str, str], nodes: list[dict[str, Any]]) -> str:
    title = _first(said, _TITLES) or _of(nodes, "headline")
    if not title:
        found = tree.find(".//title")
        title = one_line("".join(found.itertext())) if found is not None else ""
    if not title:
        heads = tree.findall(".//h1")
        title = one_line("".join(heads[0].itertext())) if len(heads) == 1 else ""
    return title


def _iso(text: str) -> str:
    """The day of a date that is written as ISO 8601 says; '' when it is not, or is no date."""
    try:
        return datetime.date.fromisoformat(text[:10].replace("/", "-")).isoformat()
    except ValueError:
        return ""


def _date(tree: Any, url: str) -> str:
    from htmldate import find_date

    try:
        return str(find_date(tree, url=url or None, original_date=True, extensive_search=False, max_date="2100-01-01") or "")
    except (ValueError, TypeError, AttributeError, OverflowError):
        return ""


def _author(tree: Any, links: list[Any], said: dict[str, str], nodes: list[dict[str, Any]]) -> str:
    for author in (_first(said, _AUTHORS), _named(_value(nodes, "author") or _value(nodes, "creator"))):
        if author and not re.search(r"https?:|\.\w{2,4}/|^@", author):
            return author
    signed = [link for link in links if link.tag == "a" and link.get("rel") == "author"]
    for element in signed or tree.xpath(_BYLINES):
        if not (signed or element.get("itemprop") or _BYLINE.search(element.get("class", ""))):
            continue
        text = one_line(" ".join(element.itertext()), 200)
        name = _SAYS.sub("", _BY.sub("", text)).strip(" ,|-–")
        if 0 < len(name.split()) <= 6 and len(name) <= 60 and not re.search(r"[\d@/]|https?:", name) and name[:1].isupper():
            return name
    return ""


def _licence(tree: Any, links: list[Any], said: dict[str, str], nodes: list[dict[str, Any]], html: str, text: str) -> str:
    """A licence the page gives itself: declared, linked as such, the only Creative Commons licence it links to, or said."""
    for element in links:
        if {"license", "licence"} & set(element.get("rel").lower().split()):
            href = element.get("href")
            found = creative_commons(href) or one_line(" ".join(element.itertext()), 100) or one_line(href)
            if not href.startswith("#") or found != one_line(href):
                return found
    declared = _of(nodes, "license") or _first(said, _LICENCES)
    if declared:
        return creative_commons(declared) or declared
    if "creativecommons.org/" in html:
        linked = {creative_commons(a.get("href")) for a in tree.xpath("//a[contains(@href, 'creativecommons.org/')]")} - {""}
        if len(linked) == 1:
            return linked.pop()
    sentence = _SENTENCE.search(text) if any(word in text for word in ("licen", "Licen", "LICEN")) else None
    return one_line(sentence["name"], 100) if sentence else ""


def creative_commons(address: str) -> str:
    """'CC BY-SA 4.0' for the address of a Creative Commons licence, '' for any other."""
    found = _CC.search(address)
    if not found:
        return ""
    if found[3]:
        return f"{'CC0' if found[3].endswith('zero') else 'Public Domain Mark'} {found[4]}"
    return f"CC {found[1].upper()} {found[2]}"


def _language(tree: Any, said: dict[str, str], nodes: list[dict[str, Any]]) -> str:
    """Two letters, in lower case."""
    root = tree.getroottree().getroot()
    body = tree.find(".//body")
    declared = [e.get("lang") or e.get("xml:lang") for e in (root, body) if e is not None]
    for lang in (*declared, _first(said, _LANGUAGES), _of(nodes, "inLanguage")):
        if lang and re.match(r"[A-Za-z]{2}(?:$|[-_,;\s])", lang):
            return lang[:2].lower()
    return ""


def _link(links: list[Any], relation: str) -> str:
    for element in links:
        if element.tag == "link" and relation in element.get("rel").lower().split():
            return one_line(element.get("href"), 2000)
    return ""


def _saved_from(head: str) -> str:
    """The address that a browser writes at the top of a page it saves."""
    found = re.search(r"<!--\s*saved from url=\(\d+\)(\S{4,2000}?)\s*-->", head)
    return found[1] if found else ""


def _first(said: dict[str, str], names: tuple[str, ...]) -> str:
    return next((said[name] for name in names if said.get(name)), "")


def _value(nodes: list[dict[str, Any]], name: str) -> Any:
    return next((node[name] for node in nodes if node.get(name)), None)


def _of(nodes: list[dict[str, Any]], name: str) -> str:
    value = _value(nodes, name)
    return one_line(value) if isinstance(value, str) else _named(value)


def _named(value: Any) -> str:
    """The name of a person, an organisation or a licence; several are joined."""
    if isinstance(value, list):
        return "; ".join(filter(None, map(_named, value[:20])))
    if isinstance(value, dict):
        return next((one_line(value[key]) for key in ("name", "url") if isinstance(value.get(key), str)), "")
    return one_line(value) if isinstance(value, str) else ""
