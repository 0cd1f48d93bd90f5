"""Every format to text, every refusal with its reason. The files are made here."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from damage import ends_in_text_or_a_verdict

from corpus.canonical import digest_bytes
from corpus.outcome import Circumstance, Outcome, Verdict
from corpus.stage import Inputs
from extractors import extract
from extractors.chat import parse
from extractors.sniff import sniff

CONFIG = extract.ExtractConfig()
PROSE = (
    "Nel mezzo del cammin di nostra vita mi ritrovai per una selva oscura, ché la diritta via era smarrita. "
    "Ahi quanto a dir qual era è cosa dura esta selva selvaggia e aspra e forte che nel pensier rinova la paura!"
)


def measured(data: bytes, curated: bool = False, kind: str = "") -> dict[str, Any]:
    return extract.as_measurements(extract.extracted(CONFIG, data, kind or sniff(data), curated), CONFIG)


def text_of(data: bytes) -> str:
    return str(measured(data)["text"])


def decided(data: bytes) -> Outcome:
    return extract.decide(CONFIG, measured(data))


def pdf() -> bytes:
    from reportlab.pdfgen.canvas import Canvas

    out = io.BytesIO()
    canvas = Canvas(out, pagesize=(595, 842))
    canvas.drawString(60, 760, "Relazione annuale")
    canvas.save()
    return out.getvalue()


def test_empty_files_binaries_and_blank_texts_are_rejected() -> None:
    assert decided(b"").reason == "empty"
    assert decided(bytes(range(256)) * 10).reason == "unsupported"
    assert decided(b"  \n\t \n").reason == "no_text"


def test_rtf_is_read() -> None:
    data = rb"{\rtf1\ansi\ansicpg1252{\fonttbl{\f0 Arial;}}{\info{\title Lettera}}Perch\'e9 la citt\u224 ? dorme?\par Secondo\tab x}"
    m = measured(data)
    assert m["text"] == "Perché la città dorme?\n\nSecondo\tx"
    assert m["title"] == "Lettera"


CHAT = "<|im_start|>user\nCiao<|im_end|>\n<|im_start|>assistant\nCiao a te!<|im_end|>\n"


def test_curated_chat_needs_the_place_and_valid_chatml() -> None:
    row = json.dumps({"messages": [{"role": "user", "content": "Ciao"}, {"role": "assistant", "content": "Ciao a te!"}]}).encode()
    for data in (CHAT.encode(), row):
        m = measured(data, curated=True)
        assert (m["form"], m["text"]) == ("chat", CHAT)
        assert parse(m["text"]) is not None
        assert measured(data)["form"] == "prose"
    m = measured(b"Una nota di prosa nel posto delle chat.", curated=True)
    assert (m["form"], m["warnings"]) == ("prose", ["not_valid_chat"])
    assert extract.decide(CONFIG, m).fields["form"] == "prose"


def test_a_file_that_changed_after_it_was_listed_is_a_circumstance(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("prima")
    measure = extract.measure(CONFIG, Inputs())
    document = {"id": digest_bytes(b"prima"), "kind": "text", "curated": False, "path": str(path), "inner": ""}
    assert measure(document)["text"] == "prima"
    path.write_text("dopo!")
    with pytest.raises(Circumstance, match="changed"):
        measure(document)


def test_measurements_fit_the_declared_columns_and_no_reason_quotes_the_document() -> None:
    import pyarrow as pa

    rows = [measured(d) for d in (b"", PROSE.encode(), CHAT.encode(), "\ud800x".encode("utf-8", "surrogatepass"))]
    assert pa.Table.from_pylist(rows, schema=extract.STAGE.measures).num_rows == len(rows)
    try:
        measured(b'{"text": "SEGRETISSIMO')
    except Verdict as verdict:
        assert "SEGRETISSIMO" not in verdict.detail


def test_damaged_files_end_in_text_or_a_verdict() -> None:
    ends_in_text_or_a_verdict(pdf(), measured)


def test_a_hole_of_zeros_costs_what_stood_there_and_is_said() -> None:
    outcome = decided(PROSE.encode() + bytes(4096) + PROSE.encode())
    assert (outcome.status, outcome.reason) == ("kept", "partial") and "zeros" in outcome.detail
