"""Kinds are told by content, never by name."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extractors.sniff import KINDS, sniff

MAIL = b"From: a@example.org\nTo: b@example.org\nSubject: Prova\nDate: Mon, 1 Jan 2024 10:00:00 +0100\n\nTesto.\n"
HTML = b"<!DOCTYPE html><html lang='it'><head><title>Titolo</title></head><body><p>Testo</p></body></html>"


def zipped(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def tarred() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo("a.txt")
        info.size = 4
        archive.addfile(info, io.BytesIO(b"ciao"))
    return out.getvalue()


OFFICE = "[Content_Types].xml"

TABLE = [
    ("empty", b""),
    ("pdf", b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n1 0 obj"),
    ("pdf", b"\r\n\x00junk%PDF-1.7\n1 0 obj"),
    ("html", HTML),
    ("html", b"\xef\xbb\xbf\n<!-- c -->\n<HTML><body>x</body></HTML>"),
    ("html", b'<?xml version="1.0"?><!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN" "x"><html xmlns="y"><body/></html>'),
    ("html", b'<?xml version="1.0"?>\n<html xmlns="http://www.w3.org/1999/xhtml"><body/></html>'),
    ("html", b"<div><p>un frammento</p></div>"),
    ("markdown", b'<a name="x"></a>\n\n## Titolo\n\n- uno\n- due\n'),
    ("xml", b'<?xml version="1.0"?><akomaNtoso><act><body><p>x</p></body></act></akomaNtoso>'),
    ("xml", b"<akomaNtoso><act><body><p>x</p></body></act></akomaNtoso>"),
    ("xml", b'<!DOCTYPE article PUBLIC "-//NLM//DTD JATS" "j.dtd"><article><body/></article>'),
    ("docx", zipped(**{OFFICE: b"", "word/document.xml": b""})),
    ("pptx", zipped(**{OFFICE: b"", "ppt/presentation.xml": b""})),
    ("xlsx", zipped(**{OFFICE: b"", "xl/workbook.xml": b""})),
    ("odt", zipped(mimetype=b"application/vnd.oasis.opendocument.text")),
    ("ods", zipped(mimetype=b"application/vnd.oasis.opendocument.spreadsheet")),
    ("odp", zipped(mimetype=b"application/vnd.oasis.opendocument.presentation")),
    ("epub", zipped(mimetype=b"application/epub+zip")),
    ("zip", zipped(**{"a.txt": b"x"})),
    ("docx", zipped(**{OFFICE: b"", "word/document.xml": b"x" * 50})[:-30]),  # the directory is cut off
    ("tar", tarred()),
    ("gzip", gzip.compress(b"x", mtime=0)),
    ("zstd", b"\x28\xb5\x2f\xfd\x00"),
    ("rtf", b"{\\rtf1\\ansi ciao}"),
    ("doc", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500) + "WordDocument".encode("utf-16-le") + b"\0\0"),
    ("xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500) + "Workbook".encode("utf-16-le") + b"\0\0"),
    ("ppt", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500) + "PowerPoint Document".encode("utf-16-le") + b"\0\0"),
    ("msg", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500) + "__properties_version1.0".encode("utf-16-le") + b"\0\0"),
    ("encrypted-office", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500) + "EncryptedPackage".encode("utf-16-le") + b"\0\0"),
    ("ole", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(900)),
    ("email", MAIL),
    ("mbox", b"From a@example.org Mon Jan  1 10:00:00 2024\n" + MAIL),
    ("json", b'{"a": 1,\n "b": [1, 2]}'),
    ("json", b'[{"a": 1}, {"a": 2}]'),
    ("json", b'{"text": "cut off in the'),
    ("jsonl", b'{"text": "uno"}\n{"text": "due"}\n'),
    ("jsonl", b'{"text": "' + b"x" * 70_000 + b'"}\n{"text": "due"}\n'),
    ("asciidoc", b"[[r_rebasing]]\n=== Rebasing\n\nTesto in AsciiDoc.\n"),
    ("text", b"[1] Una nota.\n[2] Un'altra nota.\n"),
    ("csv", b"nome,comune,cap\nA,Roma,00100\nB,Milano,20100\nC,Bari,70100\n"),
    ("csv", "città;abitanti;note\nRoma;2.800.000;\nForlì;117.000;x\nOrvieto;20.000;y\n".encode("cp1252")),
    ("text", "Nel mezzo del cammin di nostra vita,\nmi ritrovai per una selva oscura,\nché la diritta via era smarrita.\n".encode()),
    ("text", "Perché la città è così? È già l'età dell'oro.".encode("cp1252")),
    ("text", "Tutti gli esseri umani nascono liberi.".encode("utf-16")),
    ("text", "Tutti gli esseri umani nascono liberi.".encode("utf-16-le")),
    ("text", "Tutti gli esseri umani nascono liberi.".encode("utf-32-be")),
    ("text", "Dei begriffen: %PDF-1.4 è la firma di un documento, come spiega questo testo in chiaro. ".encode() * 2),
    ("image", b"\x89PNG\r\n\x1a\n\0\0"),
    ("image", b"\xff\xd8\xff\xe0"),
    ("audio", b"ID3\x03\x00"),
    ("video", b"\0\0\0\x18ftypmp42"),
    ("unknown", bytes(range(256)) * 8),
]


@pytest.mark.parametrize(("kind", "data"), TABLE)
def test_a_kind_is_told_by_content(kind: str, data: bytes) -> None:
    assert sniff(data) == kind


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.binary(max_size=300), st.text(max_size=200).map(lambda t: t.encode("utf-8", "replace"))))
def test_any_bytes_have_a_known_kind(data: bytes) -> None:
    assert sniff(data) in KINDS


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([data for _, data in TABLE if len(data) > 8]), st.data())
def test_cut_or_damaged_files_are_sniffed_without_an_error(data: bytes, draw: st.DataObject) -> None:
    cut = draw.draw(st.integers(0, len(data)))
    at = draw.draw(st.integers(0, len(data) - 1))
    assert sniff(data[:cut]) in KINDS
    assert sniff(data[:at] + b"\xff\x00" + data[at + 2 :]) in KINDS


def test_rows_need_to_be_objects_to_be_jsonl() -> None:
    assert sniff(b"1\n2\n3\n") == "text"
    assert sniff(json.dumps({"a": [1, 2]}, indent=1).encode()) == "json"
