"""The document: what flows from `extract` on, field by field.

A document in memory is a plain dictionary: `id`, and the fields a stage declares that it reads. `text` is the only big
field: it lives on the shelves and is assembled when needed; all the others are small and travel in the views.
A stage may add small fields of its own (`writes`); these are the ones everybody can rely on.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

Document = dict[str, Any]

MEMBER = pa.schema(
    [
        pa.field("id", pa.string(), metadata={"doc": "hash of the member's bytes, 32 hexadecimal digits"}),
        pa.field("kind", pa.string(), metadata={"doc": "format by content: pdf, html, docx, email, json, text, ..."}),
        pa.field("size", pa.int64(), metadata={"doc": "bytes"}),
        pa.field("curated", pa.bool_(), metadata={"doc": "lies in a configured chat place"}),
        pa.field("source", pa.string(), metadata={"doc": "name of the source it was found in, or that ingest.named gives its place"}),
    ]
)

FIELDS = pa.schema(
    [
        pa.field("form", pa.string(), metadata={"doc": "'prose', or 'chat' for curated, valid ChatML (text is then ChatML)"}),
        pa.field("lang", pa.string(), metadata={"doc": "ISO 639-1 code of the main language, 'und' when unknown"}),
        pa.field("title", pa.string(), metadata={"doc": "title found in the document, '' when none; redacted by redact"}),
        pa.field(
            "metadata", pa.string(), metadata={"doc": "JSON object of what extraction found (date, author, url, licence, pages, extractor)"}
        ),
    ]
)


def held_out(text: str, held: str | None) -> tuple[str, str]:
    """(text to train on, text to validate on) of a document; `held`, "start:end" in characters, marks the block held out.

    The block's ends move forward to the next line end, or else blank, so that no word is cut. None: all of it is for training.
    """
    if held is None:
        return text, ""
    start, end = (_boundary(text, int(place)) for place in held.split(":"))
    return "\n\n".join(piece for piece in (text[:start].rstrip(), text[end:].lstrip()) if piece), text[start:end].strip()


def _boundary(text: str, place: int, within: int = 200) -> int:
    """The first line end from `place` on, if it is near; else the first blank; else `place`."""
    if place <= 0 or place >= len(text):
        return max(0, min(place, len(text)))
    for mark in ("\n", " "):
        if (found := text.find(mark, place, place + within)) >= 0:
            return found
    return place
