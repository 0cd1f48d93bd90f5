"""Settings: where they come from, and what is said when they are wrong."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from corpus.config import decided, how, measured
from corpus.outcome import Misuse, Outcome
from corpus.stage import CorpusStage, DocumentStage
from flows.settings import RunConfig, configure, dump, keys


@dataclass(frozen=True)
class Inner:
    depth: int = measured(4, "layers")
    width: int = measured(128, "features")


@dataclass(frozen=True)
class Toy:
    min_score: float = decided(0.5, "lower is rejected")
    languages: tuple[str, ...] = measured(("it", "en"), "known languages")
    model: Inner = measured(Inner(), "shape")
    deadline: float = how(30.0, "CPU seconds")


def decide(config: Toy, measurements: dict) -> Outcome:
    return Outcome()


WAY = (
    DocumentStage("prose", 1, Toy(), decide=decide),
    CorpusStage("pretrain", 1, Toy(min_score=0.1, model=Inner(depth=2))),
    DocumentStage("bare", 1, None, decide=decide),
)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(text, "utf-8")
    return path


def by_name(way, name):
    return next(stage for stage in way if stage.name == name).config


def test_a_set_value_beats_the_file_which_beats_the_default(tmp_path):
    file = written(tmp_path, "prose: {min_score: 0.6, deadline: 5}\n")
    way, _, _ = configure(WAY, file, ["prose.min_score=0.7"])
    assert by_name(way, "prose") == Toy(min_score=0.7, deadline=5.0)
    assert by_name(way, "pretrain").min_score == 0.1


def test_settings_of_the_way_stay_when_the_file_says_nothing_of_them(tmp_path):
    way, _, _ = configure(WAY, None, ["pretrain.model.width=64"])
    assert by_name(way, "pretrain") == Toy(min_score=0.1, model=Inner(depth=2, width=64))


def test_resolved_settings_read_back_are_the_same(tmp_path):
    way, run, resolved = configure(WAY, None, ["prose.languages=[it, no]", "run.workers=3"])
    again = configure(WAY, written(tmp_path, dump(resolved)))
    assert again == (way, run, resolved)
    assert by_name(way, "prose").languages == ("it", "no") and run == RunConfig(workers=3)


def test_exponents_are_numbers(tmp_path):
    way, _, _ = configure(WAY, written(tmp_path, "prose: {min_score: 1e-3}\n"))
    assert by_name(way, "prose").min_score == 0.001


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prosa: {}\n", "Did you mean 'prose'"),
        ("prose: {min_scor: 1}\n", "'prose.min_scor'. Did you mean 'min_score'"),
        ("prose: {min_score: high}\n", "'prose.min_score' must be a number, not 'high'"),
        ("prose: {model: {depth: 1.5}}\n", "'prose.model.depth' must be a whole number"),
        ("prose: 3\n", "'prose' must be a mapping"),
        ("bare: {x: 1}\n", "Unknown config section 'bare'"),
        ("- prose\n", "must hold sections"),
        ("prose: {min_score: 1\n", "not valid YAML"),
        ("prose:\n  deadline: 1\n  deadline: 2\n", "'deadline' is there twice, line 3"),
        ("run: {workers: -1}\n", "'workers' must be 0 or more"),
        ("run: {device: gpu}\n", "must be one of auto, cpu"),
    ],
)
def test_a_wrong_file_is_misuse_with_a_remedy(tmp_path, text, said):
    with pytest.raises(Misuse) as error:
        configure(WAY, written(tmp_path, text))
    assert said in str(error.value)


@pytest.mark.parametrize("item", ["prose.min_score", "min_score=1", "prose.=1", "prose.min_score=[", "prose.min_score.x=1"])
def test_a_wrong_set_is_misuse(item):
    with pytest.raises(Misuse):
        configure(WAY, None, ["prose.min_score=1", item])


def test_a_missing_file_is_misuse(tmp_path):
    with pytest.raises(Misuse, match="no config file"):
        configure(WAY, tmp_path / "none.yaml")
    with pytest.raises(Misuse, match="is a folder"):
        configure(WAY, tmp_path)


def test_every_key_is_listed_with_its_meaning():
    rows = {name: (value, bears, doc) for name, value, bears, doc in keys(WAY)}
    assert rows["prose.min_score"] == (0.5, "decided", "lower is rejected")
    assert rows["pretrain.model.depth"] == (2, "measured", "layers")
    assert "run.workers" in rows
