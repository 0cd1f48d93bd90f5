"""Legacy office files: what is decided without a converter, and our side of the contract with one.

The converter here is a small program of the test's own that takes LibreOffice's arguments: what is tested is what we ask, what we
allow and what we make of the result, not how well LibreOffice converts.
"""

from __future__ import annotations

import io
import os
import struct
import sys
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from corpus.outcome import Circumstance, Verdict
from extractors.extract import ExtractConfig, extracted, version_of
from extractors.office import legacy

CONFIG = ExtractConfig()
Install = Callable[[str], Path]
DOCX = {
    "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="rels" '
    'ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Override '
    'PartName="/word/document.xml" ContentType="application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/>'
    "</Types>",
    "_rels/.rels": '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r" Type='
    '"http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" Target="word/document.xml"/></Relationships>',
    "word/document.xml": '<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body><w:p><w:r><w:t>'
    "Il testo convertito</w:t></w:r></w:p></w:body></w:document>",
}


def docx() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as package:
        for name, text in DOCX.items():
            package.writestr(name, text)
    return file.getvalue()


def ole(**streams: bytes) -> bytes:
    """An OLE file with these streams in its root: a header, one sector of FAT, the directory, the streams."""
    names = list(streams)
    each = {name: max(-(-max(len(data), 4096) // 512), 8) for name, data in streams.items()}
    directories = -(-(len(names) + 1) // 4)
    fat = [0xFFFFFFFD, *(n + 2 if n + 1 < directories else 0xFFFFFFFE for n in range(directories))]
    entries = [_entry("Root Entry", 5, 0xFFFFFFFE, 0, child=1)]
    for number, name in enumerate(names):
        start = len(fat)
        fat += [*range(start + 1, start + each[name]), 0xFFFFFFFE]
        entries.append(_entry(name.replace("_", " "), 2, start, each[name] * 512, right=number + 2 if number + 1 < len(names) else None))
    entries += [bytes(128)] * (directories * 4 - len(entries))
    assert len(fat) <= 128
    fat += [0xFFFFFFFF] * (128 - len(fat))
    header = struct.pack("<8s16x5H6x6I", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", 0x3E, 3, 0xFFFE, 9, 6, 0, 1, 1, 0, 4096, 0xFFFFFFFE)
    header += struct.pack("<3I", 0, 0xFFFFFFFE, 0) + struct.pack("<109I", 0, *[0xFFFFFFFF] * 108)
    bodies = b"".join(data.ljust(each[name] * 512, b"\0") for name, data in streams.items())
    return header + struct.pack("<128I", *fat) + b"".join(entries) + bodies


def _entry(name: str, kind: int, start: int, size: int, child: int | None = None, right: int | None = None) -> bytes:
    text, none = name.encode("utf-16-le"), 0xFFFFFFFF
    links = struct.pack("<3I", none, none if right is None else right, none if child is None else child)
    return struct.pack("<64sHBB", text, len(text) + 2, kind, 1) + links + bytes(36) + struct.pack("<IQ", start, size)


def word(flags: int = 0) -> bytes:
    return ole(WordDocument=struct.pack("<6H", 0xA5EC, 0xC1, 0, 0, 0, flags))


def workbook(*records: tuple[int, bytes]) -> bytes:
    return ole(Workbook=b"".join(struct.pack("<2H", number, len(body)) + body for number, body in records))


def slides(token: int) -> bytes:
    return ole(PowerPoint_Document=b"", Current_User=struct.pack("<2H3I", 0, 0x0FF6, 20, 20, token))


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a converter."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(legacy, "_PLACES", ())


@pytest.fixture
def install(tmp_path: Path, bare: None, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a `soffice` alone on the path: `body` is Python with `options`, `folder` and `given` (the file it is to convert)."""

    def put(body: str) -> Path:
        (tmp_path / "converted").write_bytes(docx())
        (tmp_path / "temporary").mkdir(exist_ok=True)
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
        program = tmp_path / "soffice"
        program.write_text(
            f"#!{sys.executable} -S\nimport os, shutil, sys, time\nhere, options = {str(tmp_path)!r}, sys.argv[1:]\n"
            "if options == ['--version']:\n    print('LibreOffice 99.1.2.3 abcdef')\n    sys.exit()\n"
            "given, folder = options[-1], options[options.index('--outdir') + 1]\n" + body
        )
        program.chmod(0o755)
        legacy._version.cache_clear()
        return program

    return put


COPY = "shutil.copy(here + '/converted', given + 'x')\n"


def test_without_a_converter_the_remedy_names_one(bare: None) -> None:
    for kind, data in (("doc", word()), ("xls", workbook((0x809, b""), (0x0A, b""))), ("ppt", slides(0xE391C05F))):
        result = extracted(CONFIG, data, kind)
        assert result.problem == "needs_converter"
        assert "libreoffice" in result.detail.lower()
    assert (legacy.available(CONFIG), legacy.tools(CONFIG)) == ("", {})
    assert legacy.found(CONFIG)[0] == "" and "libreoffice" in legacy.found(CONFIG)[1].lower()


def test_a_converter_that_is_not_wanted_is_not_used(install: Install) -> None:
    install(COPY)
    off = ExtractConfig(convert="off")
    result = extracted(off, word(), "doc")
    assert (result.problem, legacy.tools(off)) == ("needs_converter", {})
    assert "extract.convert" in result.detail


def test_a_file_is_converted_and_read_as_what_it_became(install: Install, tmp_path: Path) -> None:
    install("open(here + '/asked', 'w').write(repr(options) + str(oct(os.stat(folder).st_mode)))\n" + COPY)
    result = extracted(CONFIG, word(), "doc")
    assert result.text == "Il testo convertito"
    assert result.extractor.startswith("libreoffice+docling")
    assert version_of(result.extractor)[0].isdigit()
    assert result.warnings[0] == "converted"
    asked = (tmp_path / "asked").read_text()
    assert "--headless" in asked and "docx:MS Word 2007 XML" in asked and asked.endswith("0o40700")
    assert legacy.tools(CONFIG) == {"libreoffice": "99.1.2.3 abcdef"}


def test_a_field_that_shows_today_is_left_empty_and_said(install: Install, tmp_path: Path) -> None:
    install(COPY)
    shown, written = "<w:r><w:t>26/11/2026</w:t></w:r>", b"<w:r><w:t>01/02/1999</w:t></w:r>"
    field = '<w:r><w:fldChar w:fldCharType="{}"/></w:r>'.format
    dated = field("begin") + "<w:r><w:instrText> DATE </w:instrText></w:r>" + field("separate") + shown + field("end")
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(docx())) as old, zipfile.ZipFile(out, "w") as new:
        for info in old.infolist():
            new.writestr(info, old.read(info).replace(b"</w:p>", dated.encode() + written + b"</w:p>", 1))
    (tmp_path / "converted").write_bytes(out.getvalue())
    result = extracted(CONFIG, word(), "doc")
    assert "26/11" not in result.text and result.text.endswith("01/02/1999")
    assert "dates_of_today_left_out: 1" in result.warnings


def test_the_profile_is_private_forbids_macros_and_leads_no_connection_anywhere(install: Install, tmp_path: Path) -> None:
    install(
        "profile = next(o for o in options if o.startswith('-env:UserInstallation=file://')).partition('file://')[2]\n"
        "assert profile.startswith(folder)\nassert os.environ['HOME'] == os.environ['TMPDIR'] == folder\n"
        "shutil.copy(profile + '/user/registrymodifications.xcu', here + '/profile')\n" + COPY
    )
    assert extracted(CONFIG, word(), "doc").text
    profile = (tmp_path / "profile").read_text()
    assert '"DisableMacrosExecution" oor:op="fuse"><value>true<' in profile
    assert '"BlockUntrustedRefererLinks" oor:op="fuse"><value>true<' in profile
    assert '"ooInetProxyType" oor:op="fuse"><value>2<' in profile
    assert '"ooInetHTTPSProxyName" oor:op="fuse"><value>127.0.0.1<' in profile


def test_nothing_is_left_behind(install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(legacy, "_SECONDS", 1.0)
    for body in (COPY, "sys.exit(1)\n", "open(given + 'x', 'w').write('no document')\n", "time.sleep(60)\n"):
        install(body)
        with suppress(Verdict, Circumstance):
            extracted(CONFIG, word(), "doc")
        assert os.listdir(tmp_path / "temporary") == []


def test_a_file_that_cannot_be_converted_is_malformed(install: Install) -> None:
    install("sys.exit(0)\n")
    with pytest.raises(Verdict) as caught:
        extracted(CONFIG, word(), "doc")
    assert caught.value.reason == "malformed"


def test_a_conversion_that_hangs_is_ended_with_all_it_started(install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = "import subprocess\nchild = subprocess.Popen(['/bin/sleep', '60'])\n"
    install(f"{start}open(here + '/child', 'w').write(str(child.pid))\ntime.sleep(60)\n")
    monkeypatch.setattr(legacy, "_SECONDS", 1.0)
    with pytest.raises(Circumstance) as caught:
        extracted(CONFIG, word(), "doc")
    assert caught.value.reason == "deadline"
    status = Path(f"/proc/{(tmp_path / 'child').read_text()}/stat")
    assert not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z"


def test_a_converter_that_crashes_is_a_circumstance(install: Install) -> None:
    install("os.kill(os.getpid(), 9)\n")
    with pytest.raises(Circumstance) as caught:
        extracted(CONFIG, word(), "doc")
    assert caught.value.reason == "worker_died"


LOCKED = [("doc", word(0x0100)), ("ppt", slides(0xF3D1C4DF)), ("xls", workbook((0x809, b""), (0x2F, bytes(6)), (0x0A, b"")))]


@pytest.mark.parametrize(("kind", "data"), LOCKED)
def test_a_password_is_told_without_a_converter(bare: None, kind: str, data: bytes) -> None:
    with pytest.raises(Verdict) as caught:
        extracted(CONFIG, data, kind)
    assert caught.value.reason == "encrypted"


def test_a_password_is_told_before_the_converter_starts(install: Install, tmp_path: Path) -> None:
    install("open(here + '/started', 'w')\n" + COPY)
    for kind, data in LOCKED[:2]:
        with pytest.raises(Verdict) as caught:
            extracted(CONFIG, data, kind)
        assert caught.value.reason == "encrypted"
    assert not (tmp_path / "started").exists()


def test_a_workbook_is_encrypted_only_when_the_converter_cannot_open_it(install: Install) -> None:
    install("sys.exit(1)\n")
    with pytest.raises(Verdict) as caught:
        extracted(CONFIG, LOCKED[2][1], "xls")
    assert caught.value.reason == "encrypted"


def test_a_damaged_container_is_no_password() -> None:
    assert not legacy._locked(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "doc")
    assert not legacy._locked(workbook((0x809, b""), (0x85, b""), (0x2F, b"")), "xls")


def test_other_ole_files_are_read_when_their_application_is_known(bare: None) -> None:
    assert extracted(CONFIG, ole(VisioDocument=b"x"), "ole").problem == "needs_converter"
    unknown = extracted(CONFIG, ole(Thumbs=b"x"), "ole")
    assert (unknown.problem, unknown.detail) == ("unsupported", "an OLE file of an unknown application")


def test_the_version_is_read_beside_the_program_without_starting_it(tmp_path: Path) -> None:
    program = tmp_path / "program" / "soffice"
    program.parent.mkdir()
    program.write_text("never started")
    (program.parent / "bootstraprc").write_text("[Bootstrap]\nProductKey=LibreOffice 24.2\n")
    (program.parent / "versionrc").write_text("[Version]\nbuildid=abc123\n")
    assert legacy._version(str(program)) == "24.2 abc123"
