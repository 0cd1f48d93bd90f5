"""Office files and e-books to Markdown, with what stands on the page and is not in their text. The files are made here."""

from __future__ import annotations

import datetime
import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest

from corpus.outcome import Verdict
from extractors.extract import ExtractConfig, as_measurements, decide, extracted
from extractors.office import completeness, epub, numberformat, package, spreadsheet
from extractors.sniff import sniff

CONFIG = ExtractConfig()
PROSE = (
    "Nel mezzo del cammin di nostra vita mi ritrovai per una selva oscura, ché la diritta via era smarrita. "
    "Ahi quanto a dir qual era è cosa dura esta selva selvaggia e aspra e forte che nel pensier rinova la paura!"
)
WORD = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'


def measured(data: bytes, kind: str = "") -> dict[str, Any]:
    return as_measurements(extracted(CONFIG, data, kind or sniff(data)), CONFIG)


def text_of(data: bytes, kind: str = "") -> str:
    return str(measured(data, kind)["text"])


def repacked(data: bytes, add: dict[str, str | bytes], replace: dict[str, tuple[str, str]] | None = None) -> bytes:
    """The package with other parts, and with characters replaced in some."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as package, zipfile.ZipFile(out, "w") as other:
        for name in package.namelist():
            part = package.read(name)
            if replace and name in replace:
                part = part.decode().replace(*replace[name], 1).encode()
            if name not in add:
                other.writestr(name, part)
        for name, content in add.items():
            other.writestr(name, content)
    return out.getvalue()


def word(body: str = "", numbering: str = "", styles: str = "", notes: str = "") -> bytes:
    """A .docx whose body, lists, styles and footnotes are this XML."""
    relations, parts = [], {"document": f"<w:body>{body}</w:body>", "numbering": numbering, "styles": styles, "footnotes": notes}
    kind = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as package:
        types = "".join(
            f'<Override PartName="/word/{name}.xml" ContentType="application/vnd.openxmlformats-officedocument.wordprocessingml.'
            f'{"document.main" if name == "document" else name}+xml"/>'
            for name in parts
        )
        package.writestr(
            "[Content_Types].xml",
            '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
            f'<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>{types}</Types>',
        )
        for name, content in parts.items():
            package.writestr(f"word/{name}.xml", f"<w:{name} {WORD}>{content}</w:{name}>")
            if name != "document":
                relations.append(f'<Relationship Id="{name}" Type="{kind}/{name}" Target="{name}.xml"/>')
        start = '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        package.writestr(
            "_rels/.rels", f'{start}<Relationship Id="a" Type="{kind}/officeDocument" Target="word/document.xml"/></Relationships>'
        )
        package.writestr("word/_rels/document.xml.rels", f"{start}{''.join(relations)}</Relationships>")
    return out.getvalue()


def paragraph(text: str, number: int = 0, depth: int = 0, style: str = "") -> str:
    listed = f'<w:numPr><w:ilvl w:val="{depth}"/><w:numId w:val="{number}"/></w:numPr>' if number else ""
    named = f'<w:pStyle w:val="{style}"/>' if style else ""
    return f'<w:p><w:pPr>{named}{listed}</w:pPr><w:r><w:t xml:space="preserve">{text}</w:t></w:r></w:p>'


def listing(number: int, *levels: tuple[str, str], extra: str = "") -> str:
    inner = "".join(
        f'<w:lvl w:ilvl="{i}"><w:start w:val="1"/><w:numFmt w:val="{form}"/><w:lvlText w:val="{text}"/></w:lvl>'
        for i, (form, text) in enumerate(levels)
    )
    return f'<w:abstractNum w:abstractNumId="{number}">{inner}</w:abstractNum>', (
        f'<w:num w:numId="{number}"><w:abstractNumId w:val="{number}"/>{extra}</w:num>'
    )  # type: ignore[return-value]


def lists(*made: Any) -> str:
    return "".join(a for a, _ in made) + "".join(n for _, n in made)


CONTAINER = """<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>
<rootfile full-path="c.opf" media-type="application/oebps-package+xml"/></rootfiles></container>"""


def book(spine: dict[str, str], properties: dict[str, str] | None = None, extra: dict[str, str] | None = None) -> bytes:
    """An e-book of these chapters."""
    items = "".join(
        f'<item id="{n}" href="{n}.xhtml" media-type="application/xhtml+xml" properties="{(properties or {}).get(n, "")}"/>' for n in spine
    )
    order = "".join(f'<itemref idref="{n}"/>' for n in spine)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as package:
        package.writestr("mimetype", "application/epub+zip")
        package.writestr("META-INF/container.xml", CONTAINER)
        package.writestr(
            "c.opf",
            '<package xmlns="http://www.idpf.org/2007/opf" version="3.0"><metadata xmlns:dc="http://purl.org/dc/elements/1.1/">'
            "<dc:title>La selva</dc:title><dc:language>it</dc:language><dc:rights>Pubblico dominio</dc:rights></metadata>"
            f"<manifest>{items}</manifest><spine>{order}</spine></package>",
        )
        for name, body in spine.items():
            package.writestr(f"{name}.xhtml", f'<html xmlns="http://www.w3.org/1999/xhtml"><body>{body}</body></html>')
        for name, content in (extra or {}).items():
            package.writestr(name, content)
    return out.getvalue()


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

        workbook = openpyxl.Workbook()
        for row in (("Regione", "Casi"), ("Lazio", 12), ("Puglia", 7)):
            workbook.active.append(row)
        workbook.save(out)
    elif kind == "odt":
        from odf.opendocument import OpenDocumentText
        from odf.text import P

        text = OpenDocumentText()
        text.text.addElement(P(text=PROSE))
        text.save(out)
    else:
        return book({"a": f"<h1>Canto I</h1><p>{PROSE}</p>"})
    return out.getvalue()


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        ("docx", ["# Verbale di riunione", "selva oscura", "| Carta | 12,50 |"]),
        ("pptx", ["Obiettivi", "selva oscura"]),
        ("xlsx", ["## Sheet", "Regione", "| Puglia | 7 |"]),
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
    assert (m["extractor"], m["warnings"]) == ("docling", [])
    assert {"docx": "Verbale", "epub": "La selva"}.get(kind, m["title"]) == m["title"]
    assert m["pages"] == len(m["page_chars"]) == (kind in ("pptx", "xlsx"))


@pytest.mark.parametrize("kind", ["docx", "pptx", "xlsx", "odt", "epub"])
def test_truncated_office_files_are_malformed_or_partial_and_damaged_ones_end_in_text_or_a_verdict(kind: str) -> None:
    data = office(kind)
    try:
        assert decide(CONFIG, measured(data[: len(data) // 2], kind)).reason == "partial"
    except Verdict as verdict:
        assert verdict.reason == "malformed"
    directory = data.rfind(b"PK\x01\x02", 0, data.rfind(b"PK\x05\x06"))
    m = measured(data[:directory], kind)  # all parts, no directory
    assert "cut_short" in m["warnings"] and decide(CONFIG, m).reason == "partial" and m["text"] == text_of(data)
    for step in range(4):
        broken = bytearray(data)
        for at in range(step * 7 % 97, len(data), 97 + 31 * step):
            broken[at] ^= 0x55
        try:
            assert isinstance(measured(bytes(broken), kind)["text"], str)
        except Verdict as verdict:
            assert verdict.reason and verdict.detail


def test_automatic_numbers_of_word_stand_in_the_text() -> None:
    contract = listing(5, ("decimal", "Art. %1"), ("decimal", "%1.%2"), ("lowerLetter", "%3)"), ("lowerRoman", "(%4)"))
    body = "".join(
        paragraph(text, 5, depth)
        for text, depth in [("Oggetto", 0), ("Il fornitore presta.", 1), ("Il cliente paga:", 1), ("subito;", 2), ("poi;", 2), ("mai.", 3)]
    )
    body += paragraph("Fuori dalla lista.") + paragraph("Durata", 5) + paragraph("Due anni.", 5, 1)
    text = text_of(word(body, lists(contract)))
    lines = [line for line in text.splitlines() if line]
    assert lines == [
        *("Art. 1 Oggetto", "1.1 Il fornitore presta.", "1.2 Il cliente paga:", "a) subito;", "b) poi;", "(i) mai."),
        *("Fuori dalla lista.", "Art. 2 Durata", "2.1 Due anni."),
    ]


def test_numbers_of_headings_come_from_their_styles_and_plain_lists_stay_lists() -> None:
    styles = "".join(
        f'<w:style w:type="paragraph" w:styleId="H{i}"><w:name w:val="heading {i}"/><w:pPr><w:numPr><w:ilvl w:val="{i - 1}"/>'
        f'<w:numId w:val="7"/></w:numPr><w:outlineLvl w:val="{i - 1}"/></w:pPr></w:style>'
        for i in (1, 2)
    )
    made = lists(
        listing(7, ("upperRoman", "Capo %1 –"), ("decimal", "Articolo %2")), listing(8, ("decimal", "%1.")), listing(9, ("bullet", "•"))
    )
    body = "".join(
        paragraph(text, style=style) for text, style in [("Principi", "H1"), ("Oggetto", "H2"), ("Ambito", "H2"), ("Fine", "H1")]
    )
    body += paragraph("primo", 8) + paragraph("secondo", 8) + paragraph("punto", 9)
    text = text_of(word(body, made, styles))
    for heading in ("# Capo I – Principi", "# Articolo 1 Oggetto", "# Articolo 2 Ambito", "# Capo II – Fine"):
        assert heading in text
    assert "1. primo\n2. secondo" in text and "- punto" in text


def test_a_list_that_restarts_and_one_that_goes_on_are_counted_as_word_counts_them() -> None:
    abstract, first = listing(4, ("decimal", "(%1)"))  # type: ignore[misc]
    second = '<w:num w:numId="6"><w:abstractNumId w:val="4"/></w:num>'
    third = '<w:num w:numId="8"><w:abstractNumId w:val="4"/><w:lvlOverride w:ilvl="0"><w:startOverride w:val="1"/></w:lvlOverride></w:num>'
    body = "".join(paragraph(f"voce {number}", number) for number in (4, 4, 6, 8, 8))
    text = text_of(word(body, abstract + first + second + third))
    assert [line.split()[0] for line in text.splitlines() if line] == ["(1)", "(2)", "(3)", "(1)", "(2)"]


LOWERED, RAISED = (f'<w:vertAlign w:val="{look}"/>' for look in ("subscript", "superscript"))


def run(text: str, tag: str = "t", look: str = "") -> str:
    return f'<w:r><w:rPr>{look}</w:rPr><w:{tag} xml:space="preserve">{text}</w:{tag}></w:r>'


def test_changes_are_accepted_and_notes_stand_at_the_end() -> None:
    body = (
        f"<w:p>{run('Entro ')}<w:del>{run('TRENTA', 'delText')}</w:del><w:ins>{run('sessanta')}</w:ins>"
        f"<w:moveFrom>{run('VIA')}</w:moveFrom><w:moveTo>{run(' spostati')}</w:moveTo>{run(' giorni')}"
        '<w:r><w:footnoteReference w:id="3"/></w:r></w:p><!-- un commento -->'
        f"<w:p>{run('H')}{run('2', look=LOWERED)}{run('O, 10')}"
        f"{run('6', look=RAISED)}{run('OCCULTO', look='<w:vanish/>')}</w:p>"
    )
    notes = (
        '<w:footnote w:type="separator" w:id="-1"><w:p><w:r><w:t>x</w:t></w:r></w:p></w:footnote>'
        '<w:footnote w:id="3"><w:p><w:r><w:footnoteRef/></w:r><w:r><w:t xml:space="preserve"> Così la legge.</w:t></w:r></w:p></w:footnote>'
    )
    m = measured(word(body, notes=notes))
    assert m["text"] == "Entro sessanta spostati giorni[^1]\n\nH₂O, 10⁶\n\n[^1]: Così la legge."
    assert m["warnings"] == []


def test_sheets_show_what_excel_shows_and_hidden_ones_are_left_out_with_a_word() -> None:
    import openpyxl

    workbook = openpyxl.Workbook()
    sheet = workbook.active
    sheet.title = "Bilancio"
    sheet.append(["Voce", "Importo", "Quota", "Data"])
    sheet.append(["Ricavi", 1234567.891, 0.1234, datetime.date(2024, 3, 1)])
    sheet.append(["Costi", "=B2*2", 0.1 + 0.2, ""])
    for cell, code in (("B2", "#,##0.00"), ("C2", "0.0%"), ("D2", "dd/mm/yyyy")):
        sheet[cell].number_format = code
    hidden = workbook.create_sheet("Segreto")
    hidden["A1"], hidden.sheet_state = "PAROLA", "hidden"
    out = io.BytesIO()
    workbook.save(out)
    m = measured(out.getvalue())
    assert m["text"].startswith("## Bilancio\n\n| Voce | Importo | Quota | Data |")
    assert "| Ricavi | 1234567.89 | 12.3% | 01/03/2024 |" in m["text"] and "| 0.3 |" in m["text"]
    assert m["warnings"] == ["hidden_sheets_left_out: 1", "uncomputed_formulas: 1"]
    assert decide(CONFIG, m).reason == "partial" and "PAROLA" not in m["text"]


def test_a_sparse_sheet_does_not_explode_and_a_long_one_is_cut_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    import openpyxl

    workbook = openpyxl.Workbook()
    workbook.active["A1"], workbook.active["XFD1048576"] = "inizio", "fine"
    out = io.BytesIO()
    workbook.save(out)
    m = measured(out.getvalue())
    assert (m["text"], m["warnings"]) == ("## Sheet\n\ninizio\n\nfine", ["fallback_tables"])
    monkeypatch.setattr(spreadsheet, "MOST_ROWS", 2)
    m = measured(office("xlsx"))
    assert "Lazio" in m["text"] and "Puglia" not in m["text"]
    assert m["warnings"] == ["cut_at_max_rows", "fallback_tables"]


@pytest.mark.parametrize(
    ("value", "code", "text"),
    [
        (1234.5, "#,##0.00", "1234.50"),
        (-3.14159, "0.0", "-3.1"),
        (5, "0000", "0005"),
        (0.5, "0%", "50%"),
        (12.5, '#,##0.00\\ "€"', "12.50 €"),
        (-2, "0;(0)", "(2)"),
        (1.5e6, "0.0,,", "1.5"),
        (45352, "dd/mm/yyyy", "01/03/2024"),
        (45352.4375, "d/m/yy h:mm", "1/3/24 10:30"),
        (45352, "d mmmm yyyy", "2024-03-01"),
        (1.5, "[h]:mm", "36:00"),
        (0.1 + 0.2, "General", "0.3"),
        (7, "@", "7"),
    ],
)
def test_numbers_are_written_in_their_format(value: float, code: str, text: str) -> None:
    assert numberformat.shown(value, code, datetime.datetime(1899, 12, 30)) == text


def test_slides_give_their_notes_and_hidden_ones_are_left_out_with_a_word() -> None:
    import pptx

    deck = pptx.Presentation()
    for title, note in (("Prima", "Dire piano questa nota."), ("Nascosta", "")):
        slide = deck.slides.add_slide(deck.slide_layouts[5])
        slide.shapes.title.text = title
        if note:
            slide.notes_slide.notes_text_frame.text = note
        else:
            slide._element.set("show", "0")
    out = io.BytesIO()
    deck.save(out)
    m = measured(out.getvalue())
    assert m["text"] == "# Prima\n\nDire piano questa nota."
    assert (m["pages"], m["page_chars"], m["warnings"]) == (2, [32, 0], ["hidden_slides_left_out: 1"])


def test_notes_of_an_odt_stand_at_the_end_and_deleted_text_does_not() -> None:
    note = "<text:note><text:note-citation>1</text:note-citation><text:note-body><text:p>In fondo.</text:p></text:note-body></text:note>"
    deletion = "<text:changed-region><text:deletion><text:p>VIA</text:p></text:deletion></text:changed-region>"
    deleted = f"<text:tracked-changes>{deletion}</text:tracked-changes>"
    data = repacked(office("odt"), {}, {"content.xml": ("esta selva", f"esta{note} selva")})
    data = repacked(data, {}, {"content.xml": ("<office:text>", f"<office:text>{deleted}")})
    text = text_of(data)
    assert "dura esta[^1] selva selvaggia" in text and text.endswith("[^1]: In fondo.") and "VIA" not in text


def test_sheets_of_an_ods_have_their_names_and_empty_repeats_do_not_explode() -> None:
    from odf.opendocument import OpenDocumentSpreadsheet
    from odf.table import Table, TableCell, TableRow
    from odf.text import P

    document, out = OpenDocumentSpreadsheet(), io.BytesIO()
    for name in ("Entrate", "Uscite"):
        table = Table(name=name)
        for cells in (("Voce", "Importo"), ("Carta", "12,50")):
            row = TableRow()
            for text in cells:
                cell = TableCell(valuetype="string")
                cell.addElement(P(text=text))
                row.addElement(cell)
            table.addElement(row)
        document.spreadsheet.addElement(table)
    document.save(out)
    m = measured(out.getvalue())
    assert m["text"].count("| Carta | 12,50 |") == 2 and "## Uscite\n\n| Voce | Importo |" in m["text"]
    assert (m["pages"], m["title"], m["warnings"]) == (2, "", [])
    far = (
        '<table:table-row table:number-rows-repeated="1048000"><table:table-cell table:number-columns-repeated="16000"/></table:table-row>'
        '<table:table-row><table:table-cell table:number-columns-repeated="16000"/><table:table-cell><text:p>fine</text:p>'
        "</table:table-cell></table:table-row></table:table>"
    )
    m = measured(repacked(out.getvalue(), {}, {"content.xml": ("</table:table>", far)}))
    assert "\n\nfine\n\n## Uscite" in m["text"] and m["warnings"] == ["fallback_tables"]


def test_a_book_is_its_spine_without_its_contents_and_links_inside() -> None:
    chapters = {
        "toc": "<nav><ol><li><a href='uno.xhtml'>Canto uno</a></li></ol></nav>",
        "due": f"<h1>Secondo</h1><p>{PROSE}</p>",
        "uno": "<h1>Primo</h1><p>Si veda <a href='due.xhtml#x'>il secondo</a> e <a href='https://example.org'>altrove</a>.</p>",
    }
    m = measured(book(chapters, {"toc": "nav"}))
    assert "Canto uno" not in m["text"] and m["text"].index("Secondo") < m["text"].index("Primo")
    assert "Si veda il secondo e [altrove](https://example.org" in m["text"]
    assert m["lang_hint"] == "it" and "Pubblico dominio" in m["metadata"]


def test_protected_books_and_documents_are_encrypted_and_hidden_fonts_are_not() -> None:
    entry = '<encryption xmlns="e"><EncryptedData><EncryptionMethod Algorithm="{}"/></EncryptedData></encryption>'
    chapters = {"a": f"<p>{PROSE}</p>"}
    fonts = {"META-INF/encryption.xml": entry.format("http://www.idpf.org/2008/embedding")}
    assert "selva oscura" in text_of(book(chapters, extra=fonts))
    drm = {"META-INF/encryption.xml": entry.format("http://www.w3.org/2001/04/xmlenc#aes128-cbc")}
    with pytest.raises(Verdict, match="encrypted"):
        measured(book(chapters, extra=drm))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as package:
        package.writestr("index.xml", b"x" * 100)
    pages = bytearray(out.getvalue())
    for start, method in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):  # a compression that zip does not have
        struct.pack_into("<H", pages, pages.index(start) + method, 25452)
    with pytest.raises(Verdict, match="encrypted"):
        measured(bytes(pages), "pages")


def test_what_docling_cannot_read_is_read_from_the_xml_and_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from extractors.office import reader as module

    monkeypatch.setattr(module, "_docling", lambda data, kind: None)
    m = measured(office("docx"))
    assert (m["extractor"], m["warnings"]) == ("office-xml", ["fallback_xml"])
    assert "selva oscura" in m["text"] and decide(CONFIG, m).reason == "fallback"


def test_lost_paragraphs_are_put_back_where_they_stood() -> None:
    seen = ["Il primo paragrafo del testo.", "Questo secondo paragrafo manca del tutto.", "Il terzo paragrafo che c'è."]
    text = "Il **primo** paragrafo del [testo](https://example.org/a).\n\nIl terzo paragrafo che c'è."
    assert completeness.missing(text, seen * 20) > 0.2
    assert completeness.completed(text, seen).split("\n\n")[1] == seen[1]
    assert completeness.completed(text, [seen[0], seen[2]]) == text
    assert completeness.missing(text, [seen[0], seen[2]]) == 0.0


def test_nothing_of_the_machine_is_started_to_draw_shapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import subprocess

    def refuse(*given: object, **more: object) -> None:
        raise AssertionError("a program was started")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    monkeypatch.setattr(subprocess, "run", refuse)
    graphic = "<a:graphic xmlns:a='http://schemas.openxmlformats.org/drawingml/2006/main'><a:graphicData uri='x'/></a:graphic>"
    names = "xmlns:wp='http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing'"
    shape = f"<w:r><w:drawing><wp:inline {names}>{graphic}</wp:inline></w:drawing></w:r>"
    assert text_of(word(f"<w:p>{shape}</w:p>{paragraph('Dopo la forma.')}")) == "Dopo la forma."


def part_at(data: bytes, name: str) -> tuple[int, int]:
    """Where a part's packed bytes lie."""
    with zipfile.ZipFile(io.BytesIO(data)) as package:
        info = package.getinfo(name)
    start = info.header_offset + 30 + sum(struct.unpack("<2H", data[info.header_offset + 26 : info.header_offset + 30]))
    return start, start + info.compress_size


def test_a_damaged_part_does_not_take_the_others_with_it() -> None:
    data = office("docx")
    start, end = part_at(data, "word/styles.xml")
    m = measured(data[:start] + bytes(end - start) + data[end:])
    assert "selva oscura" in m["text"] and "damaged_parts: 1" in m["warnings"]
    assert decide(CONFIG, m).reason == "partial" and "damaged parts" in decide(CONFIG, m).detail


def test_a_damaged_picture_is_no_loss() -> None:
    out = io.BytesIO(office("docx"))
    with zipfile.ZipFile(out, "a") as package:
        package.writestr("word/media/image1.png", b"pixels" * 100)
    data = out.getvalue()
    start, _ = part_at(data, "word/media/image1.png")
    m = measured(data[:start] + b"?" + data[start + 1 :])
    assert "selva oscura" in m["text"] and m["warnings"] == []


def test_text_before_the_damage_is_kept() -> None:
    body = "".join(paragraph(f"Articolo {n}: il fornitore presta il servizio numero {n * 7919 % 1000}.") for n in range(400))
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(word(body))) as package, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in package.namelist():
            packed.writestr(name, package.read(name))
    data = out.getvalue()
    start, end = part_at(data, "word/document.xml")
    at = (start + end) // 2
    m = measured(data[:at] + b"\xff" * 60 + data[at + 60 :])
    assert "Articolo 99: " in m["text"] and "damaged_parts: 1" in m["warnings"]
    broken = repacked(word(body), {}, {"word/document.xml": ("Articolo 200:</w:t>", "Articolo 200:</w:q>")})
    assert "Articolo 399" in text_of(broken)


def test_bytes_lost_before_the_parts_do_not_matter_where_their_headers_are_found() -> None:
    data = repacked(office("docx"), {"aaa.bin": b"?"})
    with zipfile.ZipFile(io.BytesIO(data)) as package:
        last = package.infolist()[-1].header_offset
    m = measured(data[: last + 31] + data[last + 32 :], "docx")  # the directory lies nearer than it says
    assert "selva oscura" in m["text"]


def test_a_workbook_whose_list_of_sheets_is_damaged_keeps_its_cells() -> None:
    data = office("xlsx")
    start, end = part_at(data, "xl/workbook.xml")
    m = measured(data[:start] + bytes(end - start) + data[end:])
    assert "Puglia" in m["text"] and decide(CONFIG, m).reason == "partial"


def test_damage_that_leaves_nothing_is_malformed() -> None:
    data = office("docx")
    start, end = part_at(data, "word/document.xml")
    with pytest.raises(Verdict, match="malformed"):
        measured(data[:start] + bytes(end - start) + data[end:])


def test_a_cut_package_that_unpacks_to_too_much_is_a_bomb() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as package:
        for name in ("[Content_Types].xml", "word/document.xml"):
            package.writestr(name, bytes(40 << 20))
    data = out.getvalue()
    with pytest.raises(Verdict, match="zip_bomb"):
        measured(data[: data.rfind(b"PK\x05\x06") - 10], "docx")


def test_deeply_nested_chapters_are_read_without_docling() -> None:
    deep = "<html><body>" + "<div>" * 20_000 + "La lampada resta accesa sul colle." + "</div>" * 20_000 + "</body></html>"
    with zipfile.ZipFile(io.BytesIO(office("epub"))) as package:
        chapter = next(name for name in package.namelist() if name.endswith("html"))
    m = measured(repacked(office("epub"), {chapter: deep}), "epub")
    assert "La lampada resta accesa" in m["text"] and m["extractor"] == "office-xml"
    assert epub.depth("<p>a<br>b<img/></p><p>c</p>") == 1


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("word/comments.xml", b'<w:comments><w:comment w:id="1"/><w:comment w:id="2"/></w:comments>'),
        ("xl/comments1.xml", b"<comments><commentList><comment ref='A1'/><comment ref='B2'/></commentList></comments>"),
        ("xl/comments/comment1.xml", b"<comments><commentList><comment ref='A1'/><comment ref='B2'/></commentList></comments>"),
        ("ppt/comments/comment1.xml", b"<p:cmLst><p:cm authorId='0'/><p:cm authorId='0'/></p:cmLst>"),
        ("content.xml", b"<office:text><office:annotation a='1'/><office:annotation a='2'/></office:text>"),
    ],
)
def test_comments_are_counted_so_that_leaving_them_out_is_said(name: str, text: bytes) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(name, text)
    assert package.comments(out.getvalue(), [name]) == 2
