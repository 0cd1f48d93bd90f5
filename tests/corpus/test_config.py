"""Settings are read strictly, and say what they bear on."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from corpus.canonical import digest
from corpus.config import bearing, decided, how, load, measured
from corpus.outcome import Misuse


@dataclass(frozen=True)
class Settings:
    size: int = measured(3, "a size")
    score: float = decided(0.5, "a threshold")
    places: tuple[str, ...] = decided(("chat/",), "places")
    label: str | None = measured(None, "a name")
    workers: int = how(2, "speed")


def test_values_are_read_with_their_types():
    assert load(Settings, {"score": 1, "places": ["a", "b"], "label": "x"}) == Settings(score=1.0, places=("a", "b"), label="x")


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"scor": 1}, "Unknown config key 'prose.scor'. Did you mean 'score'?"),
        ({"size": "big"}, "'prose.size' must be a whole number, not 'big'"),
        ({"size": True}, "must be a whole number, not True"),
        ({"places": "chat"}, "'prose.places' must be a list, not 'chat'"),
        ({"score": None}, "must be a number, not None"),
    ],
)
def test_a_wrong_key_or_type_is_one_sentence(values, sentence):
    with pytest.raises(Misuse, match=sentence.replace(".", r"\.").replace("?", r"\?")):
        load(Settings, values, "prose")


def test_what_and_how_are_kept_apart():
    assert bearing(Settings(), "measured") == {"size": 3, "label": None}
    assert "workers" not in bearing(Settings(), "measured", "decided")


def test_what_has_no_canonical_form_is_refused():
    assert digest({"a": (1, 2), "b": None}) == digest({"b": None, "a": [1, 2]})
    for value in (float("nan"), object(), {1: 2}, lambda: 1):
        with pytest.raises(TypeError):
            digest(value)
