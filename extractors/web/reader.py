"""HTML: the part of a page worth reading, as Markdown, with what the page says about itself.

The page is parsed once. Three ways lead to its text:

- what is no article of a site is written whole, less its navigation: an export of a word processor, a specification, a law. It
  has no navigation, or it is not made to be shared (no Open Graph, no `article`, no comments), has few links, and trafilatura
  takes nearly all of it, or takes it without its headings;
- on any other page trafilatura chooses the main text: menus, teasers and comments are left out, tables and lists kept;
- where that finds almost nothing of what there is to read (legal databases, forms, tables of links), or loses the numbered
  articles of a law, the page is written whole, less its navigation, with the warning `fallback_all_text`.

text.py writes the Markdown for all three, metadata.py reads the metadata. trafilatura works with its own rules
alone: its second opinions (readability, and jusText with its stop words) cost time and do not help, see
benchmarks/extract_html.py. So no choice here depends on the language of a page.
"""

from __future__ import annotations

import functools
import re
from typing import Any

from extractors.decode import decode
from extractors.extract import ExtractConfig
from extractors.result import Extracted
from extractors.web.metadata import metadata
from extractors.web.text import markdown
from extractors.xml.families import names

_CHARSET = re.compile(rb"<meta\b[^>]*?charset\s*=\s*[\"']?\s*([\w-]{3,20})|<\?xml[^>]{0,100}encoding=[\"']([\w-]{3,20})", re.I)
_CONTROLS = bytes({*range(32), 127} - {9, 10, 13})
MODES: dict[str, dict[str, bool]] = {  # extract.html -> trafilatura's settings
    "default": {},
    "fast": {"fast": True},
    "fast-recall": {"fast": True, "recall": True},
    "precision": {"precision": True},
    "recall": {"recall": True},
}
_NAVIGATION = names("nav aside footer dialog")
_ROLES = names("navigation banner contentinfo search complementary menu menubar dialog")
_CHROME = re.compile(
    r"""(?:^|[\s_-])(?:nav|navbar|navigation|navigazione|menu|topmenu|mainmenu|sidebar|side-bar|footer|pie-?di-?pagina|breadcrumbs?|briciole|
    cookies?|cookiebar|share|sharing|social|condividi|comments?|commenti|related|correlati|newsletter|banner|popup|modal|skip|skiplink|
    advert\w*|pubblicita)(?:$|[\s_-])""",
    re.I | re.X,
)
_NEVER_CLOSED = ("noscript", "svg", "object", "select", "button", "template", "canvas", "audio", "video")
_NUMBERED = re.compile(  # the divisions of a law or a contract, at the start of a line
    r"(?m)^\W*(?:Art(?:icolo|icle|\.)?|Capo|Titolo|Sezione|Chapter|Section|Allegato|Annex|Schedule|§)\s*\.?\s*(?:\d+|[IVXLC]+|[A-Z])\b"
)
_ARTICLES = re.compile(r"(?:Art\.|ART\.|Articolo|ARTICOLO|Article|ARTICLE|§)\s*(?:\d|[IVX]+\b)")
_HEADING = re.compile(r"(?m)^#{1,6} ")
_MAX_MAIN = 5_000_000  # characters on a page; trafilatura, which copies trees, would need minutes for more
_MAX_LINKS = 0.3  # share of the text that is links, above which a page is no plain document
_FEW_LINKS = 0.12  # the same where a site is around it
_MIN_SHARE = 0.12  # of the page without navigation: a main text that is less is a miss
_MOST = 0.85  # of it: a main text that is more is all of it
_MAX_CHROME = 0.3  # of the text: an element with more is no navigation, whatever its name


def read(data: bytes, kind: str, config: ExtractConfig) -> Extracted:
    """Main text with title, date, author, site, url and licence."""
    declared = _CHARSET.search(data[:4096])
    html, encoding = decode(data, (declared[1] or declared[2]).decode("ascii", "ignore") if declared else "")
    return from_text(html, config, encoding)


def from_text(html: str, config: ExtractConfig, encoding: str = "") -> Extracted:
    """The same for a page that is already decoded."""
    tree = parsed(html)
    if tree is None:
        return Extracted(_strip(html), "html-strip", warnings=["fallback_strip"], encoding=encoding)
    shown = _shown(tree)
    about = metadata(tree, html, shown)
    title, lang = about.pop("title"), about.pop("lang")
    text, extractor, warnings = _read(tree, shown, config)
    return Extracted(text, extractor, title, lang, dict(about), warnings, encoding=encoding)


def html_text(html: str) -> str:
    """All visible text of an HTML body, as Markdown."""
    tree = parsed(html)
    return markdown(tree) if tree is not None else _strip(html)


def parsed(html: str) -> Any:
    """The tree of a page or a fragment; None where the parser gives up (elements nested more than 2,000 deep, no element at all)."""
    from lxml import etree
    from lxml import html as pages

    html = re.sub(r"^\s*<\?xml[^>]*\?>", "", html)
    if not re.search(r"<(?:html|body|frameset)[\s>]", html, re.I):
        html = f"<html><body>{html}</body></html>"
    parser = etree.HTMLParser(
        encoding="utf-8", no_network=True, remove_comments=True, remove_pis=True, huge_tree=True, collect_ids=False, default_doctype=False
    )
    parser.set_element_class_lookup(etree.ElementDefaultClassLookup(element=pages.HtmlElement))
    try:
        tree = etree.fromstring(html.encode("utf-8", "replace").translate(None, _CONTROLS), parser)
    except (etree.LxmlError, ValueError, AssertionError):
        return None
    if tree is None or any(error.type_name == "ERR_RESOURCE_LIMIT" for error in parser.error_log):
        return None
    _unwrap(tree)
    return tree


def _unwrap(tree: Any) -> None:
    """An element that browsers do not show, and that holds most of the page, was never closed: it becomes a `div`."""
    suspects = [element for element in tree.iter(*_NEVER_CLOSED) if element.find(".//p") is not None or element.find(".//div") is not None]
    for element in suspects:
        size = _size("".join(element.itertext()))
        if size > 100 and 2 * size > _size("".join(tree.xpath("//body//text()[not(parent::script or parent::style)]"))):
            element.tag = "div"


def _read(tree: Any, shown: str, config: ExtractConfig) -> tuple[str, str, list[str]]:
    """Text, the way it was found, and warnings."""
    size = _size(shown)
    if _is_document(tree) and _linked(tree) <= _MAX_LINKS * size:
        return markdown(tree), "html", []
    if size > _MAX_MAIN:
        return markdown(_without_navigation(tree)), "html", ["fallback_all_text"]
    published = _is_published(tree)
    text = _main_text(tree, config)
    found = _size(text)
    law = len(_ARTICLES.findall(shown)) >= 3
    if published and not law and found >= 25 and (found >= _MIN_SHARE * size or found >= _MIN_SHARE * (size - _linked(tree))):
        return text, "trafilatura", []
    rest = markdown(_without_navigation(tree))
    left = _size(rest)
    if found < min(max(25, _MIN_SHARE * left), left) or (law and _lost(_NUMBERED, text, rest, 0.9)):
        return rest, "html", ["fallback_all_text"]
    if (
        not published
        and _linked(tree) <= _FEW_LINKS * left
        and left >= found > 0
        and (found >= _MOST * left or _lost(_HEADING, text, rest, 0.5))
    ):
        return rest, "html", []
    return text, "trafilatura", []


def _lost(pattern: re.Pattern[str], text: str, rest: str, share: float) -> bool:
    """The page has several of these lines, and less than a share of them is in the text."""
    there = len(pattern.findall(rest))
    return there >= 3 and len(pattern.findall(text)) < share * there


def _main_text(tree: Any, config: ExtractConfig) -> str:
    """What trafilatura takes for the main text, as Markdown; '' when there is none."""
    from trafilatura import bare_extraction

    found = bare_extraction(tree, options=_options(config.html))
    if found is None or found.body is None:
        return ""
    blocks = list(found.body)
    if len(blocks) == 1 and len(blocks[0]) == 0 and "\n" in (blocks[0].text or ""):
        return ""  # its last resort, all strings of the page in one paragraph, menus too: _read has a better one
    for code in found.body.iter("code"):
        if "\n" in "".join(code.itertext()):
            code.tag = "pre"
            code.set("class", "code")
    return markdown(found.body)


@functools.cache
def _options(mode: str) -> Any:
    """trafilatura's settings: no comments, no emphasis, tables kept; the date is not its business."""
    from trafilatura.settings import Extractor

    return Extractor(output_format="xml", comments=False, formatting=False, **MODES[mode])


def _is_document(tree: Any) -> bool:
    """Nothing around the text is marked as navigation."""
    if next(tree.iter(*_NAVIGATION), None) is not None or _ROLES & {str(role) for role in tree.xpath("//@role")}:
        return False
    return not _CHROME.search("\n".join({str(name) for name in tree.xpath("//body//@class | //body//@id")}))


def _is_published(tree: Any) -> bool:
    """Made to be shared or discussed, as articles and posts are, and documents are not."""
    for meta in tree.iter("meta"):
        if (meta.get("property") or meta.get("name") or "").startswith(("og:", "article:", "twitter:")):
            return True
    return next(tree.iter("article"), None) is not None or bool(
        tree.xpath("boolean(//*[contains(@class, 'comment') or contains(@id, 'comment')])")
    )


def _without_navigation(tree: Any) -> Any:
    """The tree, less what is marked as navigation and does not hold a good part of the text."""
    named = [e for e in tree.xpath("//body//*[@class or @id]") if _CHROME.search(f"{e.get('class', '')} {e.get('id', '')}")]
    whole = _size("".join(tree.itertext()))
    roles = [e for e in tree.xpath("//*[@role]") if e.get("role") in _ROLES]
    for element in [*tree.iter(*_NAVIGATION), *roles, *named]:
        if element.getparent() is not None and _size("".join(element.itertext())) < _MAX_CHROME * whole:
            element.drop_tree()
    return tree


def _shown(tree: Any) -> str:
    """The characters of the page. Takes scripts and styles out of the tree, but for JSON-LD, where trafilatura looks for texts."""
    from lxml import etree

    data = [(script, script.text) for script in tree.iter("script") if "ld+json" in (script.get("type") or "").lower()]
    for script, _ in data:
        script.tag, script.text = "data-island", None
    etree.strip_elements(tree, "script", "style", "template", "noscript", "svg", "iframe", with_tail=False)
    body = tree.find(".//body")
    shown = " ".join((body if body is not None else tree).itertext())
    for script, text in data:
        script.tag, script.text = "script", text
    return shown


def _linked(tree: Any) -> int:
    """Characters of links."""
    return _size("".join(text for link in tree.iter("a") for text in link.itertext()))


def _size(text: str) -> int:
    """Characters that are no blanks."""
    return len("".join(text.split()))


def _strip(html: str) -> str:
    """Last resort for what lxml refuses: tags cut out."""
    import html as entities

    html = re.sub(r"(?is)<(script|style)\b.*?</\1>", " ", html)
    html = re.sub(r"(?i)<(?:br|/?p|/?div|/?li|/?tr|/?h[1-6])\b[^<>]*>", "\n", html)
    lines = (" ".join(line.split()) for line in entities.unescape(re.sub(r"<[^<>]*>", " ", html)).split("\n"))
    return "\n".join(line for line in lines if line)
