"""Formulas of XML as TeX: TeX that the file holds is taken as it is, presentation MathML is written in it.

Fractions, roots, indices, accents, fences and tables; other elements give their characters. Meant to be read, not typeset.
"""

from __future__ import annotations

import re
from typing import Any

_ACCENTS = {"¯": "bar", "‾": "bar", "^": "hat", "ˆ": "hat", "~": "tilde", "˜": "tilde", "→": "vec", "⃗": "vec", "˙": "dot", "¨": "ddot"}
_NAMED = {"sin", "cos", "tan", "log", "ln", "exp", "lim", "max", "min", "det", "sup", "inf"}


def formula(element: Any) -> str:
    """`$…$` of an inline-formula, disp-formula, alternatives or math element; '' when it holds neither TeX nor MathML."""
    for inner in element.iter():
        if _local(inner) == "tex-math":
            return _fenced("".join(inner.itertext()))
    for inner in element.iter():
        if _local(inner) == "math":
            text = re.sub(r"\s+", " ", _tex(inner)).strip()
            return f"${text}$" if text else ""
    return ""


def _fenced(tex: str) -> str:
    """TeX between dollars, the preamble of a whole document left out."""
    if found := re.search(r"\\begin\{document\}(.*?)\\end\{document\}", tex, re.S):
        tex = found[1]
    tex = re.sub(r"\s+", " ", tex).strip()
    return tex if tex.startswith("$") or not tex else f"${tex}$"


def _local(element: Any) -> str:
    return element.tag.rsplit("}", 1)[-1] if isinstance(element.tag, str) else ""


def _tex(element: Any) -> str:
    name, inner = _local(element), [_tex(child) for child in element if _local(child)]
    text = re.sub(r"\s+", " ", element.text or "").strip()
    if name == "mtext":
        return rf"\text{{{text}}}" if text else " "
    if name in ("mi", "mn", "mo"):
        return f"\\{text} " if text in _NAMED else f" {text} " if name == "mo" and text in "=<>≤≥≈+−-∈→" and text else text
    if name == "mfrac" and len(inner) == 2:
        return rf"\frac{{{inner[0]}}}{{{inner[1]}}}"
    if name == "msqrt":
        return rf"\sqrt{{{''.join(inner)}}}"
    if name == "mroot" and len(inner) == 2:
        return rf"\sqrt[{inner[1]}]{{{inner[0]}}}"
    if name in ("mover", "munder") and len(inner) == 2:
        accent = _ACCENTS.get(inner[1].strip()) if name == "mover" else None
        return rf"\{accent}{{{inner[0]}}}" if accent else f"{inner[0]}{'^' if name == 'mover' else '_'}{{{inner[1].strip()}}}"
    if name in ("msup", "msub") and len(inner) == 2:
        return f"{inner[0]}{'^' if name == 'msup' else '_'}{{{inner[1].strip()}}}"
    if name in ("msubsup", "munderover") and len(inner) == 3:
        return f"{inner[0]}_{{{inner[1].strip()}}}^{{{inner[2].strip()}}}"
    if name == "mfenced":
        return element.get("open", "(") + ",".join(inner) + element.get("close", ")")
    if name == "mtable":
        rows = r" \\ ".join(inner)
        return rf"\begin{{matrix}}{rows}\end{{matrix}}"
    if name in ("mtr", "mlabeledtr"):
        return " & ".join(inner)
    if name in ("annotation", "annotation-xml", "mphantom"):
        return ""
    return (text if name not in ("math", "mrow", "mstyle", "semantics") else "") + "".join(inner)
