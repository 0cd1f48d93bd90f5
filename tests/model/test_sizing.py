"""Memory by arithmetic: the published figures come out, and what tensors really take agrees with the formulas."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model import counts, sizing
from model.cache import KVCache
from model.config import DecoderConfig, Loop
from model.decoder import Decoder
from model.loss import _chunks
from model.presets import PRESETS, preset

ROOT = Path(__file__).resolve().parents[2]
OPTIMIZERS = {o.name: o for o in sizing.OPTIMIZERS}
SMALL = DecoderConfig(vocab_size=64, d_model=256, n_layer=1, n_head=4, d_ff=512, max_seq_len=640)


@pytest.mark.parametrize(
    ("optimizer", "per_param", "gigabytes"),
    [
        ("AdamW, fp32 weights", 4 + 4 + 4 + 4, 49.1),
        ("AdamW, bf16 weights", 2 + 2 + 4 + 4, 36.8),
        ("8-bit AdamW", 2 + 2 + 2 * (1 + 4 / 256), 18.5),
        ("8-bit AdamW in backward", 2 + 2 * (1 + 4 / 256), 12.4),
        ("Muon, bf16 momentum", 2 + 2 + 2, 18.4),
    ],
)
def test_what_the_3b_holds_at_rest_follows_from_bytes_per_parameter(optimizer, per_param, gigabytes):
    held = sizing.training(preset("3b"), OPTIMIZERS[optimizer], 1, 4096).at_rest
    assert held == pytest.approx(3_066_688_256 * per_param, abs=2)
    assert round(held / 1e9, 1) == gigabytes


def test_the_3b_trains_on_16_gb_only_in_8_bits_with_each_gradient_freed_and_blocks_recomputed():
    c, fitting = preset("3b"), set()
    for optimizer in sizing.OPTIMIZERS:
        for checkpointed in (False, True):
            if sizing.rows_that_fit(c, optimizer, 4096, 16e9, checkpointed):
                fitting.add((optimizer.name, checkpointed))
    assert fitting == {("8-bit AdamW in backward", True)}


def test_a_token_of_the_3b_takes_94_208_bytes_of_cache():
    c = preset("3b")
    assert sizing.cache_bytes(c, 1) == 2 * 4 * 184 * 32 * 2 == 94_208
    assert sizing.cache_bytes(c, 4096, rows=3) == 3 * 4096 * 94_208


def test_windowed_layers_hold_their_window_and_looped_layers_one_cache_a_run():
    c = SMALL.replace(n_layer=4, window_pattern="SSSL", window=128)
    a_layer = 2 * 4 * 64 * 2
    assert sizing.cache_bytes(c, 100) == 4 * 100 * a_layer
    assert sizing.cache_bytes(c, 640) == (3 * 128 + 640) * a_layer
    looped = SMALL.replace(n_layer=4, loop={"first": 1, "last": 2, "passes": 3})
    assert sizing.cache_bytes(looped, 10) == 8 * 10 * a_layer


@pytest.mark.parametrize("loop", [None, Loop(0, 1, 2)])
def test_the_cache_of_a_decoder_takes_what_is_said(loop):
    c = DecoderConfig(vocab_size=64, d_model=32, n_layer=2, n_head=4, n_kv_head=2, d_ff=32, max_seq_len=128, loop=loop)
    model = Decoder(c).init_weights().to(torch.bfloat16)
    model.dtype = torch.bfloat16
    cache = KVCache(c, 3, torch.bfloat16, "cpu")
    with torch.no_grad():
        model.hidden(torch.zeros(3, 128, dtype=torch.long), cache=cache)
    assert cache.nbytes == sizing.cache_bytes(c, 128, rows=3)


EAGER = {
    "plain": {},
    "grouped heads": {"n_kv_head": 2},
    "no qk norm": {"qk_norm": "none"},
    "wide ffn": {"d_ff": 2048},
    "relu2": {"ffn_kind": "relu2"},
    "low rank": {"ffn_kind": "lowrank_swiglu", "ffn_rank": 64},
    "branch scale": {"branch_scale": True},
    "side by side": {"parallel_from": 0},
    "two lanes": {"parallel_from": 0, "parallel_kind": "lanes"},
}


@pytest.mark.parametrize("name", EAGER)
def test_a_block_that_is_not_compiled_keeps_little_more_than_is_said(name):
    tokens, c = 520, SMALL.replace(**EAGER[name])  # more tokens than attention writes out
    copies = 2 * (counts.attention(c) + counts.ffn(c))  # the weights in bf16
    added = _saved(c.replace(n_layer=2), tokens) - _saved(c, tokens) - copies
    assert 1.0 < added / (2 * tokens * sizing.block_activations(c, 0)) < 1.35


def _saved(c: DecoderConfig, tokens: int) -> int:
    """Bytes that wait for the backward pass, parameters left out."""
    model, kept = Decoder(c, torch.bfloat16).init_weights(), {}
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        states = model.hidden(torch.zeros(1, tokens, dtype=torch.long))
    assert states.requires_grad
    return sum(size for place, size in kept.items() if place not in own)


def test_checkpointing_keeps_one_vector_a_token_for_each_run():
    c = preset("golf-caseops")
    assert sizing.kept_activations(c, 2, 100, checkpointed=True) == 2 * 200 * 512 * (17 + 2)
    assert sizing.kept_activations(c, 2, 100) > 10 * sizing.kept_activations(c, 2, 100, checkpointed=True)


@pytest.mark.parametrize("name", PRESETS)
def test_chunks_of_the_loss_are_those_of_the_loss(name):
    c = preset(name)
    assert 0.99 * sizing.chunk(c.vocab_size) <= _chunks(1 << 20, c.vocab_size)[0].stop <= sizing.chunk(c.vocab_size)


@given(name=st.sampled_from(list(PRESETS)), gigabytes=st.floats(0.01, 2000), checkpointed=st.booleans(), which=st.integers(0, 4))
@settings(deadline=None, max_examples=40)
def test_what_is_said_to_fit_is_the_most_that_fits(name, gigabytes, checkpointed, which):
    c, budget, optimizer = preset(name), gigabytes * 1e9, sizing.OPTIMIZERS[which]
    rows = sizing.rows_that_fit(c, optimizer, 1024, budget, checkpointed)
    assert sizing.training(c, optimizer, rows + 1, 1024, checkpointed).total > budget
    assert rows == 0 or sizing.training(c, optimizer, rows, 1024, checkpointed).total <= budget
    context = sizing.longest_context(c, budget)
    assert sizing.inference(c, context + 1).total > budget
    assert context == 0 or sizing.inference(c, context).total <= budget


def test_use_takes_two_bytes_a_parameter_and_the_cache():
    used = sizing.inference(preset("3b"), 4096, rows=2)
    assert used.weights == 2 * counts.param_count(preset("3b")) and used.cache == 2 * 4096 * 94_208
    assert used.total == used.weights + used.cache + used.reading


def test_tables_keep_plain_states_beside_8_bits_and_muon():
    c = preset("3b")
    table = 32_000 * 2944
    assert sizing.training(c, OPTIMIZERS["Muon, bf16 momentum"], 1, 128).beside == table * (8 - 2)
    assert sizing.training(c, OPTIMIZERS["8-bit AdamW"], 1, 128).beside == table * (8 - 2.03125)
    assert sizing.training(c, OPTIMIZERS["AdamW, bf16 weights"], 1, 128).beside == 0


def test_sizes_are_told_without_torch():
    code = "import sys, model.sizing, model.presets, model.counts; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60).returncode == 0
