"""Schedules at their edges."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.schedule import cosine, momentum, multiplier, warmup, wsd


def test_the_warm_up_rises_in_equal_steps_and_stays():
    assert [warmup(i, 4) for i in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]
    assert warmup(0, 0) == 1


def test_wsd_is_flat_then_linear_to_its_floor():
    assert [wsd(u, 0.5) for u in (0, 0.5, 0.75, 1)] == [1, 1, 0.5, 0]
    assert wsd(1, 0.5, 0.1) == pytest.approx(0.1)
    assert wsd(1, 0) == 1


def test_cosine_falls_from_one_to_its_floor():
    assert [cosine(u) for u in (0, 0.5, 1)] == pytest.approx([1, 0.5, 0])
    assert cosine(1.5, 0.2) == pytest.approx(0.2)


def test_momentum_warms_up():
    assert [momentum(i, 0.85, 0.95, 10) for i in (0, 5, 10, 99)] == pytest.approx([0.85, 0.9, 0.95, 0.95])
    assert momentum(0, steps=0) == 0.95


@given(st.sampled_from(["wsd", "cosine"]), st.integers(0, 1000), st.floats(0, 1), st.integers(0, 50), st.floats(0, 1), st.floats(0, 1))
def test_a_multiplier_lies_between_nothing_and_one(kind, step, u, warm, decay, floor):
    assert 0 <= multiplier(kind, step, u, warm, decay, floor) <= 1 + 1e-9


def test_an_unknown_schedule_is_refused():
    with pytest.raises(ValueError, match="wsd or cosine"):
        multiplier("linear", 0, 0, 0, 0, 0)
