"""The people of a paper and its references, as the same paper has them in print.

Names with their affiliations, without labels, identifiers and addresses; a reference is an item of a list: one that is written
out keeps its words, one that is only data (names, title, source, year, pages) is put together from them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from extractors.xml.families import Family
from extractors.xml.inline import flat, local, own_text


def people(group: Any, family: Family) -> Iterator[str]:
    """Names of a paper's authors, then their affiliations."""
    if any(e.get("contrib-type", "author") not in ("author", "collab") for e in group if local(e) == "contrib"):
        return
    yield ", ".join(person for e in group if local(e) == "contrib" and (person := _person(e, family)))
    around = group if any(local(e) == "aff" for e in group.iter()) else None
    yield "; ".join(
        dict.fromkeys(named for e in (around.iter() if around is not None else ()) if local(e) == "aff" and (named := place(e)))
    )


def _person(element: Any, family: Family) -> str:
    for inner in element.iter():
        if local(inner) in ("name", "string-name"):
            parts = {local(e): flat(e, family).strip() for e in inner}
            joined = " ".join(parts[k] for k in ("prefix", "given-names", "surname", "suffix") if parts.get(k))
            return joined or flat(inner, family).strip()
        if local(inner) == "collab":
            return flat(inner, family).strip()
    return ""


def place(affiliation: Any) -> str:
    """An affiliation: its parts, without label, identifiers and mail address."""
    parts, mixed = [affiliation.text or ""], own_text(affiliation)
    for child in affiliation:
        if local(child) not in ("label", "sup", "email"):
            inner = "".join(
                (e.text or "") + (e.tail or "") * (e is not child) for e in child.iter() if local(e) != "institution-id"
            ).strip()
            parts.append(f"{', ' * (not mixed and bool(inner) and any(p.strip() for p in parts))}{inner}")
        parts.append(child.tail or "")
    return re.sub(r"\s+", " ", "".join(parts)).strip(" ,;")


def reference(element: Any, family: Family) -> Iterator[str]:
    """A reference as an item of a list."""
    cited = [e for e in element if local(e) in ("mixed-citation", "element-citation", "citation", "nlm-citation")]
    texts = [_cited(e, family) for e in cited] or [
        f"[{element.get('anchor')}] {flat(element, family).strip()}" if element.get("anchor") else flat(element, family).strip()
    ]
    yield "\n".join(f"- {text}" for text in texts if text)


def _cited(element: Any, family: Family) -> str:
    everything = Family(family.name)  # volume and pages are part of it
    if own_text(element):
        separated = "".join(_spaced(element))
        return re.sub(r"\s+", " ", separated).strip()
    people = [
        " ".join(flat(part, everything).strip() for part in e) if local(e) == "name" else flat(e, everything).strip()
        for e in element.iter()
        if local(e) in ("name", "collab", "string-name")
    ]
    found = {local(e): flat(e, everything).strip() for e in element.iter() if not len(e) or local(e).endswith(("title", "source"))}
    pages = "–".join(found[k] for k in ("fpage", "lpage") if found.get(k))
    where = " ".join(filter(None, (found.get("source", ""), ":".join(filter(None, (found.get("volume", ""), pages))))))
    year = f" ({found['year']})" if found.get("year") else ""
    title = found.get("article-title") or found.get("chapter-title") or found.get("data-title") or ""
    marks = [f"{e.get('pub-id-type', '').upper()}: {flat(e, everything).strip()}" for e in element.iter() if local(e) == "pub-id"]
    text = ". ".join(filter(None, (", ".join(people), title, f"{where}{year}".strip())))
    return f"{text}. {', '.join(marks)}" if marks else text


def _spaced(element: Any) -> Iterator[str]:
    """Characters in which the parts of a name do not run together."""
    yield element.text or ""
    last = None
    for child in element:
        if last is not None and not (last.tail or "") and local(element) in ("name", "string-name", "person-group"):
            yield " "
        yield from _spaced(child)
        yield child.tail or ""
        last = child
