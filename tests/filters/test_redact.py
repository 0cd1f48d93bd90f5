"""The redact stage: what leaves it, what it remembers, what it refuses. All personal data are invented."""

from __future__ import annotations

import importlib
import json
import logging
import socket
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from corpus.config import load
from corpus.outcome import Misuse, Outcome
from corpus.stage import Inputs
from filters.redact import STAGE, RedactConfig, decide, measure, text

DEFAULT = RedactConfig()
LETTER = """Egregio dott. Zubrowski,
il sottoscritto Gualtiero Zambrutti, nato a Forlì il 3 marzo 1968, C.F. ZMBGTR68C03D704X, residente in Via dei Mille n. 4, 47121 Forlì (FC),
tel. 0543 555123, cell. +39 347 1234567, gualtiero.zambrutti@pec.esempio.it, chiede l'accredito su IT60X0542811101000000123456.
La legge Merloni non si applica. Zambrutti ha pagato con la carta 4111 1111 1111 1111 dal server 93.184.216.34.
Distinti saluti,
Gualtiero Zambrutti
"""
SECRETS = ("Zambrutti", "Gualtiero", "Zubrowski", "1968", "ZMBGTR", "Mille", "555123", "1234567", "pec.esempio", "IT60X", "4111", "93.184")


@pytest.fixture(scope="module")
def look() -> Any:
    return measure(RedactConfig(ner="rules"), Inputs())


def document(words: str, lang: str = "it", **fields: str) -> dict[str, str]:
    return {"id": "0" * 32, "text": words, "title": "", "lang": lang, "form": "prose", "metadata": "{}", **fields}


def redacted(look: Any, words: str, config: RedactConfig = DEFAULT, **fields: str) -> str:
    return text(config, look(document(words, **fields)), words)


def test_a_letter_leaves_without_personal_data_and_with_its_words(look: Any) -> None:
    result = redacted(look, LETTER)
    assert not [s for s in SECRETS if s in result]
    assert "La legge Merloni non si applica. <PERSONA> ha pagato con la carta <CARTA> dal server <IP>." in result
    assert "nato a Forlì il <DATA_NASCITA>, C.F. <CF>, residente in <INDIRIZZO>,\ntel. <TELEFONO>, cell. <TELEFONO>, <EMAIL>" in result


def test_measurements_fit_the_schema_and_hold_no_word_of_what_was_found(look: Any) -> None:
    m = look(document(LETTER, title="Reclamo di Gualtiero Zambrutti"))
    pa.Table.from_pylist([m], schema=STAGE.measures)
    assert not [s for s in SECRETS if s in json.dumps(m, ensure_ascii=False)]
    assert m["title"] == "Reclamo di <PERSONA>"
    assert m["ner"] == "rules"
    assert json.loads(m["counts"])["PERSONA"] == 4


def test_offsets_are_characters_and_exact(look: Any) -> None:
    words = "😀 Così scrive a anna@esempio.it"
    (entity,) = look(document(words))["entities"]
    assert words[entity["start"] : entity["end"]] == "anna@esempio.it"


def test_a_person_of_the_title_is_known_in_the_text(look: Any) -> None:
    assert redacted(look, "Il caso Zambrutti è chiuso.", title="Mario Zambrutti contro il Comune") == "Il caso <PERSONA> è chiuso."


def test_redacting_again_changes_nothing(look: Any) -> None:
    once = redacted(look, LETTER)
    assert look(document(once))["entities"] == []


PIECES = st.sampled_from(
    [
        "Mario Rossi",
        "il sig. Bianchi",
        "Anna",
        "Zambrutti",
        "a@b.it",
        "tel. 06 5551234",
        "via Roma 12",
        "nato a Roma il 1/2/1980",
        "RSSMRA80A01H501U",
        "4111111111111111",
        "192.168.1.10",
        "1.2.3.4",
    ]
    + [
        "<PERSONA>",
        "e",
        "con",
        "il ricorso",
        "legge",
        ",",
        ".",
        "\n",
        ":",
        "Presidente",
        "Da:",
        "server",
        "carta",
        "(",
        ")",
        "Roma",
        "00185",
        "AB123CD",
        "F.to:",
        "Il",
        "Giuseppe",
        "ROSSI",
        "C.F.",
    ]
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(PIECES, max_size=14))
def test_redaction_is_idempotent_and_keeps_placeholders(look: Any, pieces: list[str]) -> None:
    words = " ".join(pieces)
    once = redacted(look, words)
    assert redacted(look, once) == once
    assert once.count("<PERSONA>") >= words.count("<PERSONA>")


def test_long_documents_are_read_in_windows_with_right_offsets(look: Any) -> None:
    line = "Una riga qualsiasi senza dati, abbastanza lunga da contare qualcosa.\n"
    words = (line * 400 + "Scrive Mario Zambrutti ad anna@esempio.it.\n") * 3 + "Zambrutti tace."
    result = redacted(look, words)
    assert result == (line * 400 + "Scrive <PERSONA> ad <EMAIL>.\n") * 3 + "<PERSONA> tace."


def test_chatml_marker_lines_stay_as_they_are(look: Any) -> None:
    words = "<|im_start|>user\nMi chiamo Mario Rossi<|im_end|>\n<|im_start|>Mario Rossi\nCiao<|im_end|>\n"
    assert (
        redacted(look, words, form="chat") == "<|im_start|>user\nMi chiamo <PERSONA><|im_end|>\n<|im_start|>Mario Rossi\nCiao<|im_end|>\n"
    )


def test_a_language_without_a_name_model_is_rejected_unless_patterns_are_enough(look: Any) -> None:
    m = look(document("Schreiben Sie an anna@beispiel.de", lang="de"))
    assert (decide(RedactConfig(), m).status, decide(RedactConfig(), m).reason) == ("rejected", "no_name_model")
    assert decide(RedactConfig(patterns_only=("de",)), m).status == "kept"
    assert text(RedactConfig(), m, "Schreiben Sie an anna@beispiel.de") == "Schreiben Sie an <EMAIL>"


def test_only_whitelisted_metadata_passes_and_it_is_redacted_too(look: Any) -> None:
    metadata = json.dumps(
        {
            "author": "Mario Rossi",
            "url": "https://esempio.it/mario",
            "pages": 3,
            "licence": "CC BY, di Mario Zambrutti",
            "date": "2020-01-02",
            "extractor": ["x"],
        }
    )
    outcome = decide(RedactConfig(), look(document("Testo.", metadata=metadata)))
    assert json.loads(outcome.fields["metadata"]) == {"date": "2020-01-02", "licence": "CC BY, di <PERSONA>", "pages": 3}
    assert decide(RedactConfig(), look(document("Testo.", metadata="not json"))).fields["metadata"] == "{}"


def test_thresholds_by_kind_and_the_share_of_personal_data_decide_without_measuring(look: Any) -> None:
    words = "Mario Rossi, anna@esempio.it"
    m = look(document(words))
    assert text(RedactConfig(min_scores={"PERSONA": 1.1}), m, words) == "Mario Rossi, <EMAIL>"
    outcome = decide(RedactConfig(max_share=0.5), m)
    assert (outcome.reason, outcome.threshold) == ("mostly_personal_data", 0.5)
    assert outcome.value is not None and outcome.value > 0.9
    assert decide(RedactConfig(), m) == Outcome(fields={"title": "", "metadata": "{}"})


def test_numbered_placeholders_tell_persons_apart(look: Any) -> None:
    words = "Mario Zambrutti e Anna Neri. Zambrutti tace."
    assert redacted(look, words, RedactConfig(numbered=True)) == "<PERSONA_1> e <PERSONA_2>. <PERSONA_1> tace."


def test_the_network_is_never_asked_and_nothing_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    caplog.set_level(logging.INFO)
    fresh = measure(RedactConfig(ner="rules"), Inputs())
    for lang in ("it", "en", "de"):
        fresh(document(LETTER, lang=lang))
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


def test_an_unknown_package_is_refused_with_a_remedy() -> None:
    with pytest.raises(Misuse, match="it_core_news_xl.*not installed"):
        measure(RedactConfig(ner="spacy:it_core_news_xl"), Inputs())
    with pytest.raises(Misuse, match="ner must be"):
        load(RedactConfig, {"ner": "spacey"}, "redact")
    with pytest.raises(Misuse, match="unknown kind 'NOME'"):
        load(RedactConfig, {"min_scores": {"NOME": 0.5}}, "redact")


def test_an_installed_spacy_package_is_used_beside_the_rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import spacy

    nlp = spacy.blank("it")
    nlp.add_pipe("entity_ruler").add_patterns([{"label": "PER", "pattern": "qwertino"}, {"label": "ORG", "pattern": "asdfghina"}])
    package = tmp_path / "it_core_news_sm"
    package.mkdir()
    nlp.to_disk(package / "model")
    (package / "__init__.py").write_text(
        "from pathlib import Path\n"
        "from spacy.util import load_model_from_path\ndef load(**o)"
        ":\n    return load_model_from_path(Path(__file__).parent / 'model', **o)\n"
    )
    (tmp_path / "it_core_news_sm-9.9.0.dist-info").mkdir()
    (tmp_path / "it_core_news_sm-9.9.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: it_core_news_sm\nVersion: 9.9.0\n")
    before = STAGE.identity()
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    try:
        for ner in ("auto", "spacy:it_core_news_sm"):
            look = measure(RedactConfig(ner=ner), Inputs())
            words = "ciao, qwertino e Mario Rossi da asdfghina"
            m = look(document(words))
            assert m["ner"] == "spacy:it_core_news_sm 9.9.0"
            assert text(RedactConfig(), m, words) == "ciao, <PERSONA> e <PERSONA> da asdfghina"
            assert look(document("x", lang="en"))["ner"] == "rules"
        assert STAGE.identity() != before
    finally:
        sys.modules.pop("it_core_news_sm", None)
