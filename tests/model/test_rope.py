"""Rotary positions: products depend on distances only, extensions follow their formulas."""

from __future__ import annotations

import math

import pytest
import torch

from model.config import DecoderConfig, RopeScaling
from model.rope import Rope, frequencies, rotate

CASES = {
    "full": {},
    "partial": {"rope_dims": 8},
    "ntk": {"rope_scaling": RopeScaling("ntk", 4.0)},
    "partial ntk": {"rope_dims": 8, "rope_scaling": RopeScaling("ntk", 4.0)},
    "yarn": {"rope_scaling": RopeScaling("yarn", 4.0, 64)},
}
every_case = pytest.mark.parametrize("case", CASES)


def config(case: str, **changes) -> DecoderConfig:
    plain = {"vocab_size": 64, "d_model": 64, "n_layer": 1, "n_head": 4, "d_ff": 64, "max_seq_len": 512}
    return DecoderConfig(**{**plain, **CASES[case], **changes})


def table(case: str, length: int) -> torch.Tensor:
    return Rope(config(case)).table(length, torch.device("cpu"))[:, :length]


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@every_case
def test_a_product_of_rotated_vectors_depends_on_their_distance_only(case):
    q, k = drawn(16).expand(1, 1, 40, 16), drawn(16, seed=1).expand(1, 1, 40, 16)
    products = (rotate(q, table(case, 40)) @ rotate(k, table(case, 40)).transpose(-1, -2))[0, 0]
    for distance in (-7, 0, 1, 30):
        along = products.diagonal(distance)
        assert torch.allclose(along, along[:1], atol=1e-5)
    assert (products[0, 0] - products[0, 1]).abs() > 1e-3


@every_case
def test_pairs_are_halves_that_turn_as_complex_numbers(case):
    c, x = config(case), drawn(2, 4, 9, 16)
    half, s = c.rope_dims // 2, c.rope_scaling
    angles = torch.arange(9)[:, None] * frequencies(c)
    turns = torch.polar(torch.full_like(angles, 0.1 * math.log(s.factor) + 1 if s is not None and s.kind == "yarn" else 1.0), angles)
    turned = torch.complex(x[..., :half].double(), x[..., half : 2 * half].double()) * turns
    expected = torch.cat((turned.real, turned.imag, x[..., 2 * half :].double()), -1)
    assert torch.allclose(rotate(x, table(case, 9)).double(), expected, atol=1e-5)


@every_case
@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-6), (torch.bfloat16, 0.03)])
def test_a_compiled_rotation_and_its_gradient_equal_the_eager_ones(case, dtype, tolerance):
    turns, compiled = table(case, 6), torch.compile(rotate, backend="aot_eager", fullgraph=True)
    found = []
    for f in (rotate, compiled):
        x = drawn(2, 6, 4, 16).to(dtype).requires_grad_()
        y = f(x.transpose(1, 2), turns)
        y.backward(drawn(*y.shape, seed=1).to(dtype))
        found.append((y.detach(), x.grad))
    assert all(a.dtype == dtype and torch.allclose(a, b, rtol=tolerance, atol=tolerance) for a, b in zip(*found, strict=True))


def test_a_row_of_positions_for_each_sequence_turns_each_by_its_own():
    x, turns, positions = drawn(2, 4, 3, 16), table("full", 20), torch.tensor([[0, 1, 2], [7, 8, 9]])
    both = rotate(x, turns[:, positions].unsqueeze(2))
    assert torch.allclose(both, torch.cat([rotate(x[i : i + 1], turns[:, positions[i]]) for i in range(2)]), atol=1e-6)


def test_ntk_stretches_the_slowest_pair_by_the_factor_and_leaves_the_fastest():
    plain, stretched = frequencies(config("full")), frequencies(config("ntk"))
    assert stretched[0] == plain[0] and stretched[-1].item() == pytest.approx(plain[-1].item() / 4)
    base = 10000 * 4 ** (16 / 14)
    assert stretched.tolist() == pytest.approx([base ** (-2 * j / 16) for j in range(8)])


def test_yarn_is_the_published_formula():
    """Peng et al. 2023, eq. 19-23: L trained window, L' = s L, wavelength 2 pi / rate, alpha 1, beta 32."""
    s, trained, alpha, beta = 4.0, 4096, 1, 32
    c = config("full", d_head=64, rope_dims=64, max_seq_len=16384, rope_scaling=RopeScaling("yarn", s, trained))
    rates, expected = [10000 ** (-2 * j / 64) for j in range(32)], []
    for rate in rates:
        r = trained / (2 * math.pi / rate)
        ramp = 0 if r < alpha else 1 if r > beta else (r - alpha) / (beta - alpha)
        expected.append((1 - ramp) * rate / s + ramp * rate)
    found = frequencies(c)
    assert found.tolist() == pytest.approx(expected)
    kept, interpolated = (sum(e == pytest.approx(rate / by) for e, rate in zip(expected, rates, strict=True)) for by in (1, s))
    assert kept > 5 and interpolated > 5 and kept + interpolated < 30
    cos, sin = Rope(c).table(8, torch.device("cpu"))[:, 5].double()
    assert torch.allclose(cos.square() + sin.square(), torch.tensor((0.1 * math.log(s) + 1) ** 2).double(), rtol=1e-6)


def test_a_table_is_made_once_and_longer_when_more_positions_are_needed():
    rope = Rope(config("full"))
    first = rope.table(10, torch.device("cpu"))
    assert rope.table(200, torch.device("cpu")) is first and first.shape == (2, 256, 8)
    longer = rope.table(300, torch.device("cpu"))
    assert longer.shape == (2, 512, 8) and torch.equal(longer[:, :256], first)
    assert rope.table(512, torch.device("cpu")) is longer
