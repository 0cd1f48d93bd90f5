"""Mail as people send it: envelopes, signatures, alternatives, forwarded mails, mistakes."""

from __future__ import annotations

import base64
import email.message
import json
import struct
from pathlib import Path
from typing import Any

import pytest

from corpus.outcome import Verdict
from extractors import extract
from extractors.containers.walk import open_file, read_member
from extractors.sniff import sniff

CONFIG = extract.ExtractConfig()
INVOICE = b'<?xml version="1.0"?><p:FatturaElettronica xmlns:p="x"><Numero>123</Numero></p:FatturaElettronica>'
HEAD = b"From: anna@example.org\nTo: ugo@example.org\nSubject: Prova\nMIME-Version: 1.0\n"


def measured(data: bytes, kind: str = "") -> dict[str, Any]:
    return extract.as_measurements(extract.extracted(CONFIG, data, kind or sniff(data)), CONFIG)


def text_of(data: bytes) -> str:
    return str(measured(data)["text"])


def saved(tmp_path: Path, data: bytes) -> str:
    path = tmp_path / "file"
    path.write_bytes(data)
    return str(path)


def everything(path: str) -> dict[str, str]:
    return {found.inner: found.reason or found.kind for found in open_file(path)}


def mail(subject: str, body: str) -> email.message.EmailMessage:
    message = email.message.EmailMessage()
    message["From"], message["To"], message["Subject"] = "Anna Rossi <anna@example.org>", "ugo@example.org", subject
    message["Date"] = "Mon, 01 Jan 2024 10:00:00 +0100"
    message.set_content(body)
    return message


def der(tag: int, content: bytes) -> bytes:
    size = len(content)
    length = bytes([size]) if size < 128 else bytes([0x80 | len(size.to_bytes(4, "big"))]) + size.to_bytes(4, "big")
    return bytes([tag]) + length + content


def signed(content: bytes) -> bytes:
    """A CMS SignedData around these bytes, without certificates and signers."""
    data = der(0x30, b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01" + der(0xA0, der(0x04, content)))
    inside = der(0x30, b"\x02\x01\x01" + der(0x31, b"") + data + der(0x31, b""))
    return der(0x30, b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02" + der(0xA0, inside))


def pem(data: bytes, name: str = "PKCS7") -> bytes:
    return b"-----BEGIN %b-----\n" % name.encode() + base64.encodebytes(data) + b"-----END %b-----\n" % name.encode()


@pytest.mark.parametrize("form", [lambda d: d, pem, base64.encodebytes, lambda d: pem(d, "CMS")])
def test_a_signed_file_is_opened_in_every_form(tmp_path: Path, form: Any) -> None:
    path = saved(tmp_path, form(signed(INVOICE)))
    assert everything(path) == {"content": "xml"}
    assert read_member(path, "content") == INVOICE


def test_a_file_signed_twice_is_opened_twice(tmp_path: Path) -> None:
    path = saved(tmp_path, signed(signed(b"%PDF-1.4 contratto")))
    assert everything(path) == {"content!/content": "pdf"}


def test_a_damaged_and_an_encrypted_envelope_say_so(tmp_path: Path) -> None:
    assert everything(saved(tmp_path, signed(INVOICE)[:-60])) == {"": "malformed"}
    sealed = der(0x30, b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03" + der(0xA0, der(0x30, bytes(80))))
    assert everything(saved(tmp_path, sealed)) == {"": "encrypted"}


def test_a_certified_mail_is_its_envelope_and_the_mail_in_it(tmp_path: Path) -> None:
    original = mail("Notifica", "Si notifica l'atto allegato.\n")
    original.add_attachment(signed(INVOICE), maintype="application", subtype="pkcs7-mime", filename="IT01_FPR01.xml.p7m")
    inner = mail("POSTA CERTIFICATA: Notifica", "Messaggio di posta certificata.\n")
    inner.add_attachment(
        b"<?xml version='1.0'?><postacert><oggetto>Notifica</oggetto></postacert>", "application", "xml", filename="daticert.xml"
    )
    inner.add_attachment(original, filename="postacert.eml")
    for name in ("From", "To", "Subject", "Date"):
        del inner[name]
    envelope = (
        HEAD
        + b'Content-Type: multipart/signed; protocol="application/pkcs7-signature"; boundary="B"\n\n--B\n'
        + inner.as_bytes()
        + b'\n--B\nContent-Type: application/pkcs7-signature; name="smime.p7s"\nContent-Transfer-Encoding: base64\n'
        + b'Content-Disposition: attachment; filename="smime.p7s"\n\n'
        + base64.encodebytes(der(0x30, b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02" + der(0xA0, der(0x30, bytes(60)))))
        + b"\n--B--\n"
    )
    path = saved(tmp_path, envelope)
    assert everything(path) == {
        "": "email",
        "daticert.xml": "xml",
        "postacert.eml": "email",
        "postacert.eml!/IT01_FPR01.xml.p7m!/content": "xml",
        "smime.p7s": "p7s",
    }
    assert text_of(read_member(path, "")) == "# Prova\n\nMessaggio di posta certificata."
    assert text_of(read_member(path, "postacert.eml")) == "# Notifica\n\nSi notifica l'atto allegato."


def test_a_mail_signed_as_a_whole_is_opened(tmp_path: Path) -> None:
    entity = b"Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\nIl testo firmato \xc3\xa8 questo.\n"
    head = HEAD + b'Content-Type: application/pkcs7-mime; smime-type=signed-data; name="smime.p7m"\nContent-Transfer-Encoding: base64\n\n'
    path = saved(tmp_path, head + base64.encodebytes(signed(entity)))
    assert everything(path) == {"": "email", "smime.p7m!/content": "email"}
    assert text_of(read_member(path, "smime.p7m!/content")) == "Il testo firmato è questo."


def test_encrypted_mail_is_encrypted(tmp_path: Path) -> None:
    for kind in (b"application/pkcs7-mime; smime-type=enveloped-data", b'multipart/encrypted; boundary="B"'):
        with pytest.raises(Verdict, match="encrypted"):
            measured(HEAD + b"Content-Type: " + kind + b"\n\nxxxx\n", "email")
    with pytest.raises(Verdict, match="encrypted"):
        measured(b"-----BEGIN PGP MESSAGE-----\n\nabcd\n-----END PGP MESSAGE-----\n")


def test_a_mail_is_its_subject_and_body_without_addresses() -> None:
    message = mail("Convocazione già fissata", "Ci vediamo lunedì.\n")
    message.add_alternative("<p>Ci vediamo <b>lunedì</b>.</p>", subtype="html")
    message.add_attachment(b"%PDF-1.4", maintype="application", subtype="pdf", filename="ordine.pdf")
    m = measured(message.as_bytes())
    assert m["text"] == "# Convocazione già fissata\n\nCi vediamo lunedì."
    assert m["title"] == "Convocazione già fissata"
    assert "anna" not in m["metadata"] and json.loads(m["metadata"])["date"] == "2024-01-01"


def test_a_mail_with_html_only_is_read_and_said_so() -> None:
    m = measured(HEAD + b"Content-Type: text/html; charset=cp1252\n\n<p>citt\xe0</p><p>paese</p>")
    assert m["text"].split() == ["#", "Prova", "città", "paese"]
    assert m["warnings"] == ["html_body"]


def test_a_plain_stub_gives_way_to_the_html_it_announces() -> None:
    message = mail("x", "Messaggio in HTML.\n")
    message.add_alternative("<p>" + "Il consiglio ha deliberato. " * 20 + "</p>", subtype="html")
    m = measured(message.as_bytes())
    assert "Il consiglio ha deliberato." in m["text"] and m["warnings"] == ["html_body"]


def test_bodies_that_follow_one_another_are_all_read_and_forwarded_mails_once(tmp_path: Path) -> None:
    message = mail("Fw: piano", "Ti inoltro questo.\n")
    message.make_mixed()
    part = email.message.EmailMessage()
    part.set_content("<p>Piè di pagina della lista.</p>", subtype="html")
    message.attach(part)
    message.add_attachment(mail("piano", "Il piano originale.\n"))
    path = saved(tmp_path, message.as_bytes())
    assert everything(path) == {"": "email", "message.eml": "email"}
    m = measured(read_member(path, ""))
    assert "Ti inoltro questo." in m["text"] and "Piè di pagina della lista." in m["text"]
    assert "originale" not in m["text"]
    assert text_of(read_member(path, "message.eml")) == "# piano\n\nIl piano originale."


def test_a_mail_that_is_itself_an_attachment_has_it_as_a_member(tmp_path: Path) -> None:
    data = (
        HEAD
        + b"Content-Type: application/pdf; name=scansione.pdf\nContent-Transfer-Encoding: base64\n\n"
        + base64.encodebytes(b"%PDF-1.4 x")
    )
    assert everything(saved(tmp_path, data)) == {"": "email", "scansione.pdf": "pdf"}


def test_an_invitation_is_a_document_of_its_own(tmp_path: Path) -> None:
    event = (
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nBEGIN:VEVENT\r\nDTSTART;TZID=Europe/Rome:20240301T093000\r\n"
        "SUMMARY:Riunione\\, sala 2\r\nATTENDEE;CN=Anna Rossi:mailto:anna@example.org\r\n"
        "DESCRIPTION:Ordine del giorno:\\n1. Bilanc\r\n io\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    )
    message = mail("Invito", "Sei invitato.\n")
    message.add_alternative(event, subtype="calendar")
    path = saved(tmp_path, message.as_bytes())
    assert everything(path) == {"": "email", "invite.ics": "calendar"}
    assert text_of(read_member(path, "")) == "# Invito\n\nSei invitato."
    m = measured(read_member(path, "invite.ics"))
    assert m["text"] == "# Riunione, sala 2\n\n2024-03-01 09:30\n\nOrdine del giorno:\n1. Bilancio"
    assert m["title"] == "Riunione, sala 2"


@pytest.mark.parametrize(
    ("declared", "encoding"),
    [
        ("us-ascii", "cp1252"),
        ("utf-8", "cp1252"),
        ("iso-8859-1", "utf-8"),
        ("iso-8859-1", "cp1252"),
        ("nessuno", "utf-8"),
        ("utf-8", "utf-8"),
    ],
)
def test_a_wrong_charset_does_no_harm(declared: str, encoding: str) -> None:
    text = "Perché la città – così bella – costa 10 € l’ora?"
    data = HEAD + f"Content-Type: text/plain; charset={declared}\nContent-Transfer-Encoding: 8bit\n\n".encode() + text.encode(encoding)
    assert text_of(data) == f"# Prova\n\n{text}"


def test_flowed_lines_are_joined() -> None:
    body = b"Una riga che va a capo \nsolo per il viaggio.\n\n> citata e \n> spezzata\n-- \nAnna\n"
    assert text_of(HEAD + b"Content-Type: text/plain; format=flowed\n\n" + body) == (
        "# Prova\n\nUna riga che va a capo solo per il viaggio.\n\n> citata e spezzata\n--\nAnna"
    )


def test_a_mail_whose_boundary_is_wrong_keeps_its_words_and_says_so() -> None:
    data = HEAD + b'Content-Type: multipart/mixed; boundary="giusto"\n\n--sbagliato\n\nLe parole restano.\n--sbagliato--\n'
    m = measured(data)
    assert "Le parole restano." in m["text"] and m["warnings"] == ["fallback_broken_mime"]
    cut = HEAD + b'Content-Type: multipart/mixed; boundary="B"\n\n--B\nContent-Type: text/plain\n\nUna parte senza fine.\n'
    assert "Una parte senza fine." in text_of(cut)


def test_encoded_headers_and_names_are_decoded(tmp_path: Path) -> None:
    head = b"From: a@example.org\nTo: b@example.org\nSubject: =?utf-8?q?Citt=C3=A0?= =?iso-8859-1?q?_perch=E9?=\nMIME-Version: 1.0\n"
    data = head + (
        b'Content-Type: multipart/mixed; boundary="B"\n\n--B\nContent-Type: text/plain\n\nx\n--B\nContent-Type: text/plain\n'
        b"Content-Disposition: attachment; filename*=utf-8''perch%C3%A9.txt\n\nallegato\n--B--\n"
    )
    path = saved(tmp_path, data)
    assert list(everything(path)) == ["", "perché.txt"]
    assert measured(data)["title"] == "Città perché"


def test_a_winmail_envelope_names_the_remedy(tmp_path: Path) -> None:
    outcome = extract.decide(CONFIG, measured(b"\x78\x9f\x3e\x22" + bytes(60)))
    assert outcome.reason == "unsupported" and "winmail.dat" in outcome.detail


Tree = dict[str, Any]  # name -> bytes of a stream, or the streams and storages of a storage


def ole(tree: Tree) -> bytes:
    """A compound file of this tree. Its streams are shorter than 4,096 bytes and so lie in the small sectors, of 64 bytes."""
    free, end = 0xFFFFFFFF, 0xFFFFFFFE
    entries: list[bytes] = []

    def stored(content: bytes, size: int, sectors: list[bytes], chain: list[int]) -> int:
        first = len(sectors)
        sectors += [content[at : at + size].ljust(size, b"\0") for at in range(0, len(content), size)]
        chain += [*range(first + 1, len(sectors)), end]
        return first

    def entry(name: str, kind: int, right: int, child: int, first: int, size: int) -> bytes:
        raw = name.encode("utf-16-le") + b"\0\0"
        return struct.pack("<64sHBBIII16x4x16xIII", raw, len(raw), kind, 1, free, right, child, first, size, 0)

    def placed(children: Tree) -> int:
        """Number of the first child; each points to the next."""
        following = free
        for name, content in reversed(children.items()):
            inner = placed(content) if isinstance(content, dict) else free
            first = 0 if isinstance(content, dict) else stored(content, 64, small, small_chain)
            size = 0 if isinstance(content, dict) else len(content)
            entries.append(entry(name, 1 if isinstance(content, dict) else 2, following, inner, first, size))
            following = len(entries)  # the root comes before them all
        return following

    small: list[bytes] = []
    small_chain: list[int] = []
    sectors: list[bytes] = []
    chain: list[int] = []
    child = placed(tree)
    together = b"".join(small)
    entries.insert(0, entry("Root Entry", 5, free, child, stored(together, 512, sectors, chain), len(together)))
    directory = stored(b"".join(entries), 512, sectors, chain)
    small_table = stored(struct.pack("<128I", *small_chain, *[free] * (128 - len(small_chain))), 512, sectors, chain)
    fat = struct.pack("<128I", *chain, 0xFFFFFFFD, *[free] * (127 - len(chain)))
    numbers = (0, 1, directory, 0, 4096, small_table, 1, end, 0, len(sectors))
    head = bytes.fromhex("d0cf11e0a1b11ae1") + bytes(16) + struct.pack("<HHHHH6x10I", 0x3E, 3, 0xFFFE, 9, 6, *numbers)
    return head.ljust(512, b"\xff") + b"".join(sectors) + fat


def outlook(header: int, fixed: dict[int, int], **texts: str) -> Tree:
    """The properties of an Outlook object: `fixed` by tag, texts by their tag in hexadecimal."""
    stream = bytes(header)
    tree: Tree = {}
    for tag, number in fixed.items():
        stream += struct.pack("<IIQ", tag, 6, number)
    for tag, text in texts.items():
        raw = text.encode("utf-16-le")
        stream += struct.pack("<IIII", int(tag[1:] + "001F", 16), 6, len(raw) + 2, 0)
        tree[f"__substg1.0_{tag[1:]}001F"] = raw
    return {"__properties_version1.0": stream, **tree}


def test_a_mail_attached_in_outlooks_own_form_is_opened(tmp_path: Path) -> None:
    file = outlook(8, {0x37050003: 1}, x3707="verbale.txt")
    file["__properties_version1.0"] += struct.pack("<IIII", 0x37010102, 6, 8, 0)
    file["__substg1.0_37010102"] = b"allegato"
    inner = outlook(24, {}, x0037="Il piano", x1000="Il testo del piano è questo.") | {"__attach_version1.0_#00000000": file}
    attached = outlook(8, {0x37050003: 5}, x3707="Il piano") | {"__substg1.0_3701000D": inner}
    link = outlook(8, {0x37050003: 2}, x3707="altrove.txt")
    message = outlook(32, {}, x0037="Inoltro", x1000="Ecco il piano.", x001A="IPM.Note")
    path = saved(tmp_path, ole(message | {"__attach_version1.0_#00000000": attached, "__attach_version1.0_#00000001": link}))
    assert everything(path) == {
        "": "msg",
        "Il piano": "email",
        "Il piano!/verbale.txt": "text",
        "altrove.txt": "no_document",
    }
    assert text_of(read_member(path, "")) == "# Inoltro\n\nEcco il piano."
    assert text_of(read_member(path, "Il piano")) == "# Il piano\n\nIl testo del piano è questo."
    assert read_member(path, "Il piano!/verbale.txt") == b"allegato"
    assert read_member(path, "Il piano") == read_member(saved(tmp_path, Path(path).read_bytes()), "Il piano"), "the same bytes each time"
