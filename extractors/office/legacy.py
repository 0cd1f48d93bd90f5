"""Office files from before 2007 (.doc, .xls, .ppt), brought to today's formats by LibreOffice where it is installed; drawings
and texts of Visio, Publisher and Works too, brought to PDF.

LibreOffice runs without a screen, in a folder of its own that holds its profile, the file and the result and is removed when it
ends; in a sandbox the folder lies among the worker's own temporary files, which go with it. Its profile forbids macros and
active content, updates no links, and sends all its connections to a proxy that is not there: without that it would fetch the
pictures that a file names, and so tell their server that the file is being read.

Files under a password are told by their own flags, before anything is started; only workbooks are tried all the same, because
Excel encrypts those whose structure is protected under a password that every reader knows. A field that shows the day it is
looked at would show the day of the conversion, another one each day: it is left empty. Limit: cells that are computed from
today's date are not told from others.
"""

from __future__ import annotations

import functools
import glob
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import olefile

from corpus.outcome import Circumstance, Verdict
from corpus.processes import end
from extractors.result import Extracted

if TYPE_CHECKING:
    from extractors.extract import ExtractConfig

_LOCKED = "the file is protected by a password"
_SECONDS = 180  # for one file, by the clock
_PLACES = (  # where it lies when it is not on the path
    "/usr/lib*/libreoffice/program/soffice",
    "/opt/libreoffice*/program/soffice",
    "/Applications/LibreOffice.app/Contents/MacOS/soffice",
    "~/Applications/LibreOffice.app/Contents/MacOS/soffice",
)
_TARGETS = {  # kind -> today's format, LibreOffice's name of it
    "doc": ("docx", "docx:MS Word 2007 XML"),
    "xls": ("xlsx", "xlsx:Calc MS Excel 2007 XML"),
    "ppt": ("pptx", "pptx:Impress MS PowerPoint 2007 XML"),
    "ole": ("pdf", "pdf"),
}
_TODAY = re.compile(  # from the name of a field that shows the date or the time to the end of what it shows: Word, PowerPoint
    r'<w:instrText[^>]*>\s*(?:DATE|TIME)\b(?:(?!"end").)*"separate"/>(?:(?!"end").)*|<a:fld [^>]*type="datetime(?:(?!</a:fld>).)*', re.S
)
_SHOWN = re.compile(r"(<[wa]:t(?: [^>]*)?>)[^<]+")
_OTHERS = {"VisioDocument": "Visio", "Quill": "Publisher", "MatOST": "Works", "MN0": "Works"}  # stream of an OLE file -> application
_SETTINGS = (  # path below org.openoffice, name, value
    ("Office.Common/Security/Scripting", "DisableMacrosExecution", "true"),
    ("Office.Common/Security/Scripting", "MacroSecurityLevel", "3"),
    ("Office.Common/Security/Scripting", "DisableActiveContent", "true"),
    ("Office.Common/Security/Scripting", "BlockUntrustedRefererLinks", "true"),
    ("Office.Writer/Content/Update", "Link", "2"),  # never
    ("Office.Calc/Content/Update", "Link", "1"),  # never
    ("Inet/Settings", "ooInetProxyType", "2"),  # by hand, as follows
    ("Inet/Settings", "ooInetHTTPProxyName", "127.0.0.1"),
    ("Inet/Settings", "ooInetHTTPProxyPort", "9"),
    ("Inet/Settings", "ooInetHTTPSProxyName", "127.0.0.1"),
    ("Inet/Settings", "ooInetHTTPSProxyPort", "9"),
    ("Inet/Settings", "ooInetNoProxy", ""),
)


def read(data: bytes, kind: str, config: ExtractConfig) -> Extracted:
    """The text of a .doc, .xls or .ppt file, or of another OLE file that LibreOffice reads. Without a converter it is rejected as
    needs_converter. Raises Verdict for a file under a password and for one that LibreOffice cannot open, Circumstance when it
    takes too long."""
    program = _program() if config.convert == "auto" else ""
    name = _application(data) if kind == "ole" else f"legacy .{kind}"
    if not name:
        return Extracted("", "", problem="unsupported", detail="an OLE file of an unknown application")
    locked = _locked(data, kind)
    if locked and not (program and kind == "xls"):
        raise Verdict("encrypted", _LOCKED)
    if not program:
        return Extracted("", "", problem="needs_converter", detail=f"a {name} file: to read it, {remedy(config)}")
    converted = _converted(program, data, kind)
    if converted is None:
        raise Verdict(*(("encrypted", _LOCKED) if locked else ("malformed", f"the {name} file is damaged: LibreOffice cannot open it")))
    from extractors.office import reader as office
    from extractors.pdf import reader as pdf

    target, _ = _TARGETS[kind]
    converted, days = _undated(converted) if target in ("docx", "pptx") else (converted, 0)
    result = (pdf if target == "pdf" else office).read(converted, target, config)
    result.extractor = f"libreoffice+{result.extractor}"
    result.warnings[:0] = ["converted", *([f"dates_of_today_left_out: {days}"] if days else [])]
    return result


def available(config: ExtractConfig) -> str:
    """'' where conversion is off or LibreOffice is not installed, else e.g. 'LibreOffice 24.2 build'."""
    program = _program() if config.convert == "auto" else ""
    return f"LibreOffice {_version(program)}" if program else ""


def tools(config: ExtractConfig) -> dict[str, str]:
    """The converter that takes part in the result, with its version; nothing where `available` says ''."""
    program = _program() if config.convert == "auto" else ""
    return {"libreoffice": _version(program)} if program else {}


def found(config: ExtractConfig) -> tuple[str, str]:
    """For `athanor doctor`: what is installed ('' for nothing), and what to do where it is not."""
    there = available(config)
    return there, "" if there else remedy(config)


def remedy(config: ExtractConfig) -> str:
    """What to do so that legacy files are read."""
    if config.convert == "off":
        return "set extract.convert to auto"
    if sys.platform == "darwin":
        return "brew install --cask libreoffice"
    return "install LibreOffice: apt install libreoffice-writer-nogui libreoffice-calc-nogui libreoffice-impress-nogui"


def _application(data: bytes) -> str:
    """The application of an OLE file that LibreOffice reads, '' when it is none of them."""
    try:
        with olefile.OleFileIO(io.BytesIO(data)) as ole:
            return next((name for stream, name in _OTHERS.items() if ole.exists(stream)), "")
    except Exception:  # no OLE file at all
        return ""


def _locked(data: bytes, kind: str) -> bool:
    """Whether the file's own header says that it is encrypted."""
    try:
        with olefile.OleFileIO(io.BytesIO(data)) as ole:
            if kind == "doc":
                return bool(ole.openstream("WordDocument").read(12)[11] & 0x01)  # FibBase.fEncrypted
            if kind == "ppt":
                return ole.exists("EncryptedSummary") or ole.openstream("Current User").read(16)[12:] == b"\xdf\xc4\xd1\xf3"
            return kind == "xls" and _filepass(ole.openstream("Workbook" if ole.exists("Workbook") else "Book").read(1 << 16))
    except Exception:  # olefile's failure is not the file's: LibreOffice has its say
        return False


def _filepass(records: bytes) -> bool:
    """Whether a workbook's globals hold the record FILEPASS, before the first sheet is named."""
    at = 0
    while at + 4 <= len(records):
        record, size = int.from_bytes(records[at : at + 2], "little"), int.from_bytes(records[at + 2 : at + 4], "little")
        if record in (0x0A, 0x85):  # EOF, BOUNDSHEET
            return False
        if record == 0x2F:
            return True
        at += 4 + size
    return False


def _undated(package: bytes) -> tuple[bytes, int]:
    """The package with empty fields for the date of today, and how many there are."""
    out, days = io.BytesIO(), 0
    with zipfile.ZipFile(io.BytesIO(package)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for info in old.infolist():
            part = old.read(info)
            if info.filename.endswith(".xml") and info.filename.startswith(("word/", "ppt/slides/")):
                text, found = _TODAY.subn(lambda field: _SHOWN.sub(r"\1", field[0]), part.decode("utf-8"))
                part, days = text.encode("utf-8"), days + found
            new.writestr(info, part)
    return (out.getvalue(), days) if days else (package, 0)


def _program() -> str:
    """Path of LibreOffice, '' when it is not found."""
    named = shutil.which("soffice") or shutil.which("libreoffice")
    return named or next((path for place in _PLACES for path in sorted(glob.glob(os.path.expanduser(place)), reverse=True)), "")


@functools.cache
def _version(program: str) -> str:
    """Version and build, from the files beside the program: to start it takes seconds. It is asked only where there are none."""
    folder = Path(program).resolve().parent
    for place in (folder, folder.parent / "Resources"):
        try:
            product = re.search(r"(?m)^ProductKey=\S+ (\S+)", (place / "bootstraprc").read_text("utf-8"))
            build = re.search(r"(?m)^buildid=(\S+)", (place / "versionrc").read_text("utf-8"))
        except OSError:
            continue
        if product and build:
            return f"{product[1]} {build[1]}"
    try:
        said = subprocess.run([program, "--version"], capture_output=True, timeout=60, stdin=subprocess.DEVNULL).stdout
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return said.decode("utf-8", "replace").strip().removeprefix("LibreOffice ") or "unknown"


def _converted(program: str, data: bytes, kind: str) -> bytes | None:
    """The file in the format of today; None when LibreOffice cannot open it."""
    with tempfile.TemporaryDirectory(prefix="athanor-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / "profile" / "user").mkdir(parents=True)
        (folder / "profile" / "user" / "registrymodifications.xcu").write_text(_registry(), "utf-8")
        extension, target = _TARGETS[kind]
        source, result = folder / f"document.{kind}", folder / f"document.{extension}"
        source.write_bytes(data)
        options = ("--headless", "--norestore", "--nologo", "--nodefault", "--nolockcheck")
        profile = f"-env:UserInstallation={(folder / 'profile').as_uri()}"
        code = _run([program, *options, profile, "--convert-to", target, "--outdir", name, str(source)], name)
        if result.is_file():
            return result.read_bytes()
    if code < 0:
        raise Circumstance("worker_died", "LibreOffice crashed or was killed while it converted the file")
    return None


def _run(command: list[str], folder: str) -> int:
    """Exit status; LibreOffice and all it started are ended when it takes too long."""
    kept = {key: value for key, value in os.environ.items() if key in ("PATH", "TZ")}
    environment = kept | {"HOME": folder, "TMPDIR": folder, "LC_ALL": "C.UTF-8", "SAL_USE_VCLPLUGIN": "svp"}
    quiet = subprocess.DEVNULL
    try:
        process = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet, cwd=folder, env=environment, process_group=0)
    except OSError as error:
        raise Circumstance("converter", "LibreOffice cannot be started: see athanor doctor") from error
    try:
        return process.wait(_SECONDS)
    except subprocess.TimeoutExpired:
        raise Circumstance("deadline", f"LibreOffice took more than {_SECONDS} seconds") from None
    finally:
        end(process.pid)
        process.wait()


def _registry() -> str:
    items = "".join(
        f'<item oor:path="/org.openoffice.{path}"><prop oor:name="{name}" oor:op="fuse"><value>{value}</value></prop></item>'
        for path, name, value in _SETTINGS
    )
    head = '<?xml version="1.0" encoding="UTF-8"?>\n<oor:items xmlns:oor="http://openoffice.org/2001/registry">'
    return f"{head}{items}</oor:items>\n"
