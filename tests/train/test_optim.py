"""The optimizer: Muon orthogonalises, AdamW is AdamW, every parameter is stepped once."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from model.config import DecoderConfig
from model.decoder import Decoder
from train.optim import Group, Optimizer, build_optimizer, clip_, orthogonalize


def with_spectrum(rows, cols, smallest, seed):
    """A matrix whose singular values run from 1 down to `smallest`."""
    generator = torch.Generator().manual_seed(seed)
    rank = min(rows, cols)
    u, _ = torch.linalg.qr(torch.randn(rows, rank, generator=generator))
    v, _ = torch.linalg.qr(torch.randn(cols, rank, generator=generator))
    return u @ torch.logspace(0, math.log10(smallest), rank).diag() @ v.mT


@pytest.mark.parametrize(("rows", "cols"), [(64, 64), (32, 96), (96, 32), (5, 3)])
def test_orthogonalised_matrices_have_singular_values_in_the_band(rows, cols):
    batch = torch.stack([with_spectrum(rows, cols, 0.03, seed) for seed in (0, 1)])
    found = torch.linalg.svdvals(orthogonalize(batch))
    assert found.min() > 0.84 and found.max() < 1.16  # [0.86, 1.14] with room for bfloat16


def test_orthogonalisation_keeps_the_singular_vectors():
    generator = torch.Generator().manual_seed(1)
    u, _ = torch.linalg.qr(torch.randn(24, 24, generator=generator))
    v, _ = torch.linalg.qr(torch.randn(24, 24, generator=generator))
    found = u.mT @ orthogonalize(u @ torch.linspace(1, 0.1, 24).diag() @ v.mT) @ v
    assert (found - found.diagonal().diag()).abs().max() < 0.1 and found.diagonal().min() > 0.8


def test_adamw_is_adamw():
    ours, theirs = (nn.Parameter(torch.linspace(-1, 1, 60).view(6, 10)) for _ in range(2))
    group = Group("embed", "adamw", 0.01, 0.1, (0.9, 0.95), 1e-8, names=["w"], params=[ours])
    mine, reference = Optimizer([group]), torch.optim.AdamW([theirs], 0.01, (0.9, 0.95), 1e-8, 0.1)
    for step in range(10):
        for p in (ours, theirs):
            p.grad = torch.sin(p.detach() * (step + 1))
        mine.step()
        reference.step()
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_a_muon_step_has_the_size_of_the_learning_rate():
    p = nn.Parameter(torch.zeros(64, 16))
    p.grad = torch.randn(64, 16, generator=torch.Generator().manual_seed(2))
    Optimizer([Group("matrix", "muon", 0.1, names=["w"], params=[p])]).step(scale=0.5)
    assert torch.linalg.svdvals(p.detach()).mean() == pytest.approx(0.05 * 2, rel=0.1)  # sqrt(64/16) = 2


def model():
    return Decoder(DecoderConfig(20, 8, 1, 2, 8)).init_weights()


def test_the_groups_cover_every_parameter_exactly_once():
    groups = [Group("matrix", "muon", 1.0), Group("embed", "adamw", 1.0), Group("head", "adamw", 1.0), Group("vector", "adamw", 1.0)]
    optimizer = build_optimizer(model(), groups)
    assert sorted(n for g in optimizer.groups for n in g.names) == sorted(n for n, _ in model().named_parameters())


@pytest.mark.parametrize("roles", [("matrix", "embed"), ("matrix", "embed", "vector", "vector")])
def test_a_role_without_a_group_or_with_two_is_refused(roles):
    with pytest.raises(ValueError, match="exactly one group"):
        build_optimizer(model(), [Group(role, "adamw", 1.0) for role in roles])


def test_clipping_bounds_the_global_norm_and_returns_what_it_was():
    p, q = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    p.grad, q.grad = torch.tensor([3.0]), torch.tensor([4.0])
    assert clip_([p, q], 1.0) == pytest.approx(5.0)
    assert torch.cat((p.grad, q.grad)).norm().item() == pytest.approx(1.0, abs=1e-4)
