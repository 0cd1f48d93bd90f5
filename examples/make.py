"""Makes the files of examples/raw that are not plain text, from the prose in examples/sources.

    python examples/make.py            write them
    python examples/make.py --check    say which differ from what would be written (exit code 1 when any does)

Two runs write the same bytes: dates, identifiers and archive entries are fixed, and nothing is compressed, because two
versions of zlib pack the same bytes differently. Everything in sources/ and raw/ was written for this project; people,
places, codes and addresses are invented.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import io
import sys
import zipfile
from collections.abc import Callable
from email.message import EmailMessage
from functools import partial
from pathlib import Path

HERE = Path(__file__).parent
SOURCES, RAW = HERE / "sources", HERE / "raw"
WHEN = datetime.datetime(2024, 3, 1, 9, 0, 0)
Block = tuple[str, list[str]]

# The fixed parts of an e-book.
CONTAINER = """<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container">
<rootfiles><rootfile full-path="b.opf" media-type="application/oebps-package+xml"/></rootfiles></container>"""
PACKAGE = """<package xmlns="http://www.idpf.org/2007/opf" version="3.0" unique-identifier="id">
<metadata xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:identifier id="id">athanor-{id}</dc:identifier>
<dc:title>{title}</dc:title><dc:language>{lang}</dc:language><meta property="dcterms:modified">2024-03-01T09:00:00Z</meta></metadata>
<manifest><item id="nav" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>{items}</manifest>
<spine>{spine}</spine></package>"""
PAGE = """<?xml version="1.0" encoding="utf-8"?>
<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="{lang}"><head><title>{t}</title></head><body>{b}</body></html>"""


def source(name: str) -> str:
    """The text of a source file."""
    return (SOURCES / name).read_text(encoding="utf-8")


def blocks(name: str) -> list[Block]:
    """A source in small Markdown as (kind, lines): title, heading, paragraph, list, table."""
    found: list[Block] = []
    for piece in source(name).strip().split("\n\n"):
        lines = piece.split("\n")
        while lines:
            if lines[0].startswith("# "):
                found.append(("title", [lines.pop(0)[2:]]))
            elif lines[0].startswith("## "):
                found.append(("heading", [lines.pop(0)[3:]]))
            else:
                kind = {"-": "list", "|": "table"}.get(lines[0][0], "paragraph")
                taken = [line for line in lines if kind == "paragraph" or line[0] == lines[0][0]]
                if kind == "paragraph":
                    taken = [line for i, line in enumerate(lines) if not any(x.startswith("- ") for x in lines[: i + 1])]
                found.append((kind, [line.removeprefix("- ") for line in taken]))
                lines = lines[len(taken) :]
    return found


def cells(lines: list[str]) -> list[list[str]]:
    """Rows of a Markdown table without its rule."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in rows if set("".join(row)) != {"-"}]


def stored(data: bytes) -> bytes:
    """An archive with the same entries in the same order, without dates and without compression."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as new:
        for name in old.namelist():
            _entry(new, name, old.read(name))
    return out.getvalue()


def _entry(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    info.create_system, info.external_attr = 3, 0o644 << 16
    archive.writestr(info, data)


def pdf(name: str, columns: int = 1, password: str = "") -> bytes:
    """A page layout of one or two columns; with a password it opens only with that."""
    from reportlab.lib.pagesizes import A4
    from reportlab.lib.pdfencrypt import StandardEncryption
    from reportlab.lib.styles import getSampleStyleSheet
    from reportlab.platypus import BaseDocTemplate, Frame, ListFlowable, PageTemplate, Paragraph, Spacer, Table

    styles = getSampleStyleSheet()
    body = styles["BodyText"]
    body.fontName, body.fontSize, body.leading, body.alignment = "Times-Roman", 10, 13, 4
    flow: list[object] = []
    for kind, lines in blocks(name):
        if kind == "table":
            table = Table(cells(lines), hAlign="LEFT")
            table.setStyle([("GRID", (0, 0), (-1, -1), 0.5, "black"), ("FONT", (0, 0), (-1, 0), "Helvetica-Bold")])
            flow += [table, Spacer(1, 10)]
        elif kind == "list":
            flow.append(ListFlowable([Paragraph(line, body) for line in lines], bulletType="bullet"))
        else:
            style = {"title": styles["Title"], "heading": styles["Heading2"]}.get(kind, body)
            flow.append(Paragraph(" ".join(lines), style))
    out = io.BytesIO()
    lock = StandardEncryption(password, ownerPassword="fornace", strength=128) if password else None
    document = BaseDocTemplate(out, pagesize=A4, invariant=1, pageCompression=0, encrypt=lock, title=blocks(name)[0][1][0])
    gap, width = 18, document.width
    each = (width - gap * (columns - 1)) / columns
    lefts = [document.leftMargin + i * (each + gap) for i in range(columns)]
    frames = [Frame(left, document.bottomMargin, each, document.height) for left in lefts]

    def folio(canvas: object, _: object) -> None:
        canvas.setFont("Helvetica", 8)  # type: ignore[attr-defined]
        canvas.drawCentredString(A4[0] / 2, 30, f"- {canvas.getPageNumber()} -")  # type: ignore[attr-defined]

    document.addPageTemplates(PageTemplate(frames=frames, onPage=folio))
    document.build(flow)
    return out.getvalue()


def docx(name: str) -> bytes:
    """A Word document with headings; the template's ninety table styles are left out."""
    import docx as word
    from docx.enum.style import WD_STYLE_TYPE

    document = word.Document()
    for style in [s for s in document.styles if s.type == WD_STYLE_TYPE.TABLE]:
        style.delete()
    for name_of, relation in list(document.part.rels.items()):
        if relation.reltype.endswith("stylesWithEffects"):
            document.part.rels.pop(name_of)
    document.core_properties.created = document.core_properties.modified = WHEN
    for kind, lines in blocks(name):
        if kind in ("title", "heading"):
            document.add_heading(lines[0], 0 if kind == "title" else 1)
        else:
            for line in lines:
                document.add_paragraph(line, style="List Bullet" if kind == "list" else None)
    out = io.BytesIO()
    document.save(out)
    return stored(out.getvalue())


def pptx(name: str) -> bytes:
    """A presentation: a slide for each heading, what to say first in its notes."""
    from pptx import Presentation

    deck = Presentation()
    deck.core_properties.created = deck.core_properties.modified = WHEN
    slide, title = None, True
    for kind, lines in blocks(name):
        if kind in ("title", "heading"):
            slide = deck.slides.add_slide(deck.slide_layouts[0 if kind == "title" else 1])
            slide.shapes.title.text, title = lines[0], kind == "title"
            continue
        frame = slide.placeholders[1].text_frame  # type: ignore[union-attr]
        for line in lines:
            paragraph = frame.add_paragraph() if frame.text else frame.paragraphs[0]
            paragraph.text = line
        if kind == "paragraph" and not title:
            slide.notes_slide.notes_text_frame.text = lines[0].split(". ")[0] + "."  # type: ignore[union-attr]
    out = io.BytesIO()
    deck.save(out)
    return stored(out.getvalue())


def xlsx(*names: str) -> bytes:
    """A workbook with a sheet for each CSV source."""
    from openpyxl import Workbook
    from openpyxl.writer import excel

    book = Workbook()
    book.remove(book.active)
    book.properties.created = WHEN
    for name in names:
        sheet = book.create_sheet(Path(name).stem)
        for row in csv.reader(io.StringIO(source(name))):
            sheet.append([int(cell) if cell.isdigit() else cell for cell in row])
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        writer = excel.ExcelWriter(book, archive)
        book.properties.modified = WHEN
        writer.write_data()
        writer._archive.close()
    return stored(out.getvalue())


def odt(name: str) -> bytes:
    """An OpenDocument text."""
    from odf import dc, meta
    from odf.opendocument import OpenDocumentText
    from odf.text import H, P

    document = OpenDocumentText()
    for kind, lines in blocks(name):
        if kind in ("title", "heading"):
            document.text.addElement(H(outlinelevel=1 if kind == "title" else 2, text=lines[0]))
        else:
            for line in lines:
                document.text.addElement(P(text=line))
    document.meta.addElement(dc.Title(text=blocks(name)[0][1][0]))
    document.meta.addElement(meta.CreationDate(text=WHEN.isoformat()))
    out = io.BytesIO()
    document.write(out)
    return stored(out.getvalue())


def epub(name: str, lang: str) -> bytes:
    """A book with a chapter for each heading, written by hand so that nothing in it is random."""
    title, chapters = "", list[tuple[str, list[str]]]()
    for kind, lines in blocks(name):
        if kind == "title":
            title = lines[0]
        elif kind == "heading":
            chapters.append((lines[0], []))
        else:
            chapters[-1][1].extend(lines)
    items = "".join(f'<item id="c{i}" href="c{i}.xhtml" media-type="application/xhtml+xml"/>' for i, _ in enumerate(chapters))
    spine = "".join(f'<itemref idref="c{i}"/>' for i, _ in enumerate(chapters))
    links = "".join(f'<li><a href="c{i}.xhtml">{t}</a></li>' for i, (t, _) in enumerate(chapters))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        _entry(archive, "mimetype", b"application/epub+zip")
        _entry(archive, "META-INF/container.xml", CONTAINER.encode())
        package = PACKAGE.format(id=Path(name).stem, title=title, lang=lang, items=items, spine=spine)
        _entry(archive, "b.opf", package.encode())
        nav = f'<nav xmlns:epub="http://www.idpf.org/2007/ops" epub:type="toc"><ol>{links}</ol></nav>'
        _entry(archive, "nav.xhtml", PAGE.format(lang=lang, t=title, b=nav).encode())
        for i, (head, paragraphs) in enumerate(chapters):
            body = f"<h1>{head}</h1>" + "".join(f"<p>{p}</p>" for p in paragraphs)
            _entry(archive, f"c{i}.xhtml", PAGE.format(lang=lang, t=head, b=body).encode())
    return out.getvalue()


def letters() -> dict[str, EmailMessage]:
    """The messages of posta.txt by name."""
    found = {}
    for piece in source("posta.txt").split("=== ")[1:]:
        name, rest = piece.split("\n", 1)
        head, body = rest.split("\n\n", 1)
        message = EmailMessage()
        for line in head.split("\n"):
            key, value = line.split(": ", 1)
            message[{"Da": "From", "A": "To", "Oggetto": "Subject", "Data": "Date"}[key]] = value
        message["Message-ID"] = f"<{name}@example.it>"
        message.set_content(body, cte="quoted-printable")
        found[name] = message
    return found


def mbox() -> bytes:
    """Three letters in one mailbox."""
    names = ("gruppo-di-lettura", "re-libro", "orari-palestra")
    return b"".join(b"From athanor@example.it Mon Mar  4 18:20:00 2024\n" + letters()[n].as_bytes().rstrip() + b"\n\n" for n in names)


def letter() -> bytes:
    """One letter alone."""
    return letters()["manuscript"].as_bytes()


def letter_with_attachment() -> bytes:
    """An invitation, in plain text and HTML, with a Word document attached."""
    message = EmailMessage()
    message["From"], message["To"] = "Amici del Mulino <mulino@example.it>", "Soci <soci@example.it>"
    message["Subject"], message["Date"] = "Convocazione dell'assemblea", "Sun, 07 Apr 2024 10:00:00 +0200"
    message["Message-ID"] = "<assemblea@example.it>"
    text = source("invito-assemblea.txt")
    message.set_content(text, cte="quoted-printable")
    html = "".join(f"<p>{p}</p>" for p in text.strip().split("\n\n"))
    message.add_alternative(f"<html><body>{html}</body></html>", subtype="html", cte="quoted-printable")
    word = "vnd.openxmlformats-officedocument.wordprocessingml.document"
    message.add_attachment(docx("relazione-tesoriere.md"), maintype="application", subtype=word, filename="relazione.docx")
    inner = message.get_payload()[0]
    inner.set_boundary("=-athanor-alternative")  # type: ignore[union-attr]
    message.set_boundary("=-athanor-mixed")
    return message.as_bytes()


def archive() -> bytes:
    """A zip: two documents found nowhere else, and one that also lies in the open."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        _entry(made, "cielo/agosto.txt", source("guida-al-cielo-di-agosto.txt").encode())
        _entry(made, "orchard/the-orchard-book.md", source("the-orchard-book.md").encode())
        _entry(made, "copie/minestre.md", (RAW / "cucina" / "tre-zuppe.md").read_bytes())
    return out.getvalue()


def mojibake(name: str) -> bytes:
    """UTF-8 read as Windows-1252 and written as UTF-8 again: what a careless export leaves."""
    read = "".join(bytes([b]).decode("cp1252", "ignore") or chr(b) for b in source(name).encode())
    return read.encode()


def encoded(name: str, encoding: str) -> bytes:
    """A source in another encoding."""
    return source(name).encode(encoding)


def truncated(name: str) -> bytes:
    """The first third of a PDF, as an interrupted download leaves it."""
    whole = pdf(name)
    return whole[: len(whole) // 3]


FILES: dict[str, Callable[[], bytes]] = {
    "comune/regolamento-biblioteca.pdf": partial(pdf, "regolamento-biblioteca.md"),
    "comune/consumi-acqua.pdf": partial(pdf, "consumi-acqua.md"),
    "scienza/suolo-vivo.pdf": partial(pdf, "suolo-vivo.md", 2),
    "english/grammar-of-knots.pdf": partial(pdf, "grammar-of-knots.md", 2),
    "diritto/contratto-di-locazione.docx": partial(docx, "contratto-di-locazione.md"),
    "racconti/il-treno-di-notte.docx": partial(docx, "il-treno-di-notte.md"),
    "english/river-wall-report.docx": partial(docx, "river-wall-report.md"),
    "manuali/sicurezza-in-laboratorio.pptx": partial(pptx, "sicurezza-in-laboratorio.md"),
    "english/welcome-to-the-archive.pptx": partial(pptx, "welcome-to-the-archive.md"),
    "dati/inventario-museo.xlsx": partial(xlsx, "inventario.csv", "restauri.csv"),
    "racconti/il-paese-senza-campane.epub": partial(epub, "il-paese-senza-campane.md", "it"),
    "english/three-small-tales.epub": partial(epub, "three-small-tales.md", "en"),
    "lettere/lettera-dell-apicoltore.odt": partial(odt, "lettera-dell-apicoltore.md"),
    "english/keeping-hens.odt": partial(odt, "keeping-hens.md"),
    "posta/gruppo-di-lettura.mbox": mbox,
    "posta/chapter-seven.eml": letter,
    "posta/assemblea.eml": letter_with_attachment,
    "posta/archivio.zip": archive,
    "lettere/il-quaderno-della-nonna.txt": partial(encoded, "il-quaderno-della-nonna.txt", "cp1252"),
    "saggi/la-neve-in-citta.txt": partial(mojibake, "la-neve-in-citta.txt"),
    "danneggiati/con-password.pdf": partial(pdf, "lettera-dell-apicoltore.md", 1, "lago"),
    "danneggiati/interrotto.pdf": partial(truncated, "regolamento-biblioteca.md"),
}


def main() -> int:
    """Write the files, or compare them with what is there."""
    parser = argparse.ArgumentParser(description="Make the files of examples/raw that are not plain text.")
    parser.add_argument("--check", action="store_true", help="write nothing, name the files that differ")
    check = parser.parse_args().check
    differing = []
    for name, make in FILES.items():
        target, data = RAW / name, make()
        if check:
            if not target.is_file() or target.read_bytes() != data:
                differing.append(name)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
    for name in differing:
        print(f"differs: {name}")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
