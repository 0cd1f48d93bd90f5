"""The chunked cross-entropy of the head beside the one of PyTorch."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from model import loss
from model.loss import IGNORED, linear_cross_entropy, token_losses

VOCABULARY, WIDTH = 50, 12


def drawn(tokens: int, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """States, table, targets of which some are IGNORED, weights."""
    generator = torch.Generator().manual_seed(tokens)
    hidden = torch.randn(tokens, WIDTH, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    table = torch.randn(VOCABULARY, WIDTH, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    targets = torch.randint(VOCABULARY, (tokens,), generator=generator)
    targets[torch.rand(tokens, generator=generator) < 0.2] = IGNORED
    return hidden, table, targets, torch.rand(tokens, generator=generator, dtype=torch.float64)


def formula(hidden, table, targets, weights, scale, softcap):
    logits = scale * hidden.double() @ table.double().T
    logits = softcap * torch.tanh(logits / softcap) if softcap else logits
    each = F.cross_entropy(logits, targets, reduction="none", ignore_index=IGNORED)
    weights = (torch.ones_like(each) if weights is None else weights.double()) * (targets != IGNORED)
    return (each * weights).sum() / weights.sum()


def with_gradients(value, *inputs):
    return [value.detach().double(), *(g.double() for g in torch.autograd.grad(3 * value, inputs))]


@pytest.fixture
def small_chunks(monkeypatch):
    """64 tokens a chunk, 8 in the cache."""
    monkeypatch.setattr(loss, "CHUNK", 64 * VOCABULARY)
    monkeypatch.setattr(loss, "CACHED", 8)


@pytest.mark.parametrize("tokens", [1, 7, 8, 9, 63, 64, 65, 128, 129, 200])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("scale, softcap", [(1.0, 0.0), (0.3, 0.0), (1.0, 4.0), (0.3, 4.0)])
def test_value_and_gradients_are_those_of_the_formula_wherever_chunks_end(small_chunks, tokens, weighted, scale, softcap):
    hidden, table, targets, weights = drawn(tokens)
    targets[0] = 3
    given = (hidden, table, targets, weights if weighted else None, scale, softcap)
    found, expected = (with_gradients(f(*given), hidden, table) for f in (linear_cross_entropy, formula))
    assert all(torch.allclose(a, b, rtol=1e-10, atol=1e-12) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.bfloat16, 0.01)])
def test_states_and_table_may_have_each_its_dtype(small_chunks, dtype, tolerance):
    hidden, table, targets, weights = drawn(200, dtype)
    for rows in (table, table.detach().float().requires_grad_()):
        value = linear_cross_entropy(hidden, rows, targets, weights.float())
        gradients = torch.autograd.grad(value, (hidden, rows))
        assert value.dtype == torch.float32 and [g.dtype for g in gradients] == [hidden.dtype, rows.dtype]
        exact = formula(hidden, table, targets, weights, 1.0, 0.0)
        assert value.item() == pytest.approx(exact.item(), rel=tolerance)
        for a, b in zip(gradients, torch.autograd.grad(exact, (hidden, table)), strict=True):
            assert (a.double() - b.double()).norm() < tolerance * b.double().norm()


def test_logits_far_apart_give_the_exact_loss_and_no_infinities():
    hidden = torch.tensor([[300.0, 0.0], [0.0, 300.0]], requires_grad=True)
    table = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]], requires_grad=True)
    value = linear_cross_entropy(hidden, table, torch.tensor([0, 2]))
    value.backward()
    assert value.item() == 300 and hidden.grad.isfinite().all() and table.grad.isfinite().all()


@pytest.mark.parametrize("tokens", [0, 70])
def test_where_nothing_counts_there_is_no_loss_and_no_gradient(small_chunks, tokens):
    hidden, table, targets, _ = drawn(tokens, torch.float32)
    found = with_gradients(linear_cross_entropy(hidden, table, targets.fill_(IGNORED)), hidden, table)
    assert all(t.abs().sum() == 0 for t in found)


def test_a_weight_of_two_counts_as_the_token_twice():
    hidden, table, targets, _ = drawn(4)
    targets = targets.clamp(min=0)
    twice = torch.cat((hidden, hidden[:1]))
    weighted = linear_cross_entropy(hidden, table, targets, torch.tensor([2.0, 1.0, 1.0, 1.0], dtype=torch.float64))
    assert weighted.item() == pytest.approx(linear_cross_entropy(twice, table, torch.cat((targets, targets[:1]))).item())


def test_rows_of_tokens_are_a_sequence_of_tokens():
    hidden, table, targets, weights = drawn(24, torch.float32)
    flat = linear_cross_entropy(hidden, table, targets, weights.float())
    shaped = linear_cross_entropy(hidden.view(2, 12, WIDTH), table, targets.view(2, 12), weights.float().view(2, 12))
    assert torch.equal(flat, shaped)


@pytest.mark.parametrize("scale, softcap", [(1.0, 0.0), (0.5, 4.0)])
def test_without_gradients_the_value_is_the_same_and_the_mean_of_the_tokens(small_chunks, scale, softcap):
    hidden, table, targets, _ = drawn(150, torch.float32)
    trained = linear_cross_entropy(hidden, table, targets, None, scale, softcap)
    with torch.no_grad():
        assert linear_cross_entropy(hidden, table, targets, None, scale, softcap).item() == pytest.approx(trained.item(), rel=1e-5)
        each = token_losses(hidden, table, targets, scale, softcap)
    assert each[targets == IGNORED].abs().sum() == 0
    assert (each.sum() / (targets != IGNORED).sum()).item() == pytest.approx(trained.item(), rel=1e-5)


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.bfloat16, 0.02)])
@pytest.mark.parametrize("softcap", [0.0, 4.0])
def test_compiled_it_is_one_graph_and_gives_the_same(small_chunks, dtype, tolerance, softcap):
    hidden, table, targets, weights = drawn(150, dtype)
    compiled = torch.compile(linear_cross_entropy, backend="aot_eager", fullgraph=True, dynamic=False)
    given = (hidden, table, targets, weights.float(), 0.5, softcap)
    found, expected = (with_gradients(f(*given), hidden, table) for f in (compiled, linear_cross_entropy))
    assert all((a - b).norm() <= tolerance * b.norm() for a, b in zip(found, expected, strict=True))


def test_chunks_cover_every_token_once_in_equal_parts():
    for tokens in (0, 1, 64, 65, 1000, 4096):
        parts = loss._chunks(tokens, loss.CHUNK // 100)
        assert [i for part in parts for i in range(tokens)[part]] == list(range(tokens))
        assert len(parts) == -(-tokens // 100)
