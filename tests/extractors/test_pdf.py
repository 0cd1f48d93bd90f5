"""PDFs through the whole reader: order, furniture, tables, footnotes, scans, damage, Docling's models. The files are made here."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from corpus.outcome import Circumstance, Outcome, Verdict
from extractors import extract, ocr
from extractors.extract import ExtractConfig
from extractors.pdf import reader, weights

CONFIG = ExtractConfig(layout="geometric", ocr="off")
PROSE = (
    "Nel mezzo del cammin di nostra vita mi ritrovai per una selva oscura, ché la diritta via era smarrita. "
    "Ahi quanto a dir qual era è cosa dura esta selva selvaggia e aspra e forte che nel pensier rinova la paura!"
)


def measured(data: bytes, config: ExtractConfig = CONFIG) -> dict[str, Any]:
    return extract.as_measurements(extract.extracted(config, data, "pdf"), config)


def text_of(data: bytes) -> str:
    return str(measured(data)["text"])


def decided(data: bytes) -> Outcome:
    return extract.decide(CONFIG, measured(data))


def pdf(draw: Any, pages: int = 1, encrypt: Any = None, **info: str) -> bytes:
    from reportlab.pdfgen.canvas import Canvas

    out = io.BytesIO()
    canvas = Canvas(out, pagesize=(595, 842), encrypt=encrypt)
    if "title" in info:
        canvas.setTitle(info["title"])
    for page in range(pages):
        draw(canvas, page)
        canvas.showPage()
    canvas.save()
    return out.getvalue()


def wrapped(text: str, width: int) -> list[str]:
    import textwrap

    return textwrap.wrap(text, width)


def column(canvas: Any, lines: list[str], left: float, top: float) -> None:
    canvas.setFont("Helvetica", 10)
    for i, line in enumerate(lines):
        canvas.drawString(left, top - 12 * i, line)


def one_page(canvas: Any, page: int) -> None:
    canvas.setFont("Helvetica-Bold", 16)
    canvas.drawString(60, 760, "Relazione annuale")
    column(canvas, wrapped(PROSE * 3, 90), 60, 730)


def test_a_pdf_is_read_with_title_pages_and_the_extractor_that_did_it() -> None:
    m = measured(pdf(one_page, title="Una relazione"))
    assert m["extractor"] == "docling-pdf"
    assert m["text"].startswith("## Relazione annuale")
    assert "selva oscura, ché la diritta via" in m["text"]
    assert (m["title"], m["pages"], m["warnings"]) == ("Una relazione", 1, [])


def test_two_columns_of_a_pdf_are_read_one_after_the_other() -> None:
    def draw(canvas: Any, page: int) -> None:
        left, right = wrapped("SINISTRA " + PROSE * 4, 45), wrapped("DESTRA " + PROSE * 4, 45)
        for i in range(len(left)):  # the file holds the columns line by line
            column(canvas, [left[i]], 50, 750 - 12 * i)
            column(canvas, [right[i]], 310, 750 - 12 * i)

    text = text_of(pdf(draw))
    flat = " ".join(text.split())
    assert flat.count("esta selva selvaggia e aspra e forte che nel pensier") == 8
    assert flat.index("DESTRA") > len(flat) * 0.45


def test_a_hyphenated_word_is_joined_and_running_heads_are_left_out() -> None:
    def draw(canvas: Any, page: int) -> None:
        column(canvas, [f"Gazzetta Ufficiale – Serie generale n. {page}"], 200, 820)
        column(
            canvas,
            ["La presente relazione espone con chiarezza le dispo-", "sizioni adottate nel corso dell'anno e i loro effetti."],
            60,
            700,
        )
        column(canvas, [str(page + 1)], 290, 20)

    text = text_of(pdf(draw, pages=3))
    assert "disposizioni adottate" in text
    assert "Gazzetta" not in text


def test_a_table_of_a_pdf_becomes_a_markdown_table() -> None:
    def draw(canvas: Any, page: int) -> None:
        for i, row in enumerate([("Regione", "Casi", "Tamponi"), ("Lazio", "12", "1200"), ("Puglia", "7", "900"), ("Umbria", "3", "150")]):
            for x, cell in zip((60, 200, 340), row, strict=True):
                column(canvas, [cell], x, 700 - 16 * i)

    assert "| Puglia | 7 | 900 |" in text_of(pdf(draw))


def test_an_encrypted_pdf_is_a_verdict_and_an_owner_password_is_none() -> None:
    from reportlab.lib.pdfencrypt import StandardEncryption

    with pytest.raises(Verdict, match="encrypted"):
        measured(pdf(one_page, encrypt=StandardEncryption("segreta", ownerPassword="padrone")))
    assert "selva oscura" in text_of(pdf(one_page, encrypt=StandardEncryption("", ownerPassword="padrone", canPrint=0)))


def test_a_truncated_pdf_is_partial_with_a_warning_or_a_verdict() -> None:
    data = pdf(one_page, pages=4)
    m = measured(data[: int(len(data) * 0.9)])
    assert "selva oscura" in m["text"]
    assert "cut_short" in m["warnings"]
    with pytest.raises(Verdict, match="malformed"):
        measured(data[:40])


def test_a_scanned_pdf_needs_ocr_and_a_blank_pdf_has_no_text() -> None:
    from PIL import Image
    from reportlab.lib.utils import ImageReader

    scan = pdf(lambda canvas, page: canvas.drawImage(ImageReader(Image.new("RGB", (60, 60), "gray")), 0, 0, 595, 842), pages=2)
    outcome = decided(scan)
    assert (outcome.status, outcome.reason, outcome.value) == ("rejected", "needs_ocr", 1.0)
    assert decided(pdf(lambda canvas, page: None)).reason == "no_text"

    def outlines(canvas: Any, page: int) -> None:
        for n in range(300):
            canvas.bezier(60 + n, 700, 62 + n, 705, 64 + n, 695, 66 + n, 700)

    assert decided(pdf(outlines)).reason == "needs_ocr"


def test_a_pdf_with_some_scanned_pages_is_kept_and_they_are_named() -> None:
    from PIL import Image
    from reportlab.lib.utils import ImageReader

    def draw(canvas: Any, page: int) -> None:
        if page == 1:
            canvas.drawImage(ImageReader(Image.new("RGB", (60, 60), "gray")), 0, 0, 595, 842)
        else:
            one_page(canvas, page)

    m = measured(pdf(draw, pages=3))
    assert m["warnings"] == ["pages_need_ocr: 2"]
    assert extract.decide(CONFIG, m).status == "kept"


def test_a_page_limit_names_the_pages_read_and_those_left_out() -> None:
    result = extract.extracted(ExtractConfig(max_pages=2), pdf(one_page, pages=5), "pdf")
    assert result.warnings == ["pages_left_out: 3-5"]
    assert result.metadata["page_range"] == "1-2"
    assert [chars > 500 for chars in result.page_chars] == [True, True]


def test_a_table_is_read_by_its_lines_with_cells_of_several_lines() -> None:
    def draw(canvas: Any, page: int) -> None:
        for y in (700, 670, 630, 600):
            canvas.line(60, y, 400, y)
        for x in (60, 160, 400):
            canvas.line(x, 600, x, 700)
        for i, (name, lines) in enumerate([("Voce", ["Descrizione"]), ("Carta", ["carta bianca per le", "stampanti"]), ("Penne", ["blu"])]):
            top = (685, 655, 612)[i]
            column(canvas, [name], 65, top)
            column(canvas, lines, 165, top)

    assert "| Carta | carta bianca per le stampanti |" in text_of(pdf(draw))


def test_a_footnote_does_not_break_the_paragraph_that_goes_on_in_the_next_column() -> None:
    def draw(canvas: Any, page: int) -> None:
        left, right = wrapped(PROSE * 5, 44)[:21], wrapped(PROSE * 5, 44)[21:40]
        column(canvas, left[:20] + ["la continua-"], 50, 760)
        column(canvas, ["zione del testo", *right], 320, 760)
        canvas.line(50, 120, 110, 120)
        canvas.setFont("Helvetica", 7)
        canvas.drawString(50, 110, "1 Nota a piede della colonna di sinistra.")

    text = text_of(pdf(draw))
    assert "la continuazione del testo" in text
    assert text.rstrip().endswith("1 Nota a piede della colonna di sinistra.")


def test_a_cut_pdf_without_a_word_left_is_a_verdict() -> None:
    data = pdf(lambda canvas, page: None)
    with pytest.raises(Verdict, match="malformed"):
        measured(data[: data.rindex(b"%%EOF")])


def scan_in_the_middle() -> bytes:
    from PIL import Image
    from reportlab.lib.utils import ImageReader

    def draw(canvas: Any, page: int) -> None:
        if page == 1:
            canvas.drawImage(ImageReader(Image.new("RGB", (60, 60), "gray")), 0, 0, 595, 842)
        else:
            column(canvas, [f"Pagina numero {page + 1}."], 60, 700)

    return pdf(draw, pages=3)


def test_the_text_of_a_scanned_page_stands_at_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine is another module's; here it only gives a page."""
    monkeypatch.setattr(ocr, "read_pages", lambda data, pages, config: {page: "## Letto dalla scansione" for page in pages})
    m = measured(scan_in_the_middle(), replace(CONFIG, ocr="auto"))
    assert m["text"].split("\n\n") == ["Pagina numero 1.", "## Letto dalla scansione", "Pagina numero 3."]
    assert m["extractor"] == "docling-pdf+tesseract"
    assert "pages_read_by_ocr: 2" in m["warnings"] and m["scans"] == 0
    assert m["page_chars"] == [16, 24, 16]


def test_two_readings_of_a_file_are_the_same() -> None:
    data = pdf(one_page, pages=3)
    assert measured(data) == measured(data)


def test_our_engine_is_one_of_doclings_and_reads_pages_of_its_own_parser() -> None:
    from docling.backend.docling_parse_backend import ThreadedDoclingParseDocumentBackend
    from docling.datamodel.accelerator_options import AcceleratorOptions
    from docling.datamodel.base_models import InputFormat, Page
    from docling.datamodel.document import ConversionResult, InputDocument
    from docling.models.factories.layout_factory import LayoutFactory

    from extractors.pdf.plugin import GeometricLayoutModel

    factory = LayoutFactory()
    factory.load_from_plugins(allow_external_plugins=True)
    options = factory.create_options("athanor_geometric")
    model = factory.create_instance(
        options, artifacts_path=None, accelerator_options=AcceleratorOptions(num_threads=1), enable_remote_services=False
    )
    assert isinstance(model, GeometricLayoutModel)
    document = InputDocument(
        path_or_stream=io.BytesIO(pdf(one_page)), format=InputFormat.PDF, backend=ThreadedDoclingParseDocumentBackend, filename="a.pdf"
    )
    (parsed,) = document._backend.iter_pages()
    page = Page(page_no=1)
    page._backend, page.size, page.parsed_page = parsed, parsed.get_size(), parsed.get_segmented_page()
    (read,) = model(ConversionResult(input=document), [page])
    document._backend.unload()
    clusters = read.predictions.layout.clusters
    assert [(str(cluster.label.value), cluster.cells[0].text[:17]) for cluster in clusters] == [
        ("section_header", "Relazione annuale"),
        ("text", "Nel mezzo del cam"),
    ]


def test_doclings_stages_run_one_page_after_the_other() -> None:
    """With our engine in the place of the layout model, since no weights are at hand; the other stages are Docling's."""
    from docling.datamodel.pipeline_options import LayoutPostprocessorOptions
    from docling.models.stages.heading_hierarchy.heading_hierarchy_model import HeadingHierarchyModel
    from docling.models.stages.layout.layout_postprocessing_model import LayoutPostprocessingModel
    from docling.models.stages.page_assemble.page_assemble_model import PageAssembleModel, PageAssembleOptions
    from docling.models.stages.page_preprocessing.page_preprocessing_model import PagePreprocessingModel, PagePreprocessingOptions
    from docling.models.stages.reading_order.readingorder_model import ReadingOrderModel, ReadingOrderOptions

    from extractors.pdf.pipeline import ModelsPdfPipeline, options, placeholder
    from extractors.pdf.plugin import GeometricLayoutModel

    class WithoutModels(ModelsPdfPipeline):
        def _init_models(self) -> None:
            self.keep_images = self.keep_backend = False
            self.preprocessing_model = PagePreprocessingModel(options=PagePreprocessingOptions(images_scale=None))
            self.layout_model = GeometricLayoutModel()
            self.layout_postprocessing_model = LayoutPostprocessingModel(options=LayoutPostprocessorOptions(run_postprocessor=False))
            self.table_model = lambda conv_res, pages: pages
            self.assemble_model = PageAssembleModel(options=PageAssembleOptions())
            self.reading_order_model = ReadingOrderModel(options=ReadingOrderOptions())
            self.heading_hierarchy_model = HeadingHierarchyModel(options=self.pipeline_options.heading_hierarchy_options)
            self.enrichment_pipe = []

    result, chars = WithoutModels(options()).read(io.BytesIO(scan_in_the_middle()), 3, {2: "letto"})
    assert [item.text for item in result.document.texts] == ["Pagina numero 1.", placeholder(2), "Pagina numero 3."]
    assert sorted(chars) == [1, 2, 3]


def test_models_are_used_where_they_are_installed_and_missed_only_when_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from docling.datamodel.settings import settings

    monkeypatch.setattr(settings, "artifacts_path", tmp_path)
    auto, models = ExtractConfig(layout="auto"), ExtractConfig(layout="models")
    monkeypatch.setattr(weights, "LIBRARIES", ("json",))
    assert weights.found() is None and reader.tools(auto) == {}
    with pytest.raises(Circumstance, match="not installed"):
        reader.read(pdf(one_page), "pdf", models)
    for name in (
        "docling-project--docling-layout-heron/config.json",
        "docling-project--docling-layout-heron/preprocessor_config.json",
        "docling-project--docling-layout-heron/model.safetensors",
        "docling-project--docling-models/model_artifacts/tableformer/accurate/tm_config.json",
    ):
        assert weights.found() is None
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    found = weights.found()
    assert found is not None and found.artifacts == tmp_path
    assert reader.tools(auto) == reader.tools(models) == {"docling-models": found.version}
    assert reader.tools(ExtractConfig(layout="geometric")) == {}
    monkeypatch.setattr(weights, "LIBRARIES", ("json", "no_such_library"))
    assert weights.found() is None


def test_words_set_one_by_one_stay_apart_behind_accents_and_apostrophes() -> None:
    """Fonts that are not in the file, each word painted at its own place."""
    from reportlab.pdfbase.pdfmetrics import stringWidth

    line = "l'autorità giudiziaria non è competente né può decidere purché dell'articolo sull'ente"

    def draw(canvas: Any, page: int) -> None:
        for row, size in enumerate((8, 9, 10, 11, 12)):
            canvas.setFont("Times-Roman", size)
            x = 60.0
            for word in line.split():
                canvas.drawString(x, 780 - 14 * row, word)
                x += stringWidth(f"{word} ", "Times-Roman", size)

    text = text_of(pdf(draw))
    assert text.split() == line.split() * 5


def test_a_scanned_page_on_which_the_engine_finds_nothing_is_named_and_needs_no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ocr, "available", lambda config: "an engine")
    monkeypatch.setattr(ocr, "read_pages", lambda data, pages, config: {})
    m = measured(scan_in_the_middle(), replace(CONFIG, ocr="auto"))
    assert "pages_unread_by_ocr: 2" in m["warnings"] and m["scans"] == 0
    assert extract.decide(CONFIG, m).reason == "partial"
