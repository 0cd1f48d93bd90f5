"""PDF: Docling's standard pipeline with our layout engine in the place of its models; pypdfium2's text as a stated fallback.

The pipeline here is `StandardPdfPipeline` without weights and without threads: docling-parse reads the words, `layout.py` makes
blocks in reading order, Docling assembles pages, joins paragraphs across columns and pages, infers heading levels and writes
Markdown. Passwords and damage are told by pypdfium2 first. No OCR: pages without a text layer are counted and named.
"""

from __future__ import annotations

import functools
import io
import re
from typing import Any

from corpus.outcome import Circumstance, Verdict
from extractors.extract import ExtractConfig
from extractors.result import Extracted, first_heading, one_line

_SCAN_CHARS = 8  # a page with an image and fewer characters than this is a scan
_GLYPHS = re.compile(r"GLYPH<|\(cid:\d+\)|/g\d{1,4}/g\d")


def read(data: bytes, kind: str, config: ExtractConfig) -> Extracted:
    """Text of a PDF as Markdown, with title, dates and page count from its information dictionary."""
    start = data.find(b"%PDF-")
    data = data[max(start, 0) :]
    import pypdfium2

    metadata, count, lang = {}, 0, ""
    try:
        with pypdfium2.PdfDocument(data) as pdf:
            count, metadata = len(pdf), pdf.get_metadata_dict(skip_empty=True)
            empty, texts = _pages(pdf, config.max_pages)
            scans = [n + 1 for n, t in enumerate(texts) if sum(not c.isspace() for c in t) < _SCAN_CHARS and _pictures(pdf, n)]
    except pypdfium2.PdfiumError as error:
        if "password" in str(error).lower() or "security" in str(error).lower():
            raise Verdict("encrypted", "the PDF is protected by a password") from error
        empty, texts, scans = [], [], []
    warnings: list[str] = []
    if count > config.max_pages:
        warnings.append(f"pages_left_out: {count - config.max_pages}")
    plain = "\n\n".join(texts)
    if scans and len(scans) + len(empty) >= len(texts):
        return Extracted(plain, "pypdfium2", pages=count, scans=count)
    text, failed = _docling(data, config.max_pages)
    extractor = "docling-pdf"
    if text is None or (count and len(failed) > 0.2 * min(count, config.max_pages)) or _worse(text, plain):
        if not texts:
            raise Verdict("malformed", "the PDF is damaged or cut short: no page can be read")
        text, extractor = plain, "pypdfium2"
        warnings.append("fallback_pypdfium2")
    elif failed:
        warnings.append("pages_failed: " + _ranges(failed))
        text += "".join(f"\n\n{texts[n - 1]}" for n in failed if n <= len(texts))
    if scans:
        warnings.append("pages_need_ocr: " + _ranges(scans))
    empty = [n for n in empty if n not in scans]
    if empty and len(empty) < len(texts):
        warnings.append("pages_without_text: " + _ranges(empty))
    if not data[-2048:].rstrip(b"\0 \r\n").endswith(b"%%EOF") and b"%%EOF" not in data[-2048:]:
        warnings.append("cut_short")
    if _GLYPHS.search(text):
        warnings.append("unmapped_glyphs")
    about = {"date": _date(metadata.get("CreationDate", "")), "author": one_line(metadata.get("Author", ""))}
    title = one_line(metadata.get("Title", ""))
    if not title or re.search(
        r"\.(?:docx?|pdf|xlsx?|indd|dvi|tex|pub|rtf)$|^(?:Microsoft (?:Word|PowerPoint)|untitled|Layout \d)", title, re.I
    ):
        title = first_heading(text)
    return Extracted(text, extractor, title, lang, about, warnings, pages=max(count, 1), scans=len(scans))


def _pages(pdf: Any, limit: int) -> tuple[list[int], list[str]]:
    """Numbers of the pages without text, and every page's text in the order of the file."""
    empty, texts = [], []
    for number in range(min(len(pdf), limit)):
        try:
            page = pdf[number]
            textpage = page.get_textpage()
            text = textpage.get_text_bounded().replace("\r\n", "\n").replace("\ufffe", "-").replace("\x02", "-")
            textpage.close()
            page.close()
        except Exception:  # one broken page costs that page; Docling may still read it
            text = ""
        texts.append(text)
        if not text.strip():
            empty.append(number + 1)
    return empty, texts


def _pictures(pdf: Any, number: int) -> bool:
    """Whether the page holds an image: without text it is then a scan, and blank or drawn otherwise."""
    import pypdfium2.raw as raw

    try:
        return any(True for _ in pdf[number].get_objects(filter=[raw.FPDF_PAGEOBJ_IMAGE], max_depth=4))
    except Exception:  # a broken page has no image that could be read
        return False


def _worse(text: str, plain: str) -> bool:
    """Docling's text lost much of what pypdfium2 finds, or is full of unmapped glyphs where the other is not."""
    letters, others = sum(map(str.isalnum, text)), sum(map(str.isalnum, plain))
    if others > 200 and letters < 0.6 * others:
        return True
    bad, good = len(_GLYPHS.findall(text)), len(_GLYPHS.findall(plain))
    return bad > 20 and bad > 5 * good and bad * 50 > len(text)


def _ranges(numbers: list[int]) -> str:
    """1, 2, 3, 7 -> '1-3, 7'."""
    out: list[list[int]] = []
    for n in numbers:
        if out and n == out[-1][1] + 1:
            out[-1][1] = n
        else:
            out.append([n, n])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in out)


def _date(value: str) -> str:
    match = re.match(r"D?:?(\d{4})(\d{2})?(\d{2})?", value)
    return "-".join(part for part in match.groups() if part) if match else ""


@functools.cache
def _converter() -> Any:
    """Docling's converter for PDFs, made once in a process."""
    from docling.datamodel.backend_options import ThreadedDoclingParseBackendOptions
    from docling.datamodel.base_models import InputFormat
    from docling.document_converter import DocumentConverter, PdfFormatOption

    from extractors.pipeline import GeometricPdfPipeline, options

    format_option = PdfFormatOption(
        pipeline_cls=GeometricPdfPipeline,
        pipeline_options=options(),
        backend_options=ThreadedDoclingParseBackendOptions(parser_threads=1, render_pages=False),
    )
    return DocumentConverter(allowed_formats=[InputFormat.PDF], format_options={InputFormat.PDF: format_option})


def _docling(data: bytes, max_pages: int) -> tuple[str | None, list[int]]:
    """Markdown and the numbers of the pages that failed; None when Docling cannot read the file at all."""
    from docling.datamodel.base_models import ConversionStatus, DocumentStream

    converter = _converter()
    try:
        stream = DocumentStream(name="document.pdf", stream=io.BytesIO(data))
        result = converter.convert(stream, raises_on_error=False, page_range=(1, max_pages))
        if result.status not in (ConversionStatus.SUCCESS, ConversionStatus.PARTIAL_SUCCESS):
            return None, []
        text = result.document.export_to_markdown(image_placeholder="", escape_html=False, escape_underscores=False, compact_tables=True)
    except (Verdict, Circumstance, MemoryError):
        raise
    except Exception:  # Docling's failure is not the file's: pypdfium2 has its say
        return None, []
    return text, sorted({e.page_no for e in result.errors if getattr(e, "page_no", None)})
