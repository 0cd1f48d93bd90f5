"""reStructuredText to Markdown: docutils parses, the tree is written down here.

Only the parser runs: nothing is included, no transform fetches or generates anything, and raw HTML is reduced to its text.
Directives and roles that docutils does not know (Sphinx has many) keep their content. What docutils complains about stays in
the text as it was written; its messages do not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from docutils import nodes, utils
from docutils.frontend import get_default_settings
from docutils.parsers.rst import Directive, Parser, directives, roles

from extractors.decode import decode
from extractors.extract import ExtractConfig
from extractors.light.plain import or_as_written
from extractors.result import Extracted, markdown_table, one_line
from extractors.web.reader import html_text
from extractors.xml.families import names

_KEPT = {"date": "date", "created": "date", "data": "date", "url": "url", "license": "licence", "licence": "licence", "licenza": "licence"}
_INCLUDED = names("include literalinclude")
_STRUCTURE = names("toctree contents sectnum index meta highlight default-role currentmodule module default-domain tabularcolumns")
_CODE = names("code-block sourcecode prompt parsed-literal doctest testcode testoutput ipython")


@or_as_written
def read(data: bytes, kind: str, config: ExtractConfig) -> Extracted:
    """The document as Markdown; its title, and date, url and licence from a field list or header at its top."""
    source, encoding = decode(data)
    source, metadata = _header(source)
    document, included = _parsed(source)
    metadata |= _front(document)
    title = metadata.pop("title", "")
    text = f"# {title}\n\n" if title else ""
    title = title or next((one_line(node.astext()) for node in document.findall(nodes.title)), "")
    text += _Writer(level=1 if text else 0).block(document)
    warnings = ["inclusion_left_out"] if included else []
    return Extracted(text, "docutils", title, metadata=metadata, warnings=warnings, encoding=encoding)


def _parsed(source: str) -> tuple[nodes.document, bool]:
    """The tree, and whether files were to be included."""
    settings = get_default_settings(Parser)
    settings.report_level, settings.halt_level, settings.warning_stream = 5, 6, False
    settings.file_insertion_enabled = settings.raw_enabled = False
    settings.syntax_highlight = "none"
    document = utils.new_document("document", settings)
    with _lenient() as asked:
        Parser().parse(source, document)
    for reference in list(document.findall(nodes.substitution_reference)):
        definition = document.substitution_defs.get(reference.get("refname", ""))
        if definition is not None and definition is not reference.parent:
            reference.parent.replace(reference, [child.deepcopy() for child in definition.children])
    return document, bool(asked & _INCLUDED)


class _Unknown(Directive):
    """A directive docutils does not know, or one it may not obey: its argument and its content are text."""

    optional_arguments, final_argument_whitespace, has_content = 1, True, True

    class _Any(dict[str, Callable[[str], Any]]):
        def __missing__(self, name: str) -> Callable[[str], Any]:
            return directives.unchanged

        def __bool__(self) -> bool:
            return True

    option_spec = _Any()

    def run(self) -> list[nodes.Node]:
        argument = " ".join(self.arguments)
        if self.name in _INCLUDED or self.name in _STRUCTURE:
            return []
        if self.name == "raw":
            return [nodes.paragraph("", html_text("\n".join(self.content)))] if "html" in argument.split() else []
        if self.name in _CODE:
            return [nodes.literal_block("", "\n".join(self.content))]
        container = nodes.container()
        if argument:
            inline, _ = self.state.inline_text(argument, self.lineno)
            container += nodes.paragraph("", "", *inline)
        self.state.nested_parse(self.content, self.content_offset, container)
        return [container]


def _as_text(
    name: str, rawtext: str, text: str, lineno: int, inliner: Any, options: Any = None, content: Any = None
) -> tuple[list[nodes.Node], list[nodes.system_message]]:
    """A role docutils does not know: `:ref:`text <target>`` and its kin read as their text."""
    shown = re.sub(r"\s*<[^<>]*>$", "", utils.unescape(text)) or text
    return [nodes.inline("", shown.lstrip("~!"))], []


@contextmanager
def _lenient() -> Iterator[set[str]]:
    """docutils with a way to read every directive and role; gives the names of the directives it met."""
    asked: set[str] = set()
    directive, role = directives.directive, roles.role

    def any_directive(name: str, language: Any, document: nodes.document) -> tuple[Any, list[nodes.system_message]]:
        asked.add(name.lower())
        if name.lower() in _INCLUDED or name.lower() in _STRUCTURE or name.lower() in _CODE or name.lower() == "raw":
            return _Unknown, []
        found, _ = directive(name, language, document)
        return found or _Unknown, []

    def any_role(name: str, language: Any, lineno: int, reporter: Any) -> tuple[Any, list[nodes.system_message]]:
        found, _ = role(name, language, lineno, reporter) if name not in ("pep", "rfc", "raw") else (None, [])
        return found or _as_text, []

    directives.directive, roles.role = any_directive, any_role  # type: ignore[assignment]
    try:
        yield asked
    finally:
        directives.directive, roles.role = directive, role


def _header(source: str) -> tuple[str, dict[str, str]]:
    """A source without the `Name: value` lines it opens with (enhancement proposals do), and what they say."""
    match = re.match(r"(?:[A-Z][\w-]*:.*\n(?:[ \t]+\S.*\n)*){4,}(?=\s*\n)", source)
    if not match:
        return source, {}
    pairs = [line.split(":", 1) for line in match[0].splitlines() if line[0] not in " \t"]
    return source[match.end() :], _known((name, value) for name, value in pairs)


def _known(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """title, date, url and licence among these names and values."""
    found: dict[str, str] = {}
    for name, value in pairs:
        name = name.strip().lower()
        key = "title" if name in ("title", "titolo") else _KEPT.get(name, "")
        if key and value.strip():
            found.setdefault(key, one_line(value))
    return found


def _front(document: nodes.document) -> dict[str, str]:
    """title, date, url and licence of the field list a document opens with, which is taken out of it."""
    first = next((child for child in document.children if not isinstance(child, nodes.comment)), None)
    if not isinstance(first, nodes.field_list):
        return {}
    document.remove(first)
    return _known((item[0].astext(), item[1].astext()) for item in first.children)  # type: ignore[index]


class _Writer:
    """A docutils tree as Markdown."""

    def __init__(self, level: int = 0) -> None:
        self.level = level  # of the headings above

    def block(self, node: nodes.Element) -> str:
        """Blocks of a node, an empty line between them."""
        return "\n\n".join(text for text in (self.one(child) for child in node.children) if text.strip())

    def one(self, node: nodes.Node) -> str:
        """One block."""
        method = getattr(self, f"_{type(node).__name__}", None)
        if method is not None:
            return str(method(node))
        if isinstance(node, (nodes.Invisible, nodes.pending)):
            return ""
        if isinstance(node, (nodes.TextElement, nodes.Text)):
            return self.line(node)
        return self.block(node) if isinstance(node, nodes.Element) else ""

    def line(self, node: nodes.Node) -> str:
        """Running text with its emphasis."""
        if isinstance(node, nodes.Text):
            return str(node.astext())
        if isinstance(node, (nodes.target, nodes.substitution_definition, nodes.system_message)):
            return "" if not (isinstance(node, nodes.target) and node.children) else "".join(map(self.line, node.children))
        if isinstance(node, nodes.image):
            return one_line(node.get("alt", ""), 2_000)
        if isinstance(node, nodes.footnote_reference):
            return f"[{node.astext()}]" if node.children else ""
        if isinstance(node, nodes.problematic):
            return str(node.rawsource or node.astext())
        inner = "".join(map(self.line, node.children))
        mark = {"strong": "**", "emphasis": "*", "literal": "`"}.get(type(node).__name__, "")
        return f"{mark}{inner}{mark}" if inner.strip() else inner

    def _section(self, node: nodes.section) -> str:
        self.level += 1
        text = self.block(node)
        self.level -= 1
        return text

    def _title(self, node: nodes.title) -> str:
        return f"{'#' * min(max(self.level, 1), 6)} {one_line(self.line(node), 2_000)}"

    def _rubric(self, node: nodes.rubric) -> str:
        return f"**{one_line(self.line(node), 2_000)}**"

    def _literal_block(self, node: nodes.literal_block) -> str:
        return f"```\n{node.astext()}\n```"

    _doctest_block = _literal_block

    def _math_block(self, node: nodes.math_block) -> str:
        return f"$${node.astext()}$$"

    def _line_block(self, node: nodes.line_block) -> str:
        return "\n".join(self.one(child) for child in node.children)

    def _bullet_list(self, node: nodes.bullet_list) -> str:
        return self._items(node, lambda number: "- ")

    def _enumerated_list(self, node: nodes.enumerated_list) -> str:
        style, start = node.get("enumtype", "arabic"), int(node.get("start", 1))
        prefix, suffix = node.get("prefix", ""), node.get("suffix", ".")
        make: dict[str, Callable[[int], str]] = {
            "loweralpha": lambda n: chr(96 + n) if n <= 26 else str(n),
            "upperalpha": lambda n: chr(64 + n) if n <= 26 else str(n),
            "lowerroman": lambda n: _roman(n).lower(),
            "upperroman": _roman,
        }
        return self._items(node, lambda n: f"{prefix}{make.get(style, str)(start + n)}{suffix} ")

    def _items(self, node: nodes.Element, mark: Callable[[int], str]) -> str:
        out = []
        for number, item in enumerate(child for child in node.children if isinstance(child, nodes.list_item)):
            sign = mark(number)
            out.append(sign + self.block(item).replace("\n", "\n" + " " * len(sign)))
        loose = any("\n\n" in item for item in out)
        return ("\n\n" if loose else "\n").join(re.sub(r"(?m)^ +$", "", item) for item in out)

    def _definition_list_item(self, node: nodes.definition_list_item) -> str:
        terms = [self.line(child) for child in node.children if isinstance(child, (nodes.term, nodes.classifier))]
        body = "\n\n".join(self.block(child) for child in node.children if isinstance(child, nodes.definition))
        return f"**{' : '.join(terms)}**\n\n{body}".rstrip()

    def _field_list(self, node: nodes.field_list) -> str:
        return "\n".join(f"{self.line(f[0])}: {self.block(f[1])}".rstrip() for f in node.children if isinstance(f, nodes.field))

    def _option_list_item(self, node: nodes.option_list_item) -> str:
        return f"`{node[0].astext()}`: {self.block(node[1])}"

    def _block_quote(self, node: nodes.block_quote) -> str:
        return self.block(node)

    def _attribution(self, node: nodes.attribution) -> str:
        return f"— {self.line(node)}"

    def _footnote(self, node: nodes.Element) -> str:
        label = next((child.astext() for child in node.children if isinstance(child, nodes.label)), "")
        body = "\n\n".join(self.one(child) for child in node.children if not isinstance(child, nodes.label))
        return f"[{label}] {body}" if label else body

    _citation = _footnote

    def _image(self, node: nodes.image) -> str:
        return self.line(node)

    def _comment(self, node: nodes.comment) -> str:
        return ""

    def _system_message(self, node: nodes.system_message) -> str:
        """What docutils could not parse, as it was written: a broken table, say."""
        return "\n\n".join(child.astext() for child in node.children if isinstance(child, nodes.literal_block))

    def _table(self, node: nodes.table) -> str:
        rows: list[list[str]] = []
        spans: dict[tuple[int, int], bool] = {}
        for number, row in enumerate(node.findall(nodes.row)):
            cells: list[str] = []
            for entry in row.children:
                while spans.pop((number, len(cells)), False):
                    cells.append("")
                text = self.block(entry) if isinstance(entry, nodes.Element) else ""
                wide, deep = int(entry.get("morecols", 0)), int(entry.get("morerows", 0))  # type: ignore[attr-defined]
                for below in range(1, deep + 1):
                    for beside in range(wide + 1):
                        spans[number + below, len(cells) + beside] = True
                cells += [text, *[""] * wide]
            while spans.pop((number, len(cells)), False):
                cells.append("")
            rows.append(cells)
        caption = "".join(self.line(child) for child in node.children if isinstance(child, nodes.title))
        return f"{caption}\n\n{markdown_table(rows)}".strip()


def _roman(number: int) -> str:
    out = ""
    for value, sign in zip((100, 90, 50, 40, 10, 9, 5, 4, 1), ("C", "XC", "L", "XL", "X", "IX", "V", "IV", "I"), strict=True):
        out, number = out + sign * (number // value), number % value
    return out
