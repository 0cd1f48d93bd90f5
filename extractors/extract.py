"""Extract: a member's bytes to a document. Chosen by kind, one format family a folder, the library imported when first needed.

Curated chat is a place *and* valid ChatML (or one of the row formats): anything else in that place is ordinary prose, with a
warning. What cannot be read is a verdict; what is fine but useless here is rejected with the remedy in its detail.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import json
import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from corpus.canonical import digest_bytes
from corpus.config import decided, how, measured
from corpus.document import Document
from corpus.lean import hidden
from corpus.outcome import Circumstance, Outcome, Verdict, rejected
from corpus.stage import DocumentStage, Inputs, Measurements
from extractors.containers.archives import Broken
from extractors.containers.walk import read_member
from extractors.result import Extracted, fallbacks, losses, one_line, tidy


@dataclass(frozen=True)
class ExtractConfig:
    """How documents are read and what is too little."""

    max_bytes: int = measured(256 << 20, "larger members are rejected as too_large")
    max_pages: int = measured(2_000, "pages read of a PDF; the rest is left out with a warning")
    max_chars: int = measured(20_000_000, "characters kept of one document; the rest is left out with a warning")
    layout: str = measured("auto", "PDF layout: auto (models where Docling's weights are installed, else geometric), geometric, models")
    ocr: str = measured("auto", "scanned pages and images: auto (read where an OCR engine is installed) or off")
    ocr_languages: tuple[str, ...] = measured(("ita", "eng"), "languages the OCR engine reads, where they are installed")
    ocr_pages: int = measured(200, "scanned pages read of one document; the rest is left out with a warning")
    convert: str = measured("auto", "legacy .doc, .xls and .ppt files: auto (through LibreOffice where it is installed) or off")
    html: str = measured("fast-recall", "trafilatura's mode: default, fast, fast-recall, precision or recall")
    text_fields: tuple[str, ...] = measured(
        ("text", "testo", "content", "contenuto", "body", "corpo", "article", "articolo", "document", "documento", "abstract", "message"),
        "fields of a JSON row that hold its text, in order of preference; when none does, its strings are listed",
    )
    min_chars: int = decided(1, "documents with fewer characters (blanks not counted) are rejected as no_text")
    max_scans: float = decided(0.5, "PDFs with a larger share of scanned pages (an image and no text) are rejected as needs_ocr")
    deadline: float = how(900.0, "CPU seconds for one document; one that needs more fails as deadline, and is tried again at the next run")
    memory: int = how(4 << 30, "bytes of memory for one document; one that needs more fails as memory, and is tried again")

    def __post_init__(self) -> None:
        if self.html not in ("default", "fast", "fast-recall", "precision", "recall"):
            raise ValueError("html must be default, fast, fast-recall, precision or recall")
        if self.layout not in ("auto", "geometric", "models"):
            raise ValueError("layout must be auto, geometric or models")
        if self.ocr not in ("auto", "off") or self.convert not in ("auto", "off"):
            raise ValueError("ocr and convert must be auto or off")
        if self.deadline <= 0 or self.memory <= 0:
            raise ValueError("deadline and memory must be more than nothing")


# kind -> module and function (bytes, kind, config) -> Extracted
EXTRACTORS: dict[str, tuple[str, str]] = {
    "pdf": ("extractors.pdf.reader", "read"),
    "html": ("extractors.web.reader", "read"),
    "xml": ("extractors.xml.reader", "read"),
    "json": ("extractors.rows.reader", "read_json"),
    "row": ("extractors.rows.reader", "read_row"),
    "guess": ("extractors.rows.reader", "read_row"),
    "csv": ("extractors.rows.reader", "read_table"),
    "parquet": ("extractors.rows.reader", "read_table"),
    "text": ("extractors.light.plain", "read"),
    "subtitles": ("extractors.light.plain", "read_subtitles"),
    "markdown": ("extractors.light.markdown", "read"),
    "rst": ("extractors.light.restructured", "read"),
    "asciidoc": ("extractors.light.asciidoc", "read"),
    "latex": ("extractors.light.latex", "read"),
    "rtf": ("extractors.light.rtf", "read"),
    "calendar": ("extractors.mail.reader", "read_invite"),
    "email": ("extractors.mail.reader", "read"),
    "msg": ("extractors.mail.reader", "read_msg"),
    "image": ("extractors.ocr", "read_image"),
    **{kind: ("extractors.office.legacy", "read") for kind in ("doc", "xls", "ppt", "ole")},
    **{
        kind: ("extractors.office.reader", "read")
        for kind in ("docx", "pptx", "xlsx", "odt", "ods", "odp", "epub", "pages", "numbers", "keynote")
    },
}
# how an extractor's name starts -> the distribution that does the reading
_LIBRARIES = (
    ("docling", "docling-slim"),
    ("libreoffice+docling", "docling-slim"),
    ("pypdfium2", "pypdfium2"),
    ("trafilatura", "trafilatura"),
    ("docutils", "docutils"),
    ("msg", "python-oxmsg"),
    ("parquet", "pyarrow"),
)
ENCRYPTED = {"encrypted-office": "the office file is protected by a password", "pgp": "it is encrypted with OpenPGP"}
# kind -> reason and detail of a rejection
REFUSED: dict[str, tuple[str, str]] = {
    "empty": ("empty", "the file has no bytes"),
    "p7s": ("no_text", "a detached signature: the signed document is another file"),
    "audio": ("unsupported", "audio: transcripts are not made here"),
    "video": ("unsupported", "video: transcripts are not made here"),
    "sevenzip": ("unsupported", "a 7z archive: unpack it, or pack it as .zip or .tar"),
    "rar": ("unsupported", "a RAR archive: unpack it, or pack it as .zip or .tar"),
    "compress": ("unsupported", "a file packed by compress (.Z): unpack it, or pack it with gzip"),
    "cabinet": ("unsupported", "a cabinet archive: unpack it, or pack it as .zip or .tar"),
    "tnef": ("unsupported", "an Outlook winmail.dat envelope: save the mail as .eml or .msg, or unpack it"),
    "font": ("unsupported", "a font holds no text"),
    "executable": ("unsupported", "a program holds no text"),
    "unknown": ("unsupported", "neither text nor a known format"),
}


def measure(config: ExtractConfig, inputs: Inputs) -> Callable[[Document], Measurements]:
    """document {id, kind, curated, path, inner} -> text, title and the rest of `measures`."""
    for library in ("docling", "docling_core", "docling_parse", "trafilatura", "htmldate", "charset_normalizer", "openpyxl"):
        logging.getLogger(library).setLevel(logging.CRITICAL)  # they quote documents

    def extract(document: Document) -> Measurements:
        try:
            data = read_member(document["path"], document["inner"])
        except Broken as broken:
            raise Circumstance("changed", "the container can no longer be read as it was") from broken
        if digest_bytes(data) != document["id"]:
            raise Circumstance("changed", "the file changed after it was listed: run again")
        return as_measurements(extracted(config, data, document["kind"], bool(document.get("curated"))), config)

    return extract


def extracted(config: ExtractConfig, data: bytes, kind: str, curated: bool = False) -> Extracted:
    """The document in these bytes. Raises Verdict when they cannot be read."""
    if len(data) > config.max_bytes:
        return Extracted("", "", problem="too_large", detail=f"larger than extract.max_bytes, {config.max_bytes:,} bytes")
    strayed: list[str] = []
    if curated:
        from extractors import chat

        messages = chat.conversation(data)
        if messages is not None:
            return Extracted(chat.render(messages), "chat", form="chat", metadata={"messages": len(messages)})
        strayed = ["not_valid_chat"]
    if kind in ENCRYPTED:
        raise Verdict("encrypted", ENCRYPTED[kind])
    family = kind.partition(":")[0]  # row:KEY and guess:KEY are rows of a table
    if family not in EXTRACTORS:
        reason, detail = REFUSED.get(kind, ("unsupported", "this format is not read here"))
        return Extracted("", "", problem=reason, detail=detail, warnings=strayed)
    module, function = EXTRACTORS[family]
    with hidden("transformers"):
        read: Callable[[bytes, str, ExtractConfig], Extracted] = getattr(importlib.import_module(module), function)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = read(data, kind, config)
    except (Verdict, Circumstance, MemoryError):
        raise
    except ImportError as error:  # the installation's fault, not the file's
        raise Circumstance("missing_library", f"the library that reads {family} files cannot be imported: see athanor doctor") from error
    except RecursionError as error:
        raise Verdict("too_deep", "its structure is nested too deeply") from error
    except Exception as error:  # a parser's own failure is a verdict on the bytes; its message may quote them and is dropped
        raise Verdict("malformed", f"the {family} file cannot be parsed ({type(error).__name__})") from error
    result.warnings[:0] = strayed
    return result


def as_measurements(result: Extracted, config: ExtractConfig) -> Measurements:
    """The row of the shelf."""
    if "\0\0" in result.text:
        result.warnings.append("zeroed_bytes")
    text = tidy(result.text) if result.form != "chat" else result.text
    if len(text) > config.max_chars:
        text = text[: config.max_chars]
        result.warnings.append("cut_at_max_chars")
    metadata: dict[str, Any] = {key: value for key, value in sorted(result.metadata.items()) if value not in ("", None, [], {})}
    metadata |= {"extractor": result.extractor, "version": version_of(result.extractor)}
    if result.encoding:
        metadata["encoding"] = result.encoding
    if result.pages:
        metadata["pages"] = result.pages
        metadata.setdefault("page_range", f"1-{result.pages}")
    return {
        "text": _storable(text),
        "title": _storable(one_line(result.title)),
        "lang_hint": result.lang_hint[:2].lower(),
        "metadata": _storable(json.dumps(metadata, ensure_ascii=False, sort_keys=True, default=str)),
        "form": result.form,
        "extractor": result.extractor,
        "extractor_version": version_of(result.extractor),
        "encoding": result.encoding,
        "warnings": sorted(set(result.warnings)),
        "pages": result.pages,
        "page_range": metadata.get("page_range", ""),
        "page_chars": result.page_chars,
        "scans": result.scans,
        "chars": sum(not c.isspace() for c in text) if len(text) < 1000 else len(text),
        "problem": result.problem,
        "detail": result.detail,
    }


@functools.cache
def version_of(extractor: str) -> str:
    """Version of the library behind an extractor; of this stage where the reader is our own."""
    library = next((library for start, library in _LIBRARIES if extractor.startswith(start)), "")
    return importlib.metadata.version(library) if library else f"extract {STAGE.version}"


def _storable(text: str) -> str:
    """Surrogates have no UTF-8 form and cannot be stored: pairs are joined, lone ones become U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def decide(config: ExtractConfig, m: Measurements) -> Outcome:
    """Rejects what has no text, saying why and what would help; keeps the rest, saying what is missing or was read another way."""
    if m["problem"]:
        return rejected(m["problem"], detail=m["detail"])
    if m["scans"] > config.max_scans * m["pages"]:
        return rejected("needs_ocr", m["scans"] / m["pages"], config.max_scans, "its pages are images: see athanor doctor")
    if m["chars"] < config.min_chars:
        return rejected("no_text", m["chars"], config.min_chars, "nothing to read in it")
    fields = {"form": m["form"], "lang": "und", "title": m["title"], "metadata": m["metadata"]}
    if missing := losses(m["warnings"]):
        return Outcome("kept", "partial", detail=f"not in the text: {missing}", fields=fields)
    if other := fallbacks(m["warnings"]):
        return Outcome("kept", "fallback", detail=f"read another way than usual: {other}", fields=fields)
    return Outcome("kept", fields=fields)


def tools(config: ExtractConfig) -> dict[str, str]:
    """Programs and weights that take part where this machine has them."""
    from extractors import ocr
    from extractors.office import legacy
    from extractors.pdf import reader as pdf

    return pdf.tools(config) | ocr.tools(config) | legacy.tools(config)


def text(config: ExtractConfig, m: Measurements, incoming: str) -> str:
    """The extracted text."""
    return str(m["text"])


STAGE = DocumentStage(
    name="extract",
    version=2,
    config=ExtractConfig(),
    doc="reads text out of every format",
    engines=(
        "docling-slim",
        "docling-parse",
        "docling-core",
        "pypdfium2",
        "trafilatura",
        "htmldate",
        "lxml",
        "defusedxml",
        "charset-normalizer",
        "openpyxl",
        "python-docx",
        "python-pptx",
        "odfdo",
        "docutils",
        "pylatexenc",
        "python-oxmsg",
        "olefile",
    ),
    tools=tools,
    reads=("kind", "curated"),
    measures=pa.schema(
        [
            pa.field("text", pa.string(), metadata={"doc": "the extracted text"}),
            pa.field("title", pa.string(), metadata={"doc": "title found in the document"}),
            pa.field("lang_hint", pa.string(), metadata={"doc": "language the file declares, '' when it does not"}),
            pa.field("metadata", pa.string(), metadata={"doc": "JSON object: date, author, url, licence, pages, extractor"}),
            pa.field("form", pa.string(), metadata={"doc": "prose or chat"}),
            pa.field("extractor", pa.string(), metadata={"doc": "library and way that read it"}),
            pa.field("extractor_version", pa.string(), metadata={"doc": "version of that library, or of this stage"}),
            pa.field("encoding", pa.string(), metadata={"doc": "encoding of the bytes, '' where they are no text"}),
            pa.field("warnings", pa.list_(pa.string()), metadata={"doc": "what was lost, guessed or done by a fallback"}),
            pa.field("pages", pa.int64(), metadata={"doc": "pages, slides or sheets; 0 when the format has none"}),
            pa.field("page_range", pa.string(), metadata={"doc": "pages that were read, '' when the format has none"}),
            pa.field("page_chars", pa.list_(pa.int32()), metadata={"doc": "characters read from each page, in order"}),
            pa.field("scans", pa.int64(), metadata={"doc": "pages that are images without text"}),
            pa.field("chars", pa.int64(), metadata={"doc": "characters of the text (blanks not counted in short ones)"}),
            pa.field("problem", pa.string(), metadata={"doc": "reason it is of no use, '' when it is fine"}),
            pa.field("detail", pa.string(), metadata={"doc": "the reason in a sentence"}),
        ]
    ),
    writes=pa.schema([("form", pa.string()), ("lang", pa.string()), ("title", pa.string()), ("metadata", pa.string())]),
    measure=measure,
    decide=decide,
    text=text,
    sensitive=True,
)
