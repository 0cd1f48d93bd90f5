"""Tokens by compiled code: which models it serves, and that a token's bits hang on nothing but its row."""

from __future__ import annotations

import shutil

import pytest
import torch

from model import few_tokens
from model.cache import KVCache
from model.compiled import COMPILERS, Unavailable, library
from model.config import Loop
from model.few_tokens import SOURCE, plain
from model.generation import Sampling, generate
from model.inference import prepare
from model.presets import PRESETS, preset
from tests.model.options import awake, ids, shape

WAYS = [(torch.float32, False), (torch.float32, True), (torch.bfloat16, False)]  # and whether as large as comes from memory
SHAPES = {  # widths that leave something over in every tile; more query heads than a tile has tokens; a window that comes round
    "odd widths": shape("plain").replace(d_model=44, d_head=10, d_ff=50, rope_dims=6),
    "many heads": shape("plain").replace(n_head=22, n_kv_head=2, d_head=8, ffn_kind="leakyrelu2"),
    "windows": shape("plain").replace(window_pattern="SL", window=5, attn_softcap=5.0, ln_scale=True, loop=Loop(1, 2, 2)),
}


def test_it_serves_every_card_preset_and_says_no_to_what_it_does_not_compute():
    cards = [name for name in PRESETS if not name.startswith("golf")]
    assert [name for name in cards if not plain(preset(name))] == []
    assert not any(plain(preset(name)) for name in ("golf-bese", "golf-caseops"))


def test_it_is_there_where_a_compiler_is():
    ready = prepare(awake(shape("plain")))
    assert (ready.few is not None) == any(shutil.which(name) for name in COMPILERS)


def test_large_weights_go_in_pieces_where_there_are_tiles(monkeypatch):
    model = awake(shape("plain"))
    size = sum(p.nbytes for p in model.parameters())
    for large, weights in ((size, "in_pieces"), (size + 1, "float")):
        monkeypatch.setattr(few_tokens, "LARGE", large)
        few = prepare(model).few
        assert few is None or few.weights == (weights if library(SOURCE).tiles() else "float")


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize(("dtype", "large"), WAYS)
@torch.no_grad()
def test_tokens_one_by_one_give_what_the_model_gives_on_whole_rows(name, dtype, large, monkeypatch):
    monkeypatch.setattr(few_tokens, "LARGE", 0 if large else few_tokens.LARGE)
    model, x = awake(SHAPES[name], dtype=dtype), ids(17, 64)
    found = _read(prepare(model), x, [8, *[1] * 39, 3, 14])
    wanted = model(x)
    if dtype == torch.float32:
        assert torch.allclose(found, wanted, atol=1e-4)
    else:
        assert float((found - wanted).abs().mean()) < 0.03 * float(wanted.abs().mean()) + 0.02


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize(("dtype", "large"), WAYS)
@torch.no_grad()
def test_a_tokens_bits_are_the_same_alone_in_a_batch_and_as_a_draft(name, dtype, large, monkeypatch):
    monkeypatch.setattr(few_tokens, "LARGE", 0 if large else few_tokens.LARGE)
    model, x = prepare(awake(SHAPES[name], dtype=dtype)), ids(17, 40)
    if model.few is None:
        return  # there is no compiler: rounding may differ
    batch = _read(model, x, [8, *[1] * 32])
    assert torch.equal(_read(model, x, [8, 5, 5, 5, 17])[:, 8:], batch[:, 8:])
    prompt = _cache(model, x[:, :8])
    for row in (0, 11, 16):
        alone = _rows(prompt, [row])
        for at in range(8, 40):
            assert torch.equal(model(x[row : row + 1, at : at + 1], cache=alone)[0, 0], batch[row, at])


@pytest.mark.parametrize("large", [False, True])
@torch.no_grad()
def test_the_number_of_threads_changes_nothing(large, monkeypatch):
    monkeypatch.setattr(few_tokens, "LARGE", 0 if large else few_tokens.LARGE)
    model, x = prepare(awake(SHAPES["many heads"])), ids(3, 20)
    cache, before = _cache(model, x[:, :8]), torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            found.append(model(x[:, 8:], cache=_rows(cache, [0, 1, 2])))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


def test_prompts_of_different_lengths_are_written_on_as_without_it():
    model, prompts = awake(SHAPES["windows"]), [[5, 6, 7], [8], list(range(2, 40))]
    sampling = Sampling(max_tokens=80, seed=3, top_p=0.9)
    assert generate(prepare(model), prompts, sampling) == generate(prepare(model, compiled=False), prompts, sampling)


def test_without_a_compiler_the_reason_is_said(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(Unavailable, match="no C\\+\\+ compiler"):
        library.__wrapped__(SOURCE)


def test_what_cannot_be_compiled_leaves_nothing_behind(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    source = tmp_path / "broken.cpp"
    source.write_text("int allowed() { return }")
    with pytest.raises(Unavailable):
        library.__wrapped__(source)
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and p != source]


def _cache(model, x):
    cache = KVCache(model.config, len(x), model.dtype, "cpu", model.looping)
    model.trunk(x, cache=cache)
    return cache


def _rows(cache, rows):
    """A copy of these rows of a cache."""
    copy = object.__new__(KVCache)
    copy.__dict__.update(cache.__dict__, keys=list(cache.keys), values=list(cache.values))
    copy.select(torch.tensor(rows))
    return copy


def _read(model, x, parts):
    cache = KVCache(model.config, len(x), model.dtype, "cpu", model.looping)
    return torch.cat([model(part, cache=cache) for part in x.split(parts, 1)], 1)
