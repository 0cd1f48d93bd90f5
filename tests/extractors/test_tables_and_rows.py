"""JSON, JSONL, CSV and Parquet: which field is the text, decided once for a table and said so."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from corpus.outcome import Verdict
from extractors import extract
from extractors.containers.walk import Limits, open_file, read_member
from extractors.rows import tables
from extractors.sniff import sniff

CONFIG = extract.ExtractConfig()
LIMITS = Limits()
SENTENCES = (
    "Il consiglio comunale, riunito in seduta ordinaria, ha approvato il bilancio di previsione per l'anno in corso.",
    "La commissione ha esaminato le domande pervenute e ne ha ammesse dodici, escludendo quelle prive di firma.",
    "I lavori di restauro della torre campanaria inizieranno a primavera e dureranno, salvo imprevisti, otto mesi.",
    "Con sentenza depositata ieri il tribunale ha respinto il ricorso e condannato le parti alle spese di giudizio.",
)


def prose(number: int) -> str:
    return f"{SENTENCES[number % 4]} {SENTENCES[(number + 1) % 4]} Pratica {number}."


def measured(data: bytes, kind: str = "") -> dict[str, Any]:
    return extract.as_measurements(extract.extracted(CONFIG, data, kind or sniff(data)), CONFIG)


def as_csv(rows: list[list[object]], delimiter: str = ";", encoding: str = "cp1252") -> bytes:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter).writerows(rows)
    return out.getvalue().encode(encoding)


def saved(tmp_path: Path, data: bytes) -> str:
    path = tmp_path / "file"
    path.write_bytes(data)
    return str(path)


def rows_of(tmp_path: Path, data: bytes, limits: Limits = LIMITS) -> list[dict[str, Any]]:
    """The members of a file as they are read."""
    path = saved(tmp_path, data)
    return [{"inner": f.inner, "kind": f.kind, **measured(read_member(path, f.inner), f.kind)} for f in open_file(path, limits)]


@pytest.mark.parametrize("name", ["testo", "Contenuto", "corpo"])
def test_a_configured_column_makes_rows_of_a_table_and_the_short_ones_are_read_alike(tmp_path: Path, name: str) -> None:
    table = [
        ["id", "oggetto", name],
        *[[i, f"Oggetto molto lungo della deliberazione {i}", prose(i)] for i in range(6)],
        [7, "Altro", "Sì."],
    ]
    rows = rows_of(tmp_path, as_csv(table))
    assert [row["inner"] for row in rows] == [str(i) for i in range(1, 8)]
    assert {row["kind"] for row in rows} == {f"row:{tables.column_key(name)}"}
    assert (rows[0]["text"], rows[0]["title"]) == (prose(0), "Oggetto molto lungo della deliberazione 0")
    assert rows[6]["text"] == "Sì." and rows[6]["warnings"] == []
    assert json.loads(rows[0]["metadata"])["text_field"] == name


@pytest.mark.parametrize("name", ["descrizione", "motivazione", "Nota dell'ufficio"])
def test_a_column_of_prose_is_found_without_being_configured_and_every_row_says_so(tmp_path: Path, name: str) -> None:
    table = [["protocollo", "comune", name, "importo"], *[[i, "Forlì", prose(i), f"{i},50"] for i in range(8)]]
    rows = rows_of(tmp_path, as_csv(table))
    assert {row["kind"] for row in rows} == {f"guess:{tables.column_key(name)}"}
    assert all(row["warnings"] == ["text_field_guessed"] for row in rows)
    assert all(json.loads(row["metadata"])["text_field"] == name for row in rows)
    assert rows[3]["text"] == prose(3)


def test_columns_of_names_codes_addresses_and_links_are_no_text(tmp_path: Path) -> None:
    table = [
        ["denominazione", "indirizzo", "sito"],
        *[[f"Istituto {i}", f"Via Roma {i}, Bari", f"https://example.org/a/b/c/{i}"] for i in range(9)],
    ]
    (row,) = rows_of(tmp_path, as_csv(table))
    assert (row["kind"], row["extractor"], row["encoding"]) == ("csv", "csv", "utf-8")
    assert "| Istituto 3 | Via Roma 3, Bari |" in row["text"]


def test_two_columns_of_prose_are_one_table_so_that_neither_is_lost(tmp_path: Path) -> None:
    table = [["titolo", "parere", "replica"], *[[i, prose(i), prose(i + 1)] for i in range(8)]]
    (row,) = rows_of(tmp_path, as_csv(table))
    assert row["kind"] == "csv" and row["text"].count("Pratica 3.") == 2


def test_the_configured_column_can_be_any(tmp_path: Path) -> None:
    table = [["parere", "replica"], *[[prose(i), prose(i + 1)] for i in range(5)]]
    rows = rows_of(tmp_path, as_csv(table), Limits(text_columns=("replica",)))
    assert {row["kind"] for row in rows} == {f"row:{tables.column_key('replica')}"}
    assert rows[0]["text"] == prose(1)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
def test_a_table_is_read_in_every_dialect(tmp_path: Path, delimiter: str, encoding: str) -> None:
    table = [["Comune", "Qualità", "Note"], ["Forlì", "così", 'fra "virgolette"'], ["Cantù", "più", f"a{delimiter}b"], ["Bari", "", ""]]
    (row,) = rows_of(tmp_path, as_csv(table, delimiter, encoding))
    note = "a\\|b" if delimiter == "|" else " ".join(f"a{delimiter}b".split())
    assert row["text"].splitlines()[2:4] == ['| Forlì | così | fra "virgolette" |', f"| Cantù | più | {note} |"]


def test_ragged_rows_keep_all_their_cells(tmp_path: Path) -> None:
    (row,) = rows_of(tmp_path, b"a,b,c,d\n1,2,3,4\n1,2,3\n1,2,3,4,5\n" + b"1,2,3,4\n" * 4)
    assert row["kind"] == "csv" and "| 1 | 2 | 3 | 4 | 5 |" in row["text"]


def test_a_table_without_names_has_its_first_row_as_a_row(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, as_csv([[f"2024-01-0{i + 1}", "Roma", prose(i)] for i in range(6)]))
    assert [row["text"] for row in rows] == [prose(i) for i in range(6)]
    assert {row["kind"] for row in rows} == {f"guess:{tables.column_key('3')}"}


def test_prose_with_commas_is_no_table() -> None:
    assert sniff("\n".join(SENTENCES).encode()) == "text"
    assert sniff(b"Nel mezzo del cammin, disse,\nmi ritrovai, allora,\nche la via, ahi,\nera smarrita, temo,\n") == "text"


def test_parquet_rows_are_addressed_by_number_across_row_groups(tmp_path: Path) -> None:
    out = io.BytesIO()
    table = pa.table({"id": range(50), "corpo": [prose(i) for i in range(50)], "giorno": [None] * 50})
    pq.write_table(table, out, row_group_size=7)
    path = saved(tmp_path, out.getvalue())
    found = open_file(path)
    assert [f.inner for f in found] == [str(i) for i in range(1, 51)]
    assert {f.kind for f in found} == {f"row:{tables.column_key('corpo')}"}
    for number in (50, 1, 8, 7):
        assert measured(read_member(path, str(number)), f"row:{tables.column_key('corpo')}")["text"] == prose(number - 1)


def test_parquet_is_read_a_row_group_at_a_time() -> None:
    out = io.BytesIO()
    pq.write_table(pa.table({"n": range(1000)}), out, row_group_size=100)
    columns = tables.Columns(out.getvalue())
    assert (len(columns), columns.row(1), columns.row(1000)) == (1000, {"n": 0}, {"n": 999})
    assert columns._table.num_rows == 100


def test_a_parquet_without_text_is_one_table_and_a_damaged_one_is_malformed(tmp_path: Path) -> None:
    out = io.BytesIO()
    pq.write_table(pa.table({"comune": ["Roma", "Bari"], "abitanti": [2, 1]}), out)
    (row,) = rows_of(tmp_path, out.getvalue())
    assert row["text"] == "| comune | abitanti |\n| --- | --- |\n| Roma | 2 |\n| Bari | 1 |"
    with pytest.raises(Verdict, match="malformed"):
        measured(out.getvalue()[:-20], "parquet")


def test_a_table_beyond_the_row_limit_is_cut_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("extractors.rows.reader._MAX_ROWS", 10)
    m = measured(as_csv([["a", "b", "c"], *[[i, i, i] for i in range(30)]]))
    assert "| 9 | 9 | 9 |" in m["text"] and "| 10 |" not in m["text"]
    assert m["warnings"] == ["cut_at_max_rows"]
    assert extract.decide(CONFIG, m).reason == "partial"


def test_jsonl_rows_follow_one_decision(tmp_path: Path) -> None:
    def lines(rows: list[dict[str, object]]) -> bytes:
        return b"".join(json.dumps(row).encode() + b"\n" for row in rows)

    rows = rows_of(tmp_path, lines([*[{"n": i, "relazione": prose(i)} for i in range(5)], {"n": 6, "relazione": "Nulla da dire."}]))
    assert {row["kind"] for row in rows} == {f"guess:{tables.column_key('relazione')}"}
    assert rows[5]["text"] == "Nulla da dire."
    rows = rows_of(tmp_path, lines([{"comune": "Roma", "n": i} for i in range(5)]))
    assert {row["kind"] for row in rows} == {"json"} and rows[0]["text"] == "comune: Roma\nn: 0"
    chat = [{"prompt": f"Domanda {i}?", "response": prose(i)} for i in range(5)]
    rows = rows_of(tmp_path, lines(chat))
    assert rows[0]["text"] == f"user: Domanda 0?\n\nassistant: {prose(0)}"


def test_json_rows_give_their_text_field_and_others_are_listed() -> None:
    m = measured(json.dumps({"titolo": "Uno", "testo": prose(1), "url": "https://example.org/a", "lang": "it"}).encode())
    assert (m["text"], m["title"], m["lang_hint"]) == (prose(1), "Uno", "it")
    assert json.loads(m["metadata"])["url"] == "https://example.org/a"
    m = measured(json.dumps({"comune": "Roma", "abitanti": 5, "zone": {"nord": "Prati"}}).encode())
    assert "comune: Roma\nabitanti: 5" in m["text"] and "nord: Prati" in m["text"]
    assert m["warnings"] == ["no_text_field"]
    with pytest.raises(Verdict, match="malformed"):
        measured(b'{"text": "tagliato a met')


def test_a_field_is_the_text_only_when_it_holds_text() -> None:
    row = {"articolo": "2-bis", "rubrica": "Conclusione del procedimento", "testo_vigente": prose(1)}
    m = measured(json.dumps(row).encode())
    assert (m["text"], m["warnings"], m["title"]) == (prose(1), ["text_field_guessed"], "Conclusione del procedimento")
    assert "articolo: 2-bis" in measured(json.dumps({"articolo": "2-bis", "rubrica": "Conclusione del procedimento"}).encode())["text"]
    assert measured(b'{"id": 7, "text": "Breve."}')["text"] == "Breve."


def test_a_text_inside_a_wrapping_object_is_found() -> None:
    value = {"esito": "ok", "dati": {"pagina": 1, "documento": {"oggetto": "Delibera", "testo": prose(2), "data": "2024-03-01"}}}
    m = measured(json.dumps(value).encode())
    assert (m["text"], m["title"]) == (prose(2), "Delibera")
    assert json.loads(m["metadata"])["date"] == "2024-03-01"
    beside = {"a": {"text": prose(1)}, "b": {"altro": prose(2) * 3}}
    assert "Pratica 2." in measured(json.dumps(beside).encode())["text"], "what lies beside is not lost"


def test_a_plain_csv_is_a_markdown_table() -> None:
    assert measured("comune;nota\nForlì;a|b\nRoma;c\nBari;d\n".encode("cp1252"))["text"].startswith(
        "| comune | nota |\n| --- | --- |\n| Forlì | a\\|b |"
    )


def test_a_kind_never_shows_what_may_be_data_in_the_place_of_a_name(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, as_csv([["Protocollo", "Mario Rossi, nato a Forlì"], *[[f"{i}", prose(i)] for i in range(8)]]))
    assert len(rows) == 8 and all(row["kind"].startswith("guess:") and "Rossi" not in row["kind"] for row in rows)
    assert [row["text"] for row in rows] == [prose(i) for i in range(8)]
