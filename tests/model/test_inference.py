"""The copy for inference: the same function, whatever is on, and the model untouched."""

from __future__ import annotations

import pytest
import torch

from model.cache import KVCache
from model.generation import Sampling, generate
from model.inference import Rounded, prepare
from model.layers import Linear
from model.state import fingerprint
from tests.model.options import OPTIONS, awake, ids, shape


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("option", OPTIONS)
@torch.no_grad()
def test_the_copy_computes_what_the_model_does_whatever_is_on(option, compiled):
    model, x = awake(shape(option)), ids(3)
    before = fingerprint(model)
    ready = prepare(model, compiled)
    h, again = model.trunk(x), ready.trunk(x)
    assert torch.allclose(model.logits(model.norm(h)), ready.logits(ready.norm(again)), atol=1e-4)
    for one, other in zip(model.ahead(h, x), ready.ahead(again, x), strict=True):
        assert torch.allclose(one, other, atol=1e-3)
    cache = KVCache(model.config, 3, torch.float32, "cpu", model.looping)
    found = torch.cat([ready(part, cache=cache) for part in x.split((10, 1, 1, 12), 1)], 1)
    assert torch.allclose(found, model(x), atol=1e-4)
    assert fingerprint(model) == before and all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("option", ["plain", "everything", "ternary", "mtp"])
@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("compiled", [True, False])
@torch.no_grad()
def test_in_bf16_the_copy_differs_by_rounding_and_holds_no_wider_matrix(option, rows, compiled):
    model, x = awake(shape(option), dtype=torch.bfloat16), ids(rows, 8)
    ready = prepare(model, compiled)
    joined = [block.attention.joined.matrix for block in ready.blocks if block.attention.joined is not None]
    held = [*ready.parameters(), *(m.weight for m in ready.modules() if isinstance(m, Linear | Rounded)), *joined]
    assert {t.dtype for t in held if t.dim() > 1 and t.shape[0] > 8} == {torch.bfloat16}
    cache = KVCache(model.config, rows, torch.bfloat16, "cpu", model.looping)
    found = torch.cat([ready(part, cache=cache) for part in x.split(1, 1)], 1)
    assert float((found - model(x)).abs().mean()) < 0.03 * float(model(x).abs().mean()) + 0.02


def test_the_copy_writes_what_the_model_writes():
    model = awake(shape("plain"))
    prompts, sampling = [[5, 6, 7], [8]], Sampling(max_tokens=30, seed=3, top_p=0.9)
    assert generate(prepare(model), prompts, sampling) == generate(model, prompts, sampling)


def test_a_model_trains_on_after_a_copy_was_made():
    model, x = awake(shape("plain")), ids()
    generate(prepare(model), [[5]], Sampling(max_tokens=3))
    model.loss(x, x).backward()
    assert all(p.grad is not None for p in model.parameters())
