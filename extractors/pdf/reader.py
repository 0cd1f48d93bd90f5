"""PDF: Docling's standard pipeline with our layout engine in the place of its models, or with its models where they are installed.

pypdfium2 looks first (pdfium.py): passwords, damage, scans, and the text that stands in when Docling fails. docling-parse reads
the words, the layout engine makes blocks in reading order, Docling assembles the document and writes Markdown. Scanned pages
are read by the OCR engine where there is one, and their text is put at their place; else they are named.
"""

from __future__ import annotations

import functools
import io
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from corpus.outcome import Circumstance, Verdict
from extractors.pdf import weights
from extractors.pdf.typography import restored
from extractors.result import Extracted, first_heading, ranges

if TYPE_CHECKING:
    from extractors.extract import ExtractConfig

_UNMAPPED = re.compile(r"GLYPH<|\(cid:\d+\)|/g\d{1,4}/g\d|\ufffd")
_RULE = re.compile(r"(?m)^\|(?: - \|)+$")


def read(data: bytes, kind: str, config: ExtractConfig) -> Extracted:
    """Text of a PDF as Markdown, with title, dates and page count from its information dictionary."""
    from extractors import ocr
    from extractors.pdf import pdfium

    data = data[max(data.find(b"%PDF-"), 0) :]
    modelled = _modelled(config)
    seen = pdfium.look(data, config.max_pages)
    last = min(seen.count, config.max_pages)
    cut = b"%%EOF" not in data[-2048:]
    given: dict[int, str] = {page: text for page, text in ocr.read_pages(data, seen.scans, config).items() if text.strip()}
    remarks, warnings = ocr.remarks(given, config) if given else ({}, [])
    plain = [given.get(number, text) for number, text in enumerate(seen.texts, 1)]
    nothing = len(seen.scans) + len(seen.empty) >= len(plain)
    if seen.scans and nothing and not given:
        made = _Made("\n\n".join(plain))
        extractor = "pypdfium2"
    else:
        made = _docling(data, config.max_pages, given, modelled)
        extractor = "docling-models" if modelled else "docling-pdf"
        if made.failed_all or len(made.failed) > 0.2 * max(last, 1) or _worse(made.text, "\n\n".join(plain)):
            if not plain:
                raise Verdict("malformed", "the PDF is damaged or cut short: no page can be read")
            made = _Made("\n\n".join(plain), {number: len(text) for number, text in enumerate(plain, 1)})
            extractor = "pypdfium2"
            warnings.append("fallback_pypdfium2")
        elif made.failed:
            warnings.append(f"pages_failed: {ranges(made.failed)}")
            made.text += "".join(f"\n\n{plain[number - 1]}" for number in made.failed if number <= len(plain))
        if extractor != "pypdfium2":
            made.text = restored(made.text, plain)
    if given:
        extractor += "+tesseract"
        warnings.append(f"pages_read_by_ocr: {ranges(sorted(given))}")
    without = [number for number in seen.scans if number not in given]
    tried = seen.scans[: config.ocr_pages] if ocr.available(config) else []
    unread = [number for number in without if number not in tried]
    if unread:
        warnings.append(f"pages_need_ocr: {ranges(unread)}")
    if blank := [number for number in without if number in tried]:
        warnings.append(f"pages_unread_by_ocr: {ranges(blank)}")
    if seen.empty and not nothing:
        warnings.append(f"pages_without_text: {ranges(seen.empty)}")
    if seen.count > last:
        warnings.append(f"pages_left_out: {ranges(list(range(last + 1, seen.count + 1)))}")
        remarks["page_range"] = f"1-{last}"
    if cut:
        if not made.text.strip() and not unread:
            raise Verdict("malformed", "the PDF is cut short: nothing is left to read")
        warnings.append("cut_short")
    if unmapped := len(_UNMAPPED.findall(made.text)):
        warnings.append(f"unmapped_glyphs: {unmapped}")
    chars = [made.chars.get(number, 0) for number in range(1, last + 1)]
    title = seen.title or first_heading(made.text)
    return Extracted(
        made.text, extractor, title, "", seen.about | remarks, warnings, max(seen.count, 1), scans=len(unread), page_chars=chars
    )


def tools(config: ExtractConfig) -> dict[str, str]:
    """Versions of what is installed on this machine and takes part in reading PDFs: Docling's models, where they are used."""
    models = weights.found() if config.layout != "geometric" else None
    return {"docling-models": models.version} if models else {}


def _modelled(config: ExtractConfig) -> bool:
    """Whether Docling's models read the layout. Raises Circumstance where they are asked for and not installed."""
    if config.layout == "geometric":
        return False
    there = weights.found() is not None
    if config.layout == "models" and not there:
        raise Circumstance("missing_models", f"extract.layout is models, and Docling's models are not installed: {weights.REMEDY}")
    return there


@dataclass(slots=True)
class _Made:
    """What Docling made: Markdown, characters by page number, pages that failed; `failed_all` when it cannot read the file."""

    text: str = ""
    chars: dict[int, int] = field(default_factory=dict)
    failed: list[int] = field(default_factory=list)
    failed_all: bool = False


@functools.cache
def _pipeline(modelled: bool) -> Any:
    """Docling's pipeline, made once in a process."""
    from extractors.pdf.pipeline import geometric, with_models

    models = weights.found() if modelled else None
    return with_models(models) if models else geometric()


def _docling(data: bytes, max_pages: int, given: dict[int, str], modelled: bool) -> _Made:
    """The document by Docling. Pages in `given` are not looked at: their Markdown is put at their place."""
    from docling.datamodel.base_models import ConversionStatus

    try:
        result, chars = _pipeline(modelled).read(io.BytesIO(data), max_pages, given)
        if result.status not in (ConversionStatus.SUCCESS, ConversionStatus.PARTIAL_SUCCESS):
            return _Made(failed_all=True)
        text = result.document.export_to_markdown(image_placeholder="", escape_html=False, escape_underscores=False, compact_tables=True)
    except (Verdict, Circumstance, MemoryError):
        raise
    except Exception:  # Docling's failure is not the file's: pypdfium2 has its say
        return _Made(failed_all=True)
    text = _RULE.sub(lambda match: match[0].replace(" - ", " --- "), text)
    from extractors.pdf.pipeline import placeholder

    for number, markdown in given.items():
        text = text.replace(placeholder(number), markdown)
        chars[number] = len(markdown)
    failed = sorted({error.page_no for error in result.errors if getattr(error, "page_no", None)})
    return _Made(text, chars, failed)


def _worse(text: str, plain: str) -> bool:
    """Docling's text lost much of what pypdfium2 finds, or is full of unmapped glyphs where the other is not."""
    letters, others = sum(map(str.isalnum, text)), sum(map(str.isalnum, plain))
    if others > 200 and letters < 0.6 * others:
        return True
    bad, good = len(_UNMAPPED.findall(text)), len(_UNMAPPED.findall(plain))
    return bad > 20 and bad > 5 * good and bad * 50 > len(text)
