"""Generation: the same seed the same text, alone or in a batch, within or beyond the window."""

from __future__ import annotations

import pytest
import torch

from model.config import DecoderConfig
from model.decoder import Decoder
from model.generation import Sampling, filtered, generate, stream

CONFIG = DecoderConfig(vocab_size=50, d_model=32, n_layer=2, n_head=4, n_kv_head=2, d_ff=48, max_seq_len=24)


@pytest.fixture(scope="module")
def model():
    model = Decoder(CONFIG).init_weights(0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=generator))
    return model


def test_greedy_generation_equals_taking_the_best_of_a_full_forward(model):
    ids = [3, 14, 15, 9]
    for _ in range(12):
        ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
    assert generate(model, [[3, 14, 15, 9]], Sampling(max_tokens=12, temperature=0)) == [ids[4:]]


def test_the_same_seed_gives_the_same_tokens_and_another_seed_others(model):
    first, second, other = (generate(model, [[1, 2]], Sampling(max_tokens=15, seed=seed)) for seed in (4, 4, 5))
    assert first == second != other


def test_a_batch_gives_each_prompt_what_it_gets_alone(model):
    prompts = [[5, 6, 7, 8, 9], [10], [11, 12, 13]]
    together = generate(model, prompts, Sampling(max_tokens=10, seed=2))
    assert together == [generate(model, [p], Sampling(max_tokens=10, seed=2 + row))[0] for row, p in enumerate(prompts)]


def test_generation_goes_on_beyond_the_window(model):
    assert len(generate(model, [list(range(20))], Sampling(max_tokens=60))[0]) == 60
    assert len(generate(model, [list(range(40))], Sampling(max_tokens=3))[0]) == 3


def test_a_row_ends_before_a_stop_token_and_the_others_go_on(model):
    whole = generate(model, [[1], [2]], Sampling(max_tokens=20, seed=1))
    stop = whole[0][5]
    cut = generate(model, [[1], [2]], Sampling(max_tokens=20, seed=1, stop=(stop,)))
    assert cut[0] == whole[0][: whole[0].index(stop)]
    assert cut[1] == (whole[1][: whole[1].index(stop)] if stop in whole[1] else whole[1])


def test_streaming_yields_the_tokens_one_by_one(model):
    drawn = [step[0] for step in stream(model, [[1, 2]], Sampling(max_tokens=8))]
    assert [drawn] == generate(model, [[1, 2]], Sampling(max_tokens=8))


def test_the_filters_keep_what_they_say():
    logits = torch.tensor([0.5, 0.25, 0.15, 0.1]).log()
    kept = [
        (Sampling(temperature=1, top_k=2), [True, True, False, False]),
        (Sampling(temperature=1, top_p=0.7), [True, True, False, False]),
        (Sampling(temperature=1, top_p=0.76), [True, True, True, False]),
        (Sampling(temperature=1, min_p=0.25), [True, True, True, False]),
        (Sampling(temperature=1), [True] * 4),
    ]
    for sampling, expected in kept:
        found = filtered(logits, sampling)
        assert (found > 0).tolist() == expected and float(found.sum()) == pytest.approx(1)


def test_a_low_temperature_sharpens():
    logits = torch.tensor([1.0, 0.0])
    assert filtered(logits, Sampling(temperature=0.1))[0] > filtered(logits, Sampling(temperature=1))[0]


def test_the_repetition_penalty_moves_away_from_what_was_said(model):
    free = generate(model, [[1]], Sampling(max_tokens=20, temperature=0))[0]
    held = generate(model, [[1]], Sampling(max_tokens=20, temperature=0, repetition_penalty=50.0))[0]
    assert len(set(held)) == 20 > len(set(free))


@pytest.mark.parametrize("wrong", [{"top_p": 1.5}, {"temperature": -1}, {"repetition_penalty": 0}])
def test_impossible_sampling_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Sampling(**wrong)


def test_an_empty_prompt_is_refused(model):
    with pytest.raises(ValueError, match="at least one token"):
        generate(model, [[]], Sampling())
