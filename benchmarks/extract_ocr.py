"""OCR with an answer to compare with: pages of PDFs that have text, made into images, read by us and by two peers in the same run.

For each of `--files` PDFs of the folder `--raw`, spread evenly over it, one page with at least 400 characters of text is rendered
and its text layer taken for the truth. Peers: Tesseract's own text output, upright and with the same languages, and Docling's
Tesseract model, whose cells are joined in the order in which it gives them. A reading order that differs from the file's costs
similarity; extract_score.py says what it and bag are. Seconds are CPU seconds, those of the engine included.
"""

from __future__ import annotations

import argparse
import io
import os
import random
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pypdfium2
from extract_score import bag, similarity
from rich import box
from rich.console import Console
from rich.table import Table

from corpus.processes import spent
from extractors import ocr
from extractors.extract import ExtractConfig

DPI = 300
LEAST = 400  # characters of a page


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--raw", type=Path, required=True)
    parser.add_argument("--files", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)


def run(given: argparse.Namespace) -> None:
    config = ExtractConfig()
    engine = ocr.available(config)
    if not engine:
        raise SystemExit(f"no OCR engine: {ocr.remedy(config)}")
    readers: dict[str, Callable[[bytes], str]] = {
        "here": lambda scan: ocr.read_pages(scan, [1], config).get(1, ""),
        "tesseract": lambda scan: _tesseract(scan, config),
        "docling": _Docling(config),
    }
    scores: dict[str, list[tuple[float, float, float]]] = {name: [] for name in readers}
    for text, scan in _scans(sorted(given.raw.rglob("*.pdf")), given.files, given.seed):
        for name, reader in readers.items():
            before, began = spent(), time.monotonic()
            read = reader(scan)
            seconds = spent() - before or time.monotonic() - began
            scores[name].append((similarity(read, text), bag(read, text), seconds))
    table = Table("reader", "pages", "similarity", "bag", "CPU s a page", box=box.SIMPLE, title=engine)
    for name, rows in scores.items():
        mean = [statistics.fmean(column) for column in zip(*rows, strict=True)]
        table.add_row(name, str(len(rows)), f"{mean[0]:.3f}", f"{mean[1]:.3f}", f"{mean[2]:.2f}")
    Console().print(table)


def _scans(files: list[Path], count: int, seed: int) -> Any:
    """(text, PDF of one image) of one page of each of `count` files."""
    random.Random(seed).shuffle(files)
    found = 0
    for file in files:
        if found == count:
            return
        try:
            with pypdfium2.PdfDocument(file) as pdf:
                page = pdf[min(1, len(pdf) - 1)]
                text = page.get_textpage().get_text_bounded()
                if sum(map(str.isalnum, text)) < LEAST:
                    continue
                image = page.render(scale=DPI / 72, grayscale=True).to_pil()
        except (pypdfium2.PdfiumError, ValueError):
            continue
        found += 1
        made = io.BytesIO()
        image.save(made, "PDF", resolution=float(DPI), quality=90)
        yield text, made.getvalue()


def _tesseract(scan: bytes, config: ExtractConfig) -> str:
    with pypdfium2.PdfDocument(scan) as pdf:
        image = pdf[0].render(scale=DPI / 72, grayscale=True).to_pil()
    pixels = b"P5 %d %d 255\n" % image.size + image.tobytes()
    command = ["tesseract", "stdin", "stdout", "-l", "+".join(_languages(config)), "--dpi", str(DPI)]
    return subprocess.run(command, input=pixels, capture_output=True, env=dict(os.environ, OMP_THREAD_LIMIT="1")).stdout.decode()


def _languages(config: ExtractConfig) -> list[str]:
    lacking = ocr.missing(config)
    return [name for name in config.ocr_languages if name not in lacking]


class _Docling:
    """Docling's own Tesseract model on a page without layout model: it needs no weights."""

    def __init__(self, config: ExtractConfig) -> None:
        from docling.datamodel.accelerator_options import AcceleratorOptions
        from docling.datamodel.pipeline_options import OcrMode, TesseractCliOcrOptions
        from docling.models.stages.ocr.tesseract_ocr_cli_model import TesseractOcrCliModel

        os.environ["OMP_THREAD_LIMIT"] = "1"
        options = TesseractCliOcrOptions(lang=_languages(config), mode=OcrMode.FULL_PAGE)
        self.model = TesseractOcrCliModel(True, None, options, AcceleratorOptions())

    def __call__(self, scan: bytes) -> str:
        from docling.backend.pypdfium2_backend import PyPdfiumDocumentBackend
        from docling.datamodel.base_models import InputFormat, Page
        from docling.datamodel.document import ConversionResult, InputDocument

        given = InputDocument(io.BytesIO(scan), InputFormat.PDF, PyPdfiumDocumentBackend, filename="scan.pdf")
        page = Page(page_no=1)
        page._backend = given._backend.load_page(0)  # type: ignore[attr-defined]
        page.size = page._backend.get_size()
        page.parsed_page = page._backend.get_segmented_page()
        for done in self.model(ConversionResult(input=given), [page]):
            return " ".join(cell.text for cell in done.cells)
        return ""
