"""HTML: the main text by trafilatura, as Markdown; boilerplate and comments are left out, tables and lists kept.

When trafilatura finds no main text, or almost none on a page that has much (legal databases, forms, tables of links), all
visible text is taken and the warning `fallback_all_text` says so.
"""

from __future__ import annotations

import re
from typing import Any

from extractors.decode import decode
from extractors.extract import ExtractConfig
from extractors.families import names
from extractors.result import Extracted, one_line

_CHARSET = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?\s*([\w-]{3,20})|<\?xml[^>]{0,100}encoding=[\"']([\w-]{3,20})", re.I)
_LANG = re.compile(r"<html[^>]{0,400}?\blang\s*=\s*[\"']?([A-Za-z]{2})", re.I)
_MODES: dict[str, dict[str, Any]] = {
    "default": {},
    "fast": {"fast": True},
    "precision": {"favor_precision": True},
    "recall": {"favor_recall": True},
}
_BLOCKS = names(
    """address article aside blockquote body caption center dd details div dl dt fieldset figcaption figure footer form h1 h2 h3 h4
    h5 h6 header hr li main nav ol option p pre section summary table tbody tfoot thead tr ul"""
)
_UNSEEN = names("script style noscript template head svg math iframe object select textarea button")
_MIN_SHARE = 0.04  # of the visible text: less than this, on a page of 500 characters or more, is a miss


def read(data: bytes, kind: str, config: ExtractConfig) -> Extracted:
    """Main text with title, date, author, url and licence."""
    declared = _CHARSET.search(data[:4096])
    html, encoding = decode(data, (declared[1] or declared[2]).decode("ascii", "ignore") if declared else "")
    return from_text(html, config, encoding)


def from_text(html: str, config: ExtractConfig, encoding: str = "") -> Extracted:
    """The same for a page that is already decoded."""
    from trafilatura import extract
    from trafilatura.metadata import extract_metadata

    html = _framed(html)
    tree = _tree(html)
    if tree is None:
        return Extracted(_strip(html), "html-strip", warnings=["fallback_strip"], encoding=encoding)
    lang = _LANG.search(html[:4096])
    visible = visible_text(_tree(html))
    about = extract_metadata(_tree(html))
    text = extract(
        html,
        output_format="markdown",
        include_comments=False,
        include_tables=True,
        include_formatting=True,
        with_metadata=False,
        **_MODES[config.html],
    )
    text, warnings, extractor = text or "", [], "trafilatura"
    missed = len(text) < 25 or (len(visible) >= 500 and len(text) < _MIN_SHARE * len(visible))
    if missed and len(visible) > len(text):
        text, extractor = visible, "html-visible"
        warnings.append("fallback_all_text")
    title = one_line(about.title) or one_line(tree.findtext(".//title"))
    metadata = {
        "date": about.date,
        "author": one_line(about.author),
        "url": about.url,
        "licence": one_line(about.license),
    }
    return Extracted(text, extractor, title, lang[1] if lang else "", metadata, warnings, encoding=encoding)


def visible_text(tree: Any) -> str:
    """All text a reader would see, a line for each block; cells of a row are parted by ` | `."""
    out: list[str] = []
    if tree is not None:
        _walk(tree, out)
    lines = (re.sub(r"[ \t\r\f\v\u00a0]+", " ", line).strip(" |") for line in "".join(out).split("\n"))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def html_text(html: str) -> str:
    """All visible text of an HTML body."""
    html = _framed(html)
    tree = _tree(html)
    return visible_text(tree) if tree is not None else _strip(html)


def _framed(html: str) -> str:
    """Without NUL and XML declaration; a fragment gets the frame of a page."""
    html = re.sub(r"^\s*<\?xml[^>]*\?>", "", html.replace("\x00", ""))
    return html if re.search(r"<(?:html|body)[\s>]", html, re.I) else f"<html><body>{html}</body></html>"


def _tree(html: str) -> Any:
    from lxml import etree
    from lxml import html as pages

    try:
        return pages.document_fromstring(
            html.encode("utf-8", "replace"),
            parser=pages.HTMLParser(encoding="utf-8", no_network=True, remove_comments=True, remove_pis=True),
        )
    except (etree.LxmlError, ValueError, AssertionError):
        return None


def _walk(element: Any, out: list[str]) -> None:
    """Depth first without recursion: broken pages nest tags thousands deep."""
    stack: list[tuple[Any, bool]] = [(element, False)]
    while stack:
        node, leaving = stack.pop()
        tag = node.tag if isinstance(node.tag, str) else ""
        block = tag in _BLOCKS
        if leaving:
            out.append("\n" if block else " | " if tag in ("td", "th") else "")
            out.append(_spaces(node.tail) if node is not element else "")
            continue
        if tag in _UNSEEN or not tag:
            out.append(_spaces(node.tail) if node is not element else "")
            continue
        out.append("\n" if block or tag == "br" else "")
        out.append((node.text or "") if tag == "pre" else _spaces(node.text))
        stack.append((node, True))
        stack.extend((child, False) for child in reversed(node))


def _spaces(text: str | None) -> str:
    return re.sub(r"\s+", " ", text) if text else ""


def _strip(html: str) -> str:
    """Last resort for what lxml refuses: tags cut out."""
    import html as entities

    html = re.sub(r"(?is)<(script|style)\b.*?</\1>", " ", html)
    return entities.unescape(re.sub(r"<[^>]*>", " ", html))
