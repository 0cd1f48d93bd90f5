"""Norms, rotations and gated products: the eager functions beside their formulas."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck

from model import fused
from model.layers import Linear, RMSNorm, rms_norm


def drawn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64, learned: bool = True) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype).requires_grad_(learned)


def formula(x: torch.Tensor, gain: torch.Tensor | None, eps: float) -> torch.Tensor:
    normed = x / (x.square().mean(-1, keepdim=True) + eps).sqrt()
    return normed if gain is None else normed * gain


def with_gradients(f, *inputs: torch.Tensor) -> list[torch.Tensor]:
    """What f gives and its gradients, against a fixed direction."""
    y = f(*inputs)
    return [y.detach(), *torch.autograd.grad(y, inputs, drawn(*y.shape, seed=9, dtype=y.dtype, learned=False))]


@pytest.mark.parametrize("shape", [(7, 16), (2, 3, 5, 8), (1, 4), (3, 1)])
@pytest.mark.parametrize("gained", [True, False])
def test_the_norm_and_its_gradients_are_those_of_the_formula(shape, gained):
    given = (drawn(*shape), drawn(shape[-1], seed=1)) if gained else (drawn(*shape),)

    def of(norm):
        return with_gradients(lambda x, gain=None: norm(x, gain, 1e-3), *given)

    for found, expected in zip(of(rms_norm), of(formula), strict=True):
        assert torch.allclose(found, expected, rtol=1e-12, atol=1e-12)
    assert gradcheck(lambda x, gain=None: fused.normed(x, gain, 1e-3), given)


def test_the_norm_of_nothing_is_nothing():
    x = torch.zeros(3, 8, requires_grad=True)
    y = rms_norm(x, torch.ones(8), 1e-6)
    y.sum().backward()
    assert y.abs().sum() == 0 and torch.equal(x.grad, torch.full((3, 8), 1e-6**-0.5))


def test_a_norm_reads_numbers_in_any_order():
    x = drawn(5, 3, 16, dtype=torch.float32)
    for turned in (x.transpose(0, 1), x[:, :, ::2], x[:0]):
        assert torch.allclose(rms_norm(turned, None, 1e-6), formula(turned, None, 1e-6), atol=1e-6)


def test_a_norm_in_bf16_is_within_its_rounding():
    x, gain = drawn(64, 512, dtype=torch.bfloat16), drawn(512, seed=1, dtype=torch.float32)
    found = with_gradients(lambda a, b: rms_norm(a, b, 1e-6), x, gain)
    expected = with_gradients(
        lambda a, b: formula(a, b, 1e-6), x.detach().double().requires_grad_(), gain.detach().double().requires_grad_()
    )
    assert [t.dtype for t in found] == [torch.bfloat16, torch.bfloat16, torch.float32]
    assert all((a - b).norm() < 0.005 * b.norm() for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-6), (torch.bfloat16, 0.02)])
@pytest.mark.parametrize("affine", [True, False])
def test_a_compiled_norm_equals_the_eager_one(dtype, tolerance, affine):
    norm, x = RMSNorm(32, 1e-6, affine), drawn(6, 32, dtype=dtype)
    compiled = torch.compile(norm, backend="aot_eager", fullgraph=True)
    for found, expected in zip(with_gradients(compiled, x), with_gradients(norm, x), strict=True):
        assert found.dtype == dtype and torch.allclose(found, expected, rtol=tolerance, atol=tolerance)


def test_a_rotation_passes_the_gradient_back_by_the_opposite_angle():
    x, angles = drawn(2, 3, 10), drawn(3, 4, seed=1, learned=False)
    cos = torch.cat((angles.cos(), angles.cos(), torch.ones(3, 2)), -1)
    assert gradcheck(lambda t: fused.rotated(t, cos, angles.sin()), (x,))
    back = with_gradients(lambda t: fused.rotated(t, cos, angles.sin()), x)[1]
    assert torch.allclose(fused.rotated(back, cos, angles.sin()), drawn(2, 3, 10, seed=9), atol=1e-12)


def test_a_linear_layer_computes_in_the_dtype_of_its_input():
    layer, x = Linear(8, 4), drawn(3, 8, dtype=torch.bfloat16)
    torch.nn.init.normal_(layer.weight)
    y = layer(x)
    y.sum().backward()
    assert y.dtype == x.grad.dtype == torch.bfloat16 and layer.weight.grad.dtype == torch.float32
    assert torch.equal(y, x @ layer.weight.to(torch.bfloat16).T)
