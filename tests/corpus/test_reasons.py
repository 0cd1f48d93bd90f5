"""What the code of a stage is: its module and the project's modules it imports, not the libraries and not this room."""

from __future__ import annotations

import importlib
import sys

import toys

from corpus.reasons import _code, changes, code_of
from corpus.stage import DocumentStage
from filters import prose


def test_a_changed_helper_changes_the_code_of_the_stage_that_uses_it(tmp_path, monkeypatch):
    room = tmp_path / "someroom"
    room.mkdir()
    (room / "__init__.py").write_text("")
    (room / "stage.py").write_text("def measure(config, inputs):\n    from someroom import helper, other\n    return helper\n")
    (room / "helper.py").write_text("VALUE = 1\n")
    (room / "other.py").write_text('READERS = {"pdf": ("someroom.lazy", "read")}\n')
    (room / "lazy.py").write_text("VALUE = 1\n")
    (room / "aside.py").write_text("VALUE = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    measure = importlib.import_module("someroom.stage").measure
    before = code_of(measure)
    (room / "aside.py").write_text("VALUE = 2\n")
    _code.cache_clear()
    assert code_of(measure) == before
    for changed in ("helper.py", "lazy.py"):
        before = code_of(measure)
        (room / changed).write_text("VALUE = 2\n")
        _code.cache_clear()
        assert code_of(measure) != before
    sys.modules.pop("someroom.stage")


TOOLS: dict[str, str] = {}


def found_here(config):
    return TOOLS


def test_a_program_that_appears_or_goes_changes_the_identity_and_is_named():
    stage = DocumentStage(name="read", version=1, config=toys.NothingConfig(), measure=found_here, decide=toys.everything, tools=found_here)
    identities = []
    for tools in ({}, {"scanner": "5.3"}, {}):
        TOOLS.clear()
        TOOLS.update(tools)
        identities.append(stage.identity() | {"decision": {}, "inputs": {}})
    without, having, again = identities
    assert without == again and having["engines"] == {"scanner": "5.3"}
    assert changes(stage, having, {"identity": without}) == ["scanner absent → 5.3"]
    assert changes(stage, without, {"identity": having}) == ["scanner 5.3 → absent"]


def test_the_code_of_a_real_stage_reaches_its_helpers():
    assert code_of(prose.measure) and code_of(prose.measure) != code_of(importlib.import_module("filters.quality").measure)
