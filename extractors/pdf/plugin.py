"""Our layout engine as a Docling plugin: `layout_options=GeometricLayoutOptions()` picks it in any of Docling's PDF pipelines.

It needs no weights and takes the place of Docling's layout and table models: its clusters come with their text, its tables with
their cells. Given all pages at once it knows running heads, the size of the body and where paragraphs go on; given batches of
pages, as in Docling's threaded pipeline, it knows them of the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from docling.datamodel.base_models import Cluster, LayoutPrediction, Page, Table, TableStructurePrediction
from docling.datamodel.document import ConversionResult
from docling.datamodel.pipeline_options import BaseLayoutOptions
from docling.models.base_layout_model import BaseLayoutModel
from docling_core.types.doc import BoundingBox, CoordOrigin, DocItemLabel, Size, TableCell
from docling_core.types.doc.page import BoundingRectangle, TextCell

from extractors.pdf import layout
from extractors.pdf.fragments import Word
from extractors.pdf.paragraphs import Block
from extractors.pdf.parsing import Cell, WordsPage

_LABELS = {
    "text": DocItemLabel.TEXT,
    "heading": DocItemLabel.SECTION_HEADER,
    "bullet": DocItemLabel.LIST_ITEM,
    "caption": DocItemLabel.CAPTION,
    "footnote": DocItemLabel.FOOTNOTE,
    "table": DocItemLabel.TABLE,
    "header": DocItemLabel.PAGE_HEADER,
    "footer": DocItemLabel.PAGE_FOOTER,
}

_MIDDLE = (10.0, 45.0, 90.0, 55.0)  # of a page whose text is held elsewhere: a box for its placeholder


def layout_engines() -> dict[str, list[type[BaseLayoutModel]]]:
    """What Docling's plugin system asks for."""
    return {"layout_engines": [GeometricLayoutModel]}


class GeometricLayoutOptions(BaseLayoutOptions):  # type: ignore[misc]
    """Nothing to set."""

    kind: ClassVar[str] = "athanor_geometric"


class GeometricLayoutModel(BaseLayoutModel):  # type: ignore[misc]
    """See the module's head."""

    requires_layout_postprocessing = False

    def __init__(
        self,
        artifacts_path: Path | None = None,
        accelerator_options: Any = None,
        options: GeometricLayoutOptions | None = None,
        enable_remote_services: bool = False,
    ) -> None:
        self.options = options or GeometricLayoutOptions()

    @classmethod
    def get_options_type(cls) -> type[BaseLayoutOptions]:
        return GeometricLayoutOptions

    def predict_layout(self, conv_res: ConversionResult, pages: Sequence[Page]) -> Sequence[LayoutPrediction]:
        """Sets the pages' table predictions too."""
        return self.predict(pages)[1]

    def predict(self, pages: Sequence[Page], held: dict[int, str] | None = None) -> tuple[layout.Analysis, list[LayoutPrediction]]:
        """The analysis, whose blocks have their index as the id of their cluster, and the predictions. `held`: by page number, text
        that stands for the whole page."""
        analysis = analysed(pages, held or {})
        out = []
        for page, blocks in zip(pages, analysis.pages, strict=True):
            clusters = [_cluster(index, block) for index, block in enumerate(blocks)]
            tables = {
                index: _table(clusters[index], block.grid, page.page_no) for index, block in enumerate(blocks) if block.label == "table"
            }
            page.predictions.tablestructure = TableStructurePrediction(table_map=tables)
            out.append(LayoutPrediction(clusters=clusters))
        return analysis, out


def analysed(pages: Sequence[Page], held: dict[int, str]) -> layout.Analysis:
    """The pages' content analysed. Pages that lie on their side are given their upright size."""
    contents = []
    for page in pages:
        backend = page._backend
        if page.page_no in held:
            contents.append(layout.PageContent([(*_MIDDLE, held[page.page_no], "")], 100.0))
            continue
        if backend is None or not backend.is_valid() or page.size is None:
            contents.append(layout.PageContent([], page.size.height if page.size else 0.0))
            continue
        cells, drawn = _held(page, backend)
        content, on_its_side = upright(cells, drawn, page.size.width, page.size.height)
        if on_its_side:
            page.size = Size(width=page.size.height, height=page.size.width)
        contents.append(content)
    return layout.analyse(contents)


def _held(page: Page, backend: Any) -> tuple[list[Cell], list[tuple[float, float, float, float]]]:
    """Words (bottom-left origin) and drawn lines (top-left origin) of a page, from our backend or from any other."""
    if isinstance(backend, WordsPage):
        return backend.cells, backend.drawn
    parsed = page.parsed_page or backend.get_segmented_page()
    height = page.size.height if page.size else 0.0
    cells: list[Cell] = []
    for cell in (parsed.word_cells or parsed.textline_cells) if parsed else []:
        r = cell.rect.to_bottom_left_origin(height)
        corners = (r.r_x0, r.r_y0, r.r_x1, r.r_y1, r.r_x2, r.r_y2, r.r_x3, r.r_y3)
        cells.append((corners, cell.text, getattr(cell, "font_name", "")))
    boxes = [*(backend.get_shape_lines() or []), *(backend.get_thin_shape_boxes(max_thickness=3.0) or [])]
    return cells, [(b.l, b.t, b.r, b.b) for b in boxes]


def upright(
    cells: list[Cell], drawn: list[tuple[float, float, float, float]], width: float, height: float
) -> tuple[layout.PageContent, bool]:
    """The page turned so that most of its words read from left to right, and whether it lay on its side."""
    ways: tuple[list[Word], ...] = ([], [], [], [])
    for (x0, y0, x1, y1, x2, y2, x3, y3), text, font in cells:
        run, rise = x1 - x0, y1 - y0
        way = (0 if run >= 0 else 2) if abs(run) >= abs(rise) else (1 if rise > 0 else 3)
        box = (min(x0, x1, x2, x3), height - max(y0, y1, y2, y3), max(x0, x1, x2, x3), height - min(y0, y1, y2, y3))
        ways[way].append((*_turned(box, way, width, height), text, font))
    main = max(range(4), key=lambda way: (sum(len(word[4]) for word in ways[way]), -way))
    words, lines = ways[main], [_turned(box, main, width, height) for box in drawn]
    if _leftward(words):  # mirrored, so that the layout engine reads from left to right all the same
        side = height if main % 2 else width
        words = [(side - right, top, side - left, bottom, text, font) for left, top, right, bottom, text, font in words]
        lines = [(side - right, top, side - left, bottom) for left, top, right, bottom in lines]
    others = [word for way in range(4) if way != main for word in ways[way]]
    return layout.PageContent(words, width if main % 2 else height, others, lines), main % 2 == 1


def _turned(box: tuple[float, float, float, float], way: int, width: float, height: float) -> tuple[float, float, float, float]:
    """A box seen with the page turned: 1 reads upwards, 2 stands on its head, 3 reads downwards."""
    left, top, right, bottom = box
    if way == 1:
        return height - bottom, left, height - top, right
    if way == 2:
        return width - right, height - bottom, width - left, height - top
    if way == 3:
        return top, width - right, bottom, width - left
    return box


def _leftward(words: list[Word]) -> bool:
    """Whether most letters are Hebrew or Arabic."""
    letters = [c for word in words for c in word[4] if c.isalpha()]
    return sum("\u0590" <= c <= "\u08ff" or "\ufb1d" <= c <= "\ufefc" for c in letters) > 0.5 * len(letters)


def _cluster(index: int, block: Block) -> Cluster:
    box = BoundingBox(
        l=min(f.l for f in block.lines),
        t=min(f.t for f in block.lines),
        r=max(f.r for f in block.lines),
        b=max(f.b for f in block.lines),
        coord_origin=CoordOrigin.TOPLEFT,
    )
    cells = []
    if block.label != "table":  # one cell: the lines are joined here, where the document's spelling is known
        rect = BoundingRectangle.from_bounding_box(box)
        cells = [TextCell(index=0, rect=rect, text=block.text, orig=block.text, from_ocr=False)]
    return Cluster(id=index, label=_LABELS[block.label], bbox=box, cells=cells)


def held_cluster(text: str, size: Size) -> Cluster:
    """One paragraph that stands for a whole page."""
    box = BoundingBox(l=0, t=0, r=size.width, b=size.height, coord_origin=CoordOrigin.TOPLEFT)
    cell = TextCell(index=0, rect=BoundingRectangle.from_bounding_box(box), text=text, orig=text, from_ocr=True)
    return Cluster(id=0, label=DocItemLabel.TEXT, bbox=box, cells=[cell])


def _table(cluster: Cluster, grid: list[list[str]], page_no: int) -> Table:
    cells = [
        TableCell(
            text=text,
            start_row_offset_idx=r,
            end_row_offset_idx=r + 1,
            start_col_offset_idx=c,
            end_col_offset_idx=c + 1,
            column_header=r == 0,
        )
        for r, row in enumerate(grid)
        for c, text in enumerate(row)
    ]
    return Table(
        label=cluster.label,
        id=cluster.id,
        page_no=page_no,
        cluster=cluster,
        otsl_seq=[],
        num_rows=len(grid),
        num_cols=len(grid[0]),
        table_cells=cells,
    )
