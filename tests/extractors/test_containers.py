"""Containers are opened, nested, within limits; what cannot be opened is a member with a reason."""

from __future__ import annotations

import csv
import email.message
import gzip
import io
import json
import tarfile
import time
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.canonical import digest_bytes
from corpus.outcome import Circumstance
from extractors.containers.walk import Limits, open_file, read_member

DOCX = io.BytesIO()
with zipfile.ZipFile(DOCX, "w") as package:
    package.writestr("[Content_Types].xml", "<Types/>")
    package.writestr("word/document.xml", "<w/>")


def zipped(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def mail(subject: str, body: str, attachments: dict[str, bytes] | None = None) -> bytes:
    message = email.message.EmailMessage()
    message["From"], message["To"], message["Subject"] = "anna@example.org", "ugo@example.org", subject
    message["Date"], message["Message-ID"] = "Mon, 01 Jan 2024 10:00:00 +0100", f"<{subject}@example.org>"
    message.set_content(body)
    for name, data in (attachments or {}).items():
        message.add_attachment(data, maintype="application", subtype="octet-stream", filename=name)
    return message.as_bytes()


def mbox(*mails: bytes) -> bytes:
    return b"".join(b"From anna@example.org Mon Jan  1 10:00:00 2024\n" + m.rstrip(b"\n") + b"\n\n" for m in mails)


def saved(tmp_path: Path, data: bytes, name: str = "file") -> str:
    path = tmp_path / name
    path.write_bytes(data)
    return str(path)


def everything(path: str) -> dict[str, str]:
    return {found.inner: found.kind for found in open_file(path)}


def test_a_plain_file_is_its_own_member(tmp_path: Path) -> None:
    path = saved(tmp_path, b"Testo semplice.")
    (found,) = open_file(path)
    assert (found.inner, found.kind, found.size, found.status) == ("", "text", 15, "kept")
    assert found.id == digest_bytes(b"Testo semplice.")
    assert read_member(path, "") == b"Testo semplice."


def test_a_document_in_an_archive_attached_to_a_mail_in_a_mailbox_is_found(tmp_path: Path) -> None:
    inner = zipped({"c.docx": DOCX.getvalue(), "nota.txt": b"una nota"})
    path = saved(tmp_path, mbox(mail("uno", "primo"), mail("due", "secondo"), mail("tre", "terzo", {"c.zip": inner})))
    assert everything(path) == {
        "1": "email",
        "2": "email",
        "3": "email",
        "3!/c.zip!/c.docx": "docx",
        "3!/c.zip!/nota.txt": "text",
    }
    assert read_member(path, "3!/c.zip!/c.docx") == DOCX.getvalue()
    assert read_member(path, "3!/c.zip!/nota.txt") == b"una nota"


def test_every_member_reads_back_to_its_id_in_any_order(tmp_path: Path) -> None:
    rows = b"\n".join(json.dumps({"text": f"riga {i}"}).encode() for i in range(20))
    data = zipped(
        {"a/rows.jsonl": rows, "b.txt": b"b", "posta.mbox": mbox(mail("x", "y", {"z.txt": b"zeta"})), "g.gz": gzip.compress(rows)}
    )
    path = saved(tmp_path, data)
    found = open_file(path)
    assert len(found) == 20 + 1 + 2 + 20
    for member in [*found, *reversed(found), *found[::7]]:
        assert digest_bytes(read_member(path, member.inner)) == member.id


def test_the_same_mail_alone_and_in_a_mailbox_has_one_id(tmp_path: Path) -> None:
    one = mail("uno", "testo")
    alone = open_file(saved(tmp_path, one, "a.eml"))[0]
    boxed = open_file(saved(tmp_path, mbox(mail("altro", "x"), one), "b.mbox"))[1]
    assert alone.id == boxed.id


def test_one_more_row_leaves_the_ids_of_the_others_alone(tmp_path: Path) -> None:
    rows = [json.dumps({"text": f"riga {i}"}).encode() for i in range(5)]
    before = [f.id for f in open_file(saved(tmp_path, b"\n".join(rows) + b"\n"))]
    after = [f.id for f in open_file(saved(tmp_path, b"\r\n".join([*rows, b'{"text": "nuova"}'])))]
    assert after[:5] == before
    assert len(after) == 6


def test_jsonl_rows_are_named_by_line_and_blank_lines_are_none(tmp_path: Path) -> None:
    path = saved(tmp_path, b'\xef\xbb\xbf{"text": "a"}\n\n{"text": "b"}\n')
    assert [f.inner for f in open_file(path)] == ["1", "3"]
    assert read_member(path, "3") == b'{"text": "b"}'


def test_reading_many_rows_in_sequence_is_linear(tmp_path: Path) -> None:
    def seconds(count: int) -> float:
        path = saved(tmp_path, b"".join(b'{"text": "riga numero %d"}\n' % i for i in range(count)), f"{count}.jsonl")
        members = open_file(path)
        start = time.perf_counter()
        for member in members:
            read_member(path, member.inner)
        return time.perf_counter() - start

    few = min(seconds(2000) for _ in range(5))
    assert min(seconds(20_000) for _ in range(2)) < 50 * max(few, 0.002), "ten times the rows: quadratic would be a hundred times"


def test_a_table_with_a_text_column_gives_its_rows_and_another_is_one_member(tmp_path: Path) -> None:
    out = io.StringIO()
    table = csv.writer(out)
    table.writerow(["id", "testo", "data"])
    for i in range(5):
        table.writerow([i, f"Una frase abbastanza lunga, con virgole e a capo\nper essere un testo, numero {i}.", "2024"])
    path = saved(tmp_path, out.getvalue().encode("cp1252"))
    members = open_file(path)
    assert [m.inner for m in members] == ["1", "2", "3", "4", "5"]
    assert json.loads(read_member(path, "2"))["testo"].endswith("numero 1.")
    assert everything(saved(tmp_path, b"comune,cap,abitanti\nRoma,00100,1\nBari,70100,2\nPisa,56100,3\n")) == {"": "csv"}


def test_compressed_streams_are_looked_through(tmp_path: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name in ("a.txt", "b/c.txt"):
            info = tarfile.TarInfo(name)
            info.size = 4
            archive.addfile(info, io.BytesIO(b"ciao"))
        link = tarfile.TarInfo("legame")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hosts"
        archive.addfile(link)
    path = saved(tmp_path, out.getvalue())
    assert everything(path) == {"a.txt": "text", "b/c.txt": "text"}
    assert read_member(path, "b/c.txt") == b"ciao"
    path = saved(tmp_path, gzip.compress(b"solo testo"))
    assert everything(path) == {"data": "text"}
    assert read_member(path, "data") == b"solo testo"


def test_names_that_repeat_or_hold_the_separator_stay_apart(tmp_path: Path) -> None:
    message = mail("x", "y", {"a!/b.txt": b"uno"})
    path = saved(tmp_path, message)
    assert [f.inner for f in open_file(path)] == ["", "b.txt"]
    out = io.BytesIO()
    with pytest.warns(UserWarning), zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.txt", b"uno")
        archive.writestr("a.txt", b"due")
        archive.writestr("strano!/c.txt", b"tre")
    path = saved(tmp_path, out.getvalue())
    assert [(f.inner, read_member(path, f.inner)) for f in open_file(path)] == [
        ("a.txt", b"uno"),
        ("a.txt#2", b"due"),
        ("strano!_c.txt", b"tre"),
    ]


def test_a_zip_bomb_is_one_rejected_member(tmp_path: Path) -> None:
    path = saved(tmp_path, zipped({"bomba.txt": b"0" * 30_000_000, "buono.txt": b"testo"}))
    bomb, good = open_file(path)
    assert (bomb.status, bomb.reason) == ("rejected", "zip_bomb")
    assert good.status == "kept"
    (packed,) = open_file(saved(tmp_path, gzip.compress(b"0" * 30_000_000)))
    assert (packed.status, packed.reason) == ("rejected", "zip_bomb")


def test_limits_on_members_bytes_and_depth_are_kept(tmp_path: Path) -> None:
    path = saved(tmp_path, zipped({f"{i}.txt": b"x" * 100 for i in range(10)}))
    assert [f.reason for f in open_file(path, Limits(members=3))] == ["", "", "", "too_many_members"]
    assert [f.reason for f in open_file(path, Limits(total_bytes=250))] == ["", "", "too_many_bytes"]
    data = b"fondo"
    for _ in range(8):
        data = zipped({"x.zip": data})
    (deep,) = open_file(saved(tmp_path, data))
    assert (deep.status, deep.reason) == ("rejected", "too_deep")


def test_encrypted_and_damaged_archives_are_failures_with_a_reason(tmp_path: Path) -> None:
    data = bytearray(zipped({"a.txt": b"segreto" * 20}))
    central = data.index(b"PK\x01\x02")
    data[6] |= 1
    data[central + 8] |= 1
    (found,) = open_file(saved(tmp_path, bytes(data)))
    assert (found.inner, found.status, found.reason) == ("a.txt", "failed", "encrypted")
    (found,) = open_file(saved(tmp_path, zipped({"a.txt": b"x" * 1000})[:60]))
    assert (found.status, found.reason) == ("failed", "malformed")
    (found,) = open_file(saved(tmp_path, gzip.compress(b"abc" * 1000)[:-12]))
    assert (found.status, found.reason) == ("failed", "malformed")
    (found,) = open_file(saved(tmp_path, zipped({})))
    assert (found.status, found.reason) == ("rejected", "empty")


def test_a_signed_envelope_is_opened(tmp_path: Path) -> None:
    content = b"%PDF-1.4 contratto"
    octets = b"\x04" + bytes([len(content)]) + content
    explicit = b"\xa0" + bytes([len(octets)]) + octets
    info = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01" + explicit
    body = b"\x02\x01\x01\x31\x00\x30" + bytes([len(info)]) + info
    signed = b"\x30" + bytes([len(body)]) + body
    outer = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02\xa0" + bytes([len(signed)]) + signed
    path = saved(tmp_path, b"\x30" + bytes([len(outer)]) + outer)
    assert everything(path) == {"content": "pdf"}
    assert read_member(path, "content") == content


def test_a_member_that_vanished_is_a_circumstance(tmp_path: Path) -> None:
    path = saved(tmp_path, b'{"text": "a"}\n{"text": "b"}\n')
    with pytest.raises(Circumstance, match="changed"):
        read_member(path, "9")
    with pytest.raises(Circumstance):
        read_member(str(tmp_path / "non-c-e"), "")
    with pytest.raises(Circumstance, match="unreadable"):
        open_file(str(tmp_path / "non-c-e"))


GOOD = zipped({"a.txt": b"testo " * 50, "p.mbox": mbox(mail("x", "y", {"z.zip": zipped({"q.txt": b"q"})}))})


@settings(max_examples=80, deadline=None)
@given(at=st.integers(0, len(GOOD) - 1), bits=st.integers(1, 255), cut=st.integers(0, len(GOOD)))
def test_no_damage_makes_opening_fail(tmp_path_factory: pytest.TempPathFactory, at: int, bits: int, cut: int) -> None:
    data = bytearray(GOOD)
    data[at] ^= bits
    path = saved(tmp_path_factory.mktemp("c"), bytes(data[:cut] if cut % 3 == 0 else data))
    for found in open_file(path):
        assert found.status == "kept" or found.reason


def test_a_mail_in_a_compressed_stream_reads_back_to_its_id(tmp_path: Path) -> None:
    path = saved(tmp_path, gzip.compress(mail("uno", "testo", {"a.txt": b"allegato"})))
    found = open_file(path)
    assert [f.inner for f in found] == ["data", "data!/a.txt"]
    assert all(digest_bytes(read_member(path, f.inner)) == f.id for f in found)


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz", "lzma", "zst", "lz4"])
def test_every_kind_of_stream_is_looked_through(tmp_path: Path, kind: str) -> None:
    import bz2
    import lzma

    import pyarrow as pa

    def packed(data: bytes) -> bytes:
        if kind in ("zst", "lz4"):
            sink = pa.BufferOutputStream()
            with pa.CompressedOutputStream(sink, {"zst": "zstd"}.get(kind, kind)) as out:
                out.write(data)
            return sink.getvalue().to_pybytes()
        if kind == "lzma":
            return lzma.compress(data, lzma.FORMAT_ALONE)
        return {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}[kind](data)

    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo("a.txt")
        info.size = 4
        archive.addfile(info, io.BytesIO(b"ciao"))
    path = saved(tmp_path, packed(out.getvalue()))
    assert everything(path) == {"a.txt": "text"} and read_member(path, "a.txt") == b"ciao"
    path = saved(tmp_path, packed(b"un testo solo " * 20))
    assert everything(path) == {"data": "text"} and read_member(path, "data") == b"un testo solo " * 20


def test_a_cut_archive_gives_the_members_before_the_cut_and_says_that_others_are_missing(tmp_path: Path) -> None:
    import random

    noise = random.Random(7)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name in "abc":
            info = tarfile.TarInfo(f"{name}.txt")
            content = "".join(noise.choice("abcdefghi \n") for _ in range(5000)).encode()
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    for data in (gzip.compress(out.getvalue())[:-1200], out.getvalue()[:12_000]):
        path = saved(tmp_path, data)
        found = open_file(path)
        assert [(f.inner, f.status) for f in found[:2]] == [("a.txt", "kept"), ("b.txt", "kept")]
        assert {f.reason for f in found[2:]} == {"malformed"} and "rest" in {f.inner for f in found}
        assert digest_bytes(read_member(path, "b.txt")) == found[1].id
    rows = b"".join(json.dumps({"n": i, "x": "".join(noise.choice("abcdefghi") for _ in range(60))}).encode() + b"\n" for i in range(500))
    found = open_file(saved(tmp_path, gzip.compress(rows)[:-2000]))
    assert len(found) > 300 and (found[-1].inner, found[-1].reason) == ("rest", "malformed")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_zip_members_are_read_however_they_are_packed(tmp_path: Path, method: int) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        archive.writestr("a.txt", b"un testo " * 50)
    path = saved(tmp_path, out.getvalue())
    assert read_member(path, open_file(path)[0].inner) == b"un testo " * 50


def with_method(method: int, packed: bytes, content: bytes) -> bytes:
    """A ZIP whose one member, `content`, is packed as `packed` by the method of this number."""
    import zlib

    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.txt", packed)
    data = bytearray(out.getvalue())
    central = data.index(b"PK\x01\x02")
    for at in (8, central + 10):
        data[at : at + 2] = method.to_bytes(2, "little")
    for at in (14, central + 16):
        data[at : at + 4] = zlib.crc32(content).to_bytes(4, "little")
    for at in (22, central + 24):
        data[at : at + 4] = len(content).to_bytes(4, "little")
    return bytes(data)


def test_zip_members_packed_by_zstandard_are_read_and_by_unknown_methods_refused(tmp_path: Path) -> None:
    import pyarrow as pa

    content = b"un testo " * 50
    path = saved(tmp_path, with_method(93, pa.Codec("zstd").compress(content, asbytes=True), content))
    (found,) = open_file(path)
    assert (found.kind, found.status) == ("text", "kept") and read_member(path, "a.txt") == content
    (found,) = open_file(saved(tmp_path, with_method(9, b"\x01\x02", content)))
    assert (found.status, found.reason) == ("rejected", "unsupported") and "deflate" in found.detail
    (found,) = open_file(saved(tmp_path, with_method(93, b"nonsense", content)))
    assert (found.status, found.reason) == ("failed", "malformed")


def test_a_member_larger_than_the_limit_is_refused_and_the_others_are_read(tmp_path: Path) -> None:
    import random

    noise = random.Random(7).randbytes(5000)
    path = saved(tmp_path, zipped({"a.bin": noise, "b.txt": b"breve"}))
    assert [(f.inner, f.reason) for f in open_file(path, Limits(member_bytes=1000))] == [("a.bin", "zip_bomb"), ("b.txt", "")]
    (found,) = open_file(saved(tmp_path, gzip.compress(noise)), Limits(member_bytes=1000))
    assert found.reason == "zip_bomb"


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("compress", b"\x1f\x9d\x90"),
        ("sevenzip", b"7z\xbc\xaf\x27\x1c"),
        ("rar", b"Rar!\x1a\x07\x01"),
        ("cabinet", b"MSCF" + bytes(4)),
    ],
)
def test_archives_that_are_not_opened_name_the_remedy(tmp_path: Path, kind: str, data: bytes) -> None:
    from extractors import extract

    (found,) = open_file(saved(tmp_path, data + bytes(range(60))))
    assert found.kind == kind
    result = extract.extracted(extract.ExtractConfig(), data, kind)
    assert result.problem == "unsupported" and "pack it" in result.detail
