"""OCR: pages that are images, read by Tesseract where it is installed with one of the languages asked for.

    page -> grey pixels -> Tesseract -> words with boxes -> regions -> blocks of our layout engine -> Markdown

Tesseract sees what separates columns on the paper (rules, pictures, blank), so its blocks of running text stand, in its order;
what is in them, and what lies between them (tables, forms, letterheads), is read by our layout engine.

tesseract.py runs the engine, images.py opens image files. Orientation is detected only where a page reads badly or lies on its
side: detection costs half as much as reading, and most pages are upright. Confidence is Tesseract's own, 0 to 100, the mean over
the characters.

Limits: handwriting and formulas are not read; what is read with less than `_NOTHING` confidence is taken for no text at all,
as of a photograph; of an animation only the first frame is looked at.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby, islice
from statistics import median
from typing import TYPE_CHECKING, Any

from extractors.images import PIXELS, frames, prepared
from extractors.pdf.fragments import Fragment, Word, fragments
from extractors.pdf.furniture import furniture
from extractors.pdf.layout import PageContent, analyse
from extractors.pdf.paragraphs import Block
from extractors.result import Extracted, markdown_table, ranges
from extractors.tesseract import DPI, found_engine, orientation, run

if TYPE_CHECKING:
    from PIL.Image import Image

    from extractors.extract import ExtractConfig

_DOUBT = 75.0  # mean confidence below which the page may be turned
_LOW = 60.0  # mean confidence below which the reader is warned
_NOTHING = 35.0  # mean confidence below which there is no text
_LINES, _WORDS = 3, 4.0  # what a block of running text has at least: lines, and words in each
_LINE = 12.0  # height that lines are scaled to: the layout engine thinks in points
_BULLET = re.compile(r"^\W\s+|^o\s+")
_STROKES = re.compile(r"[|_\[\]{}~—–=\\/]+")  # what rulings and borders are read as


class Reading(str):
    """Text of one page; `confidence` says how sure the engine is of it (0 to 100)."""

    confidence: float

    def __new__(cls, text: str, confidence: float) -> Reading:
        made = super().__new__(cls, text)
        made.confidence = confidence
        return made


def available(config: ExtractConfig) -> str:
    """'' where OCR is off or no engine with one of the languages is installed, else e.g. 'tesseract 5.3.0 (ita, eng)'."""
    engine = found_engine() if config.ocr == "auto" else None
    known = [name for name in config.ocr_languages if engine and name in engine.languages]
    return f"tesseract {engine.version} ({', '.join(known)})" if engine and known else ""


def tools(config: ExtractConfig) -> dict[str, str]:
    """The engine and the models that take part in the result, with their versions; nothing where `available` says ''."""
    engine = found_engine()
    if engine is None or not available(config):
        return {}
    return {"tesseract": engine.version} | {
        f"tesseract-{name}": engine.languages[name] for name in config.ocr_languages if name in engine.languages
    }


def found(config: ExtractConfig) -> tuple[str, str]:
    """For `athanor doctor`: what is installed ('' for nothing), and what to do about what is not ('' when all is there)."""
    lacking = missing(config)
    return available(config), remedy(config) if config.ocr == "off" or lacking else ""


def missing(config: ExtractConfig) -> list[str]:
    """Languages asked for that are not installed."""
    engine = found_engine()
    return [name for name in config.ocr_languages if engine is None or name not in engine.languages]


def remedy(config: ExtractConfig) -> str:
    """What to do so that scanned pages are read."""
    if config.ocr == "off":
        return "set extract.ocr to auto"
    if sys.platform == "darwin":
        return "brew install tesseract tesseract-lang"
    models = [f"tesseract-ocr-{name.replace('_', '-').replace('/', '-').lower()}" for name in missing(config) if name != "eng"]
    return " ".join(["apt install tesseract-ocr", *models])


def remarks(pages: Mapping[int, str], config: ExtractConfig) -> tuple[dict[str, Any], list[str]]:
    """What a document with these pages from `read_pages` says of them: metadata and warnings."""
    sure = [(page.confidence, len(page)) for page in pages.values() if isinstance(page, Reading) and page]
    warnings = [f"ocr_language_missing: {name}" for name in missing(config)]
    if not sure:
        return {}, warnings
    mean = sum(confidence * length for confidence, length in sure) / sum(length for _, length in sure)
    if mean < _LOW:
        warnings.append("low_ocr_confidence")
    return {"ocr": available(config), "ocr_confidence": round(mean)}, warnings


def read_pages(data: bytes, pages: list[int], config: ExtractConfig) -> dict[int, str]:
    """These pages of a PDF (counted from 1) as Markdown, each a `Reading`; a page that cannot be read is left out, so are all
    where no engine is available. Running heads and feet are left out as in other PDFs. Raises Circumstance when a page takes
    too long."""
    import pypdfium2

    if not pages or not available(config):
        return {}
    read: dict[int, _Page] = {}
    with pypdfium2.PdfDocument(data) as pdf:
        for number in pages[: config.ocr_pages]:
            try:
                page = pdf[number - 1]
                width, height = page.get_size()
                scale = min(DPI / 72, (PIXELS / max(width * height, 1.0)) ** 0.5)
                image = page.render(scale=scale, grayscale=True).to_pil()
                page.close()
            except pypdfium2.PdfiumError:
                continue
            if recognised := _recognised(image, config):
                read[number] = recognised
    texts = _markdown(list(read.values()))
    return {number: Reading(text, page.confidence) for (number, page), text in zip(read.items(), texts, strict=True)}


def read_image(data: bytes, kind: str, config: ExtractConfig) -> Extracted:
    """Text of an image, page by page where it has several (TIFF). Without an engine it is rejected as needs_ocr. Raises Verdict
    for a damaged image and for one that would fill the memory."""
    if not available(config):
        return Extracted("", "", problem="needs_ocr", detail=f"an image: to read it, {remedy(config)}")
    read = [(of, _recognised(prepared(image), config)) for of, image in islice(frames(data), config.ocr_pages)]
    count, found = max((of for of, _ in read), default=0), [page for _, page in read]
    failed = [n for n, page in enumerate(found, 1) if page is None]
    if len(failed) == len(found):
        return Extracted("", "", problem="needs_ocr", detail="the OCR engine fails on it", pages=count)
    warnings = [f"pages_failed: {ranges(failed)}"] if failed else []
    if count > len(found):
        warnings.append(f"pages_left_out: {ranges(list(range(len(found) + 1, count + 1)))}")
    pages = [page or _EMPTY for page in found]
    texts = _markdown(pages)
    readings: dict[int, str] = {n: Reading(text, page.confidence) for n, (page, text) in enumerate(zip(pages, texts, strict=True), 1)}
    about, said = remarks(readings, config)
    text = "\n\n".join(filter(None, texts))
    return Extracted(text, "tesseract", metadata=about, warnings=warnings + said, pages=count, page_chars=[len(t) for t in texts])


@dataclass(frozen=True)
class _Page:
    """What the engine found on a page. Boxes and height are scaled so that its lines are `_LINE` high."""

    regions: list[list[Word]]
    height: float
    confidence: float
    sideways: bool = False  # most words stand on end: the engine reads some pages that lie on their side, but not their lines

    @property
    def words(self) -> list[Word]:
        return [word for region in self.regions for word in region]


_EMPTY = _Page([], 0.0, 0.0)


def _recognised(image: Image, config: ExtractConfig) -> _Page | None:
    """What is on a page, turned upright where it reads badly; None when the engine fails on it."""
    best = _read(image, config)
    if best is not None and (best.confidence < _DOUBT or best.sideways) and (turn := orientation(image)):
        turned = _read(image.rotate(turn, expand=True), config)
        if turned is not None and turned.confidence > best.confidence - (5.0 if best.sideways and not turned.sideways else 0.0):
            best = turned
    return best if best is None or best.confidence >= _NOTHING else _Page([], best.height, best.confidence)


def _read(image: Image, config: ExtractConfig) -> _Page | None:
    engine = found_engine()
    if engine is None:
        return None
    names = "+".join(name for name in config.ocr_languages if name in engine.languages)
    table = run(engine.program, image, "-l", names, "--dpi", str(DPI), "tsv")
    return None if table is None else _page(table, image.height)


def _page(table: str, height: int) -> _Page:
    """Tesseract's TSV: level, page, block, paragraph, line, word, left, top, width, height, confidence, text; words have level 5."""
    rows = [row.split("\t") for row in table.splitlines()]
    rows = [row for row in rows if len(row) == 12 and row[0] == "5" and row[11].strip() and not _STROKES.fullmatch(row[11].strip())]
    if not rows:
        return _Page([], float(height), 0.0)
    sure = sum(max(float(row[10]), 0.0) * len(row[11]) for row in rows) / sum(len(row[11]) for row in rows)
    named = [(key[0], [_word(row) for row in line]) for key, line in groupby(rows, key=lambda row: row[2:5])]
    lines = _levelled([line for _, line in named])
    scale = _LINE / max(median(word[3] - word[1] for line in lines for word in line), 1.0)
    blocks: dict[str, list[list[Word]]] = {}
    for (block, _), line in zip(named, lines, strict=True):
        blocks.setdefault(block, []).append([_scaled(word, scale) for word in line])
    tall = [int(row[8]) < int(row[9]) for row in rows if len(row[11]) > 3]
    return _Page(_regions(list(blocks.values())), height * scale, sure, sum(tall) > 0.5 * len(tall))


def _scaled(word: Word, scale: float) -> Word:
    left, top, right, bottom, text, font = word
    return left * scale, top * scale, right * scale, bottom * scale, text, font


def _regions(blocks: list[list[list[Word]]]) -> list[list[Word]]:
    """The engine's blocks of lines as regions: each block of running text is one, in whole lines of one height, so that neither a
    justified line nor a line without tall letters stands out; what lies between two of them is one, in words."""
    regions: list[list[Word]] = []
    loose = False
    for block in blocks:
        running = len(block) >= _LINES and sum(map(len, block)) >= _WORDS * len(block)
        if running or not loose:
            regions.append([])
        if running:
            height = median(line[0][3] - line[0][1] for line in block)
            for line in block:
                text = " ".join(word[4] for word in line)
                regions[-1].append((line[0][0], line[0][3] - height, max(word[2] for word in line), line[0][3], text, ""))
        else:
            regions[-1] += [word for line in block for word in line]
        loose = not running
    return regions


def _word(row: list[str]) -> Word:
    left, top, width, height = map(float, row[6:10])
    return left, top, left + width, top + height, row[11].strip(), ""


def _levelled(lines: list[list[Word]]) -> list[list[Word]]:
    """The words of a line brought to one top and bottom, the page's skew taken out: the engine's boxes end where the ink does,
    and the layout engine takes heights for sizes of letters and left edges for margins."""
    runs = [(line[-1][0] - line[0][0], line[-1][3] - line[0][3]) for line in lines if len(line) > 2]
    slope = sum(run * rise for run, rise in runs) / max(sum(run * run for run, _ in runs), 1.0)
    slope = slope if abs(slope) < 0.1 else 0.0
    out = []
    for line in lines:
        turned = [
            (
                left + slope * bottom,
                top - slope * (left + right) / 2,
                right + slope * bottom,
                bottom - slope * (left + right) / 2,
                text,
                font,
            )
            for left, top, right, bottom, text, font in line
        ]
        tops, bottoms = sorted(word[1] for word in turned), sorted(word[3] for word in turned)
        top, bottom = tops[len(tops) // 4], bottoms[-1 - len(bottoms) // 4]
        out.append([(left, top, right, bottom, text, font) for left, _, right, _, text, font in turned])
    return out


def _markdown(pages: list[_Page]) -> list[str]:
    """The pages' texts: their regions in the engine's order, each as our layout engine reads it, without running heads and feet."""
    parts = [fragments(page.words) for page in pages]
    margins = furniture(parts, [page.height for page in pages])
    contents: list[PageContent] = []
    for number, page in enumerate(pages):
        boxes = [f for i, f in enumerate(parts[number]) if (number, i) in margins]
        boxes = boxes if len(boxes) < len(parts[number]) else []  # a page that is nothing else
        for region in page.regions:
            words = [_lower(word, page.height) for word in region if not any(_inside(word, f) for f in boxes)]
            contents.append(PageContent(words, 3 * page.height))  # no region lies in the margin of its page
    found = iter(analyse(contents).pages)
    return ["\n\n".join(_block(block) for _ in page.regions for block in next(found)) for page in pages]


def _lower(word: Word, by: float) -> Word:
    left, top, right, bottom, text, font = word
    return left, top + by, right, bottom + by, text, font


def _inside(word: Word, f: Fragment) -> bool:
    return f.l - 1 <= word[0] and word[2] <= f.r + 1 and f.t - 1 <= word[1] and word[3] <= f.b + 1


def _block(block: Block) -> str:
    if block.grid:
        return markdown_table(block.grid)
    if block.label == "heading":
        return f"## {block.text}"  # one level: the engine does not say how large letters are
    return f"- {_BULLET.sub('', block.text)}" if block.label == "bullet" else block.text
