"""Mail as a container: the mails of an mbox, the attachments of a mail, the content of a signed envelope.

Body parts (text without a file name, not marked as attachment) belong to the mail itself and are read by `reader.py`. The
postal certification (PEC) envelope needs nothing special: the original mail is its attachment `postacert.eml`. A mail that is
itself one attachment (a signed message, a lone PDF) has that as its member. A mail in an Outlook .msg is written down as .eml.
"""

from __future__ import annotations

import email
import email.header
import io
import re
from collections.abc import Iterator
from email.message import EmailMessage, Message
from typing import Any

from corpus.canonical import digest_bytes
from extractors.containers.archives import Broken, unique
from extractors.decode import decode


class Mbox:
    """Mails of an mbox file, named by position from 1. A mail starts at a `From ` line after a blank line or at the top."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        starts = [0] if bytes(data[:5]) == b"From " else []
        starts += [m.end() for m in re.finditer(rb"\r?\n\r?\n(?=From [^\n]{3,}\r?\n[!->]?[!-9;-~]+:)", data)]
        self._bounds = list(zip(starts, [*starts[1:], len(data)], strict=True))

    def names(self) -> Iterator[str]:
        yield from map(str, range(1, len(self._bounds) + 1))

    def read(self, name: str) -> bytes:
        number = int(name) if name.isdigit() else 0
        if not 0 < number <= len(self._bounds):
            raise KeyError(name)
        start, end = self._bounds[number - 1]
        mail = bytes(self._data[start:end])
        return mail[mail.index(b"\n") + 1 :].rstrip(b"\r\n") + b"\n"  # without the separator: the same mail saved alone has the same id


class Mail:
    """Attachments of a mail."""

    def __init__(self, data: bytes) -> None:
        self._parts: dict[str, Message] = {}
        taken: dict[str, int] = {}
        try:
            message = parsed(bytes(data))
            for number, part in enumerate(attachments(message), 1):
                self._parts[unique(file_name(part), taken, f"part-{number}")] = part
        except (ValueError, LookupError, RecursionError, TypeError, AttributeError) as error:
            raise Broken("malformed", "the structure of the mail cannot be read") from error

    def names(self) -> Iterator[str]:
        yield from self._parts

    def read(self, name: str) -> bytes:
        try:
            return payload(self._parts[name])
        except (ValueError, LookupError, RecursionError, TypeError, AttributeError) as error:
            if name not in self._parts:
                raise
            raise Broken("malformed", "the attachment cannot be decoded") from error


class Msg:
    """Attachments of an Outlook .msg file."""

    def __init__(self, data: bytes) -> None:
        from oxmsg import Message as Outlook

        try:
            parts = [(part.file_name or "", _outlook_bytes(part)) for part in Outlook.load(io.BytesIO(bytes(data))).attachments]
        except Exception as error:  # the reader has no error type of its own
            raise Broken("malformed", "the .msg file is damaged") from error
        taken: dict[str, int] = {}
        self._parts = {unique(name, taken, f"part-{number}"): content for number, (name, content) in enumerate(parts, 1)}

    def names(self) -> Iterator[str]:
        yield from self._parts

    def read(self, name: str) -> bytes:
        content = self._parts[name]
        if content is None:
            raise Broken("no_document", "the .msg file names this attachment and does not hold it")
        return content


def _outlook_bytes(part: Any) -> bytes | None:
    """Bytes of an attachment; a mail attached in Outlook's own form as .eml; None where the file holds a link or an object."""
    content = part.file_bytes
    inner = next((storage for storage in part._storage.storages if storage.path.endswith("__substg1.0_3701000D")), None)
    if content is not None or inner is None or not inner.streams:
        return bytes(content) if content is not None else None
    from oxmsg.attachment import Attachment
    from oxmsg.domain import constants as c
    from oxmsg.properties import Properties

    properties = Properties(inner, properties_header_offset=24)
    mail = EmailMessage()
    mail["Subject"] = " ".join(str(properties.str_prop_value(c.PID_SUBJECT) or "").split())
    sent = properties.date_prop_value(c.PID_CLIENT_SUBMIT_TIME)
    if sent is not None:
        mail["Date"] = sent
    mail["MIME-Version"] = "1.0"
    mail.set_content(str(properties.str_prop_value(c.PID_BODY) or ""))
    for storage in inner.iter_attachment_storages():
        attached = Attachment(storage)
        content = _outlook_bytes(attached)
        if content is not None:
            mail.add_attachment(content, maintype="application", subtype="octet-stream", filename=attached.file_name or "mail.eml")
    if mail.is_multipart():
        mail.set_boundary("=" * 8 + digest_bytes(repr([p.get_payload() for p in mail.iter_parts()]).encode()))  # not by chance
    return mail.as_bytes()


class Signed:
    """A CMS (.p7m) envelope: one member `content`. Signatures are not verified."""

    def __init__(self, data: bytes) -> None:
        self._content = signed_content(bytes(data))

    def names(self) -> Iterator[str]:
        yield "content"

    def read(self, name: str) -> bytes:
        if name != "content":
            raise KeyError(name)
        return self._content


def parsed(data: bytes) -> Message:
    """The mail in these bytes; one stored as UTF-16 or UTF-32, or after a byte order mark, is brought back to bytes first."""
    if data[:3] == b"\xef\xbb\xbf" or b"\x00" in data[:8] or data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        data = decode(data)[0].encode("utf-8", "replace")
    return email.message_from_bytes(data.lstrip())


def attachments(message: Message, depth: int = 0) -> Iterator[Message]:
    """Parts that are documents of their own; a forwarded mail is one part and is not entered."""
    if message.get_content_type() == "message/rfc822" and depth:
        yield message
        return
    if message.is_multipart() and message.get_content_type() != "message/delivery-status":
        if depth < 30:
            for part in message.get_payload():
                if isinstance(part, Message):
                    yield from attachments(part, depth + 1)
        return
    if is_attachment(message) and message.get_content_type() != "application/pgp-encrypted":
        yield message


def is_attachment(part: Message) -> bool:
    """Not a body: marked so, or it has a file name, or it is no text."""
    kind = part.get_content_type()
    if kind == "message/rfc822" or part.get_content_disposition() == "attachment" or part.get_filename():
        return True
    if kind == "text/calendar":
        return True
    return part.get_content_maintype() not in ("text", "multipart") and kind != "message/delivery-status"


def file_name(part: Message) -> str:
    """File name of an attachment, decoded, without folders."""
    name = part.get_filename() or ""
    if "=?" in name:
        try:
            name = str(email.header.make_header(email.header.decode_header(name)))
        except (ValueError, LookupError):
            name = ""
    if not name:
        return {"message/rfc822": "message.eml", "text/calendar": "invite.ics"}.get(part.get_content_type(), "")
    return re.sub(r"[\r\n\t]+", " ", name.replace("\\", "/").rsplit("/", 1)[-1])[:200]


def payload(part: Message) -> bytes:
    """Bytes of a part, its transfer encoding undone."""
    if part.is_multipart():
        inner = part.get_payload()
        return inner[0].as_bytes() if isinstance(inner, list) and inner and isinstance(inner[0], Message) else b""
    data = part.get_payload(decode=True)
    return data if isinstance(data, bytes) else b""


def signed_content(data: bytes) -> bytes:
    """The encapsulated content of a PKCS#7 SignedData, in PEM, DER or BER. Raises Broken."""
    if data.lstrip()[:5] == b"-----" or re.fullmatch(rb"[A-Za-z0-9+/=\r\n]{64,}", data[:4096].strip()):
        import base64

        body = re.sub(rb"-----[^-]+-----", b"", data)
        data = base64.b64decode(re.sub(rb"[^A-Za-z0-9+/=]", b"", body) + b"==")
    at = data.find(b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01")
    if at < 0:
        raise Broken("encrypted", "the envelope is encrypted, or signed in an unknown way")
    try:
        tag, start, _ = _tlv(data, at + 11)
        return _octets(data, start)[0] if tag == 0xA0 else b""
    except (IndexError, RecursionError) as error:
        raise Broken("malformed", "the signed envelope is damaged") from error


def _tlv(data: bytes, at: int) -> tuple[int, int, int]:
    """Tag, start and end of the value at `at`; end is -1 for an indefinite length."""
    tag, length = data[at], data[at + 1]
    start = at + 2
    if length == 0x80:
        return tag, start, -1
    if length & 0x80:
        width = length & 0x7F
        length = int.from_bytes(data[start : start + width], "big")
        start += width
    if start + length > len(data):
        raise IndexError
    return tag, start, start + length


def _octets(data: bytes, at: int, depth: int = 0) -> tuple[bytes, int]:
    """The octet string at `at`, its constructed pieces joined, and where it ends."""
    tag, start, end = _tlv(data, at)
    if tag == 0x04:
        return data[start:end], end
    if tag != 0x24 or depth > 8:
        raise IndexError
    pieces, position = [], start
    while (position < end) if end >= 0 else (data[position : position + 2] != b"\x00\x00"):
        piece, position = _octets(data, position, depth + 1)
        pieces.append(piece)
    return b"".join(pieces), position if end >= 0 else position + 2
