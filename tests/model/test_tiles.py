"""Attention that trains by matrix tiles, beside the formula in fp64. Where the processor has none there is nothing to compare."""

from __future__ import annotations

import pytest
import torch

from model import tiles
from model.attention import attend
from model.decoder import Decoder
from model.presets import preset
from tests.model.test_attention import formula, seen

pytestmark = pytest.mark.parametrize("there", [True] if tiles.there() else [])


def drawn(length, heads, groups, width, rows=2):
    generator = torch.Generator().manual_seed(length)
    sizes = ((rows, length, heads, width), *[(rows, length, heads // groups, width)] * 2)
    found = [torch.randn(size, generator=generator).bfloat16().transpose(1, 2) for size in sizes]
    return [t.requires_grad_() for t in found]


def gradients(y, inputs, dtype):
    direction = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).bfloat16().to(dtype)
    return torch.autograd.grad(y, inputs, direction)


@pytest.mark.parametrize("length", [2, 31, 64, 65, 200])
@pytest.mark.parametrize(("groups", "width"), [(1, 32), (4, 64), (2, 96)])
def test_the_gradients_are_at_least_as_near_to_the_formula_as_the_librarys(there, length, groups, width):
    inputs = drawn(length, 4, groups, width)
    wide = [t.detach().double().requires_grad_() for t in inputs]
    expected = gradients(formula(*wide, seen(length, length), width**-0.5), wide, torch.float64)
    y = tiles.attend(*inputs, width**-0.5)
    library = gradients(attend(*inputs, None, width**-0.5), inputs, torch.bfloat16)
    for ours, theirs, exact in zip(gradients(y, inputs, torch.bfloat16), library, expected, strict=True):
        off, allowed = float((ours - exact).norm()), float((theirs - exact).norm())
        assert off <= 1.1 * allowed + 1e-3 * float(exact.norm())


def test_tensors_may_lie_in_any_order(there):
    inputs = drawn(70, 4, 2, 32)
    turned = [t.detach().contiguous().requires_grad_() for t in inputs]
    one, other = (gradients(tiles.attend(*given, 0.2), given, torch.bfloat16) for given in (inputs, turned))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_operators_are_what_a_compiler_takes_them_for(there):
    inputs = drawn(40, 4, 2, 32)
    torch.library.opcheck(torch.ops.athanor.causal_attention.default, (*inputs, 0.2))


def test_the_number_of_threads_changes_nothing(there):
    inputs, before, found = drawn(130, 4, 2, 32, rows=3), torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(gradients(tiles.attend(*inputs, 0.2), inputs, torch.bfloat16))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_a_decoder_trains_with_it_as_without(there):
    config = preset("skylar-test", vocab_size=61, max_seq_len=128, n_layer=2)
    ids = torch.randint(61, (2, 100), generator=torch.Generator().manual_seed(0))
    found = []
    for attached in (False, True):
        model = Decoder(config, torch.bfloat16).init_weights(3)
        for block in model.blocks:
            torch.nn.init.normal_(block.attention.o.weight, std=0.1, generator=torch.Generator().manual_seed(1))
        if attached:
            tiles.attach(model)
            assert all(block.attention.whole is not None for block in model.blocks)
        loss = model.loss(ids, ids.roll(-1, 1))
        loss.backward()
        found.append((loss.item(), torch.cat([p.grad.flatten() for p in model.parameters()])))
    (loss, gradient), (again, other) = found
    assert abs(loss - again) < 1e-3 and float((gradient - other).norm()) < 0.02 * float(gradient.norm())


def test_layers_it_does_not_fit_are_left_alone(there):
    for other in ({"attn_softcap": 5.0}, {"d_head": 48}):
        model = Decoder(preset("skylar-test", **other), torch.bfloat16)
        tiles.attach(model)
        assert all(block.attention.whole is None for block in model.blocks)
