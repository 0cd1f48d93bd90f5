"""Texts set into PDFs of known truth, five layouts of them: what benchmarks/extract_pdf.py reads.

    column          one column
    columns         two columns
    notes           one column, footnotes under a short rule
    heads           two columns, running heads, page numbers and footers
    hyphens         two columns, justified, words divided at line ends ('-' or U+00AD), headings, footnotes, heads in half of
                    them and a ruled table

The texts are paragraphs of a folder of laws, from a place drawn for each document; notes and table cells are paragraphs of the
same law. Typeface, size, leading, margins, indents, centred or larger headings, hanging lists, titles across the columns are
drawn, too, and so are two things a reader sees nothing of: whether a line is one string or every word is placed by itself, and
the order of painting, column after column or (one document in three of those with two columns) row after row across them.

Truth: the words as they were before they were divided, paragraph after paragraph. Running heads, feet and page numbers are no
truth. A table counts row by row. Where footnotes belong is a convention, and so is whether a raised mark is a word of its own,
so a document has several truths: its notes after the document, after the page or column that carries them (breaking into the
paragraph that goes on), or after the paragraph that goes on; marks glued or apart. Every reader has the one that suits it best.
"""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

from extract_pdf_setter import FONTS, Style, Typesetter, is_heading

LAYOUTS = ("column", "columns", "notes", "heads", "hyphens")
_STARTS = re.compile(r"(?:\d{1,2}[.)]|[a-z]{1,2}\)|art\.)\s", re.I)
_MARKDOWN = re.compile(r"(?m)^[#>\s]*#+\s*|\*+|`+|!?\[([^\]]*)\]\([^)]*\)")
_SENTENCE = re.compile(r"(?<=[^\W\d]{4}[.;])\s+(?=[A-Z0-9])")
_PARAGRAPH = 1800  # characters
_LONGEST = 26  # letters of a word, so that it fits a column


def laws(folder: Path) -> list[list[str]]:
    """Paragraphs of every text of 20 kB and 60 paragraphs in the folder, file by file; only what the standard fonts can write."""
    found = [_paragraphs(path) for path in sorted(folder.rglob("*")) if path.suffix in (".txt", ".md") and path.stat().st_size > 20_000]
    return [paragraphs for paragraphs in found if len(paragraphs) >= 60]


def _paragraphs(path: Path) -> list[str]:
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("cp1252", "replace")
    if path.suffix == ".md":
        text = _MARKDOWN.sub(r"\1", text)
    out: list[list[str]] = [[]]
    for line in text.replace("((", "").replace("))", "").splitlines():
        if not line.strip() or line.startswith("  ") or _STARTS.match(line):
            out.append([])
        if line.strip():
            out[-1].extend(line.split())
    joined: list[str] = []
    for words in filter(None, out):
        if joined and words[0][0].islower() and joined[-1][-1] not in ".:;" and not _STARTS.match(" ".join(words)):
            joined[-1] += " " + " ".join(words)  # a line of its own in the source only
        else:
            joined.append(" ".join(words))
    return [part for paragraph in joined for part in _parts(paragraph) if _usable(part)]


def _parts(paragraph: str) -> list[str]:
    """A paragraph cut at ends of sentences, where it is longer than _PARAGRAPH (a text whose lines are not told apart)."""
    parts = [""]
    for sentence in _SENTENCE.split(paragraph):
        if len(parts[-1]) + len(sentence) > _PARAGRAPH:
            parts.append("")
        parts[-1] += (" " if parts[-1] else "") + sentence
    return [part for part in parts if part]


def _usable(paragraph: str) -> bool:
    try:
        paragraph.encode("cp1252")
    except UnicodeEncodeError:
        return False
    letters = sum(map(str.isalpha, paragraph))
    return (
        2 < letters >= 0.6 * len(paragraph)
        and ".." not in paragraph
        and "_" not in paragraph
        and paragraph.isprintable()
        and max(map(len, paragraph.split())) <= _LONGEST
    )


def style_of(layout: str, number: int) -> Style:
    """The style of one document."""
    draw = random.Random(f"style {layout} {number}")
    columns = 1 if layout in ("column", "notes") else 2
    size = draw.choice((10, 10.5, 11, 12) if columns == 1 else (8.5, 9, 9.5, 10))
    return Style(
        columns=columns,
        family=draw.choice(tuple(FONTS)),
        size=size,
        leading=size * draw.choice((1.15, 1.2, 1.3)),
        margin=draw.uniform(60, 90) if columns == 1 else draw.uniform(40, 65),
        gutter=draw.uniform(14, 28),
        indent=draw.choice((0.0, 12.0)),
        justified=layout == "hyphens" or draw.random() < 0.5,
        hyphen=("\u00ad" if number % 4 == 3 else "-") if layout == "hyphens" else "",
        notes=layout in ("notes", "hyphens"),
        bracketed=draw.random() < 0.5,
        heads=layout == "heads" or (layout == "hyphens" and number % 2 == 0),
        table=layout == "hyphens",
        title=draw.random() < 0.6,
        centred=draw.random() < 0.4,
        larger=draw.choice((1.0, 1.15, 1.3)),
        hanging=draw.random() < 0.5,
        placed=draw.random() < 0.4,
        across=columns == 2 and number % 3 == 2,
    )


def typeset(layout: str, number: int, texts: list[list[str]], path: Path) -> dict[str, object]:
    """One document: the PDF at `path`, its truths beside it as JSON and in the answer."""
    draw = random.Random(f"text {layout} {number}")
    style = style_of(layout, number)
    law = texts[number % len(texts)]
    length = draw.randint(9_000, 26_000) if style.columns == 1 else draw.randint(18_000, 40_000)  # characters
    start = draw.randrange(max(1, len(law) - 40))
    setter = Typesetter(style)
    title = next((p for p in law if 20 < len(p) < 90), law[0])
    if style.title:
        setter.across(title, 1.6 * style.size)
    short = [s for p in law for s in _SENTENCE.split(p) if 40 < len(s) < 220 and not is_heading(s)]
    used = count = 0
    table_at = draw.randint(3_000, 8_000) if style.table else 0
    for paragraph in law[start:] + law[:start]:
        if used > length:
            break
        words = paragraph.split()
        notes = {}
        if style.notes and len(words) > 15 and draw.random() < 0.35:
            plain = [i for i, word in enumerate(words[5:-1], 5) if word[-1].isalpha() and len(word) > 4]
            if plain:
                count += 1
                notes[draw.choice(plain)] = (f"({count})" if style.bracketed else str(count), draw.choice(short))
        setter.paragraph(paragraph, notes)
        used += len(paragraph)
        if table_at and used > table_at:
            cells = [p for p in draw.sample(short, 6)]
            setter.table(
                [["Articolo", "Oggetto", "Parole"]]
                + [[f"Art. {draw.randint(1, 200)}", " ".join(p.split()[:8]), str(len(p.split()))] for p in cells]
            )
            table_at = 0
    setter.end_column()
    if style.heads:
        setter.heads(title[:50], "Raccolta delle leggi")
    setter.paint(path, "")
    truth: dict[str, object] = {
        "layout": layout,
        "pages": len(setter.lines),
        "across": style.across,
        "truths": setter.truths(),
        "paragraphs": [b.text(0, len(b.words), False) for b in setter.blocks if b.kind == "text" and len(b.words) >= 12],
    }
    path.with_suffix(".json").write_text(json.dumps(truth, ensure_ascii=False, indent=1), "utf-8")
    return truth
