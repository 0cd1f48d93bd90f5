"""The extraction benchmark measures what it says: its typeset truths can be read back, its scores behave."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

SENTENCE = (
    "Le disposizioni del presente comma {n} si applicano anche ai procedimenti amministrativi in corso alla data dell'entrata in vigore."
)


@pytest.fixture(scope="module")
def bench() -> Any:
    """The modules of the benchmark, by name."""
    folder = str(Path(__file__).parent.parent / "benchmarks")
    sys.path.insert(0, folder)
    try:
        yield {name: importlib.import_module(f"extract_{name}") for name in ("score", "typeset", "pdf")}
    finally:
        sys.path.remove(folder)


@pytest.fixture(scope="module")
def laws(tmp_path_factory: pytest.TempPathFactory, bench: Any) -> list[list[str]]:
    folder = tmp_path_factory.mktemp("laws")
    articles = [
        f"Art. {n}.\n\n1. {' '.join([SENTENCE.format(n=n)] * 3)}\n\na) {SENTENCE.format(n=n + 500)}\n\nArt. {n}-bis ne fissa il termine.\n"
        for n in range(1, 90)
    ]
    (folder / "legge.txt").write_text("\n".join(articles), "utf-8")
    return list(bench["typeset"].laws(folder))


def plain(path: Path) -> str:
    """What a reader without any layout makes of a PDF."""
    import pypdfium2

    with pypdfium2.PdfDocument(path) as pdf:
        return "\n\n".join(page.get_textpage().get_text_bounded() for page in pdf)


def test_the_truth_of_one_column_is_what_any_reader_gets(tmp_path: Path, bench: Any, laws: list[list[str]]) -> None:
    for number in range(2):
        path = tmp_path / "one.pdf"
        truth = bench["typeset"].typeset("column", number, laws, path)
        best, words, _ = bench["pdf"].score(plain(path), truth)
        assert best > 0.999 and words > 0.999
        assert len(truth["truths"]) == 1, "without notes there is one truth"


def test_notes_count_after_the_page_or_after_the_document_alike(tmp_path: Path, bench: Any, laws: list[list[str]]) -> None:
    path = tmp_path / "notes.pdf"
    truth = bench["typeset"].typeset("notes", 0, laws, path)
    assert truth["pages"] > 1 and len(truth["truths"]) > 2
    best, _, _ = bench["pdf"].score(plain(path), truth)
    assert best > 0.98
    for text in truth["truths"].values():
        assert bench["pdf"].score(text, truth)[0] == 1.0


def test_words_are_divided_at_line_ends_and_whole_in_the_truth(tmp_path: Path, bench: Any, laws: list[list[str]]) -> None:
    path = tmp_path / "hyphens.pdf"
    truth = bench["typeset"].typeset("hyphens", 0, laws, path)
    text = next(iter(truth["truths"].values()))
    assert "-\n" not in text and "procedimenti amministrativi" in text and "Art. 12-bis" in " ".join(truth["truths"].values())
    assert "\x02" in plain(path), "what pdfium has for a hyphen at a line's end"
    assert "Articolo" in text and truth["pages"] >= 3


def test_the_same_text_is_set_to_the_same_bytes(tmp_path: Path, bench: Any, laws: list[list[str]]) -> None:
    one, two = tmp_path / "one.pdf", tmp_path / "two.pdf"
    assert bench["typeset"].typeset("heads", 2, laws, one) == bench["typeset"].typeset("heads", 2, laws, two)
    assert one.read_bytes() == two.read_bytes()


def test_identical_texts_score_one_and_shuffled_paragraphs_less_than_their_bag(bench: Any) -> None:
    score = bench["score"]
    paragraphs = [SENTENCE.format(n=n) for n in range(8)]
    text = "\n\n".join(paragraphs)
    shuffled = "\n\n".join(paragraphs[::-1]).replace("Le disposizioni", "Qui invece le disposizioni", 1)
    assert score.similarity(text, text) == score.bag(text, text) == 1.0
    assert score.similarity(shuffled, text) < score.bag(shuffled, text) < 1.0
    assert score.similarity("", "") == 1.0 and score.similarity("", text) == 0.0


def test_whole_paragraphs_count_only_when_nothing_is_split_off_or_run_in(bench: Any) -> None:
    paragraphs = [SENTENCE.format(n=n) for n in range(3)]
    truth = {"truths": {"document": "\n\n".join(paragraphs)}, "paragraphs": paragraphs}
    score = bench["pdf"].score
    assert score("\n\n".join(paragraphs), truth)[2] == 3
    assert score("\n\n".join(p.replace(" si ", "\nsi ") for p in paragraphs), truth)[2] == 3, "a line's end is no paragraph's end"
    assert score("\n\n".join(p.replace(" si ", "\n\nsi ") for p in paragraphs), truth)[2] == 0
    assert score(" ".join(paragraphs), truth)[2] == 0
