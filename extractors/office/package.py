"""The zip packages that office files and e-books are: what may be opened, what they say about themselves, their parts as XML."""

from __future__ import annotations

import contextlib
import io
import posixpath
import re
import zipfile
from typing import Any

from corpus.outcome import Verdict
from extractors.office.mend import DAMAGE, listed, mended
from extractors.result import one_line

_MAX_UNPACKED = 1 << 30
_MAX_RATIO = 200.0
_READABLE = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
_IWORK = ("pages", "numbers", "keynote")
# algorithms that only hide fonts
_FONTS = (b"http://www.idpf.org/2008/embedding", b"http://ns.adobe.com/pdf/enc#RC")
_ABOUT = {
    "title": "title",
    "creator": "author",
    "initial-creator": "author",
    "date": "date",
    "created": "date",
    "creation-date": "date",
    "language": "language",
    "rights": "licence",
}
_COMMENTS = re.compile(r"/(?:modern)?[cC]omments?\w*\.xml$|^content\.xml$")  # parts that hold comments
_COMMENT = re.compile(rb"<(?:w:comment|comment|p:cm|p188:cm|office:annotation)[ >]")


def opened(data: bytes, kind: str) -> tuple[bytes, list[str], list[str]]:
    """The package, damage mended; the names in it; warnings. Raises Verdict for what must not or cannot be opened."""
    most = min(_MAX_UNPACKED, max(64 << 20, int(_MAX_RATIO * len(data))))
    try:
        data, warnings = listed(data, most + 1)
        with zipfile.ZipFile(io.BytesIO(data)) as package:
            infos = package.infolist()
        if any(info.flag_bits & 1 for info in infos) or (kind in _IWORK and any(i.compress_type not in _READABLE for i in infos)):
            raise Verdict("encrypted", "the file is protected by a password")
        if sum(info.file_size for info in infos) > most:
            raise Verdict("zip_bomb", f"it unpacks to more than {_MAX_RATIO:g} times its size")
        data, damaged = mended(data)
        with zipfile.ZipFile(io.BytesIO(data)) as package:
            if _locked(package, kind):
                raise Verdict("encrypted", "the file is protected by a password")
            if kind == "epub" and _protected(package):
                raise Verdict("encrypted", "the book is protected by digital rights management")
            return data, package.namelist(), warnings + damaged
    except DAMAGE as error:
        raise Verdict("malformed", f"the {kind} file is damaged or cut short") from error


def _locked(package: zipfile.ZipFile, kind: str) -> bool:
    """Whether its parts are encrypted, as OpenDocument says it in the manifest and iWork by parts that tell about the password."""
    names = package.namelist()
    if kind in _IWORK:
        return ".iwpv2" in names or ".iwph" in names
    return kind.startswith("od") and "META-INF/manifest.xml" in names and b"encryption-data" in package.read("META-INF/manifest.xml")


def _protected(package: zipfile.ZipFile) -> bool:
    """Whether anything but fonts is encrypted."""
    if "META-INF/encryption.xml" not in package.namelist():
        return False
    text = package.read("META-INF/encryption.xml")
    for entry in re.findall(rb"<(?:\w+:)?EncryptedData\b.*?</(?:\w+:)?EncryptedData>", text, re.S):
        if not any(algorithm in entry for algorithm in _FONTS):
            return True
    return False


def comments(data: bytes, names: list[str]) -> int:
    """Comments of readers and reviewers in the package."""
    found = 0
    with zipfile.ZipFile(io.BytesIO(data)) as package:
        for name in names:
            if _COMMENTS.search(name):
                with contextlib.suppress(*DAMAGE):
                    found += len(_COMMENT.findall(package.read(name)))
    return found


def part(data: bytes, path: str) -> Any:
    """Root of an XML part, comments left out; None when it is missing or broken."""
    from lxml import etree

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as package:
            return tree(package.read(path))
    except (*DAMAGE, etree.XMLSyntaxError):
        return None


def tree(text: bytes) -> Any:
    """Root of XML, comments left out, nothing fetched and no entity expanded. Raises lxml's XMLSyntaxError."""
    from lxml import etree

    return etree.fromstring(text, etree.XMLParser(resolve_entities=False, no_network=True, remove_comments=True, remove_pis=True))


def copy(data: bytes, changed: dict[str, bytes], leave: str = "") -> bytes:
    """The package with other bytes in some parts; those whose name matches `leave` are empty."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as package, zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as other:
        for name in dict.fromkeys(package.namelist()):
            empty = bool(leave) and re.match(leave, name) is not None
            other.writestr(name, changed[name] if name in changed else b"" if empty else package.read(name))
    return out.getvalue()


def xml(root: Any) -> bytes:
    """A tree as a part."""
    from lxml import etree

    return bytes(etree.tostring(root, xml_declaration=True, encoding="UTF-8", standalone=True))


def related(data: bytes, path: str, kind: str) -> dict[str, str]:
    """Parts that a part refers to by a relation whose type ends in `kind`: id -> path."""
    folder, name = posixpath.split(path)
    root = part(data, posixpath.join(folder, "_rels", f"{name}.rels"))
    found = {}
    for relation in root if root is not None else ():
        target = str(relation.get("Target") or "")
        if str(relation.get("Type")).endswith(f"/{kind}") and relation.get("TargetMode") != "External":
            found[str(relation.get("Id"))] = target[1:] if target.startswith("/") else posixpath.normpath(posixpath.join(folder, target))
    return found


def local(element: Any) -> str:
    """An element's name without its namespace; '' for comments and the like."""
    return element.tag.rsplit("}", 1)[-1] if isinstance(element.tag, str) else ""


def properties(data: bytes, names: list[str], kind: str) -> dict[str, str]:
    """title, author, date, language, licence, as far as the package states them."""
    path = book(data) if kind == "epub" else "meta.xml" if kind.startswith("od") else "docProps/core.xml"
    root = part(data, path) if path in names else None
    found: dict[str, str] = {}
    for element in root.iter() if root is not None else ():
        key = _ABOUT.get(local(element))
        if key and element.text and element.text.strip():
            found.setdefault(key, one_line(element.text)[:10] if key == "date" else one_line(element.text))
    return found


def book(data: bytes) -> str:
    """Path of an e-book's package file, '' when it has none."""
    root = part(data, "META-INF/container.xml")
    for element in root.iter() if root is not None else ():
        if local(element) == "rootfile":
            return str(element.get("full-path") or "")
    return ""
