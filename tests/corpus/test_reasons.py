"""What the code of a stage is: its module and the project's modules it imports, not the libraries and not this room."""

from __future__ import annotations

import importlib
import sys

from corpus.reasons import _code, code_of
from filters import prose


def test_a_changed_helper_changes_the_code_of_the_stage_that_uses_it(tmp_path, monkeypatch):
    room = tmp_path / "someroom"
    room.mkdir()
    (room / "__init__.py").write_text("")
    (room / "stage.py").write_text("def measure(config, inputs):\n    from someroom import helper, other\n    return helper\n")
    (room / "helper.py").write_text("VALUE = 1\n")
    (room / "aside.py").write_text("VALUE = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    measure = importlib.import_module("someroom.stage").measure
    before = code_of(measure)
    (room / "aside.py").write_text("VALUE = 2\n")
    _code.cache_clear()
    assert code_of(measure) == before
    (room / "helper.py").write_text("VALUE = 2\n")
    _code.cache_clear()
    assert code_of(measure) != before
    sys.modules.pop("someroom.stage")


def test_the_code_of_a_real_stage_reaches_its_helpers():
    assert code_of(prose.measure) and code_of(prose.measure) != code_of(importlib.import_module("filters.quality").measure)
