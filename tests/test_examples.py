"""The example folder is what its script makes, stays small, and holds what it promises."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import yaml

EXAMPLES = Path(__file__).parent.parent / "examples"
RAW = EXAMPLES / "raw"


def files() -> list[Path]:
    return sorted(p for p in RAW.rglob("*") if p.is_file())


def conversations() -> list[list[dict[str, str]]]:
    rows = [line for name in ("istruzioni.jsonl", "instructions.jsonl") for line in (RAW / "chat" / name).read_text("utf-8").splitlines()]
    return [json.loads(row)["messages"] for row in rows]


def test_the_script_makes_every_binary_file_again_byte_for_byte():
    done = subprocess.run([sys.executable, str(EXAMPLES / "make.py"), "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_folder_has_many_documents_of_many_forms_and_stays_small():
    found = files()
    forms = Counter(p.suffix for p in found)
    expected = set(".pdf .html .docx .pptx .xlsx .epub .odt .xml .json .jsonl .txt .md .eml .mbox .zip".split())
    assert len(found) >= 60 and expected <= forms.keys()
    assert max(p.stat().st_size for p in found) < 300_000
    assert sum(p.stat().st_size for p in found) < 3_000_000


def test_damaged_and_disguised_files_are_what_they_claim():
    damaged = RAW / "danneggiati"
    assert (damaged / "vuoto.txt").stat().st_size == 0
    assert (damaged / "pagina-salvata-come.pdf").read_bytes().lower().startswith(b"<!doctype html")
    assert b"/Encrypt" in (damaged / "con-password.pdf").read_bytes()
    assert not (damaged / "interrotto.pdf").read_bytes().rstrip().endswith(b"%%EOF")


def test_texts_in_other_encodings_are_no_clean_utf8():
    notebook = (RAW / "lettere" / "il-quaderno-della-nonna.txt").read_bytes()
    assert "perché" not in notebook.decode("utf-8", "replace") and "«Spese»" in notebook.decode("cp1252")
    assert "cittÃ" in (RAW / "saggi" / "la-neve-in-citta.txt").read_text("utf-8")


def test_duplicates_are_exact_and_near():
    first, copy, near = (RAW / "comune" / f"avviso-acqua{s}.txt" for s in ("", " (copia)", "-rettificato"))
    assert first.read_bytes() == copy.read_bytes()
    one, other = first.read_text("utf-8").split(), near.read_text("utf-8").split()
    assert 0 < sum(a != b for a, b in zip(one, other, strict=True)) < len(one) / 20


def test_conversations_are_many_distinct_and_alternate():
    found = conversations()
    assert len(found) >= 150
    assert len({json.dumps(m) for m in found}) == len(found)
    for messages in found:
        assert [m["role"] for m in messages] == ["user", "assistant"] * (len(messages) // 2)
        assert all(m["content"].strip() for m in messages)


def test_the_example_configuration_is_accepted_and_changes_nothing_silently():
    from flows.pipeline import WAY
    from flows.settings import configure

    _, _, resolved = configure(WAY, EXAMPLES / "athanor.yaml")
    assert resolved == configure(WAY)[2], "a value in the file is not the default any more"
    written = yaml.safe_load((EXAMPLES / "athanor.yaml").read_text("utf-8"))
    assert {name: {key: resolved[name][key] for key in section} for name, section in written.items()} == written
