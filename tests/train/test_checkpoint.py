"""Checkpoints: whole or not there, and everything in them."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from model.config import DecoderConfig
from model.decoder import Decoder
from model.state import fingerprint
from train.checkpoint import load_checkpoint, save_checkpoint
from train.loop import Regime, groups_of
from train.optim import build_optimizer


def trained(updates):
    model = Decoder(DecoderConfig(20, 8, 1, 2, 8)).init_weights(1)
    optimizer = build_optimizer(model, groups_of(Regime(steps=10)))
    for _ in range(updates):
        model(torch.arange(8)[None]).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return model, optimizer


def test_everything_comes_back(tmp_path):
    model, optimizer = trained(3)
    save_checkpoint(tmp_path, model, optimizer, {"step": 3, "identity": "a", "cursor": {"epoch": 1}})
    drawn = (random.random(), np.random.random(), torch.rand(1).item())
    other, others = trained(0)
    state = load_checkpoint(tmp_path, other, others, "a")
    assert state["step"] == 3 and state["cursor"] == {"epoch": 1}
    assert fingerprint(other) == fingerprint(model) and others.updates == 3
    assert all(torch.equal(others.state[k], v) for k, v in optimizer.state.items())
    assert (random.random(), np.random.random(), torch.rand(1).item()) == drawn


def test_only_the_newest_are_kept(tmp_path):
    model, optimizer = trained(1)
    for step in (10, 20, 30):
        save_checkpoint(tmp_path, model, optimizer, {"step": step, "identity": "a"}, keep=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000020", "step-00000030"]


@pytest.mark.parametrize("damage", ["model.safetensors", "state.json", "manifest.json"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path, damage):
    model, optimizer = trained(1)
    for step in (10, 20):
        save_checkpoint(tmp_path, model, optimizer, {"step": step, "identity": "a"})
    damaged = tmp_path / "step-00000020" / damage
    damaged.write_bytes(damaged.read_bytes()[:-3])
    assert load_checkpoint(tmp_path, model, optimizer, "a")["step"] == 10


def test_a_checkpoint_of_another_run_is_not_used(tmp_path):
    model, optimizer = trained(1)
    save_checkpoint(tmp_path, model, optimizer, {"step": 10, "identity": "a"})
    assert load_checkpoint(tmp_path, model, optimizer, "b") is None
    assert load_checkpoint(tmp_path / "nothing", model, optimizer, "a") is None
