"""Slides: what stands on each in the package's XML, to compare with Docling's text, and the SmartArt that Docling does not read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from extractors.office import package

_A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_P = "{http://schemas.openxmlformats.org/presentationml/2006/main}"
_DIAGRAM = "{http://schemas.openxmlformats.org/drawingml/2006/diagram}"
_FOLDED = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
_RUNNING = ("sldNum", "ftr", "dt", "hdr")
_LINKS = ("transitions", "parTrans", "sibTrans", "pres")


@dataclass
class Slide:
    """A slide's paragraphs, those of its diagrams, and whether it is shown."""

    paragraphs: list[str]
    diagrams: list[str]
    hidden: bool


def slides(data: bytes, names: list[str]) -> list[Slide]:
    """The slides in their order."""
    main = package.part(data, "ppt/presentation.xml")
    targets = package.related(data, "ppt/presentation.xml", "slide")
    paths = [
        targets.get(next((v for k, v in e.attrib.items() if k.endswith("}id")), ""), "")
        for e in (main.iter(f"{_P}sldId") if main is not None else ())
    ]
    if not paths:  # the part that lists them is damaged
        paths = sorted((n for n in names if re.fullmatch(r"ppt/slides/[^/]+\.xml", n)), key=lambda n: (len(n), n))
    return [_slide(data, path) for path in paths if path in names]


def _slide(data: bytes, path: str) -> Slide:
    root = package.part(data, path)
    if root is None:
        return Slide([], [], False)
    texts = [
        "".join(t.text or " " for t in p.iter(f"{_A}t", f"{_A}br"))
        for p in root.iter(f"{_A}p")
        if not any(True for _ in p.iterancestors(_FOLDED)) and not _running(p)
    ]
    drawn = [line for target in package.related(data, path, "diagramData").values() for line in points(package.part(data, target))]
    return Slide([t for t in texts if t.strip()], drawn, root.get("show") in ("0", "false"))


def points(diagram: Any) -> list[str]:
    """Texts of a SmartArt diagram, in the order of its points."""
    found = []
    for point in diagram.iter(f"{_DIAGRAM}pt") if diagram is not None else ():
        if point.get("type", "node") not in _LINKS:
            text = re.sub(r"\s+", " ", " ".join("".join(t.text or "" for t in p.iter(f"{_A}t")) for p in point.iter(f"{_A}p"))).strip()
            if text:
                found.append(text)
    return found


def _running(paragraph: Any) -> bool:
    """In a date, footer or slide number."""
    for shape in paragraph.iterancestors(f"{_P}sp"):
        place = shape.find(f"{_P}nvSpPr/{_P}nvPr/{_P}ph")
        if (place is not None and place.get("type") in _RUNNING) or shape.find(f"{_P}nvSpPr/{_P}cNvPr[@hidden='1']") is not None:
            return True
    return False
