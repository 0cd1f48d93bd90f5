"""E-mail: the subject and the best body. Attachments are members of their own (see `mailbox.py`).

Addresses and names in headers are personal data and no text: only subject and date are kept. Of alternatives the plain one
wins, unless it is a stub beside a far longer HTML one; HTML is reduced to its text. Bodies that follow one another (a mailing
list's footer, the report of a bounced mail) are all read.
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
from extractors.mail.mailbox import is_attachment, parsed
from extractors.result import Extracted, one_line
from extractors.web.reader import html_text

_STUB = 4  # times longer than the plain body an HTML one may be before it is read instead


def read(data: bytes, kind: str, config: ExtractConfig) -> Extracted:
    """Subject as title, body as text; date in metadata."""
    message = parsed(data)
    if message.get_content_type() == "multipart/encrypted" or message.get_param("smime-type") == "enveloped-data":
        raise Verdict("encrypted", "the mail is encrypted")
    if not message.keys():
        raise Verdict("malformed", "the mail has no header")
    subject = header(message.get("Subject", ""))
    warnings: list[str] = []
    body = re.sub(r"(?m)^>(>*From )", r"\1", _body(message, warnings))
    kept = {"date": _date(message.get("Date"))}
    return Extracted(_with_title(subject, body), "email", subject, metadata=kept, warnings=sorted(set(warnings)))


def _body(part: Message, warnings: list[str], depth: int = 0) -> str:
    """The text of a part and of the bodies in it; attachments are left to themselves."""
    kind = part.get_content_type()
    if part.is_multipart():
        children = [child for child in part.get_payload() if isinstance(child, Message)]
        if kind == "message/rfc822" or depth > 30:
            return ""
        if kind != "multipart/alternative":
            return "\n\n".join(text for child in children if (text := _body(child, warnings, depth + 1)).strip())
        said: list[tuple[str, list[str]]] = []
        for child in children:
            theirs: list[str] = []
            text = _body(child, theirs, depth + 1)
            if text.strip():
                said.append((text, theirs))
        if not said:
            return ""
        longest = max(said, key=lambda found: len(found[0]))
        text, theirs = said[0] if _STUB * len(said[0][0]) >= len(longest[0]) else longest
        warnings += theirs
        return text
    if (depth and is_attachment(part)) or (part.get_content_maintype() not in ("text", "multipart") and kind != "message/delivery-status"):
        return ""
    text = _text(part)
    if kind == "text/html":
        warnings.append("html_body")
        return html_text(text)
    if kind.startswith("multipart/"):  # its parts are not where its boundary should be
        warnings.append("fallback_broken_mime")
        return text or str(part.get_payload())
    if kind == "text/plain" and str(part.get_param("format", "")).lower() == "flowed":
        return _unflowed(text, delete=str(part.get_param("delsp", "")).lower() == "yes")
    return text


def _unflowed(text: str, delete: bool) -> str:
    """Lines that were only broken for the transport (format=flowed, RFC 3676) joined again."""
    out: list[str] = []
    flowing = False
    for line in text.replace("\r\n", "\n").split("\n"):
        depth = len(line) - len(line.lstrip(">"))
        mark, line = line[:depth], line[depth:].removeprefix(" ")
        soft = line.endswith(" ") and line != "-- "
        if flowing and out and out[-1].startswith(mark) and line != "-- ":
            out[-1] += line
        else:
            out.append(f"{mark} {line}" if mark else line)
        flowing = soft
        if soft and delete:
            out[-1] = out[-1][:-1]
    return "\n".join(out)


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


def read_invite(data: bytes, kind: str, config: ExtractConfig) -> Extracted:
    """What the events of a calendar file (iCalendar) say: summary, when, where, description. People are left out."""
    text, encoding = decode(data)
    events: list[str] = []
    titles: list[str] = []
    said: dict[str, str] = {}
    for line in re.sub(r"\r?\n[ \t]", "", text).splitlines():
        name, _, value = line.partition(":")
        name = name.partition(";")[0].upper()
        if line.upper() in ("BEGIN:VEVENT", "BEGIN:VTODO", "BEGIN:VJOURNAL"):
            said = {}
        elif line.upper() in ("END:VEVENT", "END:VTODO", "END:VJOURNAL"):
            titles.append(one_line(said.get("SUMMARY", "")))
            when = re.sub(r"^(\d{4})(\d\d)(\d\d)(?:T(\d\d)(\d\d).*)?$", r"\1-\2-\3 \4:\5", said.get("DTSTART", "")).strip(" :")
            facts = [f"# {titles[-1]}" if titles[-1] else "", when, said.get("LOCATION", ""), said.get("DESCRIPTION", "")]
            events.append("\n\n".join(fact for fact in facts if fact.strip()))
        else:
            said.setdefault(name, re.sub(r"\\([\\;,])", r"\1", value.replace("\\n", "\n").replace("\\N", "\n")))
    return Extracted("\n\n".join(events), "calendar", titles[0] if titles else "", encoding=encoding)


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
