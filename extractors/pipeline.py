"""Docling's standard PDF pipeline without weights: our layout engine, pages one after the other in the calling thread.

Only what needs models is replaced: layout prediction, its post-processing and table structure (our blocks come with their
cells), OCR (none). The order of the blocks is the layout engine's. Everything after is Docling's own: page assembly, merging of
paragraphs across columns and pages, captions, heading hierarchy, the document.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from docling.backend.pdf_backend import PdfDocumentBackend, iter_pdf_page_backends
from docling.datamodel.base_models import (
    Cluster,
    ConversionStatus,
    DoclingComponentType,
    ErrorItem,
    FailureCategory,
    LayoutPrediction,
    Page,
    Table,
    TableStructurePrediction,
)
from docling.datamodel.document import ConversionResult
from docling.datamodel.pipeline_options import HeadingHierarchyOptions, ThreadedPdfPipelineOptions
from docling.models.postprocessing.reading_order_rb import ReadingOrderPredictor
from docling.models.stages.heading_hierarchy.heading_hierarchy_model import HeadingHierarchyModel
from docling.models.stages.page_assemble.page_assemble_model import PageAssembleModel, PageAssembleOptions
from docling.models.stages.reading_order.readingorder_model import ReadingOrderModel, ReadingOrderOptions
from docling.pipeline.base_pipeline import get_expected_page_nos
from docling.pipeline.standard_pdf_pipeline import StandardPdfPipeline
from docling_core.types.doc import BoundingBox, CoordOrigin, DocItemLabel, Size, TableCell
from docling_core.types.doc.page import BoundingRectangle, TextCell

from extractors import fragments as lines
from extractors import layout

_LABELS = {
    "text": DocItemLabel.TEXT,
    "heading": DocItemLabel.SECTION_HEADER,
    "bullet": DocItemLabel.LIST_ITEM,
    "table": DocItemLabel.TABLE,
    "header": DocItemLabel.PAGE_HEADER,
    "footer": DocItemLabel.PAGE_FOOTER,
}


def options() -> ThreadedPdfPipelineOptions:
    """No OCR, no images, no enrichment; heading levels inferred."""
    return ThreadedPdfPipelineOptions(
        do_ocr=False,
        do_table_structure=False,
        generate_parsed_pages=True,
        use_reading_order_separators=False,
        heading_hierarchy_options=HeadingHierarchyOptions(enabled=True, use_bookmarks=False, use_style=False),
    )


class GivenOrder(ReadingOrderPredictor):  # type: ignore[misc]
    """The order in which the elements come."""

    def _predict_page(self, page_elements: list[Any], *, vertical_separators: list[Any] | None = None) -> list[Any]:
        return sorted(page_elements, key=lambda element: element.cid)


class _Spent:
    """A page whose words were taken: page assembly only asks whether it was valid, the parser's own objects can go."""

    def is_valid(self) -> bool:
        return True

    def unload(self) -> None:
        """Nothing is held."""


class GeometricPdfPipeline(StandardPdfPipeline):  # type: ignore[misc]
    """See the module's head."""

    def _init_models(self) -> None:
        self.keep_images = self.keep_backend = False
        self.assemble_model = PageAssembleModel(options=PageAssembleOptions())
        self.reading_order_model = ReadingOrderModel(options=ReadingOrderOptions())
        self.reading_order_model.ro_model = GivenOrder()
        self.heading_hierarchy_model = HeadingHierarchyModel(options=self.pipeline_options.heading_hierarchy_options)
        self.enrichment_pipe: list[Any] = []

    def _build_document(self, conv_res: ConversionResult) -> ConversionResult:
        backend = conv_res.input._backend
        assert isinstance(backend, PdfDocumentBackend)
        words: dict[int, tuple[list[lines.Word], list[lines.Word]]] = {}
        for page_backend in iter_pdf_page_backends(backend, get_expected_page_nos(conv_res)):
            page = Page(page_no=page_backend.page_no)
            if not page_backend.is_valid():
                self._failed(conv_res, page.page_no)
                continue
            page._backend = _Spent()
            page.size = page_backend.get_size()
            parsed = page_backend.get_segmented_page()
            main, others, turned = _words(parsed, page.size.height, page.size.width)
            words[page.page_no] = main, others
            if turned:
                page.size = Size(width=page.size.height, height=page.size.width)
            page_backend.unload()
            conv_res.pages.append(page)
        conv_res.pages.sort(key=lambda page: page.page_no)
        predict(conv_res.pages, [words[page.page_no] for page in conv_res.pages])
        for _ in self.assemble_model(conv_res, conv_res.pages):
            pass
        for page in conv_res.pages:
            page._backend = None
        if not conv_res.pages:
            conv_res.status = ConversionStatus.FAILURE
        else:
            conv_res.status = ConversionStatus.PARTIAL_SUCCESS if conv_res.errors else ConversionStatus.SUCCESS
        return conv_res

    def _failed(self, conv_res: ConversionResult, page_no: int) -> None:
        conv_res.errors.append(
            ErrorItem(
                component_type=DoclingComponentType.DOCUMENT_BACKEND,
                module_name=type(self).__name__,
                error_message="the page failed to parse",
                category=FailureCategory.BACKEND_FAILURE,
                page_no=page_no,
            )
        )


def _words(parsed: Any, height: float, width: float) -> tuple[list[lines.Word], list[lines.Word], bool]:
    """Words along the page's main direction, turned upright; the other ones (stamps in the margin); whether the page lay on its side."""
    ways: tuple[list[lines.Word], list[lines.Word], list[lines.Word]] = ([], [], [])
    for cell in parsed.word_cells:
        rect = cell.rect
        left, right = min(rect.r_x0, rect.r_x2), max(rect.r_x0, rect.r_x2)
        top, bottom = min(rect.r_y0, rect.r_y2), max(rect.r_y0, rect.r_y2)
        rise, run = rect.r_y1 - rect.r_y0, rect.r_x1 - rect.r_x0
        if abs(rise) <= abs(run):
            ways[0].append((left, top, right, bottom, cell.text, cell.font_name))
        elif rise < 0:  # read upwards
            ways[1].append((height - bottom, left, height - top, right, cell.text, cell.font_name))
        else:
            ways[2].append((top, width - right, bottom, width - left, cell.text, cell.font_name))
    main = max(range(3), key=lambda way: len(ways[way]))
    if _leftward(ways[main]):  # mirrored, so that the layout engine reads from left to right all the same
        side = height if main else width
        ways[main][:] = [(side - right, top, side - left, bottom, text, font) for left, top, right, bottom, text, font in ways[main]]
    return ways[main], [word for way in range(3) if way != main for word in ways[way]], main > 0


def _leftward(words: list[lines.Word]) -> bool:
    """Whether most letters are Hebrew or Arabic."""
    letters = [c for word in words for c in word[4] if c.isalpha()]
    return sum("\u0590" <= c <= "\u08ff" or "\ufb1d" <= c <= "\ufefc" for c in letters) > 0.5 * len(letters)


def predict(pages: Sequence[Page], words: list[tuple[list[lines.Word], list[lines.Word]]]) -> None:
    """Sets each page's layout and table predictions."""
    parts = [lines.fragments(main) for main, _ in words]
    body = lines.body_size(parts)
    margins = lines.furniture(parts, [page.size.height if page.size else 0.0 for page in pages])
    for number, (page, found) in enumerate(zip(pages, parts, strict=True)):
        inner = [f for i, f in enumerate(found) if (number, i) not in margins]
        half = page.size.height / 2 if page.size else 0.0
        outer = [layout.Block("header" if f.middle < half else "footer", [f]) for i, f in enumerate(found) if (number, i) in margins]
        clusters, tables = [], {}
        turned = [layout.Block("text", [f]) for f in lines.fragments(words[number][1])]
        for index, block in enumerate(outer + layout.blocks(inner, body) + turned):
            cluster = _cluster(index, block)
            clusters.append(cluster)
            if block.grid:
                tables[index] = _table(cluster, block.grid, page.page_no)
        page.predictions.layout = LayoutPrediction(clusters=clusters)
        page.predictions.tablestructure = TableStructurePrediction(table_map=tables)


def _cluster(index: int, block: layout.Block) -> Cluster:
    box = BoundingBox(
        l=min(f.l for f in block.lines),
        t=min(f.t for f in block.lines),
        r=max(f.r for f in block.lines),
        b=max(f.b for f in block.lines),
        coord_origin=CoordOrigin.TOPLEFT,
    )
    return Cluster(
        id=index, label=_LABELS[block.label], bbox=box, cells=[] if block.grid else [_cell(i, f) for i, f in enumerate(block.lines)]
    )


def _cell(index: int, f: lines.Fragment) -> TextCell:
    rect = BoundingRectangle(
        r_x0=f.l, r_y0=f.b, r_x1=f.r, r_y1=f.b, r_x2=f.r, r_y2=f.t, r_x3=f.l, r_y3=f.t, coord_origin=CoordOrigin.TOPLEFT
    )
    return TextCell(index=index, rect=rect, text=f.text, orig=f.text, from_ocr=False)


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
