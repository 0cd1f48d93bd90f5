"""Characters of XML elements in one line, as all readers of XML write them: formulas are TeX, raised and lowered digits Unicode's."""

from __future__ import annotations

import re
from typing import Any

from extractors.scripts import LOWERED, RAISED, script
from extractors.xml.families import Family
from extractors.xml.mathml import formula

FORMULAS = ("inline-formula", "disp-formula", "math", "tex-math", "alternatives", "informalequation", "inlineequation")


def local(element: Any) -> str:
    """Its name without its namespace; '' for comments and the like."""
    return element.tag.rsplit("}", 1)[-1] if isinstance(element.tag, str) else ""


def own_text(element: Any) -> bool:
    """Whether characters stand in it beside its children."""
    return bool((element.text or "").strip()) or any((child.tail or "").strip() for child in element)


def flat(element: Any, family: Family) -> str:
    """All characters inside, in one line."""
    return re.sub(r"[ \t\r\n\u00a0]+", " ", inline(element, family))


def inline(element: Any, family: Family) -> str:
    """Its characters as they stand within a sentence; '' when the family leaves it out."""
    name = local(element)
    if not name or name in family.skip:
        return ""
    if name in FORMULAS and (tex := formula(element)):
        return f"{tex} {label}" if (label := _labelled(element, family)) else tex
    if name in ("br", "lb", "eol", "break"):
        return "\n"
    text = (element.text or "") + "".join(inline(child, family) + (child.tail or "") for child in element)
    if name in ("xref", "eref") and family.name == "rfc" and not text.strip():
        return f"[{element.get('target', '')}]"
    if name in ("sup", "superscript"):
        return script(text, RAISED)
    if name in ("sub", "inf", "subscript"):
        return script(text, LOWERED)
    return text


def _labelled(element: Any, family: Family) -> str:
    """The number of a formula."""
    return next((flat(child, family).strip() for child in element if local(child) == "label"), "")
