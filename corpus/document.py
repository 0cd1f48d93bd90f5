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
