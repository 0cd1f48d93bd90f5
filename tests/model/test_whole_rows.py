"""Attention that trains by compiled code, beside the formula in fp64. Where the machine has none, or no tiles, nothing is compared."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model import whole_rows
from model.attention import attend
from model.decoder import Decoder
from model.masks import Sight
from model.presets import preset
from tests.model.test_attention import formula, seen

DTYPES = [dtype for dtype in (torch.float32, torch.bfloat16) if whole_rows.there(dtype)]
pytestmark = pytest.mark.parametrize("dtype", DTYPES)


def drawn(dtype, length, heads, groups, width, rows=2):
    generator = torch.Generator().manual_seed(length)
    sizes = ((rows, length, heads, width), *[(rows, length, heads // groups, width)] * 2)
    found = [torch.randn(size, generator=generator).to(dtype).transpose(1, 2) for size in sizes]
    return [t.requires_grad_() for t in found]


def with_gradients(y, inputs):
    direction = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).bfloat16().to(y.dtype)
    return y.detach(), *torch.autograd.grad(y, inputs, direction)


def agree(inputs, visible, first, mask):
    """Values and gradients are as near to the formula as the library's, or within fp32's rounding."""
    wide, scale = [t.detach().double().requires_grad_() for t in inputs], inputs[0].shape[-1] ** -0.5
    expected = with_gradients(formula(*wide, visible, scale), wide)
    library = with_gradients(attend(*inputs, mask, scale), inputs)
    for ours, theirs, exact in zip(with_gradients(whole_rows.attend(*inputs, first, scale), inputs), library, expected, strict=True):
        off, allowed, size = float((ours - exact).norm()), float((theirs - exact).norm()), max(float(exact.norm()), exact.numel() ** 0.5)
        assert off <= 1.1 * allowed + (1e-3 if inputs[0].dtype == torch.bfloat16 else 2e-6) * size


@pytest.mark.parametrize("length", [1, 2, 31, 64, 65, 200])
@pytest.mark.parametrize(("groups", "width"), [(1, 32), (4, 64), (2, 96)])
def test_values_and_gradients_are_at_least_as_near_to_the_formula_as_the_librarys(dtype, length, groups, width):
    agree(drawn(dtype, length, 4, groups, width), seen(length, length), None, None)


@settings(max_examples=40, deadline=None)
@given(data=st.data(), length=st.integers(1, 150), window=st.integers(0, 150))
def test_documents_and_windows_are_hidden(dtype, data, length, window):
    ends = data.draw(st.lists(st.integers(0, length), max_size=5))
    documents = torch.stack([torch.bucketize(torch.arange(length), torch.tensor(sorted(ends))), torch.zeros(length, dtype=torch.int64)])
    sight = Sight(length, torch.device("cpu"), documents)
    visible = seen(length, length, documents, window)
    assert torch.equal(sight.mask(window), visible)
    agree(drawn(dtype, length, 2, 2, 32), visible, sight.first(window), visible)


def test_tensors_may_lie_in_any_order(dtype):
    inputs = drawn(dtype, 70, 4, 2, 32)
    turned = [t.detach().contiguous().requires_grad_() for t in inputs]
    one, other = (with_gradients(whole_rows.attend(*given, None, 0.2), given) for given in (inputs, turned))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("hidden", [False, True])
def test_the_operators_are_what_a_compiler_takes_them_for(dtype, hidden):
    first = torch.arange(40, dtype=torch.int32)[None] // 7 * 7 if hidden else None
    torch.library.opcheck(torch.ops.athanor.attention.default, (*drawn(dtype, 40, 4, 2, 32), first, 0.2))


def test_the_number_of_threads_changes_nothing(dtype):
    inputs, before, found = drawn(dtype, 130, 4, 2, 32, rows=3), torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(with_gradients(whole_rows.attend(*inputs, None, 0.2), inputs))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("documents", [None, (torch.arange(100) // 37).expand(2, -1)])
def test_a_decoder_trains_with_it_as_without(dtype, documents):
    config = preset("skylar-test", vocab_size=61, max_seq_len=128, n_layer=2, window_pattern="SL", window=20)
    ids = torch.randint(61, (2, 100), generator=torch.Generator().manual_seed(0))
    found = []
    for attached in (False, True):
        model = Decoder(config, dtype).init_weights(3)
        for block in model.blocks:
            torch.nn.init.normal_(block.attention.o.weight, std=0.1, generator=torch.Generator().manual_seed(1))
        if attached:
            whole_rows.attach(model)
            assert all(block.attention.whole is not None for block in model.blocks)
        loss = model.loss(ids, ids.roll(-1, 1), None, documents)
        loss.backward()
        found.append((loss.item(), torch.cat([p.grad.flatten() for p in model.parameters()])))
    (loss, gradient), (again, other) = found
    allowed = 0.02 if dtype == torch.bfloat16 else 1e-5
    assert abs(loss - again) < allowed / 20 and float((gradient - other).norm()) < allowed * float(gradient.norm())


def test_a_decoder_with_documents_compiles_to_one_graph(dtype):
    model = Decoder(preset("skylar-test", vocab_size=61, max_seq_len=64, n_layer=1), dtype).init_weights(3)
    whole_rows.attach(model)
    ids, documents, found = torch.arange(40).expand(2, -1), (torch.arange(40) // 13).expand(2, -1), []
    for loss in (model.loss, torch.compile(model.loss, backend="aot_eager", fullgraph=True, dynamic=False)):
        gradients = torch.autograd.grad(loss(ids, ids.roll(-1, 1), None, documents), list(model.parameters()))
        found.append(torch.cat([gradient.flatten() for gradient in gradients]))
    assert float((found[0] - found[1]).norm()) < (0.02 if dtype == torch.bfloat16 else 1e-5) * float(found[0].norm())


def test_layers_it_does_not_fit_are_left_alone(dtype):
    for other in ({"attn_softcap": 5.0}, {"d_head": 48}):
        model = Decoder(preset("skylar-test", **other), dtype)
        whole_rows.attach(model)
        assert all(block.attention.whole is None for block in model.blocks)


def test_rows_and_heads_that_do_not_fill_the_threads_go_another_way(dtype, monkeypatch):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(4)
        model = Decoder(preset("skylar-test", n_head=2, n_kv_head=1, d_head=32, n_layer=1), dtype).init_weights(0)
        whole_rows.attach(model)
    finally:
        torch.set_num_threads(before)
    calls = []
    attention = model.blocks[0].attention
    monkeypatch.setattr(attention, "whole", lambda *given: calls.append(1) or whole_rows.attend(*given))
    for rows in (3, 4):
        model(torch.zeros(rows, 5, dtype=torch.int64))
    assert calls == [1]
