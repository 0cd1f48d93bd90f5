"""The readers of PDFs behind one call: bytes in, text and the number of pages out.

athanor      the stage's own way, extractors.extract.extracted
docling      Docling's native pipeline: the parser's words and lines in the order of the file, no weights (its layout models are
             weights, and not what runs on a plain CPU)
pdfium       pypdfium2's text of each page, in the order of the file
pdfminer     pdfminer.six with its layout analysis: boxes of text, ordered by their place
pdfplumber   lines from top to bottom, on pdfminer.six
pypdf        its text extraction, in the order of the file

What a reader raises is the caller's; a page limit holds for all.
"""

from __future__ import annotations

import functools
import io
import logging
from collections import Counter
from collections.abc import Callable
from typing import Any

from corpus.outcome import Verdict
from extractors.extract import ExtractConfig, extracted

WAYS: Counter[str] = Counter()  # by which of its ways athanor read
Reader = Callable[[bytes, int], tuple[str, int]]


def athanor(data: bytes, pages: int) -> tuple[str, int]:
    """As the stage reads it; what the stage would reject has no text."""
    try:
        read = extracted(ExtractConfig(max_pages=pages), data, "pdf")
    except Verdict:
        WAYS["none"] += 1
        return "", 0
    WAYS[read.extractor] += 1
    return read.text, min(read.pages, pages)


@functools.cache
def _native() -> Any:
    from docling.datamodel.backend_options import ThreadedDoclingParseBackendOptions
    from docling.datamodel.base_models import InputFormat
    from docling.datamodel.pipeline_options import NativePdfPipelineOptions
    from docling.document_converter import DocumentConverter, PdfFormatOption
    from docling.pipeline.native_pdf_pipeline import NativePdfPipeline

    option = PdfFormatOption(
        pipeline_cls=NativePdfPipeline,
        pipeline_options=NativePdfPipelineOptions(parser_threads=1, generate_page_images=False, generate_picture_images=False),
        backend_options=ThreadedDoclingParseBackendOptions(parser_threads=1, render_pages=False),
    )
    return DocumentConverter(allowed_formats=[InputFormat.PDF], format_options={InputFormat.PDF: option})


def docling(data: bytes, pages: int) -> tuple[str, int]:
    """Markdown of Docling's native pipeline, written with the options we use."""
    from docling.datamodel.base_models import DocumentStream

    result = _native().convert(DocumentStream(name="document.pdf", stream=io.BytesIO(data)), raises_on_error=False, page_range=(1, pages))
    text = result.document.export_to_markdown(image_placeholder="", escape_html=False, escape_underscores=False, compact_tables=True)
    return text, len(result.pages)


def pdfium(data: bytes, pages: int) -> tuple[str, int]:
    """Its hyphen at a line end is U+0002 (5.x) or U+FFFE; the word goes on behind it."""
    import pypdfium2

    texts = []
    with pypdfium2.PdfDocument(data) as pdf:
        for number in range(min(len(pdf), pages)):
            page = pdf[number]
            textpage = page.get_textpage()
            texts.append(textpage.get_text_bounded())
            textpage.close()
            page.close()
    return "\n\n".join(texts).replace("\r\n", "\n").replace("\ufffe", "\x02").replace("\x02\n", "").replace("\x02", ""), len(texts)


def pdfminer(data: bytes, pages: int) -> tuple[str, int]:
    """extract_text with the default layout parameters; form feeds end pages."""
    from pdfminer.high_level import extract_text

    text = extract_text(io.BytesIO(data), maxpages=pages)
    return text.replace("\f", "\n\n"), text.count("\f")


def pdfplumber(data: bytes, pages: int) -> tuple[str, int]:
    """extract_text of each page with its defaults."""
    import pdfplumber as library

    texts = []
    with library.open(io.BytesIO(data)) as pdf:
        for page in pdf.pages[:pages]:
            texts.append(page.extract_text())
            page.close()
    return "\n\n".join(texts), len(texts)


def pypdf(data: bytes, pages: int) -> tuple[str, int]:
    """extract_text of each page with its defaults."""
    from pypdf import PdfReader

    texts = [page.extract_text() for page in PdfReader(io.BytesIO(data)).pages[:pages]]
    return "\n\n".join(texts), len(texts)


READERS: dict[str, Reader] = {
    "athanor": athanor,
    "docling": docling,
    "pdfium": pdfium,
    "pdfminer": pdfminer,
    "pdfplumber": pdfplumber,
    "pypdf": pypdf,
}


def quiet() -> None:
    """The libraries' complaints about single files say nothing here."""
    for library in ("docling", "docling_core", "docling_parse", "pdfminer", "pdfplumber", "pypdf"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
