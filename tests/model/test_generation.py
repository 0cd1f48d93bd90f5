"""Generation: the same seed the same text, alone or in a batch, within or beyond the window; filters; stop strings."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.cache import KVCache
from model.config import DecoderConfig
from model.generation import Sampling, TextStream, filtered, generate, stream
from model.sampling import Seeds, penalised, race
from tests.model.options import awake, shape

CONFIG = DecoderConfig(vocab_size=50, d_model=32, n_layer=2, n_head=4, n_kv_head=2, d_ff=48, max_seq_len=24)


@pytest.fixture(scope="module")
def model():
    return awake(CONFIG, 1)


def test_greedy_generation_equals_taking_the_best_of_a_full_forward(model):
    ids = [3, 14, 15, 9]
    for _ in range(12):
        ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
    assert generate(model, [[3, 14, 15, 9]], Sampling(max_tokens=12, temperature=0)) == [ids[4:]]


def test_the_same_seed_gives_the_same_tokens_and_another_seed_others(model):
    first, second, other = (generate(model, [[1, 2]], Sampling(max_tokens=15, seed=seed)) for seed in (4, 4, 5))
    assert first == second != other


@pytest.mark.parametrize("new", [10, 40])
def test_a_batch_gives_each_prompt_what_it_gets_alone_beyond_the_window_too(model, new):
    prompts = [[5, 6, 7, 8, 9] * 4, [10], [11, 12, 13]]  # their windows are full at different times
    together = generate(model, prompts, Sampling(max_tokens=new, seed=2, top_p=0.9, repetition_penalty=1.2))
    for row, prompt in enumerate(prompts):
        alone = Sampling(max_tokens=new, seed=2 + row, top_p=0.9, repetition_penalty=1.2)
        assert together[row] == generate(model, [prompt], alone)[0]


def test_generation_goes_on_beyond_the_window_from_its_newer_half(model):
    assert len(generate(model, [list(range(40))], Sampling(max_tokens=60))[0]) == 60
    greedy = generate(model, [[3]], Sampling(max_tokens=30, temperature=0))[0]
    row = [3, *greedy]  # the 24 tokens of the window are full behind row[23]; row[25] is read from the newer half
    assert row[25] == int(model(torch.tensor([row[13:25]]))[0, -1].argmax())


def test_a_row_ends_before_a_stop_token_and_the_others_go_on(model):
    whole = generate(model, [[1], [2]], Sampling(max_tokens=20, seed=1))
    stop = whole[0][5]
    cut = generate(model, [[1], [2]], Sampling(max_tokens=20, seed=1, stop=(stop,)))
    assert cut[0] == whole[0][: whole[0].index(stop)]
    assert cut[1] == (whole[1][: whole[1].index(stop)] if stop in whole[1] else whole[1])


def test_a_row_that_has_ended_is_not_computed_any_more(model):
    rows = []
    hook = model.embedding.register_forward_hook(lambda _, given, __: rows.append(len(given[0])))
    greedy = generate(model, [[1], [2], [3]], Sampling(max_tokens=9, temperature=0))
    stop = next(t for t in greedy[0] if t not in greedy[1] + greedy[2])
    rows.clear()
    generate(model, [[1], [2], [3]], Sampling(max_tokens=9, temperature=0, stop=(stop,)))
    hook.remove()
    last = greedy[0].index(stop) + 1
    assert rows == [3] * last + [2] * (9 - last)


def test_streaming_yields_the_tokens_one_by_one(model):
    drawn = [pieces[0].tokens for pieces in stream(model, [[1, 2]], Sampling(max_tokens=8))]
    assert [len(tokens) for tokens in drawn] == [1] * 8
    assert [[tokens[0] for tokens in drawn]] == generate(model, [[1, 2]], Sampling(max_tokens=8))


def test_no_tokens_are_given_when_none_are_asked_for(model):
    assert generate(model, [[1], [2]], Sampling(max_tokens=0)) == [[], []]


def test_a_model_can_be_trained_after_it_has_written(model):
    model = awake(CONFIG)
    generate(model, [[1]], Sampling(max_tokens=3))
    x = torch.randint(2, 50, (2, 20))
    model.loss(x, x).backward()
    assert all(p.grad is not None for p in model.parameters())


# filters


def test_the_filters_keep_what_they_say():
    logits = torch.tensor([0.5, 0.25, 0.15, 0.1]).log()
    kept = [
        (Sampling(temperature=1, top_k=2), [True, True, False, False]),
        (Sampling(temperature=1, top_p=0.7), [True, True, False, False]),
        (Sampling(temperature=1, top_p=0.76), [True, True, True, False]),
        (Sampling(temperature=1, min_p=0.25), [True, True, True, False]),
        (Sampling(temperature=1, min_p=0.25, top_p=0.9), [True, True, True, False]),
        (Sampling(temperature=1), [True] * 4),
        (Sampling(temperature=0), [True, False, False, False]),
    ]
    for sampling, expected in kept:
        found = filtered(logits, sampling)
        assert (found > 0).tolist() == expected and float(found.sum()) == pytest.approx(1)


@pytest.mark.parametrize("spread", [0.1, 1.0, 5.0])
@pytest.mark.parametrize("p", [0.05, 0.5, 0.999])
def test_top_p_keeps_the_fewest_tokens_that_reach_p_in_a_large_vocabulary(spread, p):
    logits = spread * torch.randn(3, 3000, generator=torch.Generator().manual_seed(1))
    found = filtered(logits, Sampling(temperature=1, top_p=p))
    for row, probabilities in zip(found, logits.double().softmax(-1), strict=True):
        ordered = probabilities.sort(descending=True).values.cumsum(0)
        assert abs(int((row > 0).sum()) - int((ordered < p).sum()) - 1) <= 1  # fp32 sums
        assert torch.allclose(row, (probabilities * (row > 0) / probabilities[row > 0].sum()).float(), atol=1e-6)


def test_a_low_temperature_sharpens():
    logits = torch.tensor([1.0, 0.0])
    assert filtered(logits, Sampling(temperature=0.1))[0] > filtered(logits, Sampling(temperature=1))[0]


def test_every_token_wins_as_often_as_it_is_probable():
    weights = torch.tensor([0.0, 0.3, 0.0, 0.2, 0.499, 0.001])
    keys = Seeds(5, 100).keys(torch.arange(1000).expand(100, -1))
    found = torch.bincount(race(weights.expand(100, 1000, -1), keys).flatten(), minlength=6) / 1e5
    assert found[0] == found[2] == 0
    assert (found - weights).abs().max() < 5 * (0.25 / 1e5) ** 0.5 and abs(float(found[5]) - 0.001) < 0.0005


def test_places_rows_and_tokens_are_drawn_apart():
    seeds, halves = Seeds(0, 200), torch.full((200, 200, 2), 0.5)
    found = race(halves, seeds.keys(torch.arange(200).expand(200, -1))).double() - 0.5  # [row, place]
    assert float((found[1:] * found[:-1]).mean().abs()) < 0.01 and float((found[:, 1:] * found[:, :-1]).mean().abs()) < 0.01
    assert len(set(Seeds(2**40, 1).rows.tolist() + Seeds(-1, 3).rows.tolist())) == 4


def test_where_probabilities_are_near_the_same_token_wins_nearly_always():
    torch.manual_seed(0)
    logits = torch.randn(2000, 1000) * 2
    near = logits + 0.05 * torch.randn(2000, 1000)
    p, q = logits.softmax(-1), near.softmax(-1)
    keys = Seeds(1, 1).keys(torch.arange(2000)[None])[0]
    apart = float((p - q).abs().sum(-1).mean() / 2)
    assert float((race(p, keys) != race(q, keys)).float().mean()) < 2 * apart + 0.01 < 0.07


def test_the_keys_of_a_row_hang_on_its_seed_and_the_place_alone():
    many, one, places = Seeds(7, 3), Seeds(9, 1), torch.tensor([[4, 5, 60]])
    many.select(torch.tensor([2, 0]))
    assert torch.equal(many.keys(places.expand(2, -1))[0], one.keys(places)[0])
    assert len(set(many.keys(places.expand(2, -1)).flatten().tolist())) == 6


def test_a_text_goes_on_as_it_would_have_where_it_is_taken_up_again(model):
    prompt, sampling = [5, 6, 7], Sampling(max_tokens=14, seed=2)
    whole = generate(model, [prompt], sampling)[0]
    assert generate(model, [prompt + whole[:6]], Sampling(max_tokens=8, seed=2))[0] == whole[6:]


@pytest.mark.parametrize("window", [1, 2, 3, 5])
@pytest.mark.parametrize("speculative", ["off", "heads"])
def test_rows_of_the_smallest_windows_go_on_apart(window, speculative):
    model, sampling = awake(shape("mtp", max_seq_len=window)), Sampling(max_tokens=9, temperature=0)
    found = generate(model, [[5], [6, 7], [8]], sampling, speculative=speculative)
    assert found == [generate(model, [prompt], sampling, speculative="off")[0] for prompt in ([5], [6, 7], [8])]


def test_the_repetition_penalty_touches_each_seen_token_once_and_no_other():
    logits = torch.tensor([[[2.0, -2.0, 1.0, 4.0], [2.0, -2.0, 1.0, 4.0]]])
    found = penalised(logits, torch.tensor([[1, 1, 3, 0]]), torch.tensor([[2, 3]]), 2.0)
    assert found.tolist() == [[[2.0, -4.0, 1.0, 4.0], [2.0, -4.0, 1.0, 2.0]]]


def test_the_repetition_penalty_moves_away_from_what_was_said(model):
    free = generate(model, [[1]], Sampling(max_tokens=20, temperature=0))[0]
    held = generate(model, [[1]], Sampling(max_tokens=20, temperature=0, repetition_penalty=50.0))[0]
    assert len(set(held)) == 20 > len(set(free))


@pytest.mark.parametrize("wrong", [{"top_p": 1.5}, {"temperature": -1}, {"repetition_penalty": 0}, {"stop_strings": ("",)}])
def test_impossible_sampling_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Sampling(**wrong)


def test_an_empty_prompt_is_refused(model):
    with pytest.raises(ValueError, match="at least one token"):
        generate(model, [[]], Sampling())


# text


def read(ids):
    """A tokenizer whose tokens are bytes."""
    return bytes(ids).decode("utf-8", "replace")


def told(tokens, *stops, sizes=(1,)):
    """Pieces of these tokens, pushed in groups of these sizes."""
    row, pieces, at, turns = TextStream(read, stops), [], 0, itertools.cycle(sizes)
    while at < len(tokens) and not row.ended:
        n = next(turns)
        pieces.append(row.push(tokens[at : at + n]))
        at += n
    return [*pieces, row.end()]


def test_a_character_of_many_tokens_is_told_whole():
    text = "perché — così 🙂"
    assert [piece.text for piece in told(text.encode()) if piece.text] == list(text)
    assert "".join(piece.text for piece in told("é".encode()[:1])) == "\ufffd"


def test_text_that_may_become_a_stop_string_waits_until_it_does_not():
    pieces = told(b"a<b<e<end>x", "<end>")
    assert [piece.text for piece in pieces] == ["a", "", "<b", "", "", "<e", "", "", "", "", ""]
    assert bytes(token for piece in pieces for token in piece.tokens) == b"a<b<e"
    assert "".join(piece.text for piece in told(b"a<en", "<end>")) == "a<en"


letters = st.text("ab<é", max_size=12)


@settings(deadline=None, max_examples=300)
@given(
    letters, st.lists(st.text("ab<é", min_size=1, max_size=4), min_size=1, max_size=3), st.lists(st.integers(1, 4), min_size=1, max_size=3)
)
def test_a_row_ends_before_the_first_stop_string_however_tokens_cut_it(text, stops, sizes):
    raw = text.encode()
    pieces = told(raw, *stops, sizes=sizes)
    complete = [n for n in range(len(raw) + 1) if any(stop in read(raw[:n]) for stop in stops)]
    seen = read(raw[: complete[0]]) if complete else text
    expected = min((seen[: seen.index(stop)] for stop in stops if stop in seen), key=len, default=text)
    assert "".join(piece.text for piece in pieces) == expected
    assert read(token for piece in pieces for token in piece.tokens) == expected


@pytest.mark.parametrize("speculative", ["off", "heads"])
def test_rows_of_a_batch_end_before_their_stop_strings(speculative):
    model = awake(shape("mtp"))
    prompts, sampling = [[5], [6], [7]], Sampling(max_tokens=24, temperature=0)

    def text(ids):
        return "".join(f"{i:02}" for i in ids)

    whole = [text(ids) for ids in generate(model, prompts, sampling)]
    stop = whole[1][7:12]  # begins within a token
    ending = Sampling(max_tokens=24, temperature=0, stop_strings=(stop, "none"))
    said = ["", "", ""]
    for pieces in stream(model, prompts, ending, text, speculative):
        said = [before + piece.text for before, piece in zip(said, pieces, strict=True)]
    assert said == [row.split(stop)[0] for row in whole] and said[1] != whole[1]
    tokens = generate(model, prompts, ending, text, speculative)
    assert [text(ids) for ids in tokens] == [row[: len(row) // 2 * 2] for row in said]


def test_stop_strings_without_a_reader_are_refused(model):
    with pytest.raises(ValueError, match="stop_strings need `text`"):
        generate(model, [[1]], Sampling(stop_strings=("x",)))


# the cache


@torch.no_grad()
def test_a_window_that_turns_over_many_times_reads_as_the_whole_row():
    model = awake(shape("windows", max_seq_len=128))
    x = torch.randint(2, 61, (3, 128), generator=torch.Generator().manual_seed(0))
    lengths, at = torch.tensor([9, 5, 1]), torch.zeros(3, dtype=torch.long)
    cache, found = KVCache(model.config, 3, torch.float32, "cpu"), [[], [], []]
    for T in (9, 1, 4, 17, 1, 1, 20, 3, 1, 16, 6, 1):
        real = torch.minimum(lengths, torch.tensor(T)) if T > 1 else torch.ones(3, dtype=torch.long)
        part = torch.stack([x[row, at[row] : at[row] + T] for row in range(3)])
        states = model(part, cache=cache, lengths=None if T == 1 else real)
        for row in range(3):
            found[row].append(states[row, : real[row]])
        at, lengths = at + real, lengths.roll(1) + 3
    whole = model(x)
    for row in range(3):
        mine = torch.cat(found[row])
        assert len(mine) > 40 and torch.allclose(mine, whole[row, : len(mine)], atol=1e-4)
