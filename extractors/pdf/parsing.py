"""docling-parse as a Docling backend for this room: words and drawn lines of one page at a time, in the calling thread.

Docling's own backend decodes pages in threads of its own, makes lines and objects that our layout engine does not ask for, and
leaves out drawings when nothing is rendered. This one asks the parser for words and shapes, takes them over as plain tuples and
lets go of the page. A page that cannot be decoded is not valid; the others are read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

from docling.backend.pdf_backend import PdfDocumentBackend, PdfPageBackend
from docling.exceptions import DocumentLoadError
from docling_core.types.doc import BoundingBox, CoordOrigin, Size
from docling_core.types.doc.page import SegmentedPdfPage, TextCell
from docling_parse.pdf_parsers import DecodePageConfig, pdf_parser
from PIL import Image

_KEY = "document"
_MOST_SHAPES = 20_000  # of a page: maps and plots have more, and no table that could be read
_JOINED = re.compile(r"[^\W\d_A-Z]{2}[A-Z][^\W\d_A-Z]|[,;:][^\W\d_]{2}")
_CUT = 0.06  # heights of a letter: a gap among letters that touch
_OFF = 0.01  # heights of a letter: letters nearer than this touch
_GUESSED = re.compile(r"['\"\u0080-\uffff-]")  # signs whose width the parser guesses where the font is not in the file

Cell = tuple[tuple[float, float, float, float, float, float, float, float], str, str]  # corners from lower left, text, font


def _config() -> Any:
    config = DecodePageConfig()
    config.page_boundary = "crop_box"
    config.keep_char_cells = True  # words are made of them
    config.create_word_cells = True
    config.create_line_cells = False
    config.keep_shapes = True
    config.keep_bitmaps = False
    config.extract_bitmap_pixels = False
    config.extract_font_programs = False
    config.keep_glyphs = False
    config.do_thread_safe = False
    return config


class WordsPage(PdfPageBackend):  # type: ignore[misc]
    """A decoded page: `cells` with bottom-left origin as the parser gives them, `drawn` boxes of lines with top-left origin."""

    def __init__(self, page_no: int, size: Size, cells: list[Cell], drawn: list[tuple[float, float, float, float]], valid: bool) -> None:
        self._page_no, self._size, self.cells, self.drawn, self._valid = page_no, size, cells, drawn, valid

    @property
    def page_no(self) -> int:
        return self._page_no

    def is_valid(self) -> bool:
        return self._valid

    def get_size(self) -> Size:
        return self._size

    def get_text_in_rect(self, bbox: BoundingBox) -> str:
        return " ".join(cell.text for cell in self.get_text_cells() if cell.rect.to_bounding_box().intersection_over_self(bbox) > 0.5)

    def get_segmented_page(self) -> SegmentedPdfPage | None:
        """None: the words are in `cells`."""
        return None

    def get_text_cells(self) -> Iterable[TextCell]:
        from docling_core.types.doc.page import BoundingRectangle

        for index, (corners, text, _font) in enumerate(self.cells):
            names = ("r_x0", "r_y0", "r_x1", "r_y1", "r_x2", "r_y2", "r_x3", "r_y3")
            rect = BoundingRectangle(**dict(zip(names, corners, strict=True)), coord_origin=CoordOrigin.BOTTOMLEFT)
            yield TextCell(index=index, rect=rect.to_top_left_origin(self._size.height), text=text, orig=text, from_ocr=False)

    def get_bitmap_rects(self, scale: float = 1) -> Iterable[BoundingBox]:
        """None are looked for."""
        return []

    def get_page_image(self, scale: float = 1, cropbox: BoundingBox | None = None) -> Image.Image:
        raise RuntimeError("pages are parsed here and not rendered")

    def unload(self) -> None:
        self.cells, self.drawn = [], []


class WordsBackend(PdfDocumentBackend):  # type: ignore[misc]
    """See the module's head."""

    def __init__(self, in_doc: Any, path_or_stream: BytesIO | Path, options: Any = None) -> None:
        super().__init__(in_doc, path_or_stream, options)
        self._parser = pdf_parser(level="fatal")
        stream = path_or_stream if isinstance(path_or_stream, BytesIO) else BytesIO(path_or_stream.read_bytes())
        stream.seek(0)
        password = self.options.password.get_secret_value() if self.options.password else None
        try:
            loaded = self._parser.load_document_from_bytesio(key=_KEY, bytes_io=stream, password=password, keep_qpdf_warnings=False)
        except (RuntimeError, ValueError) as error:
            raise DocumentLoadError("docling-parse could not load the document") from error
        if not loaded:
            raise DocumentLoadError("docling-parse could not load the document")
        self._config = _config()

    def is_valid(self) -> bool:
        return self._parser.is_loaded(key=_KEY) and self.page_count() > 0

    def page_count(self) -> int:
        return int(self._parser.number_of_pages(key=_KEY))

    def load_page(self, page_no: int) -> WordsPage:
        """The page with this number, counted from 0."""
        try:
            page = self._parser.get_page_decoder(key=_KEY, page=page_no, config=self._config)
            if page is None:
                raise RuntimeError("no page")
            left, bottom, right, top = page.get_page_dimension().get_crop_bbox()
            size = Size(width=abs(right - left), height=abs(top - bottom))
            return WordsPage(page_no + 1, size, _words(page), _drawn(page, size), True)
        except (RuntimeError, ValueError, IndexError):
            return WordsPage(page_no + 1, Size(width=0, height=0), [], [], False)
        finally:
            if self._parser.is_loaded(key=_KEY):
                self._parser.unload_document_page(key=_KEY, page=page_no)

    def unload(self) -> None:
        if self._parser.is_loaded(key=_KEY):
            self._parser.unload_document(_KEY)
        super().unload()


def _words(page: Any) -> list[Cell]:
    """Words as the parser makes them, those taken apart that it runs together at a narrow blank.

    Words that look like two are tried, and those with an apostrophe or an accent: of fonts that are not in the file the parser
    takes these for wider than they are, and the blank behind the word for too narrow, or for none.
    """
    cells = [((c.r_x0, c.r_y0, c.r_x1, c.r_y1, c.r_x2, c.r_y2, c.r_x3, c.r_y3), c.text, c.font_name) for c in page.get_word_cells()]
    guessed = {i for i, (_, text, font) in enumerate(cells) if "+" not in font and _GUESSED.search(text[:-1])}
    doubtful = guessed | {i for i, (_, text, _) in enumerate(cells) if _JOINED.search(text)}
    if not doubtful:
        return cells
    letters: dict[int, list[tuple[float, float, str]]] = {}
    for c in page.get_char_cells():
        if c.text.strip():
            letters.setdefault(round(c.r_y0), []).append((c.r_x0, c.r_x1, c.text))
    kerned = not guessed or _kerned(letters)
    split = {i: _apart(cells[i], letters.get(round(cells[i][0][1]), []), i in guessed and not kerned) for i in doubtful}
    return [piece for i, cell in enumerate(cells) for piece in split.get(i, [cell])]


def _kerned(letters: dict[int, list[tuple[float, float, str]]]) -> bool:
    """Whether letters within words are moved: then a gap that is a little off says nothing."""
    gaps = [b[0] - a[1] for row in letters.values() for a, b in pairwise(row) if a[2].isascii() and a[2].isalpha()]
    return sum(0.02 < abs(gap) < 0.6 for gap in gaps) > 0.02 * len(gaps)


def _apart(cell: Cell, letters: list[tuple[float, float, str]], exact: bool) -> list[Cell]:
    """The word cut where one gap stands out among letters that touch; as it is when its letters do not spell it. `exact`: letters
    of a word always touch, so that those behind a letter of unknown width are parted where they do not."""
    (x0, y0, x1, y1, _, y2, _, y3), text, font = cell
    own = sorted(letter for letter in letters if x0 - 0.1 <= letter[0] < x1)
    height = abs(y3 - y0)
    if "".join(letter[2] for letter in own) != text or y0 != y1:
        return [cell]
    gaps = [b[0] - a[1] for a, b in pairwise(own)]
    touching = sum(abs(gap) < _OFF * height for gap in gaps)
    if exact:
        behind = next((i for i, letter in enumerate(own) if _GUESSED.search(letter[2])), 0)
        cuts = [i + 1 for i, gap in enumerate(gaps) if i >= behind and abs(gap) >= _OFF * height]
        cuts = cuts if len(cuts) <= 1 or touching >= 0.7 * len(gaps) else []
    else:
        cuts = [i + 1 for i, gap in enumerate(gaps) if gap > _CUT * height] if touching >= 0.7 * len(gaps) else []
    if not cuts:
        return [cell]
    out: list[Cell] = []
    for first, end in pairwise([0, *cuts, len(own)]):
        left, right = own[first][0], own[end - 1][1]
        if cuts and end < len(own):
            right = min(right, own[end][0] - 0.1 * height)  # the blank is there, the letter is narrower
        out.append(((left, y0, right, y1, right, y2, left, y3), "".join(letter[2] for letter in own[first:end]), font))
    return out


def _drawn(page: Any, size: Size) -> list[tuple[float, float, float, float]]:
    """Boxes (left, top, right, bottom; origin at the top left) of straight lines and rectangles along the page's sides."""
    out: list[tuple[float, float, float, float]] = []
    shapes = page.get_page_shapes()
    for number, shape in enumerate(shapes):
        if number > _MOST_SHAPES:
            return []
        xs, ys, parts = shape.get_x(), shape.get_y(), shape.get_i()
        for first, end in zip(parts[::2], parts[1::2], strict=False):
            x, y = xs[first:end], ys[first:end]
            if not 2 <= len(x) <= 6:
                continue
            left, right, low, high = min(x), max(x), min(y), max(y)
            if len(x) == 2 and right - left > 0.8 and high - low > 0.8:
                continue
            if len(x) > 2 and any(min(a - left, right - a) > 0.8 and min(b - low, high - b) > 0.8 for a, b in zip(x, y, strict=True)):
                continue
            if right - left > 0.97 * size.width and high - low > 0.9 * size.height:
                continue
            out.append((left, size.height - high, right, size.height - low))
    return out
