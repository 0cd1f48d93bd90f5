"""The one dial: a pure function of text, config and kind of device."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.config import DecoderConfig
from train.recipe import ON_CPU, RecipeConfig, resolve


def test_more_text_gives_a_larger_model_up_to_what_the_device_can_train():
    sizes = [resolve(RecipeConfig(), 4096, tokens, "cpu")["size"] for tokens in (100_000, 3_500_000, 30_000_000, 10**10)]
    assert sizes == ["1m", "3m", "5m", "5m"]
    assert resolve(RecipeConfig(), 4096, 10**10, "cuda")["size"] == "120m"


@given(st.integers(100, 10**9), st.sampled_from(["cpu", "cuda"]), st.sampled_from([2048, 4096, 8192, 32_768]))
def test_a_recipe_keeps_within_the_text_and_the_budget(tokens, device, vocab_size):
    config = RecipeConfig(min_steps=1)
    found = resolve(config, vocab_size, tokens, device)
    assert found["steps"] == 1 or (found["tokens"] <= config.epochs * tokens and found["flops"] <= (4e14 if device == "cpu" else 1e18))
    assert found == resolve(config, vocab_size, tokens, device)
    assert DecoderConfig.from_dict(found["decoder"]).param_count() == found["params"]


@pytest.mark.parametrize("size", ON_CPU)
def test_a_named_size_has_about_the_parameters_of_its_name(size):
    params = resolve(RecipeConfig(size=size), 4096, 10**6, "cpu")["params"]
    assert float(size[:-1]) * 0.7e6 < params < float(size[:-1]) * 1.4e6


def test_a_custom_size_needs_its_shape():
    with pytest.raises(ValueError, match="custom needs"):
        RecipeConfig(size="custom", d_model=32)
    with pytest.raises(ValueError, match="size must be"):
        RecipeConfig(size="7b")
