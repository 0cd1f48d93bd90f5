"""What Word shows, written into the XML of a .docx before Docling reads it.

Docling reads the structure of a Word file well, but some of what stands on the page is not in its text. So a copy of the
package is made in which

- changes are accepted: deleted and moved-away text is gone, inserted and moved-in text stays;
- labels of automatic numbering that Markdown has no list for (`Art. 1`, `1.1`, `a)`, `Capo I`), those of headings and those in
  table cells stand in the text (see numbering.py); lists of `1.` and bullets are left to Docling;
- foot- and endnotes stand at the end as Markdown's notes, `[^1]: …`, and `[^1]` where they are called;
- raised and lowered digits are Unicode's (`m²`, `H₂O`), other raised text is joined to its word;
- the texts of SmartArt are paragraphs after it;
- comments in the XML are gone (Docling stumbles on them), and so are the pixels of pictures: nothing here looks at them.

Headers and footers, comments and hidden text are left out. The paragraphs come back too, to compare.
"""

from __future__ import annotations

import re
from typing import Any

from extractors.office import package, presentation
from extractors.office.numbering import Numbering, W
from extractors.scripts import LOWERED, RAISED, script

_MARKUP = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"
_DIAGRAM = "{http://schemas.openxmlformats.org/drawingml/2006/diagram}"
_PLAIN = re.compile(r"(%\d\.)+")
_GONE = ("del", "moveFrom", "delText", "delInstrText")
_KEPT = ("ins", "moveTo")
_UNSEEN = ("separate", "separator", "continuationSeparator", "continuationNotice")


def plain(data: bytes) -> tuple[bytes, list[str]]:
    """The package with everything in its text, and its paragraphs. As it is, without paragraphs, where it cannot be opened."""
    path = next(iter(package.related(data, "", "officeDocument").values()), "word/document.xml")
    document = package.part(data, path)
    if document is None or not document.tag.startswith(W):  # the strict variant of the format has other names
        return data, []
    styles, numbering = (next(iter(parts(data, path, kind)), None) for kind in ("styles", "numbering"))
    _accept(document)
    _notes(document, [(kind, root) for kind in ("footnote", "endnote") for root in parts(data, path, f"{kind}s")])
    _diagrams(document, data, path)
    _scripts(document)
    _numbers(document, Numbering(numbering, styles), _headings(styles))
    return package.copy(data, {path: package.xml(document)}, leave="word/media/."), _paragraphs(document)


def parts(data: bytes, path: str, kind: str) -> list[Any]:
    """Roots of the parts that a part names so."""
    found = (package.part(data, target) for target in package.related(data, path, kind).values())
    return [root for root in found if root is not None]


def _accept(document: Any) -> None:
    """Changes accepted."""
    for name in _GONE:
        for element in list(document.iter(f"{W}{name}")):
            if element.getparent() is not None and element.getparent().tag not in (f"{W}rPr", f"{W}trPr"):
                _remove(element)
    for row in [m.getparent().getparent() for m in document.iter(f"{W}del") if m.getparent().tag == f"{W}trPr"]:
        if row.getparent() is not None:
            row.getparent().remove(row)
    for name in _KEPT:
        for element in list(document.iter(f"{W}{name}")):
            parent = element.getparent()
            if parent.tag not in (f"{W}rPr", f"{W}trPr"):
                at = parent.index(element)
                parent[at : at + 1] = list(element)


def _remove(element: Any) -> None:
    element.getparent().remove(element)


def _notes(document: Any, parts: list[tuple[str, Any]]) -> None:
    """Notes to the end of the body, their marks where they are called."""
    body = document.find(f"{W}body")
    if body is None:
        return
    number = 0
    for kind, part in parts:
        notes = {note.get(f"{W}id"): note for note in part.iter(f"{W}{kind}") if note.get(f"{W}type") not in _UNSEEN}
        for call in list(document.iter(f"{W}{kind}Reference")):
            note = notes.pop(call.get(f"{W}id"), None)
            if note is None:
                continue
            number += 1
            _text_for(call, f"[^{number}]")
            _accept(note)
            marked = False
            for paragraph in list(note.iter(f"{W}p")):
                for own in list(paragraph.iter(f"{W}{kind}Ref")):
                    _remove(own)
                for styled in paragraph.findall(f"{W}pPr"):
                    paragraph.remove(styled)
                if not marked:
                    first = next((t for t in paragraph.iter(f"{W}t") if t.text), None)
                    if first is not None:
                        first.text = first.text.lstrip()
                    paragraph.insert(0, _run(document, f"[^{number}]: "))
                    marked = True
                end = body.find(f"{W}sectPr")
                body.insert(len(body) if end is None else body.index(end), paragraph)


def _run(document: Any, text: str) -> Any:
    run = document.makeelement(f"{W}r")
    inner = document.makeelement(f"{W}t")
    inner.text = text
    inner.set("{http://www.w3.org/XML/1998/namespace}space", "preserve")
    run.append(inner)
    return run


def _text_for(call: Any, text: str) -> None:
    """A note's call becomes text, no longer raised."""
    run = call.getparent()
    for properties in run.findall(f"{W}rPr"):
        run.remove(properties)
    call.tag = f"{W}t"
    call.attrib.clear()
    call.text = text


def _scripts(document: Any) -> None:
    """Raised and lowered characters as Unicode has them; where it has none, text of the line."""
    for raised in list(document.iter(f"{W}vertAlign")):
        properties = raised.getparent()
        run = properties.getparent()
        table = {"superscript": RAISED, "subscript": LOWERED}.get(raised.get(f"{W}val"))
        if table is None or run is None or run.tag != f"{W}r":
            continue
        properties.remove(raised)
        for text in run.findall(f"{W}t"):
            text.text = script(text.text or "", table)


def _headings(styles: Any) -> set[str]:
    """Ids of styles that are headings."""
    if styles is None:
        return set()
    found = set()
    for style in styles.iter(f"{W}style"):
        name = style.find(f"{W}name")
        named = (name.get(f"{W}val") or "").lower() if name is not None else ""
        if named.startswith(("heading", "titolo", "title")) or style.find(f"{W}pPr/{W}outlineLvl") is not None:
            found.add(style.get(f"{W}styleId"))
    return found


def _numbers(document: Any, numbering: Numbering, headings: set[str]) -> None:
    """Labels into the text where Docling would leave them out or count otherwise."""
    numbered = []
    written: set[str] = set()  # lists with a level that Markdown's lists cannot say
    for paragraph in document.iter(f"{W}p"):
        if _folded(paragraph):
            continue
        label = numbering.label(paragraph)
        if not label:
            continue
        level, number, _ = numbering.place(paragraph) or (None, "", 0)
        if level is None:
            continue
        style = paragraph.find(f"{W}pPr/{W}pStyle")
        heading = style is not None and style.get(f"{W}val") in headings
        plain_label = level.format == "decimal" and bool(_PLAIN.fullmatch(level.text))
        if not plain_label and not heading:
            written.add(number)
        numbered.append((paragraph, label, level, number, heading))
    for paragraph, label, level, number, heading in numbered:
        exact = level.format == "decimal" and bool(re.fullmatch(r"%\d[.)]?(?:%\d[.)]?)*", level.text)) if heading else number not in written
        if not exact or _in_cell(paragraph):
            _label(document, paragraph, label + " " * level.blank)


def _label(document: Any, paragraph: Any, label: str) -> None:
    """The label as the paragraph's first run, its place in a list given up."""
    if not any((text.text or "").strip() for text in paragraph.iter(f"{W}t")):
        return
    properties = paragraph.find(f"{W}pPr")
    if properties is None:
        properties = document.makeelement(f"{W}pPr")
        paragraph.insert(0, properties)
    for own in properties.findall(f"{W}numPr"):
        properties.remove(own)
    none = document.makeelement(f"{W}numPr")
    number = document.makeelement(f"{W}numId")
    number.set(f"{W}val", "0")
    none.append(number)
    properties.append(none)
    paragraph.insert(paragraph.index(properties) + 1, _run(document, label))


def _in_cell(paragraph: Any) -> bool:
    return any(True for _ in paragraph.iterancestors(f"{W}tc"))


def _folded(element: Any) -> bool:
    """In the fallback of a drawing, which says the same again."""
    return any(True for _ in element.iterancestors(f"{_MARKUP}Fallback"))


def _paragraphs(document: Any) -> list[str]:
    """What a reader of the document sees."""
    found = []
    for paragraph in document.iter(f"{W}p"):
        if _folded(paragraph):
            continue
        parts = []
        for element in paragraph.iter(f"{W}t", f"{W}tab", f"{W}br", f"{W}noBreakHyphen"):
            owner = next(element.iterancestors(f"{W}p"), None)
            if owner is paragraph and element.getparent().find(f"{W}rPr/{W}vanish") is None:
                parts.append((element.text or "") if element.tag == f"{W}t" else "-" if element.tag.endswith("Hyphen") else " ")
        if text := "".join(parts).strip():
            found.append(text)
    return found


def _diagrams(document: Any, data: bytes, path: str) -> None:
    """Texts of SmartArt as paragraphs after the one that holds it."""
    targets = package.related(data, path, "diagramData")
    for ids in list(document.iter(f"{_DIAGRAM}relIds")) if targets else ():
        paragraph = next(ids.iterancestors(f"{W}p"), None)
        target = targets.get(next((v for k, v in ids.attrib.items() if k.endswith("}dm")), ""))
        if paragraph is None or target is None or _folded(ids):
            continue
        at = paragraph.getparent().index(paragraph)
        for line in reversed(presentation.points(package.part(data, target))):
            own = document.makeelement(f"{W}p")
            own.append(_run(document, line))
            paragraph.getparent().insert(at + 1, own)
