"""The labels that Word numbers paragraphs with: `Art. 1`, `1.1`, `a)`, `Capo II`.

They stand nowhere in the text of a .docx: numbering.xml holds a template for each level of a list and the paragraphs, or their
styles, name a list and a level. Here they are counted as Word counts them: lists of one abstract definition go on from each
other unless one of them overrides its start, a level begins again after a higher one, `isLgl` turns all parts into digits.
Formats that are neither digits, letters nor Roman numerals nor ordinals are counted in digits.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_ROMAN = tuple(zip((1000, 900, 500, 400, 100, 90, 50, 40, 10, 9, 5, 4, 1), "m cm d cd c xc l xl x ix v iv i".split(), strict=True))
_UNNUMBERED = ("bullet", "none", "")


@dataclass
class Level:
    """One level of a list: `text` is the template, `%1` to `%9` stand for the counters."""

    start: int = 1
    format: str = "decimal"
    text: str = ""
    restart: int = -1  # level after which it begins again; -1 any higher one
    legal: bool = False
    style: str = ""
    blank: bool = True

    @property
    def numbered(self) -> bool:
        """Whether its label counts."""
        return self.format not in _UNNUMBERED and "%" in self.text


@dataclass
class _List:
    abstract: str
    levels: dict[int, Level]
    starts: dict[int, int] = field(default_factory=dict)  # startOverride, once


class Numbering:
    """Counters of one document. `label(paragraph)` is called once for each paragraph, in order."""

    def __init__(self, numbering: Any, styles: Any) -> None:
        self._lists = _lists(numbering, styles) if numbering is not None else {}
        self._styles = _styles(styles) if styles is not None else {}
        self._counters: dict[str, dict[int, int]] = {}

    def place(self, paragraph: Any) -> tuple[Level, str, int] | None:
        """Level, list and depth of a paragraph; None when it is in no list."""
        properties = paragraph.find(f"{W}pPr")
        style = _value(properties, "pStyle") if properties is not None else ""
        number, depth = _named(properties)
        by_style = self._of_style(style)
        if not number:
            number, depth = by_style[0], depth if depth is not None else by_style[1]
        listed = self._lists.get(number)
        if listed is None:
            return None
        if depth is None:
            depth = next((d for d, level in listed.levels.items() if style and level.style == style), 0)
        level = listed.levels.get(depth)
        return (level, number, depth) if level is not None else None

    def label(self, paragraph: Any) -> str:
        """What Word writes before the paragraph; '' for bullets and paragraphs in no list."""
        place = self.place(paragraph)
        if place is None:
            return ""
        level, number, depth = place
        listed = self._lists[number]
        counters = self._counters.setdefault(listed.abstract, {})
        if depth in listed.starts:
            counters[depth] = listed.starts.pop(depth)
        else:
            counters[depth] = counters.get(depth, level.start - 1) + 1
        for deeper in [d for d in counters if d > depth]:
            restart = listed.levels[deeper].restart if deeper in listed.levels else -1
            if restart == -1 or depth < restart:
                del counters[deeper]
        if not level.numbered:
            return ""
        text = level.text
        for other in range(9):
            if f"%{other + 1}" in text:
                its = listed.levels.get(other, Level())
                form = "decimal" if level.legal else its.format
                text = text.replace(f"%{other + 1}", _written(counters.setdefault(other, its.start), form))
        return text.strip()

    def _of_style(self, style: str) -> tuple[str, int | None]:
        """List and depth that a style or one it is based on gives."""
        number, depth = "", None
        for _ in range(20):
            properties, based = self._styles.get(style, (None, ""))
            its_number, its_depth = _named(properties)
            number, depth = number or its_number, depth if depth is not None else its_depth
            if number or not based:
                break
            style = based
        if number and depth is None and number in self._lists:
            depth = next((d for d, level in self._lists[number].levels.items() if level.style == style), None)
        return number, depth


def _named(properties: Any) -> tuple[str, int | None]:
    """numId and ilvl of paragraph properties."""
    if properties is None or (numbered := properties.find(f"{W}numPr")) is None:
        return "", None
    depth = _value(numbered, "ilvl")
    return _value(numbered, "numId"), int(depth) if depth.isdigit() else None


def _value(parent: Any, name: str) -> str:
    child = parent.find(f"{W}{name}")
    return str(child.get(f"{W}val") or "") if child is not None else ""


def _number(text: str, default: int) -> int:
    try:
        return int(text)
    except ValueError:
        return default


def _styles(styles: Any) -> dict[str, tuple[Any, str]]:
    return {s.get(f"{W}styleId"): (s.find(f"{W}pPr"), _value(s, "basedOn")) for s in styles.iter(f"{W}style")}


def _level(element: Any) -> Level:
    legal = element.find(f"{W}isLgl")
    return Level(
        _number(_value(element, "start"), 1),
        _value(element, "numFmt") or "decimal",
        _value(element, "lvlText"),
        _number(_value(element, "lvlRestart"), -1),
        legal is not None and legal.get(f"{W}val") not in ("0", "false"),
        _value(element, "pStyle"),
        _value(element, "suff") != "nothing",
    )


def _lists(numbering: Any, styles: Any) -> dict[str, _List]:
    abstracts = {a.get(f"{W}abstractNumId"): a for a in numbering.iter(f"{W}abstractNum")}
    by_style = {_value(a, "styleLink"): key for key, a in abstracts.items() if _value(a, "styleLink")}
    lists = {}
    for num in numbering.iter(f"{W}num"):
        key = _value(num, "abstractNumId")
        if key in abstracts:
            key = by_style.get(_value(abstracts[key], "numStyleLink"), key)
        if key not in abstracts:
            continue
        listed = _List(key, {_number(e.get(f"{W}ilvl"), 0): _level(e) for e in abstracts[key].iter(f"{W}lvl")})
        for override in num.iter(f"{W}lvlOverride"):
            depth = _number(override.get(f"{W}ilvl"), 0)
            if (own := override.find(f"{W}lvl")) is not None:
                listed.levels[depth] = _level(own)
            if (start := _value(override, "startOverride")).isdigit():
                listed.starts[depth] = int(start)
        lists[str(num.get(f"{W}numId"))] = listed
    return lists


def _written(count: int, form: str) -> str:
    """A counter in a numFmt."""
    if form in ("lowerLetter", "upperLetter") and count > 0:
        letters = chr(ord("a") + (count - 1) % 26) * ((count - 1) // 26 + 1)
        return letters if form == "lowerLetter" else letters.upper()
    if form in ("lowerRoman", "upperRoman") and 0 < count < 4000:
        roman = ""
        for value, numeral in _ROMAN:
            roman += numeral * (count // value)
            count %= value
        return roman if form == "lowerRoman" else roman.upper()
    if form == "decimalZero":
        return f"{count:02d}"
    if form == "ordinal":
        return f"{count}°"
    return str(count)
