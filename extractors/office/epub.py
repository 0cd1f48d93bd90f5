"""E-books prepared for Docling: the chapters of the spine, in its order.

The table of contents is left out where it is a document of the spine, since its lines are the headings that follow; links
inside the book become their text, the ones to other places stay. Chapters are decoded as they declare. A book with elements
nested more than DEEPEST deep is not for Docling, whose time grows with the square of the depth (20,000 levels: 164 s).
"""

from __future__ import annotations

import io
import posixpath
import re
import zipfile
from typing import Any
from urllib.parse import unquote

from extractors.decode import decode
from extractors.office import package
from extractors.xml.families import names

DEEPEST = 200
_TAG = re.compile(r"<(/?)([a-z][\w:.-]*)(?:[^<>]*[^<>/])?(/?)>", re.I)
_VOID = names("area base br col embed hr img input link meta param source track wbr")
_INNER = re.compile(r"(<a\b[^>]*?)\s(?:xlink:)?href\s*=\s*(?:\"(?!https?:|mailto:)[^\"]*\"|'(?!https?:|mailto:)[^']*')", re.I)
_CONTENTS = re.compile(r"epub:type\s*=\s*[\"'][^\"']*\btoc\b", re.I)


def plain(data: bytes) -> tuple[bytes | None, list[str]]:
    """The book as Docling should read it, None where it should not, and the text of its chapters."""
    from extractors.web.reader import html_text

    path = package.book(data)
    root = package.part(data, path)
    if root is None:
        return data, []
    folder = posixpath.dirname(path)
    items = {e.get("id"): e for e in root.iter() if package.local(e) == "item"}
    contents = {
        unquote(str(e.get("href") or "")).partition("#")[0]
        for e in root.iter()
        if package.local(e) == "reference" and e.get("type") == "toc"
    }
    changed, texts, deep = {}, [], False
    with zipfile.ZipFile(io.BytesIO(data)) as book:
        held = set(book.namelist())
        spine = [e for e in root.iter() if package.local(e) == "itemref"]
        for reference in spine:
            item = items.get(reference.get("idref"))
            href = unquote(str(item.get("href") or "")) if item is not None else ""
            name = posixpath.normpath(posixpath.join(folder, href))
            if item is None or name not in held:
                continue
            chapter = decode(book.read(name))[0]
            if len(spine) > 1 and _is_contents(item, href, chapter, contents):
                reference.getparent().remove(reference)
                continue
            changed[name] = _INNER.sub(r"\1", chapter).encode()
            texts.append(html_text(chapter))
            deep = deep or depth(chapter) > DEEPEST
    if deep:
        return None, texts
    changed[path] = package.xml(root)
    return package.copy(data, changed, leave=r".*\.(?:jpe?g|png|gif|svg|ttf|otf|woff2?|css|mp[34])$"), texts


def depth(html: str) -> int:
    """How many elements are open at once, as a parser counts them that closes none by itself."""
    most = level = 0
    for closing, name, empty in _TAG.findall(html):
        if closing:
            level = max(0, level - 1)
        elif not empty and name.lower() not in _VOID:
            level += 1
            most = max(most, level)
    return most


def _is_contents(item: Any, href: str, chapter: str, contents: set[str]) -> bool:
    return "nav" in str(item.get("properties") or "").split() or href in contents or bool(_CONTENTS.search(chapter[:3000]))
