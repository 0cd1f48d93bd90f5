"""Dangerous files: each has a reason of its own, costs little, gives nothing away, and leaves its neighbours alone.

The files are made here and go the whole way: listed by ingest, read by extract; at the end through real worker processes.
"""

from __future__ import annotations

import base64
import bz2
import ctypes
import dataclasses
import email.message
import gzip
import io
import json
import lzma
import re
import socket
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from corpus.outcome import Circumstance, Outcome
from corpus.sandbox import measure_all
from corpus.stage import Inputs
from corpus.worker import answer
from extractors import extract, ingest

CONFIG = extract.ExtractConfig()
INGEST = ingest.IngestConfig()
PROSE = "La casa sul colle guarda il mare, e la sera la lampada resta accesa finché rientrano le barche. "
SECRET = "parola segreta nel file locale"
ROOT = "word/document.xml"


@dataclasses.dataclass
class Judged:
    """What became of one member."""

    outcome: Outcome
    kind: str
    text: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def reason(self) -> str:
        return f"{self.outcome.status}:{self.outcome.reason}".rstrip(":")


def all_judged(
    folder: Path, data: bytes, name: str = "file", config: extract.ExtractConfig = CONFIG, limits: ingest.IngestConfig = INGEST
) -> dict[str, Judged]:
    """inner -> what became of it, for every member of a file with these bytes."""
    path = folder / name
    path.write_bytes(data)
    measure = extract.measure(config, Inputs())
    judged = {}
    for member in ingest.measure(limits, Inputs())({"id": "", "path": str(path)})["members"]:
        inner, kind = member["inner"], member["kind"]
        if member["status"] != "kept":
            judged[inner] = Judged(Outcome(member["status"], member["reason"], detail=member["detail"]), kind)
            continue
        said = answer(measure, {"id": member["id"], "kind": kind, "path": str(path), "inner": inner})
        if said[0] == "ok":
            judged[inner] = Judged(extract.decide(config, said[1]), kind, said[1]["text"], tuple(said[1]["warnings"]))
        else:
            judged[inner] = Judged(Outcome("failed", said[1], detail=said[2]), kind)
    return judged


def judged(folder: Path, data: bytes, name: str = "file", **settings: Any) -> Judged:
    """The same for a file that is one document."""
    (only,) = all_judged(folder, data, name, **settings).values()
    return only


# --- files ---------------------------------------------------------------------------------------------------------------------


def zipped(members: dict[str, bytes | str]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def altered(package: bytes, changes: dict[str, Callable[[str], str]], more: dict[str, str] | None = None) -> bytes:
    """A package with some of its parts rewritten and others added."""
    with zipfile.ZipFile(io.BytesIO(package)) as archive:
        members: dict[str, bytes | str] = {
            i.filename: changes.get(i.filename, str)(archive.read(i).decode()) if i.filename in changes else archive.read(i)
            for i in archive.infolist()
        }
    return zipped(members | (more or {}))


def pdf(pages: int = 1, text: str = PROSE, content: bytes = b"", trailer: bytes = b"", objects: tuple[bytes, ...] = ()) -> bytes:
    """A PDF whose pages share one content stream; `content` in its place when given, more objects from number 5."""
    lines = "".join(f"({text[at : at + 80]}) Tj T* " for at in range(0, len(text), 80))
    packed = zlib.compress(content or f"BT /F1 10 Tf 12 TL 50 800 Td {lines}ET".encode("latin-1"), 9)
    first = 5 + len(objects)
    kids = b" ".join(b"%d 0 R" % n for n in range(first, first + pages))
    bodies = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Count %d /Kids [%s] >>" % (pages, kids),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
        b"<< /Filter /FlateDecode /Length %d >>\nstream\n%s\nendstream" % (len(packed), packed),
        *objects,
        *[
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources << /Font << /F1 3 0 R >> >> >>"
        ] * pages,
    ]  # fmt: skip
    out, at = bytearray(b"%PDF-1.5\n"), []
    for number, body in enumerate(bodies, 1):
        at.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in at)
    size = len(bodies) + 1
    tail = b"xref\n0 %d\n0000000000 65535 f \n%strailer\n<< /Size %d /Root 1 0 R %s>>\nstartxref\n%d\n%%%%EOF\n"
    return bytes(out) + tail % (size, table, size, trailer, len(out))


def docx() -> bytes:
    import docx as library

    document = library.Document()
    document.add_paragraph(PROSE)
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def pptx() -> bytes:
    import pptx as library

    deck = library.Presentation()
    deck.slides.add_slide(deck.slide_layouts[0]).shapes.title.text = PROSE
    out = io.BytesIO()
    deck.save(out)
    return out.getvalue()


def xlsx() -> bytes:
    import openpyxl

    book = openpyxl.Workbook()
    book.active.append(["Luogo", "Descrizione"])
    book.active.append(["Colle", PROSE])
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def odt(doctype: str = "", body: str = f"<text:p>{PROSE}</text:p>", manifest: str = "") -> bytes:
    office, text = "urn:oasis:names:tc:opendocument:xmlns:office:1.0", "urn:oasis:names:tc:opendocument:xmlns:text:1.0"
    return zipped(
        {
            "mimetype": "application/vnd.oasis.opendocument.text",
            "META-INF/manifest.xml": f'<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0">{manifest}'
            '<manifest:file-entry manifest:full-path="/" manifest:media-type="application/vnd.oasis.opendocument.text"/>'
            "</manifest:manifest>",
            "content.xml": f'<?xml version="1.0"?>{doctype}<office:document-content xmlns:office="{office}" xmlns:text="{text}">'
            f"<office:body><office:text>{body}</office:text></office:body></office:document-content>",
            "styles.xml": f'<office:document-styles xmlns:office="{office}"/>',
            "meta.xml": f'<office:document-meta xmlns:office="{office}"/>',
        }
    )


def epub(doctype: str = "", body: str = f"<p>{PROSE}</p>", more: dict[str, bytes | str] | None = None) -> bytes:
    return zipped(
        {
            "mimetype": "application/epub+zip",
            "META-INF/container.xml": '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
            '<rootfile full-path="a.opf" media-type="application/oebps-package+xml"/></rootfiles></container>',
            "a.opf": f'<?xml version="1.0"?>{doctype}<package xmlns="http://www.idpf.org/2007/opf" version="3.0">'
            '<metadata xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>Il colle</dc:title></metadata><manifest>'
            '<item id="c" href="c.xhtml" media-type="application/xhtml+xml"/></manifest><spine><itemref idref="c"/></spine></package>',
            "c.xhtml": f'<?xml version="1.0"?>{doctype}<html xmlns="http://www.w3.org/1999/xhtml"><head><title>Il colle</title></head>'
            f"<body><h1>Il colle</h1>{body}</body></html>",
            **(more or {}),
        }
    )


def xml(doctype: str = "", body: str = f"<p>{PROSE}</p>" * 3, root: str = "atto") -> bytes:
    return f'<?xml version="1.0"?>{doctype}<{root}>{body}</{root}>'.encode()


def page(body: str = f"<p>{PROSE * 4}</p>", doctype: str = "<!DOCTYPE html>") -> bytes:
    return f"{doctype}<html><head><title>Il colle</title></head><body><article>{body}</article></body></html>".encode()


def mail(body: str = PROSE, attached: dict[str, bytes] | None = None) -> bytes:
    message = email.message.EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@example.org", "b@example.org", "Il colle"
    message["Date"] = "Mon, 02 Mar 2026 10:00:00 +0100"
    message.set_content(body)
    for name, data in (attached or {}).items():
        message.add_attachment(data, maintype="application", subtype="octet-stream", filename=name)
    return message.as_bytes()


def ole(stream: str) -> bytes:
    """A compound file with one stream of 4,096 zeros: sector 0 is its table, 1 its directory, 2 to 9 the stream."""
    free, end = 0xFFFFFFFF, 0xFFFFFFFE
    header = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16)
    header += struct.pack("<HHHHH6xIIIIIIIII", 0x3E, 3, 0xFFFE, 9, 6, 0, 1, 1, 0, 4096, end, 0, end, 0)
    header += struct.pack("<109I", 0, *[free] * 108)
    table = struct.pack("<128I", 0xFFFFFFFD, end, *range(3, 10), end, *[free] * 118)

    def entry(name: str, kind: int, child: int, start: int, size: int) -> bytes:
        label = name.encode("utf-16-le") + b"\0\0"
        return label.ljust(64, b"\0") + struct.pack("<HBBIII36xIQ", len(label), kind, 1, free, free, child, start, size)

    directory = entry("Root Entry", 5, 1, end, 0) + entry(stream, 2, free, 2, 4096)
    return header + table + directory.ljust(512, b"\0") + bytes(4096)


def parquet(texts: list[str]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = pa.BufferOutputStream()
    pq.write_table(pa.table({"text": texts}), buffer)
    return bytes(buffer.getvalue().to_pybytes())


# --- encrypted -----------------------------------------------------------------------------------------------------------------


def encrypted_pdf() -> bytes:
    from reportlab.lib.pdfencrypt import StandardEncryption
    from reportlab.pdfgen.canvas import Canvas

    out = io.BytesIO()
    canvas = Canvas(out, encrypt=StandardEncryption("chiave", ownerPassword="padrone"))
    canvas.drawString(50, 700, PROSE)
    canvas.save()
    return out.getvalue()


def locked(data: bytes) -> bytes:
    """The ZIP with the flag of encryption set on its members."""
    out = bytearray(data)
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        for match in re.finditer(re.escape(signature), data):
            out[match.start() + offset] |= 1
    return bytes(out)


def enveloped() -> bytes:
    """The beginning of a CMS EnvelopedData in DER."""
    content = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03" + b"\xa0\x82\x02\x00" + bytes(512)
    return b"\x30\x82" + len(content).to_bytes(2, "big") + content


ENCRYPTED: dict[str, Callable[[], bytes]] = {
    "pdf": encrypted_pdf,
    "docx": lambda: ole("EncryptedPackage"),
    "docx by zip": lambda: locked(docx()),
    "odt": lambda: odt(
        manifest='<manifest:file-entry manifest:full-path="content.xml" manifest:media-type="text/xml"><manifest:encryption-data/>'
        "</manifest:file-entry>"
    ),
    "epub": lambda: epub(
        more={
            "META-INF/encryption.xml": '<encryption xmlns="urn:oasis:names:tc:opendocument:xmlns:container" '
            'xmlns:enc="http://www.w3.org/2001/04/xmlenc#"><enc:EncryptedData><enc:EncryptionMethod '
            'Algorithm="http://www.w3.org/2001/04/xmlenc#aes128-cbc"/><enc:CipherData><enc:CipherReference URI="c.xhtml"/>'
            "</enc:CipherData></enc:EncryptedData></encryption>",
            "c.xhtml": bytes(range(256)) * 8,
        }
    ),
    "zip": lambda: locked(zipped({"a.txt": PROSE})),
    "mail, PGP": lambda: (
        b"From: a@example.org\nTo: b@example.org\nSubject: Il colle\nContent-Type: multipart/encrypted; "
        b'protocol="application/pgp-encrypted"; '
        b"boundary=x\n\n--x\nContent-Type: application/pgp-encrypted\n\nVersion: 1\n\n--x\nContent-Type: application/octet-stream\n\n"
        b"-----BEGIN PGP MESSAGE-----\n\nhQEMA7\n-----END PGP MESSAGE-----\n\n--x--\n"
    ),
    "mail, S/MIME": lambda: (
        b"From: a@example.org\nTo: b@example.org\nSubject: Il colle\nContent-Type: application/pkcs7-mime; smime-type=enveloped-data; "
        b'name="smime.p7m"\nContent-Transfer-Encoding: base64\n\n' + base64.encodebytes(enveloped())
    ),
    "p7m": enveloped,
}


@pytest.mark.parametrize("form", ENCRYPTED)
def test_what_is_protected_by_a_password_is_said_to_be_encrypted(form: str, tmp_path: Path) -> None:
    reasons = {j.reason for j in all_judged(tmp_path, ENCRYPTED[form]()).values()}
    assert "failed:encrypted" in reasons and reasons <= {"failed:encrypted", "rejected:no_text"}


# --- truncated, empty, of another type -----------------------------------------------------------------------------------------

WHOLE: dict[str, Callable[[], bytes]] = {
    "pdf": lambda: pdf(20),
    "docx": docx,
    "pptx": pptx,
    "xlsx": xlsx,
    "odt": odt,
    "epub": epub,
    "xml": lambda: xml(body=f"<p>{PROSE}</p>" * 40),
    "json": lambda: json.dumps({"titolo": "Il colle", "testo": PROSE * 40}).encode(),
    "gz": lambda: gzip.compress(bytes(range(256)) * 64 + PROSE.encode() * 40),
    "bz2": lambda: bz2.compress(PROSE.encode() * 40),
    "xz": lambda: lzma.compress(PROSE.encode() * 40),
    "zip": lambda: zipped({"a.txt": PROSE, "b.txt": PROSE * 40}),
    "parquet": lambda: parquet([PROSE] * 40),
    "rtf": lambda: (r"{\rtf1\ansi " + (PROSE + r"\par ") * 40 + "}").encode("cp1252"),
    "html": lambda: page(f"<p>{PROSE}</p>" * 40),
    "eml": lambda: mail(PROSE * 40),
    "tar": lambda: tarred({"a.txt": PROSE.encode(), "b.txt": PROSE.encode() * 400}),
    "text": lambda: PROSE.encode() * 40,
}
TELLS_NOTHING = {"html", "eml", "text"}  # where the end may lie anywhere


def tarred(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


@pytest.mark.parametrize("form", WHOLE)
@pytest.mark.parametrize("share", [0.6, 0.02])
def test_a_truncated_file_is_malformed_or_kept_in_part_with_a_warning(form: str, share: float, tmp_path: Path) -> None:
    data = WHOLE[form]()
    found = all_judged(tmp_path, data[: max(8, int(len(data) * share))])
    assert found and not any(j.outcome.reason == "error" for j in found.values())
    if form not in TELLS_NOTHING and share > 0.5:
        assert any(j.reason in ("failed:malformed", "kept:partial") for j in found.values()), found


def test_a_file_without_bytes_is_empty_wherever_it_lies(tmp_path: Path) -> None:
    assert judged(tmp_path, b"", "relazione.pdf").reason == "rejected:empty"
    inside = all_judged(tmp_path, zipped({"a.docx": b"", "b.txt": PROSE}))
    assert (inside["a.docx"].reason, inside["b.txt"].reason) == ("rejected:empty", "kept")
    assert all_judged(tmp_path, mail(attached={"a.pdf": b""}))["a.pdf"].reason == "rejected:empty"
    assert {j.reason for j in all_judged(tmp_path, gzip.compress(b"")).values()} == {"rejected:empty"}


@pytest.mark.parametrize(
    ("name", "make", "kind"),
    [
        ("lettera.docx", lambda: pdf(), "pdf"),
        ("lettera.pdf", docx, "docx"),
        ("lettera.pdf", lambda: PROSE.encode(), "text"),
        ("lettera.doc", page, "html"),
        ("lettera.txt", odt, "odt"),
        ("lettera.html", mail, "email"),
        ("lettera.json", xml, "xml"),
        ("lettera.xml", lambda: json.dumps({"testo": PROSE}).encode(), "json"),
        ("lettera.eml", xlsx, "xlsx"),
        ("lettera", epub, "epub"),
    ],
)
def test_the_content_decides_what_a_file_is_and_not_its_name(name: str, make: Callable[[], bytes], kind: str, tmp_path: Path) -> None:
    found = judged(tmp_path, make(), name)
    assert (found.kind, found.outcome.status) == (kind, "kept") and "lampada resta accesa" in " ".join(found.text.split())


# --- too much ------------------------------------------------------------------------------------------------------------------


def test_ten_thousand_pages_are_read_up_to_the_cap_and_the_others_are_named(tmp_path: Path) -> None:
    found = judged(tmp_path, pdf(10_000), config=dataclasses.replace(CONFIG, max_pages=20))
    assert found.reason == "kept:partial" and "21-10000" in found.outcome.detail
    assert found.text.count("lampada resta accesa") == 20


def test_a_document_beyond_the_size_caps_is_rejected_or_cut_with_a_warning(tmp_path: Path) -> None:
    small = dataclasses.replace(CONFIG, max_bytes=1000, max_chars=200)
    assert judged(tmp_path, PROSE.encode() * 40, config=small).reason == "rejected:too_large"
    found = judged(tmp_path, PROSE.encode() * 4, config=small)
    assert found.reason == "kept:partial" and len(found.text) == 200 and "max_chars" in found.outcome.detail


def test_a_sheet_that_claims_a_million_rows_costs_what_it_holds(tmp_path: Path) -> None:
    import openpyxl

    book = openpyxl.Workbook()
    book.active["A1"], book.active["A2"], book.active["XFD1048576"] = "Luogo", PROSE, "fine"
    out = io.BytesIO()
    book.save(out)
    found = judged(tmp_path, out.getvalue())
    assert found.outcome.status == "kept" and "lampada resta accesa" in found.text and len(found.text) < 10_000


NESTED: dict[str, Callable[[], bytes]] = {
    "html": lambda: page("<div><b>" * 8_000 + PROSE + "</b></div>" * 8_000),
    "html, tables": lambda: page("<table><tr><td>" * 3_000 + PROSE),
    "xml": lambda: xml(body="<a>" * 30_000 + PROSE + "</a>" * 30_000),
    "svg": lambda: xml(body="<g>" * 30_000 + f"<text>{PROSE}</text>" + "</g>" * 30_000, root="svg"),
    "json, lists": lambda: b'["' + PROSE.encode() + b'",' + b"[" * 100_000 + b"]" * 100_000 + b"]",
    "json, objects": lambda: b'{"a":' * 30_000 + b'"' + PROSE.encode() + b'"' + b"}" * 30_000,
    "json, in reach": lambda: b'{"a":' * 900 + b'"' + PROSE.encode() + b'"' + b"}" * 900,
    "rtf": lambda: b"{\\rtf1 " + b"{" * 100_000 + PROSE.encode("cp1252") + b"}" * 100_000 + b"}",
    "odt": lambda: odt(body="<text:section>" * 5_000 + f"<text:p>{PROSE}</text:p>" + "</text:section>" * 5_000),
    "docx": lambda: altered(docx(), {ROOT: lambda t: t.replace("<w:p>", "<w:sdt><w:sdtContent>" * 5_000 + "<w:p>", 1).replace(
        "</w:p>", "</w:p>" + "</w:sdtContent></w:sdt>" * 5_000, 1)}),
    "epub": lambda: epub(body="<div>" * 800 + PROSE + "</div>" * 800),
    "markdown": lambda: b"# Il colle\n\n" + b">" * 20_000 + PROSE.encode() + b"\n\n" + b"[" * 20_000 + b"](x)\n- a\n- b\n",
    "mail": lambda: nested_mail(200),
    "mime": lambda: nested_parts(2_000),
}  # fmt: skip


def nested_mail(depth: int) -> bytes:
    data = mail()
    for _ in range(depth):
        outer = b"From: a@example.org\nTo: b@example.org\nSubject: Inoltro\nContent-Type: multipart/mixed; boundary=x%d\n\n" % len(data)
        data = outer + b"--x%d\nContent-Type: message/rfc822\n\n%s\n--x%d--\n" % (len(data), data, len(data))
    return data


def nested_parts(depth: int) -> bytes:
    head = b"From: a@example.org\nTo: b@example.org\nSubject: Il colle\n"
    parts = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n) for n in range(depth))
    return head + parts + b"Content-Type: text/plain\n\n" + PROSE.encode() + b"\n"


@pytest.mark.parametrize("form", NESTED)
def test_deep_nesting_is_read_or_told(form: str, tmp_path: Path) -> None:
    found = all_judged(tmp_path, NESTED[form]())
    told = {"failed:too_deep", "rejected:too_deep", "failed:malformed"}
    read = [j for j in found.values() if "lampada resta accesa" in " ".join(j.text.split())]
    assert read or told & {j.reason for j in found.values()}, {k: j.reason for k, j in list(found.items())[:5]}
    assert not any(j.outcome.reason in ("error", "memory") for j in found.values())


def test_containers_in_containers_are_followed_to_the_limit_and_no_further(tmp_path: Path) -> None:
    data = zipped({"a.txt": PROSE})
    for level in range(8):
        data = zipped({f"{level}.zip": data})
    (found,) = all_judged(tmp_path, data).values()
    assert found.reason == "rejected:too_deep"
    stream = PROSE.encode()
    for _ in range(5):
        stream = gzip.compress(stream)
    (found,) = all_judged(tmp_path, stream).values()
    assert found.reason == "rejected:too_deep"


# --- bombs ---------------------------------------------------------------------------------------------------------------------

BLANK = b" " * (18 << 20)  # streams are looked at beyond 16 MiB,
LARGE = b" " * (66 << 20)  # packages beyond 64
BOMBS: dict[str, Callable[[], bytes]] = {
    "zip": lambda: zipped({"a.txt": BLANK}),
    "gz": lambda: gzip.compress(BLANK, 9),
    "bz2": lambda: bz2.compress(BLANK),
    "xz": lambda: lzma.compress(BLANK, preset=0),
    "docx": lambda: altered(docx(), {}, {"word/media.xml": LARGE.decode()}),
    "odt": lambda: altered(odt(), {"content.xml": lambda t: t.replace(PROSE, LARGE.decode())}),
    "epub": lambda: epub(body=LARGE.decode()),
    "zip in a mail": lambda: mail(attached={"a.zip": zipped({"a.txt": BLANK})}),
}


@pytest.mark.parametrize("form", BOMBS)
def test_a_bomb_is_refused_before_it_fills_memory(form: str, tmp_path: Path) -> None:
    found = all_judged(tmp_path, BOMBS[form]())
    assert {"rejected:zip_bomb", "failed:zip_bomb"} & {j.reason for j in found.values()}
    assert all(len(j.text) < 1000 for j in found.values())


def test_an_archive_of_archives_of_archives_stops_at_the_total(tmp_path: Path) -> None:
    data = zipped({"a.txt": bytes(range(256)) * 4096})
    for level in range(4):
        data = zipped({f"{level}-{n}.zip": data for n in range(16)})
    found = all_judged(tmp_path, data, limits=dataclasses.replace(INGEST, max_total_bytes=32 << 20))
    assert "rejected:too_many_bytes" in {j.reason for j in found.values()}


def test_an_archive_with_too_many_members_stops_at_their_number(tmp_path: Path) -> None:
    data = zipped({f"{n}.txt": f"{PROSE} {n}" for n in range(50)})
    found = all_judged(tmp_path, data, limits=dataclasses.replace(INGEST, max_members=10))
    reasons = [j.reason for j in found.values()]
    assert reasons.count("kept") == 10 and reasons[10:] == ["rejected:too_many_members"]


def test_a_stream_in_a_pdf_that_unpacks_to_much_does_not_cost_the_page(tmp_path: Path) -> None:
    found = judged(tmp_path, pdf(content=b" " * (16 << 20) + f"BT /F1 10 Tf 50 800 Td ({PROSE}) Tj ET".encode("latin-1")))
    assert found.outcome.status in ("kept", "failed") and found.outcome.reason not in ("error", "memory")


# --- entities ------------------------------------------------------------------------------------------------------------------

LAUGHS = '<!DOCTYPE x [<!ENTITY a0 "ah ">' + "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10)) + "]>"
LONG = f'<!DOCTYPE x [<!ENTITY a "{"ah " * 30_000}">]>'


def with_doctype(part: str, doctype: str, reference: str) -> Callable[[bytes], bytes]:
    def changed(text: str) -> str:
        start = text.index("?>") + 2 if text.startswith("<?xml") else 0
        return text[:start] + doctype + text[start:].replace(PROSE, PROSE + reference)

    return lambda package: altered(package, {part: changed})


def every_xml(doctype: str, reference: str) -> dict[str, bytes]:
    """The same declarations and reference in every format that is XML, or XML inside."""
    return {
        "xml": xml(doctype, f"<p>{PROSE}{reference}</p>"),
        "svg": xml(doctype, f"<text>{PROSE}{reference}</text>", "svg"),
        "html": page(f"<p>{PROSE * 4}{reference}</p>", doctype.replace("DOCTYPE x", "DOCTYPE html")),
        "odt": odt(doctype, f"<text:p>{PROSE}{reference}</text:p>"),
        "epub": epub(doctype, f"<p>{PROSE}{reference}</p>"),
        "docx": with_doctype(ROOT, doctype, reference)(docx()),
        "docx, properties": with_doctype("docProps/core.xml", doctype, "")(docx()),
        "pptx": with_doctype("ppt/slides/slide1.xml", doctype, reference)(pptx()),
        "xlsx": with_doctype("xl/sharedStrings.xml", doctype, reference)(xlsx()),
    }


@pytest.mark.parametrize(("doctype", "reference"), [(LAUGHS, "&a9;"), (LONG, "&a;" * 20_000)], ids=["laughs", "quadratic"])
@pytest.mark.parametrize("form", every_xml("", ""))
def test_entities_that_blow_up_are_never_expanded(form: str, doctype: str, reference: str, tmp_path: Path) -> None:
    found = judged(tmp_path, every_xml(doctype, reference)[form])
    assert found.text.count("ah ") < 1000
    assert found.outcome.status == "kept" or found.reason in ("failed:xml_entities", "failed:malformed")
    if form in ("xml", "svg"):
        assert found.reason == "failed:xml_entities"


@pytest.mark.parametrize("form", every_xml("", ""))
def test_what_lies_outside_a_document_is_never_fetched(form: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text(SECRET, "utf-8")
    with listening() as (address, called):
        for outside in (secret.as_uri(), address):
            general = f'<!DOCTYPE x [<!ENTITY a SYSTEM "{outside}">]>'
            parameter = f'<!DOCTYPE x SYSTEM "{outside}" [<!ENTITY % p SYSTEM "{outside}"> %p;]>'
            for doctype, reference in ((general, "&a;"), (parameter, "")):
                found = judged(tmp_path, every_xml(doctype, reference)[form], f"file-{form}")
                assert SECRET not in found.text and found.outcome.reason != "error"
        assert not called()


def pages_that_refer(outside: str) -> dict[str, bytes]:
    """Documents that name something outside in the way of their format."""
    relation = (
        '<Relationship Id="rId99" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/{0}" Target="{1}" '
        'TargetMode="External"/></Relationships>'
    )
    blip = (
        '<w:p><w:r><w:drawing><wp:inline xmlns:wp="http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing"><a:graphic '
        'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main"><a:graphicData><pic:pic xmlns:pic="http://schemas.openxmlformats'
        '.org/drawingml/2006/picture"><pic:blipFill><a:blip xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships" '
        'r:link="rId99"/></pic:blipFill></pic:pic></a:graphicData></a:graphic></wp:inline></w:drawing></w:r></w:p><w:sectPr'
    )
    image = f'<img src="{outside}"/><iframe src="{outside}"></iframe><object data="{outside}"></object><embed src="{outside}"/>'
    head = f'<link rel="stylesheet" href="{outside}"/><script src="{outside}"></script><xi:include href="{outside}" parse="text"/>'
    include = f'<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="{outside}" parse="text"/>'
    return {
        "html": page(head + image + f"<p>{PROSE * 4}</p>"),
        "xml": b'<?xml-stylesheet href="%s" type="text/xsl"?>' % outside.encode() + xml(body=f"<p>{PROSE}</p>{include}"),
        "epub": epub(body=f"<p>{PROSE}</p>{image}"),
        "markdown": f"# Il colle\n\n- a\n- b\n\n{PROSE}\n\n![x]({outside}) <img src='{outside}'>\n".encode(),
        "rst": f"Il colle\n========\n\n{PROSE}\n\n.. include:: {outside}\n\n.. literalinclude:: {outside}\n\n.. raw:: html\n   :file: "
        f"{outside}\n\n.. csv-table:: t\n   :file: {outside}\n\n.. image:: {outside}\n".encode(),
        "latex": f"\\documentclass{{article}}\n\\begin{{document}}\n\\section{{Il colle}}\n{PROSE}\n\\input{{{outside}}}"
        f"\n\\include{{{outside}}}\n\\verbatiminput{{{outside}}}\n\\end{{document}}\n".encode(),
        "asciidoc": f"= Il colle\n:toc:\n\n== Uno\n\n{PROSE}\n\ninclude::{outside}[]\n\nimage::{outside}[]\n\n== Due\n\n{PROSE}\n".encode(),
        "rtf": f'{{\\rtf1 {PROSE}{{\\field{{\\*\\fldinst INCLUDETEXT "{outside}"}}{{\\fldrslt x}}}}}}'.encode("cp1252"),
        "docx": altered(
            docx(),
            {
                "word/_rels/document.xml.rels": lambda t: t.replace("</Relationships>", relation.format("image", outside)),
                ROOT: lambda t: t.replace("<w:sectPr", blip, 1),
            },
        ),
        "docx, template": altered(
            docx(), {"word/_rels/document.xml.rels": lambda t: t.replace("</Relationships>", relation.format("attachedTemplate", outside))}
        ),
        "odt": odt(
            body=f'<text:p>{PROSE}</text:p><text:section text:name="s"><text:section-source xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'xlink:href="{outside}"/></text:section>'
        ),
        "mail": mail().replace(b"text/plain", b"text/html").replace(PROSE[:20].encode(), image.encode() + b"<p>"),
        "pdf": pdf(trailer=b"/F (%s) " % outside.encode(), objects=(b"<< /S /URI /URI (%s) >>" % outside.encode(),)),
    }


@pytest.mark.parametrize("form", pages_that_refer(""))
def test_no_format_brings_in_a_local_file_or_calls_out(form: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text(SECRET, "utf-8")
    with listening() as (address, called):
        for outside in (secret.as_uri(), str(secret), "secret.txt", address):
            found = judged(tmp_path, pages_that_refer(outside)[form], f"file-{form}")
            assert SECRET not in found.text and found.outcome.status == "kept", found
        assert not called()


class listening:
    """A local web server that nobody should call: (its address, whether it was called)."""

    def __enter__(self) -> tuple[str, Callable[[], bool]]:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.setblocking(False)
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}/secret.txt", self._called

    def _called(self) -> bool:
        try:
            self._socket.accept()[0].close()
        except BlockingIOError:
            return False
        return True

    def __exit__(self, *_: object) -> None:
        self._socket.close()


# --- through real workers ------------------------------------------------------------------------------------------------------


def crashing(config: Any, inputs: Inputs) -> Any:
    """The real stage, and one document that brings a native library to a crash."""
    read = extract.measure(config, inputs)

    def one(document: dict[str, Any]) -> dict[str, Any]:
        if document["inner"] == "crash.txt":
            ctypes.string_at(0)
        return dict(read(document))

    return one


@pytest.mark.parametrize(
    ("poison", "data", "limits", "reason"),
    [  # one limit is near, the other too far for a slow machine to meet it first
        ("slow.rtf", lambda: b"{\\rtf1 " + b"\\'e8" * 10_000_000 + b"}", {"deadline": 1.0}, "deadline"),
        ("large.json", lambda: b'[{"a":[]}' + b',{"a":[]}' * 2_200_000 + b"]", {"memory": 400 << 20}, "memory"),
        ("crash.txt", lambda: b"una libreria che cade", {}, "worker_died"),
    ],
    ids=["deadline", "memory", "worker"],
)
def test_only_the_poison_document_is_marked_with_the_limit_it_hit(
    tmp_path: Path, poison: str, data: Callable[[], bytes], limits: dict[str, Any], reason: str
) -> None:
    path = tmp_path / "all.zip"
    fine = {f"{n}.txt": f"{PROSE} {n}".encode() for n in range(9)}
    members = dict(sorted({**fine, poison: data()}.items()))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    path.write_bytes(out.getvalue())
    listed = ingest.measure(INGEST, Inputs())({"id": "", "path": str(path)})["members"]
    documents = [{"id": m["id"], "kind": m["kind"], "curated": False, "path": str(path), "inner": m["inner"]} for m in listed]
    stage = dataclasses.replace(extract.STAGE, measure=crashing, config=dataclasses.replace(CONFIG, **limits))
    said = {d["inner"]: s for d, s in measure_all(stage, Inputs(), iter(documents), len(documents), 2)}
    assert {n: said[n][0] for n in fine} == dict.fromkeys(fine, "ok")
    assert said[poison][:2] == ("circumstance", reason)


def test_a_file_that_goes_away_is_a_circumstance(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(PROSE, "utf-8")
    (member,) = ingest.measure(INGEST, Inputs())({"id": "", "path": str(path)})["members"]
    path.write_text(PROSE + "!", "utf-8")
    with pytest.raises(Circumstance, match="changed"):
        extract.measure(CONFIG, Inputs())({"id": member["id"], "kind": "text", "path": str(path), "inner": ""})
