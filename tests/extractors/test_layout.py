"""Blocks in reading order from boxes alone."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from extractors.pdf.fragments import Word, fragments
from extractors.pdf.furniture import furniture
from extractors.pdf.hyphens import Spelling
from extractors.pdf.layout import PageContent, analyse
from extractors.pdf.paragraphs import Block

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


def blocks(*pages: list[Word], drawn: list[tuple[float, float, float, float]] | None = None) -> list[Block]:
    return [block for page in analyse([PageContent(page, 842, drawn=drawn or []) for page in pages]).pages for block in page]


def text_of(page: list[Word]) -> list[tuple[str, str]]:
    return [(block.label, block.text) for block in blocks(page)]


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
    (table,) = blocks(page)
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


def ruled(xs: list[float], ys: list[float]) -> list[tuple[float, float, float, float]]:
    return [(x, ys[0], x, ys[-1]) for x in xs] + [(xs[0], y, xs[-1], y) for y in ys]


def test_drawn_lines_make_a_table_whose_cells_hold_several_lines() -> None:
    page = line("Voce", 55, 105, 20) + line("Importo", 205, 105, 40) + line("Carta per le", 55, 125, 60) + line("stampanti", 55, 137, 45)
    page += line("12,50", 205, 125, 25)
    (table,) = blocks(page, drawn=ruled([50, 200, 300], [100, 120, 150]))
    assert (table.label, table.grid) == ("table", [["Voce", "Importo"], ["Carta per le stampanti", "12,50"]])


def test_a_frame_around_one_text_is_no_table() -> None:
    assert {b.label for b in blocks(column("a", 50, 100, 400, 6), drawn=ruled([40, 460], [90, 180]))} == {"text"}


def test_footnotes_come_after_the_body_and_a_word_is_made_whole_over_columns_and_pages() -> None:
    page = column("a", 50, 100, 230, 9) + line("e la diritta via era smar-", 50, 208, 230) + line("rita del tutto e poi", 310, 100, 230)
    page += column("b", 310, 112, 230, 8) + line("ma per trattar del ben che vi tro-", 310, 208, 230)
    page += line("1 Nota a piede della colonna", 50, 230, 150, 7)
    first, *rest = blocks(page, line("vai dirò de l'altre cose", 50, 100, 230) + column("c", 50, 112, 230, 9))
    text = first.text + "".join(f"|{b.label} {'>' if b.continues else ''}{b.text}" for b in rest)
    assert "|text >rita del tutto" in text and "|text >vai dirò" in text
    assert text.index("rita del tutto") < text.index("|footnote 1 Nota") < text.index("|text >vai")


def test_hyphens_of_the_line_go_and_those_of_the_word_stay() -> None:
    spelling = Spelling(["un esame bio-medico", "la biblioteca dell'anno", "bio-"])
    assert spelling.joined(["l'esame bio-", "medico"]) == "l'esame bio-medico"
    assert spelling.joined(["la biblio-", "teca"]) == "la biblioteca"
    assert spelling.joined(["l'articolo 67-", "sexies"]) == "l'articolo 67-sexies"
    assert spelling.joined(["in Emilia-", "Romagna"]) == "in Emilia-Romagna"
    assert spelling.joined(["nel corso dell'", "inverno"]) == "nel corso dell'inverno"
    assert spelling.joined(["le pagine 737–", "9"]) == "le pagine 737–9"
    assert spelling.joined(["due", "parole"]) == "due parole"


def test_a_word_that_begins_a_line_is_no_bullet() -> None:
    page = line("Si applica ai contratti che riguardano beni", 50, 100, 300) + line(
        "o servizi, e a quelli che li accompagnano", 50, 112, 300
    )
    assert [label for label, _ in text_of(page)] == ["text"]


def test_a_large_initial_belongs_to_the_first_of_the_lines_beside_it() -> None:
    page = [(50.0, 100.0, 68.0, 124.0, "N", "Times")] + line("el mezzo del cammin", 70, 101, 200) + line("di nostra vita", 70, 113, 200)
    page += column("a", 50, 125, 220, 4)
    assert text_of(page)[0][1].startswith("Nel mezzo del cammin di nostra vita")


def test_line_numbers_in_the_margin_are_furniture() -> None:
    page = [w for i in range(15) for w in line(str(i + 1), 40, 100 + 12 * i, 8) + line(f"r{i} {PROSE[:60]}", 80, 100 + 12 * i, 400)]
    (text,) = [b.text for b in blocks(page) if b.label == "text"]
    assert [w for w in text.split() if w.isdecimal()] == []


def test_numbers_at_the_foot_of_a_table_are_no_page_numbers() -> None:
    pages = [
        column("a", 50, 100, 400, 10) + line(f"totale {'xyz'[n]}", 50, 800, 60) + line(str(11 + n), 200, 800, 10) + line("0", 300, 800, 6)
        for n in range(3)
    ]
    assert furniture([fragments(page) for page in pages], [842.0] * 3) == set()


def test_the_title_that_the_heads_repeat_stays() -> None:
    pages = [line("Relazione sulla gestione", 200, 20, 150, 9) + column("abcd"[n], 50, 60, 400, 12) for n in range(4)]
    pages[0] = line("RELAZIONE SULLA GESTIONE", 150, 30, 300, 14) + column("a", 50, 100, 400, 12)
    found = [b for b in blocks(*pages) if b.text.lower() == "relazione sulla gestione"]
    assert [b.label for b in found] == ["heading", "header", "header", "header"]


def test_heads_of_left_and_right_pages_go_with_the_number_in_their_row() -> None:
    pages = []
    for n in range(6):
        head = (
            (line(str(2194 + n), 50, 20, 20), line("Rivista di diritto", 200, 20, 90))
            if n % 2
            else (line("Rossi e altri", 200, 20, 80), line(str(2194 + n), 530, 20, 20))
        )
        pages.append(
            head[0]
            + head[1]
            + column("abcdef"[n], 50, 60, 400, 12)
            + line(f"voce {'uvwxyz'[n]}", 50, 400, 40, 7)
            + line("12", 200, 400, 10, 7)
        )
    text = " ".join(" ".join(cell for row in b.grid for cell in row) or b.text for b in blocks(*pages) if b.label != "header")
    assert "219" not in text and "Rossi" not in text and "Rivista" not in text and text.count("12") == 6


def test_a_note_that_two_pages_have_is_no_foot() -> None:
    note = "1 I decreti perdono efficacia sin dall'inizio, se non sono convertiti in legge"
    pages = [column("abcde"[n], 50, 100, 400, 10) + (line(note, 50, 790, 350, 7) if n in (1, 3) else []) for n in range(5)]
    assert furniture([fragments(page) for page in pages], [842.0] * 5) == set()


def test_a_line_that_ends_in_an_abbreviation_goes_on() -> None:
    page = column("a", 50, 100, 400, 3) + line("e il decreto del Presidente della Repubblica 24 maggio 1988, n.", 50, 136, 400)
    page += line("224, recante norme sulla responsabilità di chi produce i beni", 50, 148, 400) + column("b", 50, 160, 400, 2)
    page += line("come dispone la legge che si applica a tutti costoro, n.", 50, 184, 400) + line("1. Il testo era diverso", 50, 196, 150)
    assert len(text_of(page)) == 1


def test_items_that_a_later_law_put_in_begin_as_the_others_do() -> None:
    page = line("c) produttore, il fabbricante del bene o chi fornisce il servizio;", 50, 100, 400)
    page += line("((c-bis) operatore, chi lo rappresenta o lo distribuisce altrove;))", 50, 112, 400)
    assert [text.split()[0] for _, text in text_of(page)] == ["c)", "((c-bis)"]


def test_paragraphs_begin_with_an_indent() -> None:
    page: list[Word] = []
    for n in range(4):
        page += line(f"p{n} {PROSE[:60]}.", 62, 100 + 48 * n, 300) + line(f"q{n} {PROSE[:75]}", 62, 112 + 48 * n, 388)
        page += line(PROSE[:80], 50, 124 + 48 * n, 400) + line("era smarrita.", 50, 136 + 48 * n, 80)
    assert [text.split()[0] for _, text in text_of(page)] == [f"{c}{n}" for n in range(4) for c in "pq"]


def test_a_stretched_line_ends_at_the_gutter() -> None:
    page = column("a", 50, 100, 230, 12) + column("b", 300, 100, 230, 12)
    page += [
        (50.0, 244.0, 100.0, 254.0, "parole", "F"),
        (115.0, 244.0, 165.0, 254.0, "molto", "F"),
        (180.0, 244.0, 285.0, 254.0, "larghe", "F"),
    ]
    page += line(f"c {PROSE[:45]}", 300, 244, 230) + column("d", 50, 256, 230, 4) + column("e", 300, 256, 230, 4)
    text = " ".join(text for _, text in text_of(page))
    assert text.index("larghe") < text.index("d3") < text.index("b0") < text.index("c Nel")


def test_a_raised_mark_stays_with_its_word_wherever_it_is_painted() -> None:
    page = [*line(PROSE[:60], 50, 100, 300), (50.0, 112.0, 90.0, 122.0, "(DMCA)", "F"), (100.0, 112.0, 150.0, 122.0, "legge", "F")]
    page += [*line(PROSE[:60], 50, 124, 300), (90.5, 110.0, 94.0, 116.0, "1", "F")]
    assert "(DMCA)1 legge" in text_of(page)[0][1]


def test_a_frame_around_rows_of_entries_leaves_them_to_their_alignment() -> None:
    page = line("Preventivo", 55, 103, 60)
    for i, row in enumerate([("Ore", "Prezzo", "Costo"), ("2", "150", "300"), ("3", "150", "450"), ("4", "10", "40")]):
        page += [
            (x, 125 + 14.0 * i, x + 6.0 * len(cell), 135 + 14.0 * i, cell, "F") for x, cell in zip((160.0, 260.0, 360.0), row, strict=True)
        ]
        page += [(55.0, 125 + 14.0 * i, 100.0, 135 + 14.0 * i, f"Voce{i}", "F")]
    frame = [*ruled([50, 150, 420], [120, 185]), (50.0, 100.0, 420.0, 100.0), (50.0, 100.0, 50.0, 120.0), (420.0, 100.0, 420.0, 120.0)]
    (table,) = [b for b in blocks(page, drawn=frame) if b.grid]
    assert ["Voce1", "2", "150", "300"] in table.grid


words = st.lists(
    st.tuples(
        st.floats(0, 550), st.floats(0, 800), st.floats(1, 90), st.floats(4, 30), st.sampled_from(["-", "1.", "Art.", "testo", "•", "II"])
    ),
    min_size=1,
    max_size=60,
)
boxes = st.lists(st.tuples(st.floats(0, 550), st.floats(0, 800), st.floats(0, 300), st.floats(0, 300)), max_size=12)


@given(words, boxes)
@settings(max_examples=80)
def test_nothing_is_lost_whatever_the_boxes(found: list[tuple[float, float, float, float, str]], drawn: list[tuple[float, ...]]) -> None:
    """Each word bears a name of its own; signs may be made bullets, and hyphens go where lines are joined."""
    page = [(x, y, x + w, y + h, f"{sign}w{i}q", "F") for i, (x, y, w, h, sign) in enumerate(found)]
    lines = [(x, y, x + w, y + h) for x, y, w, h in drawn]
    out = blocks(page, drawn=lines)
    text = " ".join(" ".join(cell for row in b.grid for cell in row) if b.grid else b.text for b in out)
    assert all(text.count(f"w{i}q") == 1 for i in range(len(page)))
    assert [(b.label, b.text, b.grid) for b in blocks(page, drawn=lines)] == [(b.label, b.text, b.grid) for b in out]


@given(st.integers(1, 4), st.integers(6, 25), st.integers(12, 30), st.randoms())
@settings(max_examples=40)
def test_columns_are_read_in_order_however_the_file_paints_them(columns: int, lines: int, gutter: int, random: object) -> None:
    width = (500 - gutter * (columns - 1)) / columns
    painted = [
        line(f"c{c}r{i}e {PROSE[: int(width / 5)]}", 45 + c * (width + gutter), 100 + 12 * i, width)
        for c in range(columns)
        for i in range(lines)
    ]
    random.shuffle(painted)  # type: ignore[attr-defined]
    text = " ".join(b.text for b in blocks([word for part in painted for word in part]))
    marks = [f"c{c}r{i}e" for c in range(columns) for i in range(lines)]
    assert sorted(marks, key=text.index) == marks
