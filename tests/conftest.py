"""Shared by all tests: a quiet environment and a tiny way of stages that needs no heavy library."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

from corpus.workspace import Workspace

os.environ.setdefault("OMP_NUM_THREADS", "2")
settings.register_profile("athanor", deadline=None)  # a busy machine is no defect
settings.load_profile("athanor")


@pytest.fixture
def workspace(tmp_path, raw):
    """A new workspace on the `raw` folder of the test's module."""
    workspace = Workspace.create(tmp_path / "ws")
    workspace.add_source(raw)
    return workspace
