"""Web pages: the main text, the whole of a document, what a page says about itself, and damage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from corpus.stage import Inputs
from extractors import extract, ingest
from extractors.result import Extracted
from extractors.web.metadata import creative_commons
from extractors.web.reader import MODES, html_text

CONFIG = extract.ExtractConfig()
PROSE = (
    "Nel mezzo del cammin di nostra vita mi ritrovai per una selva oscura, ché la diritta via era smarrita. "
    "Ahi quanto a dir qual era è cosa dura esta selva selvaggia e aspra e forte che nel pensier rinova la paura!"
)
MENU = "<nav><ul><li><a href='/'>Home</a></li><li><a href='/chi'>Chi siamo</a></li></ul></nav>"


def read(page: str | bytes) -> Extracted:
    return extract.extracted(CONFIG, page if isinstance(page, bytes) else page.encode(), "html")


def measured(page: str | bytes) -> dict[str, Any]:
    return extract.as_measurements(read(page), CONFIG)


def article(body: str, head: str = "") -> str:
    return (
        f"<html lang='it'><head><meta property='og:type' content='article'>{head}</head>"
        f"<body>{MENU}<article><h1>La selva</h1>{body}</article><footer>Tutti i diritti riservati</footer></body></html>"
    )


def test_an_html_file_is_read_as_such_whatever_its_name(tmp_path: Path) -> None:
    page = f"<html lang='it'><head><title>La selva</title></head><body>{MENU}<article><p>{PROSE}</p><p>{PROSE}</p></article></body></html>"
    path = tmp_path / "documento.pdf"
    path.write_text(page)
    (member,) = ingest.measure(ingest.IngestConfig(), Inputs())({"id": "x", "path": str(path)})["members"]
    assert member["kind"] == "html"
    m = extract.measure(CONFIG, Inputs())({"id": member["id"], "kind": "html", "curated": False, "path": str(path), "inner": ""})
    assert "selva oscura" in m["text"] and "Chi siamo" not in m["text"]
    assert (m["title"], m["lang_hint"], m["extractor"]) == ("La selva", "it", "trafilatura")


def test_of_an_article_menus_footers_and_comments_are_left_out() -> None:
    comments = f"<div id='comments'><div class='comment'><p>Un commento di un lettore: {PROSE}</p></div></div>"
    result = read(article(f"<p>{PROSE}</p><h2>Seconda parte</h2><p>{PROSE}</p>") + comments)
    assert result.extractor == "trafilatura" and not result.warnings
    assert "## Seconda parte\n\nNel mezzo" in result.text
    assert not any(word in result.text for word in ("Chi siamo", "diritti riservati", "lettore"))


def test_tables_and_lists_of_an_article_are_kept_as_text() -> None:
    table = "<table><tr><th>Voce</th><th>Euro</th></tr><tr><td>Carta</td><td>12,50</td></tr><tr><td>Penne</td><td>3</td></tr></table>"
    text = read(article(f"<p>{PROSE}</p>{table}<p>{PROSE}</p><ol><li>Primo passo</li><li>Secondo passo</li></ol><p>{PROSE}</p>")).text
    assert "| Carta | 12,50 |" in text
    assert "1. Primo passo\n2. Secondo passo" in text


def test_a_page_without_navigation_is_written_whole_with_its_structure() -> None:
    page = f"""<html><body><h1>Manuale</h1><p>{PROSE}<br>Nuova riga.</p>
      <ul><li>Uno<ol type="a"><li>primo</li><li>secondo</li></ol></li><li>Due</li></ul>
      <dl><dt>Caffè</dt><dd>Bevanda nera</dd></dl>
      <pre class="code">def f():\n    return 1</pre><p>Superficie 10<sup>5</sup> m<sup>2</sup>, H<sub>2</sub>O.</p></body></html>"""
    result = read(page)
    assert result.extractor == "html" and not result.warnings
    for piece in (
        "# Manuale\n\nNel mezzo",
        "la paura!\nNuova riga.",
        "- Uno\n  a. primo\n  b. secondo\n- Due",
        "- Caffè\n  - Bevanda nera",
        "```\ndef f():\n    return 1\n```",
        "10⁵ m², H₂O.",
    ):
        assert piece in result.text


def test_cells_that_span_stand_in_each_row_and_column_but_a_title_once() -> None:
    table = """<table><tr><td colspan="3">Anno 2025</td></tr><tr><th>Sede</th><th>Mese</th><th>Euro</th></tr>
      <tr><td rowspan="2">Roma</td><td>Gennaio</td><td>1</td></tr><tr><td>Marzo</td><td>2</td></tr>
      <tr><td colspan="2">Totale</td><td>3</td></tr></table>"""
    assert html_text(table).splitlines() == [
        "| Anno 2025 |  |  |",
        "| --- | --- | --- |",
        "| Sede | Mese | Euro |",
        "| Roma | Gennaio | 1 |",
        "| Roma | Marzo | 2 |",
        "| Totale | Totale | 3 |",
    ]


def test_a_table_that_lays_out_a_page_is_read_cell_by_cell() -> None:
    inner = "<table><tr><td>a</td><td>b</td></tr><tr><td>c</td><td>d</td></tr></table>"
    text = html_text(f"<table><tr><td><h2>Titolo</h2><p>{PROSE}</p></td><td>{inner}</td></tr><tr><td>Fine</td></tr></table>")
    assert text == f"## Titolo\n\n{PROSE}\n\n| a | b |\n| --- | --- |\n| c | d |\n\nFine"


def test_the_numbered_articles_of_a_law_are_never_lost() -> None:
    articles = "".join(f"<div>Art. {i}.</div><div>(Rubrica {i}).</div><p>{i}. {PROSE}</p>" for i in range(1, 12))
    page = f"<html><head><meta property='og:title' content='Legge'></head><body>{MENU}<div>{articles}</div></body></html>"
    text = read(page).text
    assert all(f"Art. {i}.\n\n(Rubrica {i})." in text for i in range(1, 12))
    assert "Chi siamo" not in text


def test_a_law_in_preformatted_lines_keeps_its_lines() -> None:
    lines = "\n".join(f"Art. {i}\n  Il presente articolo reca disposizioni sulla materia numero {i}." for i in range(1, 9))
    text = read(f"<html><body>{MENU}<pre>{lines}</pre></body></html>").text
    assert "Art. 3\n  Il presente articolo" in text


def test_a_page_of_links_falls_back_to_all_text_and_says_so() -> None:
    links = "".join(f"<li><a href='/{i}'>Articolo numero {i} del codice civile</a></li>" for i in range(60))
    result = read(f"<html><body>{MENU}<ul>{links}</ul></body></html>")
    assert "- Articolo numero 59 del codice civile" in result.text and "Chi siamo" not in result.text
    assert result.warnings == ["fallback_all_text"]


def test_a_form_of_short_labels_falls_back_and_the_outcome_says_so() -> None:
    rows = "".join(f"<div class='riga'><label>Campo {i}</label> <span><a href='#{i}'>valore {i} scelto</a></span></div>" for i in range(80))
    m = measured(f"<html><head><meta property='og:title' content='x'></head><body>{MENU}<form>{rows}</form></body></html>")
    outcome = extract.decide(CONFIG, m)
    assert "valore 79 scelto" in m["text"] and m["warnings"] == ["fallback_all_text"]
    assert (outcome.status, outcome.reason) == ("kept", "fallback") and "all_text" in outcome.detail


def test_what_a_page_declares_is_kept() -> None:
    head = """<title>La selva | Sito</title><meta property="og:title" content="La selva"><meta name="author" content="Anna Verdi">
      <meta property="og:site_name" content="Il Sito"><link rel="canonical" href="https://example.org/selva">
      <meta property="article:published_time" content="2024-03-05T10:00:00+01:00">
      <link rel="license" href="https://creativecommons.org/licenses/by-sa/4.0/deed.it">"""
    m = measured(article(f"<p>{PROSE}</p>" * 3, head))
    about = json.loads(m["metadata"])
    assert (m["title"], m["lang_hint"]) == ("La selva", "it")
    assert {key: about[key] for key in ("date", "author", "url", "licence", "sitename", "encoding")} == {
        "date": "2024-03-05",
        "author": "Anna Verdi",
        "url": "https://example.org/selva",
        "licence": "CC BY-SA 4.0",
        "sitename": "Il Sito",
        "encoding": "utf-8",
    }


def test_json_ld_a_byline_and_an_italian_day_are_understood() -> None:
    data = {
        "@graph": [{"@type": "Organization", "name": "No"}, {"@type": "NewsArticle", "headline": "Titolo", "author": {"name": "Ugo Neri"}}]
    }
    about = read(article(f"<p>{PROSE}</p>", f"<script type='application/ld+json'>{json.dumps(data)}</script>"))
    assert (about.title, about.metadata["author"]) == ("Titolo", "Ugo Neri")
    about = read(article(f"<p class='byline'>di Anna Verdi</p><time class='date'>05/03/2021</time><p>{PROSE}</p>"))
    assert (about.metadata["author"], about.metadata["date"]) == ("Anna Verdi", "2021-03-05")


@pytest.mark.parametrize(
    ("said", "licence"),
    [
        ("Contenuti rilasciati con licenza CC BY 4.0, salvo dove indicato.", "CC BY 4.0"),
        ("I dati sono pubblicati con licenza d'uso Italian Open Data License v2.0.", "Italian Open Data License v2.0"),
        ("Except where noted, licensed under a Creative Commons Attribution 3.0 licence.", "Creative Commons Attribution 3.0"),
        ("<a href='http://creativecommons.org/licenses/by-nc/3.0/it/'>Alcuni diritti riservati</a>", "CC BY-NC 3.0"),
        ("La licenza edilizia è stata rilasciata dal comune.", ""),
    ],
)
def test_a_licence_is_found_where_a_page_gives_itself_one(said: str, licence: str) -> None:
    assert read(f"<html><body><p>{PROSE}</p><p>{said}</p></body></html>").metadata["licence"] == licence


def test_addresses_of_creative_commons_become_names() -> None:
    assert creative_commons("https://creativecommons.org/publicdomain/zero/1.0/") == "CC0 1.0"
    assert creative_commons("https://example.org/licenses/by/4.0/") == ""


def test_a_page_declared_in_one_encoding_and_written_in_another_is_decoded() -> None:
    page = f"<html><head><meta charset='utf-8'></head><body><p>Perché la città è così: {PROSE}</p></body></html>"
    result = read(page.encode("cp1252"))
    assert "Perché la città è così" in result.text and result.encoding == "cp1252"
    xhtml = '<?xml version="1.0" encoding="ISO-8859-1"?><html xmlns="http://www.w3.org/1999/xhtml" xml:lang="it"><p>città</p></html>'
    result = read(xhtml.encode("latin-1"))
    assert (result.text, result.lang_hint) == ("città", "it")


def test_fragments_frames_and_other_directions_are_read() -> None:
    assert html_text("Ciao <b>mon</b>do<p>Secondo") == "Ciao mondo\n\nSecondo"
    frames = f"<html><frameset><frame src='a.html'><noframes><p>{PROSE}</p></noframes></frameset></html>"
    assert "selva oscura" in read(frames).text
    assert html_text("<div dir='rtl'><p>שלום עולם</p><p>مرحبا</p></div>") == "שלום עולם\n\nمرحبا"


def test_a_text_inside_what_was_never_closed_is_not_lost() -> None:
    page = f"<html><body><noscript><iframe src='x'></noscript></iframe><div><h1>Titolo</h1><p>{PROSE}</p><p>{PROSE}</p></div></body></html>"
    assert "selva oscura" in read(page).text


def test_damaged_pages_end_in_their_text() -> None:
    deep = "<div>" * 5000 + f"<p>{PROSE}</p>" + "</div>" * 5000
    result = read(f"<html><body>{deep}</body></html>")
    assert result.text == PROSE and result.warnings == ["fallback_strip"]
    assert read(f"<html><body>{'<div>' * 1500}<p>{PROSE}</p></body></html>").text == PROSE
    assert read(f"<p title='{'a' * 11_000_000}'>{PROSE}</p>").text == PROSE
    assert read(f"<p>{PROSE}\x00\x01</p>&#1;").text.startswith(PROSE)
    assert read("<html></html>").text == ""
    assert read(f"<html><body><p>{PROSE}</p><!-- {PROSE}").text == PROSE


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_is_a_setting_and_gives_the_same_text_each_time(mode: str) -> None:
    config = extract.ExtractConfig(html=mode)
    page = article(f"<p>{PROSE}</p>" * 4).encode()
    first = extract.extracted(config, page, "html")
    assert "selva oscura" in first.text and first == extract.extracted(config, page, "html")
