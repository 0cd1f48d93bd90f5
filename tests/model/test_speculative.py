"""Drafts, by the model's own heads or a sketch of it: the text is the same, whether the best token is taken or one is drawn."""

from __future__ import annotations

import pytest
import torch

from model import few_tokens
from model.cache import KVCache
from model.config import DecoderConfig
from model.decoder import Decoder
from model.generation import Sampling, Speculation, filtered, generate, stream
from model.inference import prepare
from model.speculative import LENGTHS, HeadDrafter, SketchDrafter
from tests.model.options import awake, ids, shape

HEADS = {"mlp": {"mtp_k": 4}, "deepseek": {"mtp_k": 3, "mtp_kind": "deepseek"}}
PROMPTS = [ids(1, n, seed=n)[0].tolist() for n in (9, 3, 20)]
CASES = [(PROMPTS, {"temperature": 0}), (PROMPTS[:1], {"temperature": 0, "repetition_penalty": 5.0}), (PROMPTS[:2], {"top_p": 0.9})]
OPTIONS = ["plain", "untied", "windows", "loop", "smear", "bigram and smear", "gate sparse", "full xsa", "value residual"]
OPTIONS += ["shared value embedding", "routed", "ternary", "gated skips", "two lanes", "softcap", "everything"]


def drafting(option: str, kind: str) -> Decoder:
    """A model whose heads are right now and then: they say what is said now, and it repeats itself."""
    tied = option != "untied"  # a tied table repeats itself more
    model = awake(shape(option, max_seq_len=32, tie_embeddings=tied, **HEADS[kind]))
    with torch.no_grad():
        for name, p in model.mtp.named_parameters():
            if name.endswith("down.weight") or name.endswith("o.weight"):
                p.zero_()
            elif name.endswith("proj.weight"):
                p.copy_(torch.eye(*p.shape))
    return model


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("option", OPTIONS)
def test_tokens_are_the_same_with_drafts_whatever_is_on(option, kind):
    model, stats = drafting(option, kind), Speculation()
    for prompts, how in CASES:  # beyond the window of 32 too, which rows reach one by one
        sampling = Sampling(max_tokens=40, **how)
        assert generate(model, prompts, sampling, speculative="heads", stats=stats) == generate(model, prompts, sampling, speculative="off")
    assert 0 < stats.accepted < stats.drafted


def counting(ahead: int) -> Decoder:
    """It says x + 1 behind x; its heads say x + 1 + `ahead`, x + 1 + 2 `ahead`: right when that is one."""
    V = 24
    shape = {"d_model": V, "n_layer": 1, "n_head": 2, "d_ff": V, "max_seq_len": 64, "mtp_k": 3, "mtp_hidden": V}
    model = Decoder(DecoderConfig(vocab_size=V, tie_embeddings=False, pad_vocab_to=1, **shape)).init_weights()
    one = torch.eye(V)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith("o.weight") or name.endswith("ffn.down.weight"):
                p.zero_()
        model.embedding.weight.copy_(one)
        model.head.weight.copy_(one.roll(1, 0))
        for k, head in enumerate(model.mtp, 1):
            head.up.weight.copy_(10 * one)
            head.down.weight.copy_(one.roll(k * ahead, 0))
    return model


@pytest.mark.parametrize(("ahead", "length"), [(1, 3.0), (2, 1.0)])
@pytest.mark.parametrize("temperature", [0.0, 0.01])
def test_the_mean_length_is_all_of_a_draft_that_is_always_right_and_one_where_it_never_is(ahead, length, temperature):
    stats = Speculation()
    found = generate(counting(ahead), [[3], [7, 8]], Sampling(max_tokens=31, temperature=temperature), speculative="heads", stats=stats)
    assert found == [[(last + 1 + i) % 24 for i in range(31)] for last in (3, 8)]
    assert stats.mean_length == length and stats.checks == 2 * 30 / length


def test_an_accepted_draft_is_given_in_one_step():
    steps = [pieces[0].tokens for pieces in stream(counting(1), [[3]], Sampling(max_tokens=8, temperature=0), speculative="heads")]
    assert steps == [[4], [5, 6, 7], [8, 9, 10], [11]]
    stopping = Sampling(max_tokens=8, temperature=0, stop=(9,))
    assert generate(counting(1), [[3], [11]], stopping, speculative="heads") == [[4, 5, 6, 7, 8], list(range(12, 20))]


@pytest.mark.parametrize("kind", HEADS)
@torch.no_grad()
def test_a_draft_is_what_the_heads_were_trained_to_predict(kind):
    model, x = awake(shape("plain", **HEADS[kind])), ids(2, 12)
    cache, drafter = KVCache(model.config, 2, torch.float32, "cpu"), HeadDrafter(model)
    lengths = torch.tensor([8, 5])
    h = model.trunk(x[:, :8], cache=cache, lengths=lengths)
    drafter.keep(h, torch.arange(2), torch.zeros(2, dtype=torch.long))
    rows = torch.arange(2)
    pending = x[rows, lengths]
    drafts = drafter.draft(h[rows, lengths - 1], pending, cache, 9, lambda logits, *_: logits.argmax(-1))
    for row, length in enumerate(lengths.tolist()):
        told = torch.cat((x[row, : length + 1], drafts[row]))[None]
        for k, state in enumerate(model.ahead(model.trunk(told), told)):
            assert int(model.logits(model.norm(state[0, length - 1])).argmax()) == int(drafts[row, k])


ALL = {"temperature": 0.8, "top_k": 4, "top_p": 0.9, "min_p": 0.03, "repetition_penalty": 1.4}


@pytest.mark.parametrize(("how", "rounds"), [({"temperature": 1.0}, 4), (ALL, 20)], ids=["plain", "all filters"])
@torch.no_grad()
def test_three_tokens_have_the_joint_distribution_of_plain_sampling(how, rounds):
    V, rows = 5, 5000
    config = DecoderConfig(vocab_size=V, d_model=8, n_layer=1, n_head=2, d_ff=8, max_seq_len=8, mtp_k=3, mtp_hidden=8, pad_vocab_to=1)
    model, stats = awake(config, 5), Speculation()
    counts = torch.zeros(V**3)
    for turn in range(rounds):
        sampling = Sampling(max_tokens=4, seed=turn * rows, **how)
        for _, a, b, c in generate(model, [[2]] * rows, sampling, speculative="heads", stats=stats):
            counts[(a * V + b) * V + c] += 1
    joint = exact(model, [2], Sampling(**how), 4)
    expected = joint.view(V, V**3).sum(0) * rows * rounds  # of those behind the first, which is drawn without a draft
    assert 0.2 * stats.drafted < stats.accepted < 0.9 * stats.drafted  # both ways are taken
    assert counts[expected == 0].sum() == 0
    cells = expected > 5
    surprise = ((counts - expected)[cells].square() / expected[cells]).sum() + (counts - expected)[~cells].sum().square() / 5
    p = float(torch.special.gammaincc((cells.sum() - 1) / 2, surprise / 2))
    assert p > 1e-3


def exact(model: Decoder, prompt: list[int], how: Sampling, n: int) -> torch.Tensor:
    """[V^n] the probability of every n tokens behind the prompt, by full forwards."""
    V, joint = model.config.vocab_size, torch.ones(1)
    rows = torch.tensor([prompt])
    for _ in range(n):
        logits = model(rows)[:, -1]
        for row, seen in zip(logits, rows.tolist(), strict=True):
            for token in set(seen):
                row[token] = row[token] / how.repetition_penalty if row[token] > 0 else row[token] * how.repetition_penalty
        joint = (joint[:, None] * filtered(logits, how)).flatten()
        rows = torch.cat((rows.repeat_interleave(V, 0), torch.arange(V).repeat(len(rows))[:, None]), 1)
    return joint


@pytest.mark.parametrize("kind", HEADS)
def test_the_same_seed_gives_the_same_drafted_text_alone_and_in_a_batch(kind):
    model = drafting("plain", kind)
    together = generate(model, PROMPTS, Sampling(max_tokens=30, seed=4), speculative="heads")
    assert together == generate(model, PROMPTS, Sampling(max_tokens=30, seed=4), speculative="heads")
    assert together != generate(model, PROMPTS, Sampling(max_tokens=30, seed=40), speculative="heads")
    for row, prompt in enumerate(PROMPTS):
        assert together[row] == generate(model, [prompt], Sampling(max_tokens=30, seed=4 + row), speculative="heads")[0]


@pytest.mark.parametrize("option", ["plain", "mtp shared"])
def test_a_model_without_heads_of_its_own_cannot_draft_by_them(option):
    model, sampling = awake(shape(option)), Sampling(max_tokens=9, temperature=0)
    with pytest.raises(ValueError, match="no heads to draft with"):
        generate(model, [[5]], sampling, speculative="heads")


def test_who_drafts_is_one_of_the_known():
    with pytest.raises(ValueError, match="auto, sketch, heads, off"):
        generate(counting(1), [[3]], Sampling(max_tokens=9), speculative="on")
    with pytest.raises(ValueError, match="made ready"):
        generate(counting(1), [[3]], Sampling(max_tokens=9), speculative="sketch")


@pytest.mark.parametrize(("dtype", "large"), [(torch.float32, False), (torch.float32, True), (torch.bfloat16, False)])
@pytest.mark.parametrize("option", ["plain", "windows", "loop", "smear"])
def test_a_sketch_changes_no_token(option, dtype, large, monkeypatch):
    monkeypatch.setattr(few_tokens, "LARGE", 0 if large else few_tokens.LARGE)
    model, stats = prepare(awake(shape(option, max_seq_len=80), dtype=dtype)), Speculation()
    if model.few is None:
        return  # there is no compiler
    for prompts, how in CASES:  # three rows, of which weights in pieces let all have drafts, others when one has ended; beyond the window
        sampling = Sampling(max_tokens=100, **how)
        plain = generate(model, prompts, sampling, speculative="off")
        assert generate(model, prompts, sampling, speculative="sketch", stats=stats) == plain
    assert 0.5 * stats.drafted < stats.accepted < stats.drafted


def test_drafts_grow_while_they_are_right_and_shrink_where_half_is_not():
    drafter, found = SketchDrafter(prepare(counting(1))), []
    for drafted, accepted in ((3, [3, 3]), (7, [7, 7]), (7, [7, 2]), (7, [1, 0]), (3, [1, 1]), (1, [0, 0]), (1, [1, 0]), (1, [1, 1])):
        drafter.learn(drafted, accepted)
        found.append(LENGTHS[drafter.level])
    assert found == [7, 7, 7, 3, 1, 1, 1, 3]
