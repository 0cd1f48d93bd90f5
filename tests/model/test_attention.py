"""Attention: every way to compute it beside softmax(q k^T scale) v written in fp64."""

from __future__ import annotations

import math

import pytest
import torch

from model.attention import attend
from model.masks import Sight
from tests.model.options import awake, ids, shape

LENGTHS = (1, 2, 15, 16, 17, 64, 65, 129)


def drawn(queries: int, keys: int, heads: int, groups: int, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    """q, k, v as projections lay them out: a token's heads side by side."""
    generator = torch.Generator().manual_seed(queries)
    sizes = ((queries, heads), (keys, heads // groups), (keys, heads // groups))
    found = [torch.randn(2, t, h, 8, generator=generator, dtype=torch.float64).to(dtype).transpose(1, 2) for t, h in sizes]
    return [t.requires_grad_() for t in found]


def seen(queries: int, keys: int, documents: torch.Tensor | None = None, window: int = 0) -> torch.Tensor:
    """[B or 1, 1, Tq, Tk] by the rule; the last query stands at the last key."""
    q, k = torch.arange(keys - queries, keys)[:, None], torch.arange(keys)
    visible = (k <= q) & ((q - k < window) if window else True)
    return visible[None, None] if documents is None else (visible & (documents[:, -queries:, None] == documents[:, None, :]))[:, None]


def formula(q, k, v, visible, scale, softcap=0.0):
    q, k, v = (t.double() for t in (q, k, v))
    k, v = (t.repeat_interleave(q.shape[1] // k.shape[1], 1) for t in (k, v))
    scores = q @ k.transpose(-1, -2) * scale
    scores = softcap * torch.tanh(scores / softcap) if softcap else scores
    return torch.softmax(scores.masked_fill(~visible, -math.inf), -1) @ v


def agree(found, expected, inputs, tolerance):
    direction = torch.randn(found.shape, generator=torch.Generator().manual_seed(1))
    pairs = [(found, expected)]
    pairs += zip(
        torch.autograd.grad(found, inputs, direction.to(found.dtype)),
        torch.autograd.grad(expected, inputs, direction.double()),
        strict=True,
    )
    assert found.dtype == inputs[0].dtype
    assert all(torch.allclose(a.double(), b.double(), rtol=tolerance, atol=tolerance * max(1, b.abs().max().item())) for a, b in pairs)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("softcap", [0.0, 3.0])
@pytest.mark.parametrize("masked", [False, True])
def test_attention_and_its_gradients_are_those_of_the_formula(length, groups, softcap, masked):
    inputs = drawn(length, length, 4, groups)
    documents = torch.arange(length).expand(2, -1) // 7
    visible = seen(length, length, documents, 11) if masked else seen(length, length)
    found = attend(*inputs, visible if masked else None, 0.4, softcap)
    agree(found, formula(*inputs, visible, 0.4, softcap), inputs, 1e-5)


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("softcap", [0.0, 3.0])
def test_attention_in_bf16_is_within_its_rounding(groups, softcap):
    inputs = drawn(65, 65, 4, groups, torch.bfloat16)
    agree(attend(*inputs, None, 0.35, softcap), formula(*inputs, seen(65, 65), 0.35, softcap), inputs, 2e-2)


@pytest.mark.parametrize("queries, keys", [(1, 9), (2, 9), (8, 9), (9, 64), (16, 65)])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("softcap", [0.0, 3.0])
def test_fewer_queries_than_keys_are_the_last_ones(queries, keys, groups, softcap):
    inputs = drawn(queries, keys, 4, groups)
    agree(attend(*inputs, None, 0.4, softcap), formula(*inputs, seen(queries, keys), 0.4, softcap), inputs, 1e-5)


@pytest.mark.parametrize(
    "documents, window, bidirectional, prefix", [(False, 5, False, 0), (True, 0, False, 0), (True, 5, False, 3), (True, 0, True, 0)]
)
@pytest.mark.parametrize("groups, softcap", [(1, 0.0), (2, 0.0), (2, 3.0)])
def test_the_flex_path_equals_the_dense_one(documents, window, bidirectional, prefix, groups, softcap):
    inputs, rows = [t.detach() for t in drawn(40, 40, 4, groups)], (torch.arange(40).expand(2, -1) // 13) if documents else None
    dense, flex = (Sight(40, torch.device("cpu"), rows, bidirectional, prefix, path).mask(window) for path in ("dense", "flex"))
    assert torch.allclose(attend(*inputs, flex, 0.4, softcap), attend(*inputs, dense, 0.4, softcap), atol=1e-5)


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("option", ["plain", "wide heads", "one head per key"])
@torch.no_grad()
def test_the_three_paths_give_the_same_states(option, dtype, tolerance):
    model, found = awake(shape(option), dtype=dtype), []
    for model.attention_path in ("causal", "dense", "flex"):
        found.append(model.blocks[0](model.embed(ids()), None, model.embed(ids()), model._step(ids(), None, None, None, 0, False), 0)[0])
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert (found[a] - found[b]).abs().max() <= tolerance * found[a].abs().max()


@pytest.mark.parametrize("softcap", [0.0, 3.0])
@pytest.mark.parametrize("masked", [False, True])
def test_compiled_attention_is_one_graph_and_gives_the_same(softcap, masked):
    inputs, mask = drawn(17, 17, 4, 2), seen(17, 17, window=5) if masked else None
    compiled = torch.compile(attend, backend="aot_eager", fullgraph=True, dynamic=False)
    agree(compiled(*inputs, mask, 0.4, softcap), formula(*inputs, seen(17, 17, window=5 if masked else 0), 0.4, softcap), inputs, 1e-5)


def test_training_with_documents_is_one_graph_and_gives_the_same_gradients():
    model, x = awake(shape("plain")), ids()
    documents = (torch.arange(24) // 7).expand(2, 24)
    found = []
    for loss in (model.loss, torch.compile(model.loss, backend="aot_eager", fullgraph=True, dynamic=False)):
        value = loss(x, x.roll(-1, 1), None, documents)
        found.append((value, *torch.autograd.grad(value, list(model.parameters()))))
    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-6) for a, b in zip(*found, strict=True))
