"""Web archives: pages of responses as members, one record at a time, within limits."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import pyarrow as pa
import pytest

from corpus.canonical import digest_bytes
from extractors.containers.walk import Found, Limits, open_file, read_member
from extractors.sniff import sniff

PAGE = "<!DOCTYPE html><html><body><p>Perché la città è così.</p></body></html>".encode()


def record(kind: str, content: bytes, media: str = "application/http; msgtype=response", url: str = "http://example.org/") -> bytes:
    head = f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {url}\r\nWARC-Record-ID: <urn:uuid:0>\r\nContent-Type: {media}\r\n"
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content + b"\r\n\r\n"


def answer(body: bytes, media: str = "text/html", status: str = "200 OK", **fields: str) -> bytes:
    more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status}\r\nContent-Type: {media}\r\n{more}\r\n".encode() + body


RECORDS = [
    record("warcinfo", b"software: a crawler\r\n", "application/warc-fields"),
    record("request", b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n", "application/http; msgtype=request"),
    record("response", answer(PAGE)),
    record("metadata", b"fetchTimeMs: 12\r\n", "application/warc-fields"),
    record("response", answer(b"%PDF-1.4 a", "application/pdf")),
    record("response", answer(b"body { color: red }", "text/css")),
    record("response", answer(b"altrove", status="302 Found")),
    record("revisit", answer(b"")),
    record("conversion", b"Testo gia' estratto.", "text/plain"),
    record("resource", b"<html><body>una risorsa</body></html>", "text/html"),
]


def saved(tmp_path: Path, data: bytes) -> str:
    path = tmp_path / "file"
    path.write_bytes(data)
    return str(path)


def number(member: Found) -> str:
    return member.inner.partition(" ")[0]


@pytest.mark.parametrize("packed", [False, True])
def test_pages_and_documents_of_responses_are_members_named_by_record_and_address(tmp_path: Path, packed: bool) -> None:
    data = b"".join(gzip.compress(r, mtime=0) if packed else r for r in RECORDS)
    assert sniff(data) == "warc"
    path = saved(tmp_path, data)
    found = open_file(path)
    assert [(number(f), f.kind, f.reason) for f in found] == [
        ("3", "html", ""),
        ("5", "pdf", ""),
        ("9", "text", ""),
        ("10", "html", ""),
        ("others", "unknown", "no_document"),
    ]
    assert found[0].inner == "3 http://example.org/" and "2" in found[-1].detail
    assert read_member(path, "3") == PAGE
    for member in [*found[:4], *reversed(found[:4])]:
        assert digest_bytes(read_member(path, member.inner)) == member.id


def test_what_the_server_did_to_a_body_is_undone(tmp_path: Path) -> None:
    chunks = b"5;x=1\r\n" + PAGE[:5] + b"\r\n" + f"{len(PAGE) - 5:x}\r\n".encode() + PAGE[5:] + b"\r\n0\r\n\r\n"
    brotli = pa.Codec("brotli").compress(PAGE, asbytes=True)
    bodies = [
        answer(chunks, Transfer_Encoding="chunked"),
        answer(PAGE, Transfer_Encoding="chunked"),  # undone by the crawler already
        answer(gzip.compress(PAGE), Content_Encoding="gzip"),
        answer(PAGE, Content_Encoding="gzip"),
        answer(zlib.compress(PAGE), Content_Encoding="deflate"),
        answer(zlib.compress(PAGE)[2:-4], Content_Encoding="deflate"),
        answer(brotli, Content_Encoding="br"),
    ]
    path = saved(tmp_path, b"".join(record("response", body) for body in bodies))
    assert [read_member(path, f.inner) for f in open_file(path)] == [PAGE] * len(bodies)


@pytest.mark.parametrize("packed", [False, True])
def test_a_cut_archive_gives_what_came_before_and_says_so(tmp_path: Path, packed: bool) -> None:
    data = b"".join(gzip.compress(r, mtime=0) if packed else r for r in RECORDS[:5])
    path = saved(tmp_path, data[:-30])
    assert [(number(f), f.status, f.reason) for f in open_file(path)] == [("3", "kept", ""), ("rest", "failed", "malformed")]


def test_records_in_one_gzip_stream_are_found_too(tmp_path: Path) -> None:
    path = saved(tmp_path, gzip.compress(b"".join(RECORDS)))
    assert [number(f) for f in open_file(path) if f.status == "kept"] == ["3", "5", "9", "10"]
    assert read_member(path, "3") == PAGE


def test_the_limits_hold_for_records_and_for_bodies(tmp_path: Path) -> None:
    bomb = gzip.compress(b"0" * 30_000_000)
    path = saved(tmp_path, record("response", answer(bomb, Content_Encoding="gzip")) + record("response", answer(PAGE)))
    assert [(number(f), f.reason) for f in open_file(path)] == [("1", "zip_bomb"), ("2", "")]
    path = saved(tmp_path, gzip.compress(record("response", answer(b"0" * 30_000_000))) + gzip.compress(record("response", answer(PAGE))))
    assert [(number(f), f.reason) for f in open_file(path)] == [("1", "zip_bomb"), ("2", "")]
    path = saved(tmp_path, b"".join(record("response", answer(PAGE)) for _ in range(5)))
    assert [f.reason for f in open_file(path, Limits(members=2))] == ["", "", "too_many_members"]
    assert [f.reason for f in open_file(path, Limits(total_bytes=2 * len(PAGE)))] == ["", "", "too_many_bytes"]
