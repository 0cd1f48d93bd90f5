from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from corpus.outcome import Misuse
from filters.decontaminate import Index, digest_of, files_of

QUESTION = (
    "In quale anno la commissione incaricata di studiare il progetto del nuovo porto consegnò la relazione finale al ministro competente?"
)
SHORT = "Chi scrisse la prima grammatica della lingua sarda?"
OTHER = "Il fiume nasce dal monte più alto della regione e scorre verso il mare attraversando tre province e numerosi piccoli comuni."


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "qa.jsonl").write_text(json.dumps({"id": 1, "q": {"text": [QUESTION]}}) + "\n" + json.dumps({"q": SHORT}) + "\n\n")
    (tmp_path / "lines.txt.gz").write_bytes(gzip.compress(f"breve\n{OTHER}\n".encode()))
    (tmp_path / "readme.bin").write_bytes(b"\x00")
    return tmp_path


def test_a_document_that_holds_an_item_is_found_with_file_and_row(folder: Path) -> None:
    index = Index((str(folder),))
    assert index.overlap(f"Premessa. {QUESTION.upper()} Seguono altre parole.") == (1.0, f"{folder.name}/qa.jsonl:1")
    assert index.overlap(f"prima {OTHER} dopo") == (1.0, f"{folder.name}/lines.txt.gz:2")


def test_a_short_item_is_looked_for_whole(folder: Path) -> None:
    index = Index((str(folder),))
    assert index.overlap(f"Ecco: {SHORT}") == (1.0, f"{folder.name}/qa.jsonl:2")
    assert index.overlap("Chi scrisse la prima grammatica della lingua?") == (0.0, "")


def test_half_an_item_gives_its_share_and_a_paraphrase_nothing(folder: Path) -> None:
    index = Index((str(folder),))
    share, _ = index.overlap(" ".join(QUESTION.split()[:16]))
    assert 0.0 < share < 1.0
    assert index.overlap("La commissione per il porto consegnò la sua relazione al ministro nel 1907.") == (0.0, "")
    assert index.overlap("") == (0.0, "")


def test_parquet_and_json_are_read_too(tmp_path: Path) -> None:
    pq.write_table(pa.table({"n": [1, 2], "text": [OTHER, None]}), tmp_path / "a.parquet")
    (tmp_path / "b.json").write_text(json.dumps([{"x": "no"}, {"x": QUESTION}]))
    index = Index((str(tmp_path / "a.parquet"), str(tmp_path / "b.json")))
    assert index.overlap(OTHER) == (1.0, "a.parquet:1")
    assert index.overlap(QUESTION) == (1.0, "b.json:2")


def test_the_digest_follows_the_content(folder: Path) -> None:
    before = digest_of((str(folder),))
    assert digest_of(()) == "" and digest_of((str(folder),)) == before
    (folder / "lines.txt.gz").write_bytes(gzip.compress(b"altro"))
    assert digest_of((str(folder),)) != before


def test_missing_empty_and_broken_places_are_said_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(Misuse, match="split.eval_files"):
        files_of((str(tmp_path / "nothing"),))
    with pytest.raises(Misuse, match="no evaluation file"):
        files_of((str(tmp_path),))
    (tmp_path / "bad.jsonl").write_text("{")
    with pytest.raises(Misuse, match="bad.jsonl"):
        Index((str(tmp_path),))
