"""Shared by all tests: a quiet environment and a tiny way of stages that needs no heavy library."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "2")
