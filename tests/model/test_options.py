"""Laws that hold whatever is on: exact counts, causality, isolation of documents, reading in pieces, compiled = eager."""

from __future__ import annotations

import pytest
import torch

from model.cache import KVCache
from model.decoder import Decoder
from model.presets import PRESETS, preset
from tests.model.options import BOS, OPTIONS, awake, ids, shape

every_option = pytest.mark.parametrize("option", OPTIONS)


def counted(config):
    with torch.device("meta"):
        return sum(p.numel() for p in Decoder(config).parameters())


@every_option
def test_the_closed_form_count_is_the_count_of_the_tensors_whatever_is_on(option):
    assert shape(option).param_count() == counted(shape(option))


@pytest.mark.parametrize("name", PRESETS)
def test_the_closed_form_count_of_every_preset_is_the_count_of_its_tensors(name):
    assert preset(name).param_count() == counted(preset(name))


@every_option
def test_every_option_makes_the_round_trip_through_json(option):
    config = shape(option)
    assert type(config).from_json(config.to_json()) == config


@every_option
def test_every_parameter_has_a_role_a_beginning_and_a_gradient(option):
    model = awake(shape(option)).train()
    assert set(model.roles()) == {name for name, _ in model.named_parameters()}
    x = ids(2, 20)
    h = model.trunk(x)
    value = model.nats(model.norm(h), x) + sum(model.nats(model.norm(u), x) for u in model.ahead(h, x))
    if model.decision is not None:
        value = value + model.decision(model.norm(h), torch.tensor([3, 5])).square().sum()
    if model.chart is not None:
        value = value + model.nats(model.hidden(x, images=torch.rand(2, 3, 16, 16)), x)
    value.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


@every_option
@torch.no_grad()
def test_a_later_token_never_changes_an_earlier_prediction_whatever_is_on(option):
    model, x = awake(shape(option)), ids()
    changed = x.clone()
    changed[:, 15] = (changed[:, 15] + 7) % 50 + 2
    before, after = model(x), model(changed)
    assert torch.allclose(before[:, :15], after[:, :15], atol=1e-6)
    assert not torch.allclose(before[:, 15], after[:, 15], atol=1e-4)


@every_option
@torch.no_grad()
def test_a_document_never_changes_another_whatever_is_on(option):
    model, x = awake(shape(option)), ids()
    x[:, 10] = BOS
    documents = torch.tensor([[0] * 10 + [1] * 14]).expand(2, -1)
    changed = x.clone()
    changed[:, :10] = (changed[:, :10] + 7) % 50 + 2
    one, other = model(x, documents), model(changed, documents)
    assert torch.allclose(one[:, 10:], other[:, 10:], atol=1e-6)
    assert not torch.allclose(one[:, :10], other[:, :10], atol=1e-3)
    if "chart" not in option:
        assert torch.allclose(one[:, 10:], model(x[:, 10:]), atol=1e-4)


@every_option
@pytest.mark.parametrize("pieces", [(24,), (1,) * 24, (10, 1, 5, 8)])
@torch.no_grad()
def test_reading_through_the_cache_equals_reading_at_once_whatever_is_on(option, pieces):
    model, x = awake(shape(option)), ids()
    cache = KVCache(model.config, 2, torch.float32, "cpu", model.looping)
    found = torch.cat([model(part, cache=cache) for part in x.split(pieces, 1)], 1)
    assert torch.allclose(found, model(x), atol=1e-4)


@every_option
@torch.no_grad()
def test_rows_of_different_length_read_as_they_do_alone(option):
    model, x = awake(shape(option)), ids(3, 24)
    cache, lengths = KVCache(model.config, 3, torch.float32, "cpu", model.looping), torch.tensor([24, 9, 3])
    model(x, cache=cache, lengths=lengths)
    behind = ids(3, 2, seed=5)
    found = model(behind, cache=cache)
    cache.cut(cache.lengths - 1)
    again = model(behind[:, 1:], cache=cache)
    for row, length in enumerate(lengths.tolist()):
        alone = model(torch.cat((x[row, :length], behind[row]))[None])[0, -2:]
        assert torch.allclose(found[row], alone, atol=1e-4)
        assert torch.allclose(again[row, -1], alone[-1], atol=1e-4)
