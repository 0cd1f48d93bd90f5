"""Every format to text, every refusal with its reason. The files are made here."""

from __future__ import annotations

import email.message
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from corpus.canonical import digest_bytes
from corpus.outcome import Circumstance, Outcome, Verdict
from corpus.stage import Inputs
from extractors import extract, ingest
from extractors.chat import parse
from extractors.sniff import sniff

CONFIG = extract.ExtractConfig()
PROSE = (
    "Nel mezzo del cammin di nostra vita mi ritrovai per una selva oscura, ché la diritta via era smarrita. "
    "Ahi quanto a dir qual era è cosa dura esta selva selvaggia e aspra e forte che nel pensier rinova la paura!"
)


def measured(data: bytes, curated: bool = False, kind: str = "") -> dict[str, Any]:
    return extract.as_measurements(extract.extracted(CONFIG, data, kind or sniff(data), curated), CONFIG)


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


def test_a_scanned_pdf_and_an_image_need_ocr_and_a_blank_pdf_has_no_text() -> None:
    from PIL import Image
    from reportlab.lib.utils import ImageReader

    picture = io.BytesIO()
    Image.new("RGB", (60, 60), "gray").save(picture, "PNG")
    scan = pdf(lambda canvas, page: canvas.drawImage(ImageReader(Image.new("RGB", (60, 60), "gray")), 0, 0, 595, 842), pages=2)
    outcome = decided(scan)
    assert (outcome.status, outcome.reason, outcome.value) == ("rejected", "needs_ocr", 1.0)
    assert decided(picture.getvalue()).reason == "needs_ocr"
    assert decided(pdf(lambda canvas, page: None)).reason == "no_text"


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


def test_a_page_limit_leaves_a_warning() -> None:
    config = extract.ExtractConfig(max_pages=2)
    assert extract.extracted(config, pdf(one_page, pages=5), "pdf").warnings == ["pages_left_out: 3"]


def test_an_html_file_is_read_as_such_whatever_its_name(tmp_path: Path) -> None:
    article = f"<article><h1>La selva</h1><p>{PROSE}</p><p>{PROSE}</p></article>"
    page = f"<html lang='it'><head><title>La selva</title></head><body><nav>Menu Home Chi siamo</nav>{article}</body></html>"
    path = tmp_path / "documento.pdf"
    path.write_text(page)
    (member,) = ingest.measure(ingest.IngestConfig(), Inputs())({"id": "x", "path": str(path)})["members"]
    assert member["kind"] == "html"
    m = extract.measure(CONFIG, Inputs())({"id": member["id"], "kind": "html", "curated": False, "path": str(path), "inner": ""})
    assert "selva oscura" in m["text"] and "Menu" not in m["text"]
    assert (m["title"], m["lang_hint"], m["extractor"]) == ("La selva", "it", "trafilatura")


def test_a_page_without_a_main_text_falls_back_to_all_text_and_says_so() -> None:
    links = "".join(f"<li><a href='/{i}'>Articolo numero {i} del codice civile</a></li>" for i in range(60))
    m = measured(f"<html><body><ul>{links}</ul></body></html>".encode())
    assert "Articolo numero 59" in m["text"]


CONTAINER = """<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>
<rootfile full-path="c.opf" media-type="application/oebps-package+xml"/></rootfiles></container>"""
PACKAGE = """<package xmlns="http://www.idpf.org/2007/opf" version="3.0">
<metadata xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>La selva</dc:title><dc:language>it</dc:language></metadata>
<manifest><item id="a" href="a.xhtml" media-type="application/xhtml+xml"/></manifest><spine><itemref idref="a"/></spine></package>"""


def office(kind: str) -> bytes:
    out = io.BytesIO()
    if kind == "docx":
        import docx

        document = docx.Document()
        document.core_properties.title = "Verbale"
        document.add_heading("Verbale di riunione", 1)
        document.add_paragraph(PROSE)
        table = document.add_table(2, 2)
        for i, text in enumerate(("Voce", "Importo", "Carta", "12,50")):
            table.cell(i // 2, i % 2).text = text
        document.save(out)
    elif kind == "pptx":
        import pptx

        deck = pptx.Presentation()
        slide = deck.slides.add_slide(deck.slide_layouts[1])
        slide.shapes.title.text, slide.placeholders[1].text = "Obiettivi", PROSE
        deck.save(out)
    elif kind == "xlsx":
        import openpyxl

        book = openpyxl.Workbook()
        for row in (("Regione", "Casi"), ("Lazio", 12), ("Puglia", 7)):
            book.active.append(row)
        book.save(out)
    elif kind == "odt":
        from odf.opendocument import OpenDocumentText
        from odf.text import P

        text = OpenDocumentText()
        text.text.addElement(P(text=PROSE))
        text.save(out)
    elif kind == "epub":
        with zipfile.ZipFile(out, "w") as book:
            book.writestr("mimetype", "application/epub+zip")
            book.writestr("META-INF/container.xml", CONTAINER)
            book.writestr("c.opf", PACKAGE)
            book.writestr("a.xhtml", f'<html xmlns="http://www.w3.org/1999/xhtml"><body><h1>Canto I</h1><p>{PROSE}</p></body></html>')
    return out.getvalue()


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        ("docx", ["# Verbale di riunione", "selva oscura", "| Carta | 12,50 |"]),
        ("pptx", ["Obiettivi", "selva oscura"]),
        ("xlsx", ["Regione", "| Puglia | 7 |"]),
        ("odt", ["selva oscura"]),
        ("epub", ["Canto I", "selva oscura"]),
    ],
)
def test_office_files_and_books_become_markdown(kind: str, wanted: list[str]) -> None:
    data = office(kind)
    assert sniff(data) == kind
    m = measured(data)
    for piece in wanted:
        assert piece in m["text"]
    assert m["extractor"] == "docling"
    assert {"docx": "Verbale", "epub": "La selva"}.get(kind, m["title"]) == m["title"]


@pytest.mark.parametrize("kind", ["docx", "pptx", "xlsx", "odt", "epub"])
def test_truncated_office_files_are_malformed(kind: str) -> None:
    data = office(kind)
    with pytest.raises(Verdict, match="malformed"):
        measured(data[: len(data) // 2], kind=kind)


def test_legacy_office_names_the_remedy() -> None:
    outcome = decided(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500) + "WordDocument".encode("utf-16-le") + b"\0\0")
    assert (outcome.status, outcome.reason) == ("rejected", "needs_converter")
    assert ".docx" in outcome.detail


def test_empty_files_binaries_and_blank_texts_are_rejected() -> None:
    assert decided(b"").reason == "empty"
    assert decided(bytes(range(256)) * 10).reason == "unsupported"
    assert decided(b"  \n\t \n").reason == "no_text"


def test_a_mail_is_its_subject_and_body_without_addresses() -> None:
    message = email.message.EmailMessage()
    message["From"], message["To"] = "Anna Rossi <anna@example.org>", "ugo@example.org"
    message["Subject"], message["Date"] = "Convocazione già fissata", "Mon, 01 Jan 2024 10:00:00 +0100"
    message.set_content("Ci vediamo lunedì.\n")
    message.add_alternative("<p>Ci vediamo <b>lunedì</b>.</p>", subtype="html")
    message.add_attachment(b"%PDF-1.4", maintype="application", subtype="pdf", filename="ordine.pdf")
    m = measured(message.as_bytes())
    assert m["text"] == "# Convocazione già fissata\n\nCi vediamo lunedì."
    assert m["title"] == "Convocazione già fissata"
    assert "anna" not in m["metadata"] and json.loads(m["metadata"])["date"] == "2024-01-01"


def test_a_mail_with_html_only_is_read_and_said_so() -> None:
    m = measured(b"From: a@b.it\nSubject: x\nMIME-Version: 1.0\nContent-Type: text/html; charset=cp1252\n\n<p>citt\xe0</p><p>paese</p>")
    assert m["text"] == "# x\n\ncittà\n\npaese" or m["text"] == "# x\n\ncittà\npaese"
    assert m["warnings"] == ["html_body"]


JATS = b"""<?xml version="1.0"?><article xml:lang="it"><front><article-meta>
<title-group><article-title>Il titolo</article-title></title-group>
<abstract><p>Un riassunto <italic>breve</italic>.</p></abstract></article-meta></front>
<body><sec><label>1</label><title>Introduzione</title><p>Primo paragrafo.</p><p>Secondo.</p></sec></body>
<back><ref-list><ref>Rossi</ref></ref-list></back></article>"""
AKN = b"""<akomaNtoso xmlns="http://docs.oasis-open.org/legaldocml/ns/akn/3.0"><act><meta><x>no</x></meta><body><article>
<num>Art. 1.</num><heading>Oggetto</heading><paragraph><num>1.</num><content>
<p>La Repubblica tutela il paesaggio e il patrimonio della Nazione.</p></content></paragraph></article></body></act></akomaNtoso>"""
INVOICE = b"""<p:FatturaElettronica xmlns:p="http://ivaservizi.agenziaentrate.gov.it/docs/xsd/fatture/v1.2"><FatturaElettronicaBody><DatiGenerali>
<Divisa>EUR</Divisa><Numero>123</Numero></DatiGenerali></FatturaElettronicaBody></p:FatturaElettronica>"""


def test_xml_families_are_read_each_in_its_way() -> None:
    jats = text_of(JATS)
    assert jats.startswith("# Il titolo\n\nUn riassunto breve.") and "# 1 Introduzione\n\nPrimo paragrafo.\n\nSecondo." in jats
    assert "Rossi" not in jats
    assert "# Art. 1. Oggetto\n\n1. La Repubblica tutela il paesaggio" in text_of(AKN)
    assert "Divisa: EUR\nNumero: 123" in text_of(INVOICE)
    assert measured(JATS)["title"] == "Il titolo"


def test_xml_bombs_and_external_entities_are_refused_or_left_out(tmp_path: Path) -> None:
    laughs = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 10))
    bomb = f'<?xml version="1.0"?><!DOCTYPE r [<!ENTITY l0 "ah">{laughs}]><r><p>&l9; una frase con parole normali di testo</p></r>'.encode()
    with pytest.raises(Verdict, match="xml_entities"):
        measured(bomb)
    secret = tmp_path / "segreto.txt"
    secret.write_text("PAROLA")
    m = measured(
        f'<?xml version="1.0"?><!DOCTYPE r [<!ENTITY e SYSTEM "file://{secret}">]><r><p>Un testo con &e; dentro e basta.</p></r>'.encode()
    )
    assert "PAROLA" not in m["text"] and "external_entity_left_out" in m["warnings"]
    plain = b'<?xml version="1.0"?><!DOCTYPE rfc [<!ENTITY nbsp "&#160;">]><rfc><t>Dieci&nbsp;parole di un testo qualunque.</t></rfc>'
    assert "Dieci" in text_of(plain)


def test_broken_xml_is_recovered_with_a_warning_and_deep_nesting_ends() -> None:
    m = measured(b'<?xml version="1.0"?><doc><p>Prima frase &nbsp; del documento rotto.<p>Seconda frase del documento.</doc>')
    assert "Seconda frase" in m["text"] and "recovered_xml" in m["warnings"]
    with pytest.raises(Verdict):
        measured(b'<?xml version="1.0"?>' + b"<a>" * 100_000 + b"x" + b"</a>" * 100_000)


def test_json_rows_give_their_text_field_and_others_are_listed() -> None:
    m = measured(json.dumps({"titolo": "Uno", "testo": PROSE, "url": "https://example.org/a", "lang": "it"}).encode())
    assert (m["text"], m["title"], m["lang_hint"]) == (PROSE, "Uno", "it")
    assert json.loads(m["metadata"])["url"] == "https://example.org/a"
    m = measured(json.dumps({"comune": "Roma", "abitanti": 5, "zone": {"nord": "Prati"}}).encode())
    assert "comune: Roma\nabitanti: 5" in m["text"] and "nord: Prati" in m["text"]
    assert m["warnings"] == ["no_text_field"]
    with pytest.raises(Verdict, match="malformed"):
        measured(b'{"text": "tagliato a met')


def test_a_field_is_the_text_only_when_it_holds_text() -> None:
    row = {"articolo": "2-bis", "rubrica": "Conclusione del procedimento", "testo_vigente": PROSE * 2}
    m = measured(json.dumps(row).encode())
    assert (m["text"], m["warnings"]) == (PROSE * 2, ["text_field_guessed"])
    assert "articolo: 2-bis" in text_of(json.dumps({"articolo": "2-bis", "rubrica": "Conclusione del procedimento"}).encode())
    assert text_of(b'{"id": 7, "text": "Breve."}') == "Breve."


def test_a_plain_csv_is_a_markdown_table() -> None:
    assert text_of("comune;nota\nForlì;a|b\nRoma;c\nBari;d\n".encode("cp1252")).startswith(
        "| comune | nota |\n| --- | --- |\n| Forlì | a\\|b |"
    )


def test_rtf_is_read() -> None:
    data = rb"{\rtf1\ansi\ansicpg1252{\fonttbl{\f0 Arial;}}{\info{\title Lettera}}Perch\'e9 la citt\u224 ? dorme?\par Secondo\tab x}"
    m = measured(data)
    assert m["text"] == "Perché la città dorme?\n\nSecondo\tx"
    assert m["title"] == "Lettera"


def test_text_keeps_its_lines_and_mojibake_waits_for_normalize() -> None:
    assert text_of("Perché no?\r\n\r\n  Rientrato è qui.\r\n".encode("cp1252")) == "Perché no?\n\n  Rientrato è qui."
    assert text_of("la cittÃ  Ã¨".encode()) == "la cittÃ  Ã¨"


CHAT = "<|im_start|>user\nCiao<|im_end|>\n<|im_start|>assistant\nCiao a te!<|im_end|>\n"


def test_curated_chat_needs_the_place_and_valid_chatml() -> None:
    row = json.dumps({"messages": [{"role": "user", "content": "Ciao"}, {"role": "assistant", "content": "Ciao a te!"}]}).encode()
    for data in (CHAT.encode(), row):
        m = measured(data, curated=True)
        assert (m["form"], m["text"]) == ("chat", CHAT)
        assert parse(m["text"]) is not None
        assert measured(data)["form"] == "prose"
    m = measured(b"Una nota di prosa nel posto delle chat.", curated=True)
    assert (m["form"], m["warnings"]) == ("prose", ["not_valid_chat"])
    assert extract.decide(CONFIG, m).fields["form"] == "prose"


def test_a_file_that_changed_after_it_was_listed_is_a_circumstance(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("prima")
    measure = extract.measure(CONFIG, Inputs())
    document = {"id": digest_bytes(b"prima"), "kind": "text", "curated": False, "path": str(path), "inner": ""}
    assert measure(document)["text"] == "prima"
    path.write_text("dopo!")
    with pytest.raises(Circumstance, match="changed"):
        measure(document)


def test_measurements_fit_the_declared_columns_and_no_reason_quotes_the_document() -> None:
    import pyarrow as pa

    rows = [measured(d) for d in (b"", PROSE.encode(), CHAT.encode(), office("docx"), "\ud800x".encode("utf-8", "surrogatepass"))]
    assert pa.Table.from_pylist(rows, schema=extract.STAGE.measures).num_rows == len(rows)
    try:
        measured(b'{"text": "SEGRETISSIMO')
    except Verdict as verdict:
        assert "SEGRETISSIMO" not in verdict.detail


@pytest.mark.parametrize(
    "make", [lambda: office("docx"), lambda: office("xlsx"), lambda: office("epub"), lambda: pdf(one_page), lambda: JATS, lambda: AKN]
)
def test_damaged_files_end_in_text_or_a_verdict(make: Any) -> None:
    data = make()
    for step in range(12):
        broken = bytearray(data)
        for at in range(step * 7 % 97, len(data), 97 + 31 * step):
            broken[at] ^= 0x55
        try:
            m = measured(bytes(broken))
        except Verdict as verdict:
            assert verdict.reason and verdict.detail
        else:
            assert isinstance(m["text"], str)
