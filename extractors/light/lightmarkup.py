"""Which light markup a text is written in: each family has marks of its own, and the one with most of them wins.

A mark counts more the less it occurs in other texts, and more than five of one kind count as five. What all families share
(lists, emphasis) counts for Markdown alone, where reading a text by mistake does no harm. Subtitles are told by their cues.
"""

from __future__ import annotations

import re

SAMPLE = 12_288  # characters looked at
_ENOUGH = 2.0  # marks below this are plain text
_MOST = 5


def _marks(*marks: tuple[float, str]) -> tuple[tuple[float, re.Pattern[str]], ...]:
    return tuple((weight, re.compile(pattern, re.M)) for weight, pattern in marks)


_FAMILIES = {
    "markdown": _marks(
        (2, r"\A---[ \t]*\n(?:[\w-]+:.*\n|[ \t].*\n|- .*\n|\n|#.*\n){1,60}?---[ \t]*$"),  # front matter
        (1, r"^#{1,6} \S"),
        (1, r"^(?:```|~~~)"),
        (1, r"\]\((?:\w|/|#|\.)[^)\n]*\)"),
        (1, r"^!?\[[^\]\n]+\]: \S"),
        (1, r"^\|?(?: *:?-{3,}:? *\|)+(?: *:?-{3,}:? *)?$"),
        (1, r"^\|.+\|[ \t]*$"),
    ),
    "rst": _marks(
        (2, r"^[ \t]*\.\. [\w:-]+::(?:[ \t]|$)"),  # a directive
        (2, r"^\.\. (?:_[^:\n]+:|\[[#\w*]+\] |\|[^|\n]+\| )"),  # a target, a note, a substitution
        (2, r":[a-z]+(?::[a-z]+)?:`[^`\n]+`"),  # a role
        (2, r"[*`]\\ \S"),  # marked letters within a word
        (1.5, r"`[^`\n]+`__?(?!\w)"),  # a reference
        (2, r"^={3,}(?: +={3,})+[ \t]*$"),
        (2, r"^\+(?:[-=]{3,}\+)+[ \t]*$"),  # a table's lines
        (2, r"^\S[^\n]*\n([~^\"'*+#.`:])\1{3,}[ \t]*$"),  # an underlined title Markdown does not have
        (1, r"^\S[^\n]*::[ \t]*\n\n[ \t]+\S"),  # a literal block
    ),
    "asciidoc": _marks(
        (3, r"^={1,6} \S[^=\n]*$"),
        (2, r"^\[\[[\w.:-]+(?:,[^\]\n]*)?\]\]$"),
        (2, r"^\[[\w#.,=\"'% <>^|-]*(?:source|cols|quote|role|id|options|[%#.])[\w#.,=\"'{}% <>^|;-]*\]$"),
        (2, r"^(?:image|include|video|toc|ifdef|ifndef|endif)::\S*\[.*\]"),
        (2, r"(?<![\w:])(?:link|xref|footnote|kbd|btn|menu|image|anchor):[^\s\[:]*\["),
        (2, r"https?://[^\s\[\]()<>\"`]+\[[^\]\n]*\]"),
        (1.5, r"<<[\w-]+(?:,[^<>\n]*)?>>"),
        (2, r"^\|={3,}[ \t]*$"),
        (1, r"^(?:-{4}|={4}|\*{4}|_{4}|\.{4}|\+{4}|/{4})$"),
        (1, r"^:!?[\w-]+!?:(?: .*)?$"),
        (1, r"^\.[A-Z]\w.*$"),
        (1, r"^(?:\.{1,5}|\*{2,5}) \S"),
        (1, r"^(?:NOTE|TIP|WARNING|IMPORTANT|CAUTION): "),
        (1, r"^\+$"),
    ),
    "latex": _marks(
        (9, r"^[^%\n]*\\documentclass\b"),
        (5, r"^[^%\n]*\\begin\{document\}"),
        (2, r"^[^%\n]*\\(?:usepackage|newcommand|renewcommand|maketitle|bibliography|bibliographystyle|tableofcontents|input|include)\b"),
        (2, r"^[^%\n`]*\\(?:part|chapter|(?:sub){0,2}section|paragraph)\*?\{"),
        (1, r"^[^%\n$`]*\\begin\{(?:abstract|itemize|enumerate|description|table|tabular|figure|quote|center|theorem|proof)\*?\}"),
        (1, r"^[^%\n`]*\\(?:cite[pt]?|ref|eqref|label|caption|footnote|textbf|textit|emph)\{"),
        (1, r"^[ \t]*\\item\b"),
        (0.5, r"^[^%\n$`]*\\begin\{(?:equation|align|eqnarray|gather)\*?\}"),
    ),
}
_UNDERLINED = re.compile(r"^(?![ \t=\-])([^\n]{3,})\n(={3,}|-{3,})[ \t]*$", re.M)
_PATH = re.compile(r"\\[A-Za-z]")  # a backslash that reStructuredText would take away
_LIST = re.compile(r"^[-*+] \S", re.M)
_CUE = re.compile(r"^(?:\d{1,3}:)?\d\d:\d\d[.,]\d{3} --> (?:\d{1,3}:)?\d\d:\d\d[.,]\d{3}", re.M)


def light_markup(text: str) -> str:
    """markdown, rst, asciidoc, latex, subtitles, or text where none of them shows."""
    sample = text[:SAMPLE].replace("\r\n", "\n")
    if sample.startswith("WEBVTT") or len(_CUE.findall(sample[:4096])) >= 2:
        return "subtitles"
    points = {family: sum(_points(sample, *mark) for mark in marks) for family, marks in _FAMILIES.items() if _may_be(family, sample)}
    titles = [len(title.rstrip()) == len(line) for title, line in _UNDERLINED.findall(sample)]
    if points["rst"] or points["markdown"] < _ENOUGH:  # reStructuredText wants its underlines as long as the title
        opens = _UNDERLINED.match(sample) is not None and not _PATH.search(sample)
        points["rst"] += 1.5 * min(_MOST, sum(titles) + (opens and titles[0]))
    points["markdown"] += min(_MOST, len(titles))
    family = max(points, key=lambda name: points[name])
    if points[family] >= (_ENOUGH if family == "markdown" else 1.5 * _ENOUGH):
        return family
    return "markdown" if points["markdown"] + _points(sample, 1, _LIST) >= _ENOUGH else "text"


def _points(sample: str, weight: float, mark: re.Pattern[str]) -> float:
    return weight * sum(1 for _ in zip(range(_MOST), mark.finditer(sample), strict=False))


def _may_be(family: str, sample: str) -> bool:
    """A cheap test first: without these signs there are no marks of the family."""
    return family != "latex" or "\\" in sample
