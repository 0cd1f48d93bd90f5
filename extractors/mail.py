"""E-mail: the subject and the best body. Attachments are members of their own (see `mailbox.py`).

Addresses and names in headers are personal data and no text: only subject and date are kept. The plain body wins; an HTML
body is reduced to text when there is no plain one.
"""

from __future__ import annotations

import email.header
import email.utils
import io
import re
from email.message import Message

from corpus.outcome import Verdict
from extractors.decode import decode
from extractors.extract import ExtractConfig
from extractors.mailbox import is_attachment, parsed
from extractors.result import Extracted, one_line
from extractors.webpage import html_text


def read(data: bytes, kind: str, config: ExtractConfig) -> Extracted:
    """Subject as title, body as text; date in metadata."""
    message = parsed(data)
    if message.get_content_type() == "multipart/encrypted" or message.get_param("smime-type") == "enveloped-data":
        raise Verdict("encrypted", "the mail is encrypted")
    subject = header(message.get("Subject", ""))
    plain: list[str] = []
    html: list[str] = []
    for part in message.walk():
        if part.is_multipart() or (part is not message and is_attachment(part)) or part.get_content_maintype() != "text":
            continue
        (html if part.get_content_subtype() == "html" else plain).append(_text(part))
    warnings = []
    body = "\n\n".join(p for p in plain if p.strip())
    if not body.strip() and html:
        body, warnings = "\n\n".join(html_text(h) for h in html), ["html_body"]
    body = re.sub(r"(?m)^>(>*From )", r"\1", body)
    if not message.keys():
        raise Verdict("malformed", "the mail has no header")
    return Extracted(_with_title(subject, body), "email", subject, metadata={"date": _date(message.get("Date"))}, warnings=warnings)


def read_msg(data: bytes, kind: str, config: ExtractConfig) -> Extracted:
    """The same for Outlook's .msg."""
    from oxmsg import Message as Outlook

    try:
        message = Outlook.load(io.BytesIO(data))
        subject, body, html = one_line(message.subject or ""), message.body or "", message.html_body or ""
        sent = message.sent_date.date().isoformat() if message.sent_date else ""
    except Exception as error:  # the reader has no error type of its own
        raise Verdict("malformed", "the .msg file is damaged") from error
    warnings = []
    if not body.strip() and html:
        body, warnings = html_text(html), ["html_body"]
    return Extracted(_with_title(subject, body), "msg", subject, metadata={"date": sent}, warnings=warnings)


def header(value: object) -> str:
    """A header decoded (RFC 2047), in one line."""
    raw = str(value)
    try:
        return one_line(email.header.make_header(email.header.decode_header(raw)))
    except (ValueError, LookupError):
        return one_line(raw)


def _text(part: Message) -> str:
    data = part.get_payload(decode=True)
    return decode(data, part.get_content_charset() or "")[0] if isinstance(data, bytes) else ""


def _date(value: object) -> str:
    try:
        return email.utils.parsedate_to_datetime(str(value)).date().isoformat() if value else ""
    except (ValueError, TypeError, IndexError):
        return ""


def _with_title(subject: str, body: str) -> str:
    return f"# {subject}\n\n{body.strip()}" if subject else body
