"""A RAW folder with three sources, made on the spot: a.pdf, b.mbox (3 mails, one with a zip that holds c.docx), rows.jsonl."""

from __future__ import annotations

import io
import json
import random
import zipfile
from email.message import EmailMessage
from pathlib import Path

SUBJECTS = """il sindaco|la maestra|il vecchio falegname|una studentessa|il notaio|la guardia forestale|un viaggiatore""".split("|")
VERBS = """ha deciso di riparare|guarda con attenzione|racconta a tutti|ha dimenticato|sta cercando|conserva""".split("|")
OBJECTS = """la finestra della cucina|un libro di botanica|il sentiero lungo il fiume|le chiavi della cantina""".split("|")
PLACES = """vicino alla stazione|dietro la chiesa|nella piazza del mercato|sotto il portico|in fondo al giardino""".split("|")
CAUSES = """perché la pioggia non smette|quando il sole tramonta|mentre gli altri dormono ancora|se il vento cambia""".split("|")
EXTRAS = """martello lanterna quaderno cesto mantello ombrello violino orologio bicchiere tappeto specchio forno carretto""".split()


def prose(seed: int, sentences: int = 9) -> str:
    """Readable Italian that no other seed repeats."""
    r = random.Random(seed)
    out = []
    for _ in range(sentences):
        pick = [r.choice(c) for c in (SUBJECTS, VERBS, OBJECTS, PLACES, CAUSES)]
        extra = " e ".join(r.sample(EXTRAS, 3))
        out.append(f"{pick[0].capitalize()} {pick[1]} {pick[2]} {pick[3]}, {pick[4]}, e porta con sé {extra} numero {r.randrange(10**4)}.")
    return " ".join(out)


def row(n: int) -> str:
    """One line of rows.jsonl; the even ones are prose with figures in it, which scores a little lower."""
    text = prose(1000 + n)
    figures = "" if n % 2 else "".join(f" [{n * k % 97}/{k}] = {n * k}" for k in range(3, 16))
    return json.dumps({"text": text + figures}, ensure_ascii=False) + "\n"


def docx(text: str) -> bytes:
    """A DOCX with one paragraph per sentence group."""
    import docx as library

    document = library.Document()
    for piece in text.split(". "):
        document.add_paragraph(piece + ".")
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def mail(subject: str, text: str, attachment: tuple[str, bytes] | None = None) -> EmailMessage:
    """A plain mail."""
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = subject, "ufficio@example.it", "archivio@example.it"
    message["Date"] = "Mon, 02 Mar 2026 10:00:00 +0100"
    message.set_content(text)
    if attachment:
        message.add_attachment(attachment[1], maintype="application", subtype="zip", filename=attachment[0])
        message.set_boundary("----=_ATHANOR")
    return message


def mbox(messages: list[EmailMessage]) -> bytes:
    """Mails in mbox format."""
    return b"".join(b"From archivio Mon Mar  2 10:00:00 2026\n" + m.as_bytes() + b"\n\n" for m in messages)


def make(folder: Path, rows: int = 1000) -> Path:
    """Write the three sources."""
    from reportlab.lib.styles import getSampleStyleSheet
    from reportlab.platypus import Paragraph, SimpleDocTemplate

    folder.mkdir(parents=True, exist_ok=True)
    SimpleDocTemplate(str(folder / "a.pdf"), invariant=1).build([Paragraph(prose(n), getSampleStyleSheet()["Normal"]) for n in range(3)])
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as z:
        z.writestr("c.docx", docx(prose(10)))
    mails = [mail("Primo", prose(20)), mail("Secondo", prose(21), ("c.zip", archive.getvalue())), mail("Terzo", prose(22))]
    (folder / "b.mbox").write_bytes(mbox(mails))
    (folder / "rows.jsonl").write_text("".join(row(n) for n in range(rows)), "utf-8")
    return folder
