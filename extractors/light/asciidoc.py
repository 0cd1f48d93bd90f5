"""AsciiDoc to Markdown, line by line. Own reader: the language is one of lines, and Docling's puts heads before their text.

Heads, lists (nested, numbered, described), tables, listings, quotes, captions and inline marks are read; attributes set in the
file are put in their places. Includes are not followed and said so; conditions are taken as met; comments and index terms are
left out.
"""

from __future__ import annotations

import re

from extractors.decode import decode
from extractors.extract import ExtractConfig
from extractors.light.plain import or_as_written
from extractors.result import Extracted, markdown_table, one_line

_HEAD = re.compile(r"^(={1,6}|#{1,6})[ \t]+(\S.*?)(?:[ \t]+\1)?$")
_ATTRIBUTE = re.compile(r"^:(!?[\w-]+!?):(?:[ \t]+(.*))?$")
_FENCE = re.compile(r"^(?:(-{4,}|={4,}|\*{4,}|_{4,}|\.{4,}|\+{4,}|/{4,})|(--)|(```+)\w*)$")
_TABLE = re.compile(r"^[|,:!]={3,}$")
_BLOCK = re.compile(r"^\[(?:\[[^\]]*\]|[^\]\[]*(?:\[[^\]]*\][^\]\[]*)*)\]$")
_MACRO = re.compile(r"^(\w+)::(\S*)\[(.*)\]$")
_ITEM = re.compile(r"^[ \t]*(\*{1,5}|-|\.{1,5}|\d+\.|[a-zA-Z]\.|<\d+>|<\.>)[ \t]+(\S.*)$")
_TERM = re.compile(r"^[ \t]*(\S.*?)(:{2,4}|;;)(?:[ \t]+(.*))?$")
_CELL = re.compile(r"(?:(\d+)\*|(?:(\d+)?(?:\.(\d+))?\+))?(?:[<^>](?:\.[<^>])?|\.[<^>])?([adehlmsv])?$")
_RULE = re.compile(r"^(?:'{3,}|<{3,}|-{3}|\*{3})$")
_VERBATIM, _LITERAL = "-.+`", "$$"
_INLINE: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (
            r"\(\(\([^()]*+(?:\([^()]*+\)[^()]*+)*+\)\)\)|indexterm:\[[^\]\[]*+\]|\[\[[\w.:-]++(?:,[^\]\[]*+)?+\]\]|anchor:[\w.-]++\[[^\]\[]*+\]",
            "",
        ),
        (r"\(\(([^()]++)\)\)|indexterm2:\[([^\]\[]*+)\]", r"\1\2"),
        (r"<<[^<>,]++,\s*+([^<>]++)>>", r"\1"),
        (r"<<([^<>,]++)>>", r"\1"),
        (r"footnote(?:ref)?:[\w.-]*+\[(?:[\w.-]++,)?+([^\]\[]*+)\]", r" (\1)"),
        (r"(?:image|icon):(?!:)[^\s\[]++\[(?:\"([^\"\[]*+)\"|([^\],\"\[]*+))[^\]\[]*+\]", r"\1\2"),
        (r"menu:([^\[\n:]++)\[([^\]\[]*+)\]", r"\1 > \2"),
        (r"(?:kbd|btn|stem|asciimath|latexmath|pass):\w*+\[([^\]\[]*+)\]", r"\1"),
        (r"(?:xref|link|mailto):[^\s\[]++\[\"?+([^\],\"\[]++)[^\]\[]*+\]", r"\1"),
        (r"(?:xref|link|mailto):([^\s\[]++)\[\]", r"\1"),
        (r"\b((?:https?|ftp)://[^\s\[\]<>]++)\[\"?+([^\],\"^\[]++)[^\]\[]*+\]", r"[\2](\1)"),
        (r"\b((?:https?|ftp)://[^\s\[\]<>]++)\[\]", r"\1"),
        (r"\[[.#%][\w.#%-]+\]#([^#\n]+)#|(?<!\w)##([^#\n]+)##", r"\1\2"),
        (r"\"`(.+?)`\"", r"“\1”"),
        (r"'`(.+?)`'", r"‘\1’"),
        (r"(?<!`)``([^`\n]+?)''", r"“\1”"),
        (r"(?<![\w`])`\+?([^`\n]+?)\+?`(?![\w`])|``\+?([^`\n]+?)\+?``", r"`\1\2`"),
        (r"(?<![\w*])\*(?=\S)([^*\n]+?)(?<=\S)\*(?![\w*])", r"**\1**"),
        (r"(?<![\w_])_(?=\S)([^_\n]+?)(?<=\S)_(?![\w_])", r"*\1*"),
        (r"(?<!\w)\+(?=\S)([^+\n]+?)(?<=\S)\+(?!\w)|\+\+\+?([^+\n]+?)\+\+\+?", r"\1\2"),
        (r" \+$", ""),
    )
)


@or_as_written
def read(data: bytes, kind: str, config: ExtractConfig) -> Extracted:
    """The document as Markdown, and its title."""
    source, encoding = decode(data)
    reader = _Reader(source)
    text = "\n\n".join(reader.blocks(reader.lines))
    warnings = ["inclusion_left_out"] if reader.included else []
    return Extracted(text, "asciidoc", reader.title, metadata=reader.metadata, warnings=warnings, encoding=encoding)


class _Reader:
    """A document's state while its lines are read: attributes, title, whether something was to be included."""

    def __init__(self, source: str) -> None:
        self.lines = [line.rstrip() for line in source.expandtabs(4).splitlines()]
        self.attributes: dict[str, str] = {"nbsp": "\u00a0", "amp": "&", "lt": "<", "gt": ">", "empty": "", "sp": " ", "plus": "+"}
        self.title, self.included = "", False
        self.metadata: dict[str, str] = {}

    def blocks(self, lines: list[str], depth: int = 0) -> list[str]:
        """Markdown blocks of these lines."""
        out: list[str] = []
        at, style = 0, ""
        while at < len(lines):
            line = lines[at]
            if not line.strip() or _RULE.match(line) or (line.startswith("//") and not line.startswith("////")):
                at += 1
                continue
            if fence := _FENCE.match(line):
                end = next((i for i in range(at + 1, len(lines)) if lines[i] == fence[0][:3].rstrip() or lines[i] == line), len(lines))
                out += self._fenced(lines[at + 1 : end], line[0] if fence[2] is None else "open", style, depth)
                at, style = end + 1, ""
            elif _TABLE.match(line):
                end = next((i for i in range(at + 1, len(lines)) if lines[i] == line), len(lines))
                out.append(self._table(lines[at + 1 : end], style))
                at, style = end + 1, ""
            elif _BLOCK.match(line) and not _MACRO.match(line):
                style, at = line, at + 1
            elif attribute := _ATTRIBUTE.match(line):
                self._set(attribute[1], attribute[2] or "")
                at += 1
            elif macro := _MACRO.match(line):
                out += self._macro(macro[1], macro[3])
                at += 1
            elif head := _HEAD.match(line):
                text = self.inline(head[2])
                out.append(f"{head[1].replace('=', '#')} {text}")
                at, style = at + 1, ""
                if len(head[1]) == 1 and not self.title:
                    self.title = one_line(text)
                    at = self._byline(lines, at)
                self.title = self.title or one_line(text)
            elif line[0] == "." and len(line) > 1 and line[1] not in ". ":
                out.append(self.inline(line[1:]))
                at += 1
            elif _ITEM.match(line) or (_TERM.match(line) and "::" in line):
                at = self._list(lines, at, out, depth)
                style = ""
            elif line[0] == "|" and line.count("|") > 1:
                end = self._until(lines, at, lambda text: not text.startswith("|"))
                out.append(self._table(lines[at:end], "rows"))
                at = end
            else:
                end = self._until(lines, at, self._ends)
                if line[0] == " " or "source" in style or "listing" in style:
                    out.append("\n".join(["```", *_dedented(lines[at:end]), "```"]))
                else:
                    out.append("\n".join(self.inline(text) for text in lines[at:end] if not text.startswith("//")))
                at, style = end, ""
        return [block for block in out if block.strip()]

    def _until(self, lines: list[str], at: int, ends: object) -> int:
        return next((i for i in range(at + 1, len(lines)) if ends(lines[i])), len(lines))  # type: ignore[operator]

    def _ends(self, line: str) -> bool:
        """A line that ends a paragraph."""
        return not line.strip() or line == "+" or bool(_FENCE.match(line) or _TABLE.match(line) or _BLOCK.match(line))

    def _fenced(self, lines: list[str], sign: str, style: str, depth: int) -> list[str]:
        if sign == "/":
            return []
        if sign in _VERBATIM or "source" in style or "listing" in style or "verse" in style:
            if "stem" in style or "latexmath" in style:
                return ["$$" + "\n".join(lines) + "$$"]
            return ["\n".join(["```", *lines, "```"])]
        return self.blocks(lines, depth) if depth < 20 else ["\n".join(lines)]

    def _set(self, name: str, value: str) -> None:
        self.attributes[name.strip("!")] = "" if "!" in name else self._resolved(value)
        if name in ("revdate", "date", "docdate") and value:
            self.metadata.setdefault("date", one_line(value))
        if name in ("license", "licence", "url") and value:
            self.metadata.setdefault(name.replace("license", "licence"), one_line(value))

    def _byline(self, lines: list[str], at: int) -> int:
        """After the title: an author line and a revision line, which are data about the document."""
        if at < len(lines) and re.match(r"^[\w. '-]{2,60}(?:<[^<>\s]+>)", lines[at]):
            at += 1
            if at < len(lines) and (match := re.match(r"^(?:v[\d.]+,?\s*)?(\d{4}-\d\d-\d\d)?", lines[at])) and match[0]:
                if match[1]:
                    self.metadata.setdefault("date", match[1])
                at += 1
        return at

    def _macro(self, name: str, inside: str) -> list[str]:
        if name == "include":
            self.included = True
        if name in ("image", "video", "audio"):
            return [self.inline(_first_value(inside))]
        return [self.inline(inside)] if name in ("ifdef", "ifndef") and inside else []

    def _list(self, lines: list[str], at: int, out: list[str], depth: int) -> int:
        """The list that begins at this line, appended; where it ends. Markers say the level, by the order they turn up in."""
        levels: list[str] = []
        numbers: list[int] = []
        items: list[str] = []
        while at < len(lines):
            line = lines[at]
            item, term = _ITEM.match(line), _TERM.match(line) if "::" in line or ";;" in line else None
            if not (item or term):
                if not line.strip() and at + 1 < len(lines) and (_ITEM.match(lines[at + 1]) or _continues(lines[at + 1])):
                    at += 1
                    continue
                break
            if item is None and term is not None:
                marker, text = term[2], f"**{self.inline(term[1])}**" + (f": {self.inline(term[3])}" if term[3] else "")
            else:
                assert item is not None
                marker, text = re.sub(r"\d+\.", "1.", item[1]), self.inline(item[2])
            indent = len(line) - len(line.lstrip())
            marker = f"{marker}{indent}" if indent else marker
            if marker in levels:
                del levels[levels.index(marker) + 1 :], numbers[levels.index(marker) + 1 :]
            else:
                levels.append(marker)
                numbers.append(0)
            numbers[-1] += 1
            sign = f"{'    ' * (len(levels) - 1)}{f'{numbers[-1]}. ' if marker[0] in '.1<' else '- '}"
            at += 1
            body = [text]
            while at < len(lines) and lines[at].strip() and lines[at] != "+" and not _ITEM.match(lines[at]) and not self._ends(lines[at]):
                if _TERM.match(lines[at]) and "::" in lines[at]:
                    break
                body.append(self.inline(lines[at].strip()))
                at += 1
            items.append(sign + "\n".join(body))
            while at < len(lines) and lines[at] == "+":  # blocks that belong to the item
                end = self._attached(lines, at + 1)
                more = self.blocks(lines[at + 1 : end], depth + 1) if depth < 20 else []
                pad = " " * (len(sign))
                items += [re.sub(r"(?m)^(?=.)", pad, block) for block in more]
                at = end
        out.append("\n".join(items))
        return at

    def _attached(self, lines: list[str], at: int) -> int:
        while at < len(lines) and _BLOCK.match(lines[at]):
            at += 1
        if at < len(lines) and (_FENCE.match(lines[at]) or _TABLE.match(lines[at])):
            return min(next((i for i in range(at + 1, len(lines)) if lines[i] == lines[at]), len(lines)) + 1, len(lines))
        return self._until(lines, at, lambda line: not line.strip() or line == "+")

    def _table(self, lines: list[str], style: str) -> str:
        """Cells are told by `|`; how many make a row, by `cols`, else by the first line that has any."""
        cells: list[str] = []
        rows: list[list[str]] = []
        width = _width(style)
        waiting, loose = "", style != "rows"
        for line in lines:
            if not line.strip() or line.startswith("//"):
                continue
            pieces = re.split(r"(?<!\\)\|", line)
            if style == "rows" and not pieces[-1].strip():
                pieces.pop()
            head, waiting = _specified(pieces[0]) if len(pieces) > 1 else (pieces[0], "")
            if cells and head.strip():
                cells[-1] += " " + head
            fresh: list[str] = []
            for number, piece in enumerate(pieces[1:], 1):
                text, following = _specified(piece) if number < len(pieces) - 1 else (piece, "")
                match = _CELL.match(waiting)
                repeat, across = (int(match[1] or 1), int(match[2] or 1)) if match else (1, 1)
                fresh += [text] * min(repeat, 100) + [""] * min(across - 1, 100)
                waiting = following
            if not width and fresh:
                width = len(fresh)
            cells += fresh
            if not loose:
                rows.append(cells)
                cells = []
        if loose and width:
            rows = [cells[i : i + width] for i in range(0, len(cells), width)]
        return markdown_table([[self.inline(cell.strip()) for cell in row] for row in rows])

    def inline(self, text: str) -> str:
        """A line with its inline marks in Markdown."""
        text = self._resolved(text)
        for pattern, replacement in _INLINE:
            text = pattern.sub(replacement, text)
        return text.strip()

    def _resolved(self, text: str) -> str:
        return re.sub(r"\{([\w-]+)\}", lambda m: self.attributes.get(m[1], m[0]), text) if "{" in text else text


def _first_value(inside: str) -> str:
    """The alternative text of an image: its first value, unless that is a name=value pair."""
    first = inside.split(",", 1)[0].strip(" \"'") if not inside.startswith('"') else inside[1:].split('"', 1)[0]
    return "" if re.match(r"^\w+=", first) else first


def _specified(piece: str) -> tuple[str, str]:
    """Text of a cell, and the specifier of the next one that stands at its end."""
    head, space, last = piece.rpartition(" ")
    if last and _CELL.match(last) and (space or not head) and (len(last) > 1 or last in "<^>"):
        return head, last
    return piece, ""


def _width(style: str) -> int:
    """Columns a block attribute line declares, 0 when it does not."""
    match = re.search(r"cols\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^,\]]+))", style)
    if not match:
        return 0
    declared = next(group for group in match.groups() if group is not None)
    return sum(int(m[1]) if (m := re.match(r"\s*(\d+)\*", part)) else 1 for part in re.split(r"[,;]", declared))


def _continues(line: str) -> bool:
    return bool(_TERM.match(line)) and "::" in line


def _dedented(lines: list[str]) -> list[str]:
    import textwrap

    return textwrap.dedent("\n".join(lines)).splitlines()
