"""fp32 products by matrix tiles, beside fp64 and the library's. Where the machine has no tiles they are the library's."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from model import compiled, pieces
from model.inference import prepare
from tests.model.options import awake, ids, shape

SIZES = [(256, 32, 32), (257, 33, 45), (300, 200, 1), (2100, 40, 70), (513, 130, 2100), (1, 5, 40)]  # tokens, rows, values


def drawn(*size: int, seed: int = 0, spread: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(size, generator=generator) * 10 ** (spread * torch.randn(size, generator=generator))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("spread", "more"), [(0.0, 1.5), (3.0, 2.5)])
def test_errors_are_of_the_size_of_the_librarys(size, spread, more, monkeypatch):
    monkeypatch.setattr(pieces, "MANY", 1)
    tokens, rows, values = size
    x, w = drawn(tokens, values, spread=spread), drawn(rows, values, seed=1, spread=spread)
    exact, size_of_terms = x.double() @ w.double().T, x.double().abs() @ w.double().abs().T
    ours, theirs = (float(((y - exact) / size_of_terms).square().mean().sqrt()) for y in (pieces.product(x, w), F.linear(x, w)))
    assert ours <= max(more * theirs, 2**-24)  # to which a single product is rounded


def test_a_token_hangs_neither_on_its_neighbours_nor_on_the_threads():
    x, w = drawn(600, 1100), drawn(170, 1100, seed=1)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        y = pieces.product(x, w)
        torch.set_num_threads(3)
        assert torch.equal(pieces.product(x, w), y)
        assert torch.equal(pieces.product(x.flip(0)[:300], w), y.flip(0)[:300]) or pieces._code() is None
        assert torch.equal(pieces.product(x.view(3, 200, 1100), w).view(600, 170), y)
    finally:
        torch.set_num_threads(threads)


def test_what_lies_otherwise_is_read_rightly():
    x, w = drawn(90, 300).T, drawn(90, 70, seed=1).T
    assert torch.allclose(pieces.product(x, w), F.linear(x, w), atol=1e-4)


def test_few_rows_other_dtypes_and_gradients_are_the_librarys():
    x, w = drawn(pieces.MANY, 64), drawn(48, 64, seed=1)
    learned = w.clone().requires_grad_()
    for a, b in ((x[:-1], w), (x.double(), w.double()), (x.bfloat16(), w), (x, learned), (x[:, :0], w[:, :0]), (x, w[:0])):
        assert torch.equal(pieces.product(a, b), F.linear(a, b.to(a.dtype)))
    pieces.product(x, learned).sum().backward()
    assert torch.allclose(learned.grad, x.sum(0).expand(48, 64), atol=1e-4)


def test_without_tiles_the_library_multiplies(monkeypatch):
    monkeypatch.setattr(compiled, "FLAGS", (*compiled.FLAGS, "-mno-amx-bf16"))
    monkeypatch.setattr(pieces, "library", compiled.library.__wrapped__)
    monkeypatch.setattr(pieces, "_code", pieces._code.__wrapped__)
    x, w = drawn(300, 64), drawn(48, 64, seed=1)
    assert pieces._code() is None
    assert torch.equal(pieces.product(x, w), F.linear(x, w))


@pytest.mark.parametrize("compiled_code", [True, False])
@torch.no_grad()
def test_a_copy_for_inference_reads_long_prompts_as_the_model_does(compiled_code):
    model, x = awake(shape("plain").replace(max_seq_len=512)), ids(3, 400)
    assert torch.allclose(prepare(model, compiled_code)(x), model(x), atol=1e-4)
