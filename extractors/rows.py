"""JSON documents and rows, CSV and Parquet tables.

A JSON object with a text field is that text: a configured name, in order, else the one long field that holds nearly everything
(warning `text_field_guessed`). Beside it title, date, author, url, licence and language are kept as metadata. An object without
one is listed readably, `key: value`. A list of objects with a text field is their texts, one after the other. Rich-text trees
(ProseMirror, notebooks) are walked.
"""

from __future__ import annotations

import json
from typing import Any

from corpus.outcome import Verdict
from extractors.archives import Broken, records
from extractors.decode import decode
from extractors.extract import ExtractConfig
from extractors.result import Extracted, markdown_table, one_line

_TITLES = ("title", "titolo", "headline", "subject", "oggetto", "name", "nome")
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
_MAX_ROWS = 100_000


def read_json(data: bytes, kind: str, config: ExtractConfig) -> Extracted:
    """Text of a JSON document or row."""
    text, encoding = decode(data)
    try:
        value = json.loads(text)
    except ValueError as error:
        raise Verdict("malformed", "the JSON is cut short or not valid") from error
    result = _object(value, config) if isinstance(value, dict) else None
    if result is None and isinstance(value, list):
        result = _objects(value, config)
    if result is None:
        lines: list[str] = []
        _list(value, "", lines)
        title = one_line(_first(value, _TITLES)) if isinstance(value, dict) else ""
        result = Extracted("\n".join(lines), "json-listing", title, warnings=["no_text_field"])
    result.encoding = encoding
    return result


def _object(value: dict[str, Any], config: ExtractConfig) -> Extracted | None:
    if isinstance(value.get("cells"), list) and "nbformat" in value:
        cells = ["".join(c.get("source", [])) for c in value["cells"] if isinstance(c, dict) and c.get("cell_type") in ("markdown", "code")]
        return Extracted("\n\n".join(cells), "json-notebook")
    tree = value.get("doc", value)
    if isinstance(tree, dict) and tree.get("type") == "doc" and isinstance(tree.get("content"), list):
        return Extracted(_rich(tree).strip(), "json-richtext", one_line(_first(value, _TITLES)))
    name = _text_field(value, config)
    if not name:
        return None
    lower = {key.lower(): key for key in value}
    metadata = {kept: one_line(value[lower[n]]) for n, kept in _KEPT.items() if isinstance(value.get(lower.get(n, "")), (str, int))}
    language = next((value[lower[n]] for n in ("lang", "language", "lingua") if isinstance(value.get(lower.get(n, "")), str)), "")
    warnings = [] if name.lower() in config.text_fields else ["text_field_guessed"]
    return Extracted(value[name], "json", one_line(_first(value, _TITLES)), language, metadata | {"text_field": name}, warnings)


def _text_field(value: dict[str, Any], config: ExtractConfig) -> str:
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


def _objects(values: list[Any], config: ExtractConfig) -> Extracted | None:
    parts = [_object(v, config) for v in values[:_MAX_ROWS] if isinstance(v, dict)]
    if not parts or len(parts) < len(values) or any(p is None for p in parts):
        return None
    texts = [f"# {p.title}\n\n{p.text}" if p.title else p.text for p in parts if p is not None]
    return Extracted("\n\n".join(texts), "json", metadata={"objects": len(texts)})


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


def read_csv(data: bytes, kind: str, config: ExtractConfig) -> Extracted:
    """A table without a text column, as one Markdown table."""
    return _table(data, kind)


def read_parquet(data: bytes, kind: str, config: ExtractConfig) -> Extracted:
    """A Parquet table without a text column, as one Markdown table."""
    return _table(data, kind)


def _table(data: bytes, kind: str) -> Extracted:
    try:
        rows = [row for _, row in zip(range(_MAX_ROWS), records(kind, data), strict=False)]
    except Broken as broken:
        raise Verdict(broken.reason, broken.detail) from broken
    head = list(rows[0]) if rows else []
    body = [["" if row.get(name) is None else str(row.get(name)) for name in head] for row in rows]
    warnings = ["cut_at_max_rows"] if len(rows) == _MAX_ROWS else []
    return Extracted(markdown_table([[str(name) for name in head], *body]), kind, metadata={"rows": len(rows)}, warnings=warnings)
