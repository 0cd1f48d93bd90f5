"""Docling's standard PDF pipeline with its pages one after the other in the calling thread: threads corrupt its memory at scale.

With our layout engine, only what needs models is replaced: layout prediction and table structure (plugin.py; our tables come
with their cells). The order of the blocks, where paragraphs go on and the levels of headings are the layout engine's too.
Everything else is Docling's own: page assembly, captions of tables, the document and its Markdown. With Docling's models all
stages are Docling's. OCR is none of these: what it read comes with the call.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from io import BytesIO
from typing import Any

from docling.backend.docling_parse_backend import ThreadedDoclingParseDocumentBackend
from docling.backend.pdf_backend import PdfDocumentBackend, iter_pdf_page_backends
from docling.datamodel.accelerator_options import AcceleratorDevice, AcceleratorOptions
from docling.datamodel.backend_options import ThreadedDoclingParseBackendOptions
from docling.datamodel.base_models import (
    ConversionStatus,
    DoclingComponentType,
    ErrorItem,
    FailureCategory,
    InputFormat,
    LayoutPrediction,
    Page,
)
from docling.datamodel.document import ConversionResult, InputDocument
from docling.datamodel.pipeline_options import HeadingHierarchyOptions, ThreadedPdfPipelineOptions
from docling.datamodel.settings import DocumentLimits
from docling.exceptions import DocumentLoadError
from docling.models.postprocessing.reading_order_rb import ReadingOrderPredictor
from docling.models.stages.heading_hierarchy.heading_hierarchy_model import HeadingHierarchyModel
from docling.models.stages.page_assemble.page_assemble_model import PageAssembleModel, PageAssembleOptions
from docling.models.stages.reading_order.readingorder_model import ReadingOrderModel, ReadingOrderOptions
from docling.pipeline.base_pipeline import get_expected_page_nos
from docling.pipeline.standard_pdf_pipeline import StandardPdfPipeline
from docling_core.types.doc.document import SectionHeaderItem

from extractors.pdf.layout import Analysis
from extractors.pdf.paragraphs import Block
from extractors.pdf.parsing import WordsBackend
from extractors.pdf.plugin import GeometricLayoutModel, GeometricLayoutOptions, held_cluster
from extractors.pdf.weights import Weights, offline


def options(**more: Any) -> ThreadedPdfPipelineOptions:
    """No OCR, no images, no enrichment."""
    return ThreadedPdfPipelineOptions(
        do_ocr=False, use_reading_order_separators=False, heading_hierarchy_options=HeadingHierarchyOptions(enabled=False), **more
    )


class GivenOrder(ReadingOrderPredictor):  # type: ignore[misc]
    """The order in which the elements come, and paragraphs joined where the layout engine says that they go on."""

    def __init__(self, blocks: dict[str, Block]) -> None:
        super().__init__()
        self.blocks = blocks

    def _predict_page(self, page_elements: list[Any], *, vertical_separators: list[Any] | None = None) -> list[Any]:
        return sorted(page_elements, key=lambda element: element.cid)

    def predict_to_footnotes(self, sorted_elements: list[Any]) -> dict[int, list[int]]:
        """None belongs to a table: they stand at the foot of the page."""
        return {}

    def predict_merges(self, sorted_elements: list[Any]) -> dict[int, list[int]]:
        merges: dict[int, list[int]] = {}
        first = None
        for element in sorted_elements:
            block = self.blocks[element.ref.cref]
            if block.region < 0:
                continue
            if block.continues and first is not None:
                merges.setdefault(first, []).append(element.cid)
            elif block.label in ("text", "bullet", "heading"):
                first = element.cid if block.label != "heading" else None
        return merges


class GivenDocument(ReadingOrderModel):  # type: ignore[misc]
    """Docling's assembly of the document with the layout engine's order, joints and levels."""

    def __init__(self, analysis: Analysis, page_nos: list[int]) -> None:
        super().__init__(options=ReadingOrderOptions())
        self.spelling = analysis.spelling
        self.blocks = {
            f"#/{number}/{index}": block
            for number, blocks in zip(page_nos, analysis.pages, strict=True)
            for index, block in enumerate(blocks)
        }
        self.ro_model = GivenOrder(self.blocks)

    def _handle_text_element(self, element: Any, **rest: Any) -> Any:
        item, current_list = super()._handle_text_element(element, **rest)
        if isinstance(item, SectionHeaderItem):
            item.level = max(1, self.blocks[self._element_ref(element)].level)
        return item, current_list

    def _merge_elements(self, element: Any, merged_elem: Any, new_item: Any, page_height: float) -> None:
        text = self.spelling.join(new_item.text, merged_elem.text)
        super()._merge_elements(element, merged_elem, new_item, page_height)
        new_item.text = new_item.orig = text


class SequentialPdfPipeline(StandardPdfPipeline):  # type: ignore[misc]
    """Docling's stages for one document at a time, without its threads. Pages that were read otherwise get their text from there."""

    backend: type[PdfDocumentBackend]
    backend_options: Any = None

    def read(self, stream: BytesIO, max_pages: int, given: dict[int, str]) -> tuple[ConversionResult, dict[int, int]]:
        """The converted document, and the characters of its body by page number. A page in `given` (numbers from 1) holds a
        placeholder for its text."""
        document = InputDocument(
            path_or_stream=stream,
            format=InputFormat.PDF,
            backend=self.backend,
            backend_options=self.backend_options,
            filename="document.pdf",
            limits=DocumentLimits(page_range=(1, max_pages)),
        )
        if not document.valid:
            raise DocumentLoadError("Docling cannot open the document")
        self.given = given
        result = self.execute(document, raises_on_error=True)
        chars: Counter[int] = Counter()
        for element in result.assembled.body:
            cells = getattr(element, "table_cells", None)
            chars[element.page_no] += sum(len(cell.text) for cell in cells) if cells else len(element.text or "")
        return result, dict(chars)

    def _pages(self, conv_res: ConversionResult) -> Iterator[Page]:
        """Pages as they are parsed; those that fail are noted."""
        backend = conv_res.input._backend
        assert isinstance(backend, PdfDocumentBackend)
        for page_backend in iter_pdf_page_backends(backend, get_expected_page_nos(conv_res)):
            page = Page(page_no=page_backend.page_no)
            if not page_backend.is_valid():
                conv_res.errors.append(_failed(page.page_no))
                continue
            page._backend, page.size = page_backend, page_backend.get_size()
            yield page

    def _finish(self, conv_res: ConversionResult) -> ConversionResult:
        conv_res.pages.sort(key=lambda page: page.page_no)
        if not conv_res.pages:
            conv_res.status = ConversionStatus.FAILURE
        else:
            conv_res.status = ConversionStatus.PARTIAL_SUCCESS if conv_res.errors else ConversionStatus.SUCCESS
        return conv_res


class GeometricPdfPipeline(SequentialPdfPipeline):
    """With our layout engine, which is given all pages at once."""

    backend = WordsBackend

    def _init_models(self) -> None:
        self.keep_images = self.keep_backend = False
        self.layout_model = GeometricLayoutModel()
        self.assemble_model = PageAssembleModel(options=PageAssembleOptions())
        self.heading_hierarchy_model = HeadingHierarchyModel(options=self.pipeline_options.heading_hierarchy_options)
        self.enrichment_pipe: list[Any] = []

    def _build_document(self, conv_res: ConversionResult) -> ConversionResult:
        conv_res.pages.extend(self._pages(conv_res))
        self._finish(conv_res)
        held = {number: placeholder(number) for number in self.given}
        analysis, predictions = self.layout_model.predict(conv_res.pages, held)
        for page, prediction in zip(conv_res.pages, predictions, strict=True):
            page.predictions.layout = prediction
        for page in self.assemble_model(conv_res, conv_res.pages):
            page._backend.unload()
            page._backend = None
        self.reading_order_model: Any = GivenDocument(analysis, [page.page_no for page in conv_res.pages])
        return conv_res

    def _unload(self, conv_res: ConversionResult) -> None:
        super()._unload(conv_res)
        self.reading_order_model = None


class ModelsPdfPipeline(SequentialPdfPipeline):
    """With Docling's own layout and table models, page after page."""

    backend = ThreadedDoclingParseDocumentBackend
    backend_options = ThreadedDoclingParseBackendOptions(parser_threads=1, max_concurrent_results=2)

    def _build_document(self, conv_res: ConversionResult) -> ConversionResult:
        stages = (
            self.preprocessing_model,
            self.layout_model,
            self.layout_postprocessing_model,
            self.table_model,
            self.assemble_model,
        )
        for page in self._pages(conv_res):
            conv_res.pages.append(page)
            if page.page_no in self.given:
                page.predictions.layout = LayoutPrediction(clusters=[held_cluster(placeholder(page.page_no), page.size)])
                list(self.assemble_model(conv_res, [page]))
            else:
                for stage in stages:
                    list(stage(conv_res, [page]))
            page._backend.unload()
            page._backend, page._image_cache, page.parsed_page = None, {}, None
        return self._finish(conv_res)


def placeholder(page_no: int) -> str:
    """What stands for the text of a page that was read otherwise: characters that no document uses."""
    return f"\U000f1e00{page_no}\U000f1e01"


def geometric() -> SequentialPdfPipeline:
    """The pipeline with our layout engine."""
    return GeometricPdfPipeline(options(layout_options=GeometricLayoutOptions(), do_table_structure=False))


def with_models(models: Weights) -> SequentialPdfPipeline:
    """The pipeline with Docling's models, on one thread of the CPU: its results are the same on every machine of a kind."""
    offline()
    return ModelsPdfPipeline(
        options(
            artifacts_path=models.artifacts,
            do_table_structure=True,
            accelerator_options=AcceleratorOptions(device=AcceleratorDevice.CPU, num_threads=1),
        )
    )


def _failed(page_no: int) -> ErrorItem:
    return ErrorItem(
        component_type=DoclingComponentType.DOCUMENT_BACKEND,
        module_name=GeometricPdfPipeline.__name__,
        error_message="the page failed to parse",
        category=FailureCategory.BACKEND_FAILURE,
        page_no=page_no,
    )
