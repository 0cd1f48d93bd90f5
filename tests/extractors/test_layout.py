"""Blocks in reading order from boxes alone."""

from __future__ import annotations

from extractors.fragments import Word, body_size, fragments, furniture
from extractors.layout import blocks

PROSE = "Nel mezzo del cammin di nostra vita mi ritrovai per una selva oscura che la diritta via era smarrita"


def line(text: str, left: float, top: float, width: float, size: float = 10, font: str = "Times") -> list[Word]:
    """Words spread evenly over the width."""
    words = text.split()
    each = width / max(sum(len(w) for w in words) + len(words) - 1, 1)
    out, x = [], left
    for word in words:
        out.append((x, top, x + len(word) * each, top + size, word, font))
        x += (len(word) + 1) * each
    return out


def column(label: str, left: float, top: float, width: float, lines: int) -> list[Word]:
    text = PROSE[: int(width / 5)].rsplit(" ", 1)[0]
    return [w for i in range(lines) for w in line(f"{label}{i} {text}", left, top + 12 * i, width)]


def text_of(page: list[Word]) -> list[tuple[str, str]]:
    parts = fragments(page)
    return [(b.label, " ".join(f.text for f in b.lines)) for b in blocks(parts, body_size([parts]))]


def test_two_columns_are_read_one_after_the_other_even_when_the_file_interleaves_them() -> None:
    page = []
    for i in range(12):
        page += line(f"sin{i} nel mezzo del cammin di nostra vita", 50, 100 + 12 * i, 230)
        page += line(f"des{i} mi ritrovai per una selva oscura", 310, 100 + 12 * i, 230)
    text = " ".join(t for _, t in text_of(page))
    assert text.index("sin11") < text.index("des0")
    assert [w for w in text.split() if w.startswith("sin")] == [f"sin{i}" for i in range(12)]


def test_a_title_across_two_columns_comes_first_and_a_note_across_them_divides_them() -> None:
    page = line("Un titolo che attraversa tutta la pagina da parte a parte", 60, 60, 470, 16)
    page += column("a", 50, 100, 230, 8) + column("b", 310, 100, 230, 8)
    page += line(f"Traverso {PROSE}", 50, 220, 490)
    page += column("c", 50, 250, 230, 8) + column("d", 310, 250, 230, 8)
    found = text_of(page)
    text = " ".join(t for _, t in found)
    marks = ["Un titolo", "a0", "a7", "b0", "b7", "Traverso", "c0", "c7", "d0", "d7"]
    assert sorted(marks, key=text.index) == marks
    assert found[0][0] == "heading"


def test_three_columns_are_read_in_order() -> None:
    page = column("a", 40, 100, 160, 10) + column("b", 220, 100, 160, 10) + column("c", 400, 100, 160, 10)
    text = " ".join(t for _, t in text_of(page))
    marks = ["a0", "a9", "b0", "b9", "c0", "c9"]
    assert sorted(marks, key=text.index) == marks


def test_aligned_cells_are_a_table_and_not_columns() -> None:
    page = []
    for i, row in enumerate([("Regione", "Casi", "Tamponi"), ("Lazio", "12", "1.200"), ("Puglia", "7", "900"), ("Umbria", "3", "150")]):
        for x, cell in zip((50, 200, 350), row, strict=True):
            page += line(cell, x, 100 + 14 * i, 6 * len(cell))
    parts = fragments(page)
    (table,) = blocks(parts, 10)
    assert table.label == "table"
    assert table.grid[2] == ["Puglia", "7", "900"]


def test_a_justified_paragraph_with_wide_gaps_is_no_table() -> None:
    page = []
    for i in range(6):
        words = PROSE.split()[i * 3 : i * 3 + 3]
        x = 50.0
        for j, word in enumerate(words):
            page.append((x, 100 + 12.0 * i, x + 6.0 * len(word), 110 + 12.0 * i, word, "Courier"))
            x += 6.0 * len(word) + 6 + (7 * ((i + j) % 3))
    assert {label for label, _ in text_of(page)} == {"text"}


def test_paragraphs_part_at_wider_gaps() -> None:
    page = column("a", 50, 100, 400, 4) + column("b", 50, 170, 400, 4)
    assert [t.split()[0] for _, t in text_of(page)] == ["a0", "b0"]


def test_running_heads_and_page_numbers_are_furniture_and_the_text_is_not() -> None:
    pages = []
    for number in range(1, 5):
        page = line(f"Gazzetta Ufficiale n. {number}", 200, 20, 150) + line(str(number), 290, 810, 8)
        page += line(f"Prima riga, diversa in ogni pagina: {'abcd'[number - 1] * 9}", 50, 60, 250) + column("a", 50, 100, 400, 10)
        pages.append(fragments(page))
    found = furniture(pages, [842.0] * 4)
    texts = {pages[p][i].text for p, i in found}
    assert texts == {f"Gazzetta Ufficiale n. {n}" for n in range(1, 5)} | {str(n) for n in range(1, 5)}
    assert furniture(pages[:1], [842.0]) == set()


def test_bold_short_lines_are_headings_and_bullets_are_told() -> None:
    page = line("Disposizioni generali", 50, 80, 120, 10, "Times-Bold") + column("a", 50, 100, 400, 3)
    page += line("• primo punto della lista", 50, 160, 150) + line("• secondo punto della lista", 50, 172, 150)
    assert [label for label, _ in text_of(page)] == ["heading", "text", "bullet", "bullet"]


def test_nothing_is_lost_whatever_the_boxes() -> None:
    page = [(float(x * 37 % 500), float(x * 91 % 700), float(x * 37 % 500 + 30), float(x * 91 % 700 + 9), f"w{x}", "F") for x in range(200)]
    text = " ".join(t for _, t in text_of(page))
    assert sorted(text.split()) == sorted(f"w{x}" for x in range(200))
