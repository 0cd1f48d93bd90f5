"""JSON documents and rows, rows of tables, and tables without a text column.

A JSON object with a text field is that text: a configured name, in order, else the one long field that holds nearly everything
(warning `text_field_guessed`); where an object wraps another that has one, the inner. Title, date, author, url, licence and
language are kept beside it as metadata. An object without a text field is listed readably, `key: value`; a list of objects with
one is their texts, one after the other. Conversations, notebooks and rich-text trees are read as what they are.

A row of a table whose text column was chosen when the table was opened has the kind `row:KEY`, or `guess:KEY` where it was
detected and not configured (KEY: tables.column_key): all rows of a table are read the same way.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from corpus.outcome import Verdict
from extractors.chat import messages_of
from extractors.containers.archives import Broken
from extractors.decode import decode
from extractors.extract import ExtractConfig
from extractors.result import Extracted, markdown_table, one_line
from extractors.rows.tables import Row, column_key, opened

_TITLES = ("title", "titolo", "headline", "subject", "oggetto", "name", "nome", "rubrica")
_KEPT = {
    "date": "date",
    "data": "date",
    "published": "date",
    "author": "author",
    "autore": "author",
    "url": "url",
    "source_url": "url",
    "licence": "licence",
    "license": "licence",
    "licenza": "licence",
}
_MAX_ROWS = 100_000  # of a table or list read as one document
_DEEP = 4  # objects in objects a text is looked for in


def read_json(data: bytes, kind: str, config: ExtractConfig) -> Extracted:
    """Text of a JSON document or row."""
    value, encoding = _value(data)
    result = _object(value, config) if isinstance(value, dict) else None
    if result is None and isinstance(value, list):
        result = _objects(value, config)
    result = result or _listing(value)
    result.encoding = encoding
    return result


def read_row(data: bytes, kind: str, config: ExtractConfig) -> Extracted:
    """Text of a table's row, in the column that `kind` says; a row without one is listed."""
    value, encoding = _value(data)
    how, _, key = kind.partition(":")
    name = next((name for name in value if column_key(name) == key), "") if isinstance(value, dict) else ""
    text = value[name] if name else None
    if isinstance(text, str) and text.strip():
        result = _text_of(value, name, guessed=how == "guess")
    else:
        result = _listing(value)
    result.encoding = encoding
    return result


def _value(data: bytes) -> tuple[Any, str]:
    text, encoding = decode(data)
    try:
        return json.loads(text), encoding
    except ValueError as error:
        raise Verdict("malformed", "the JSON is cut short or not valid") from error


def _listing(value: Any) -> Extracted:
    lines: list[str] = []
    _list(value, "", lines)
    title = one_line(_first(value, _TITLES)) if isinstance(value, dict) else ""
    return Extracted("\n".join(lines), "json-listing", title, warnings=["no_text_field"])


def _object(value: Row, config: ExtractConfig) -> Extracted | None:
    if isinstance(value.get("cells"), list) and "nbformat" in value:
        cells = ["".join(c.get("source", [])) for c in value["cells"] if isinstance(c, dict) and c.get("cell_type") in ("markdown", "code")]
        return Extracted("\n\n".join(cells), "json-notebook")
    tree = value.get("doc", value)
    if isinstance(tree, dict) and tree.get("type") == "doc" and isinstance(tree.get("content"), list):
        return Extracted(_rich(tree).strip(), "json-richtext", one_line(_first(value, _TITLES)))
    messages = messages_of(value)
    if messages:
        turns = "\n\n".join(f"{message['role']}: {message['content'].strip()}" for message in messages)
        return Extracted(turns, "json-chat", one_line(_first(value, _TITLES)), metadata={"messages": len(messages)})
    name = _text_field(value, config)
    if name:
        return _text_of(value, name, guessed=name.lower() not in config.text_fields)
    whole = _characters(value)
    for inner in _inside(value):
        name = _text_field(inner, config)
        if name.lower() in config.text_fields and 2 * len(inner[name]) >= whole:
            return _text_of(value | inner, name, guessed=False)
    return None


def _text_of(value: Row, name: str, guessed: bool) -> Extracted:
    """The text in one field of an object, and what is kept beside it."""
    lower = {key.lower(): key for key in value if key != name}
    metadata = {kept: one_line(value[lower[n]]) for n, kept in _KEPT.items() if isinstance(value.get(lower.get(n, "")), (str, int))}
    language = next((value[lower[n]] for n in ("lang", "language", "lingua") if isinstance(value.get(lower.get(n, "")), str)), "")
    title = one_line(_first({key: inner for key, inner in value.items() if key != name}, _TITLES))
    warnings = ["text_field_guessed"] if guessed else []
    return Extracted(value[name], "json", title, language, metadata | {"text_field": name}, warnings)


def _text_field(value: Row, config: ExtractConfig) -> str:
    """A field with a configured name, when it holds 40 characters or most of the row's; else one that holds nearly all of them."""
    sizes = {name: len(text.strip()) for name, text in value.items() if isinstance(text, str)}
    total = sum(sizes.values())
    lower = {name.lower(): name for name in sizes}
    for wanted in config.text_fields:
        name = lower.get(wanted, "")
        if name and sizes[name] and (sizes[name] >= 40 or 2 * sizes[name] >= total):
            return name
    longest = max(sizes, key=lambda name: sizes[name], default="")
    return longest if longest and sizes[longest] >= 200 and sizes[longest] >= 0.6 * total else ""


def _inside(value: Row, depth: int = 1) -> Iterator[Row]:
    """The objects an object wraps, outer ones first."""
    inner = [child for child in value.values() if isinstance(child, dict)]
    yield from inner
    if depth < _DEEP:
        for child in inner:
            yield from _inside(child, depth + 1)


def _characters(value: Any) -> int:
    """Characters of all strings in a JSON value."""
    if isinstance(value, str):
        return len(value)
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return sum(map(_characters, children))


def _objects(values: list[Any], config: ExtractConfig) -> Extracted | None:
    parts = [_object(v, config) for v in values[:_MAX_ROWS] if isinstance(v, dict)]
    if not parts or len(parts) < min(len(values), _MAX_ROWS) or any(p is None for p in parts):
        return None
    texts = [f"# {p.title}\n\n{p.text}" if p.title else p.text for p in parts if p is not None]
    warnings = sorted({warning for p in parts if p is not None for warning in p.warnings})
    if len(values) > _MAX_ROWS:
        warnings.append("cut_at_max_rows")
    return Extracted("\n\n".join(texts), "json", metadata={"objects": len(texts)}, warnings=warnings)


def _first(value: dict[str, Any], names: tuple[str, ...]) -> str:
    lower = {key.lower(): v for key, v in value.items()}
    return next((lower[name] for name in names if isinstance(lower.get(name), str)), "")


def _list(value: Any, key: str, lines: list[str]) -> None:
    """`key: value` lines of everything that reads; ids, hashes and empty values are left out."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if isinstance(inner, (dict, list)) and inner and lines and lines[-1]:
                lines.append("")
            _list(inner, str(name), lines)
    elif isinstance(value, list):
        if (
            value
            and all(isinstance(v, (str, int, float)) and not isinstance(v, bool) for v in value)
            and sum(len(str(v)) for v in value) < 500
        ):
            _list(", ".join(str(v) for v in value), key, lines)
            return
        for inner in value:
            _list(inner, key if not isinstance(inner, dict) else "", lines)
            if isinstance(inner, dict) and lines and lines[-1]:
                lines.append("")
    elif value not in (None, ""):
        lines.append(f"{key}: {value}" if key else str(value))


def _rich(node: Any) -> str:
    """Markdown of a ProseMirror tree."""
    if not isinstance(node, dict):
        return ""
    if isinstance(node.get("text"), str):
        return str(node["text"])
    kind = node.get("type")
    inner = [_rich(child) for child in node.get("content", []) if isinstance(child, dict)]
    if kind == "table_row" or kind == "tableRow":
        return "| " + " | ".join(one_line(cell, 10_000) for cell in inner) + " |\n"
    body = "".join(inner)
    if kind == "heading":
        level = node.get("attrs", {}).get("level", 1) if isinstance(node.get("attrs"), dict) else 1
        return f"{'#' * level if isinstance(level, int) else '#'} {body.strip()}\n\n"
    if kind in ("list_item", "listItem", "check_list_item"):
        return f"- {body.strip()}\n"
    if kind in ("hard_break", "hardBreak"):
        return "\n"
    return f"{body.rstrip()}\n\n" if kind in ("paragraph", "blockquote", "code_block", "table", "bullet_list", "ordered_list") else body


def read_table(data: bytes, kind: str, config: ExtractConfig) -> Extracted:
    """A CSV or Parquet table without a text column, as one Markdown table."""
    try:
        table = opened(kind, data)
        count = min(len(table), _MAX_ROWS)
        body = [table.cells(number) for number in range(1, count + 1)]
    except Broken as broken:
        raise Verdict(broken.reason, broken.detail) from broken
    warnings = ["cut_at_max_rows"] if len(table) > count else []
    result = Extracted(markdown_table([table.head, *body]), kind, metadata={"rows": len(table)}, warnings=warnings)
    result.encoding = table.encoding
    return result
