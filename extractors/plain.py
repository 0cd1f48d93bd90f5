"""Plain text and light markup (Markdown, reStructuredText, AsciiDoc, LaTeX): decoded, kept as it is."""

from __future__ import annotations

import re

from extractors.decode import decode
from extractors.extract import ExtractConfig
from extractors.result import Extracted, first_heading, one_line

_FRONT = re.compile(r"\A---[ \t]*\r?\n(.*?)\r?\n---[ \t]*\r?\n", re.S)


def read(data: bytes, kind: str, config: ExtractConfig) -> Extracted:
    """The text; the title of a Markdown heading or front matter; the encoding in metadata."""
    text, encoding = decode(data)
    metadata = {}
    title = first_heading(text) if kind == "markdown" else ""
    front = _FRONT.match(text)
    if front:
        for line in front[1].splitlines():
            key, _, value = line.partition(":")
            value = one_line(value).strip("\"'")
            if key.strip().lower() == "title" and value:
                title = value
            elif key.strip().lower() in ("date", "license", "licence", "url") and value:
                metadata[key.strip().lower().replace("license", "licence")] = value
    warnings = ["undecodable_bytes"] if "\ufffd" in text and "\ufffd".encode() not in data else []
    return Extracted(text, "plain", title, metadata=metadata, warnings=warnings, encoding=encoding)
