"""Plain text and light markup: told by content, read as Markdown, nothing of the syntax and none of the text lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from extractors import extract
from extractors.sniff import sniff

CONFIG = extract.ExtractConfig()


def measured(source: str, kind: str = "") -> dict[str, Any]:
    data = source.encode()
    return extract.as_measurements(extract.extracted(CONFIG, data, kind or sniff(data)), CONFIG)


def text_of(source: str) -> str:
    return str(measured(source)["text"])


RST = """\
:date: 2024-03-01
:license: CC BY 4.0

Linee guida
===========

.. contents::

Il *riuso* del **software**, come dice :ref:`il capitolo 2 <capitolo-2>`, è un `obbligo
<https://example.org/cad>`_ [1]_. |nome| lo ricorda.

.. note:: Una nota che resta.

.. admonition-inventata:: Un argomento
   :opzione: x

   Il contenuto di una direttiva sconosciuta.

.. |nome| replace:: L'agenzia

Elenco
------

1. primo
2. secondo

   - interno

Termine
    La sua definizione.

+--------+-------+
| Comune | Casi  |
+========+=======+
| Forlì  | 12    |
+--------+-------+

.. code-block:: python

    print("ciao")

.. include:: /etc/hostname
.. raw:: html

   <p>Un testo <b>grezzo</b></p>

.. un commento che non si legge

.. [1] La nota a piè di pagina.
"""


def test_restructured_text_becomes_markdown() -> None:
    assert sniff(RST.encode()) == "rst"
    m = measured(RST)
    for piece in (
        "# Linee guida",
        "Il *riuso* del **software**, come dice il capitolo 2, è un obbligo [1]. L'agenzia lo ricorda.",
        "Una nota che resta.",
        "Un argomento\n\nIl contenuto di una direttiva sconosciuta.",
        "## Elenco",
        "1. primo",
        "- interno",
        "**Termine**\n\nLa sua definizione.",
        "| Comune | Casi |\n| --- | --- |\n| Forlì | 12 |",
        '```\nprint("ciao")\n```',
        "Un testo grezzo",
        "[1] La nota a piè di pagina.",
    ):
        assert piece in m["text"], piece
    for syntax in ("::", "commento", "opzione", "|nome|", "capitolo-2", "Unknown", "hostname"):
        assert syntax not in m["text"]
    assert (m["title"], m["extractor"], m["warnings"]) == ("Linee guida", "docutils", ["inclusion_left_out"])
    assert {"date": "2024-03-01", "licence": "CC BY 4.0"}.items() <= json.loads(m["metadata"]).items()


def test_broken_restructured_text_keeps_its_words_and_has_no_error_messages() -> None:
    source = "Titolo\n======\n\nUn ``letterale aperto e un *corsivo aperto.\n\n"
    source += "====  ===\nuna  tabella rotta oltre i bordi\n====  ===\n\nAltro\n---\n\n.. _x:\n"
    text = text_of(source)
    for word in ("letterale aperto", "corsivo aperto", "tabella rotta oltre i bordi", "Altro"):
        assert word in text
    for word in ("WARNING", "ERROR", "Malformed", "system", "Inline"):
        assert word not in text


def test_no_file_is_read_for_a_restructured_text(tmp_path: Path) -> None:
    (tmp_path / "segreto.txt").write_text("PAROLA")
    for directive in ("include", "literalinclude", "csv-table", "raw"):
        option = "\n   :file: " if directive in ("csv-table", "raw") else " "
        argument = " html" if directive == "raw" else ""
        source = f"Titolo\n======\n\n.. {directive}::{argument}{option}{tmp_path}/segreto.txt\n\nTesto.\n"
        m = measured(source, "rst")
        assert "PAROLA" not in m["text"] and "Testo." in m["text"]


ASCIIDOC = """\
= La guida
Anna Rossi <anna@example.org>
v1.0, 2024-05-02
:prodotto: Atanor
:toc:

////
Un commento
su più righe.
////

[[primo]]
== Il *primo* capitolo

Questo è {prodotto}, dice la http://example.org/a[documentazione], e `git log` lo mostra.(((indice)))
Vedi <<primo,il capitolo>>.footnote:[Una nota.]

.Procedura
. Apri il file.
+
[source,console]
----
$ cat *.txt
----
. Salva.
.. anche due volte
* Fine

Voce:: la sua definizione

NOTE: Un avviso.

|===
|Comune |Casi

|Forlì |12
2+|insieme
|===

include::altro.adoc[]

image::a.png[Una figura, 200]
"""


def test_asciidoc_becomes_markdown() -> None:
    assert sniff(ASCIIDOC.encode()) == "asciidoc"
    m = measured(ASCIIDOC)
    for piece in (
        "# La guida",
        "## Il **primo** capitolo",
        "Questo è Atanor, dice la [documentazione](http://example.org/a), e `git log` lo mostra.",
        "Vedi il capitolo. (Una nota.)",
        "Procedura\n\n1. Apri il file.\n   ```\n   $ cat *.txt\n   ```\n2. Salva.\n    1. anche due volte",
        "- Fine",
        "**Voce**: la sua definizione",
        "NOTE: Un avviso.",
        "| Comune | Casi |\n| --- | --- |\n| Forlì | 12 |\n| insieme |  |",
        "Una figura",
    ):
        assert piece in m["text"], piece
    for syntax in ("commento", "anna@", "prodotto", "|===", "include", "indice", "[[", "200"):
        assert syntax not in m["text"]
    assert (m["title"], m["warnings"]) == ("La guida", ["inclusion_left_out"])
    assert json.loads(m["metadata"])["date"] == "2024-05-02"


LATEX = r"""\documentclass{article}
\usepackage[italian]{babel}
\newcommand{\ente}{Agenzia per il territorio}
\title{Una relazione}
\date{3 marzo 2024}
\begin{document}
\maketitle
\section{Premessa}
La \ente{} ha \textbf{approvato} il piano~\cite{rossi2020}. % un commento
L'equazione è $E = mc^2$.
\begin{itemize}
\item primo punto
\item secondo punto
\end{itemize}
\begin{tabular}{|l|r|}
\hline
Comune & Casi \\
\hline
Forl\`i & 12 \\
\hline
\end{tabular}
\input{/etc/hostname}
\end{document}
"""


def test_latex_becomes_markdown() -> None:
    assert sniff(LATEX.encode()) == "latex"
    m = measured(LATEX)
    for piece in ("Premessa", "La Agenzia per il territorio ha", "approvato", "$E = mc^2$", "- primo punto", "| Forlì | 12 |"):
        assert piece in m["text"], piece
    for syntax in ("commento", "\\section", "hostname", "usepackage", "\\item"):
        assert syntax not in m["text"]
    assert (m["title"], m["warnings"]) == ("Una relazione", ["inclusion_left_out"])
    assert json.loads(m["metadata"])["date"] == "3 marzo 2024"


def test_no_file_is_read_for_a_latex_source(tmp_path: Path) -> None:
    (tmp_path / "segreto.tex").write_text("PAROLA")
    source = LATEX.replace("/etc/hostname", f"{tmp_path}/segreto").replace(
        r"\end{document}", rf"\include{{{tmp_path}/segreto.tex}}\end{{document}}"
    )
    assert "PAROLA" not in text_of(source)


MARKDOWN = """\
---
titolo: "Una scheda"
date: 2024-06-07
license: CC0
lang: it
tags:
  - uno
---

[![build](https://example.org/b.svg)](https://example.org) [![altro](a.png)](b)

Titolo sottolineato
===================

<!-- un commento
su due righe -->

Un <b>testo</b> con <br> a capo, un [rimando][r], &egrave; così; resta <nome@example.org> e <NOME_FILE>.

<table><tr><th>Comune</th><th>Casi</th></tr><tr><td>Forl&igrave;</td><td>12</td></tr></table>

```html
<b>codice &amp; basta</b> <!-- resta -->
```

[r]: https://example.org/r "Titolo"
[^1]: Una nota.
"""


def test_markdown_is_left_as_it_is_but_for_what_is_not_seen() -> None:
    assert sniff(MARKDOWN.encode()) == "markdown"
    m = measured(MARKDOWN)
    for piece in (
        "# Titolo sottolineato",
        "Un testo con",
        "un rimando, è così; resta <nome@example.org> e <NOME_FILE>.",
        "| Comune | Casi |\n| --- | --- |\n| Forlì | 12 |",
        "```html\n<b>codice &amp; basta</b> <!-- resta -->\n```",
        "[^1]: Una nota.",
    ):
        assert piece in m["text"], piece
    for gone in ("un commento", "tags", "b.svg", "https://example.org/r", "<br>"):
        assert gone not in m["text"]
    assert (m["title"], m["lang_hint"]) == ("Una scheda", "it")
    assert {"date": "2024-06-07", "licence": "CC0"}.items() <= json.loads(m["metadata"]).items()


def test_a_rule_at_the_top_of_a_text_is_no_front_matter() -> None:
    assert text_of("---\n\nUn testo.\n\n---\n\n- a\n- b\n").startswith("---\n\nUn testo.")


def test_subtitles_are_read_without_their_times() -> None:
    webvtt = "WEBVTT\n\nNOTE di chi\n\n1\n00:01.000 --> 00:03.000 align:right\n<v Anna>Buongiorno a <i>tutti</i>\n\n"
    webvtt += "00:03.000 --> 00:05.000\n<v Ugo>Buongiorno &amp; grazie\n"
    assert text_of(webvtt) == "Buongiorno a tutti\n\nBuongiorno & grazie"
    srt = "1\n00:00:01,000 --> 00:00:03,000\nPrima riga\n\n2\n00:00:03,000 --> 00:00:05,000\nPrima riga\nSeconda riga\n"
    assert text_of(srt) == "Prima riga\nSeconda riga"


@pytest.mark.parametrize(
    ("kind", "source"),
    [
        ("text", "Gentile cliente,\n\nle scrivo per la pratica n. 12.\n\nCordiali saluti\n"),
        ("text", "TITOLO\n\nArt. 1\n1. Il primo comma.\n2. Il secondo comma: vedi C:\\Documenti\\a.\n"),
        ("text", "Nota\n====\n\nIl file è in C:\\Documenti\\nuovi.\n"),
        ("text", "def f(x):\n    # un commento\n    return {x: 1}\n"),
        ("markdown", "# Titolo\n\nUn testo con [un link](https://example.org).\n"),
        ("markdown", "Titolo\n======\n\n```\ncodice\n```\n\n## Altro\n\n[a](b.md)\n"),
        ("markdown", "# Matematica\n\nSia $x$ tale che\n\n$$\\begin{aligned} x &= 1 \\end{aligned}$$\n\n## Poi\n"),
        ("markdown", "## Spese\n\n- uno\n- due\n"),
        ("rst", "Cosa devono fare\n================\n\n- **Da settembre** - Le amministrazioni provvedono.\n"),
        ("rst", "Titolo\n------\n\nVedi :doc:`altro` e ``codice``.\n\n.. image:: a.png\n"),
        ("asciidoc", "== Capitolo\n\nTesto.\n\n=== Sezione\n\n* uno\n"),
        ("latex", "\\section{Uno}\nTesto \\emph{vario} \\cite{a}.\n\\subsection{Due}\n"),
    ],
)
def test_light_markup_is_told_by_its_marks(kind: str, source: str) -> None:
    assert sniff(source.encode()) == kind


def test_text_keeps_its_lines_and_mojibake_waits_for_normalize() -> None:
    data = "Perché no?\r\n\r\n  Rientrato è qui.\r\n".encode("cp1252")
    m = extract.as_measurements(extract.extracted(CONFIG, data, sniff(data)), CONFIG)
    assert (m["text"], m["encoding"]) == ("Perché no?\n\n  Rientrato è qui.", "cp1252")
    assert text_of("la cittÃ  Ã¨") == "la cittÃ  Ã¨"


def test_markup_that_no_parser_takes_is_text_as_it_is_written() -> None:
    deep = "".join(f"{' ' * i}- livello\n\n" for i in range(0, 400, 2))
    m = measured(f"Titolo\n======\n\n.. note:: x\n\n{deep}", "rst")
    assert "livello" in m["text"]
    m = measured("= Titolo\n\n" + "====\n====\n" * 200 + "Testo.\n", "asciidoc")
    assert "Testo." in m["text"]
    m = measured("\\section{x} " + "{" * 1500 + " parole dentro " + "}" * 1500, "latex")
    assert "parole dentro" in m["text"]
