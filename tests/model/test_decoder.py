"""The decoder: shape, exactness of the count, and what each token may see."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from model.attention import KVCache, attend, document_mask, rope_table, rotate
from model.config import DecoderConfig
from model.decoder import Decoder, fingerprint, load, save

TINY = DecoderConfig(vocab_size=61, d_model=32, n_layer=2, n_head=4, n_kv_head=2, d_ff=48, max_seq_len=32)


def tiny(config=TINY, seed=3):
    """A decoder whose every weight matters (the zero-initialised ones too)."""
    model = Decoder(config).init_weights(seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=generator))
    return model


def ids(rows=2, length=24, seed=0):
    return torch.randint(0, TINY.vocab_size, (rows, length), generator=torch.Generator().manual_seed(seed))


def test_a_config_makes_the_round_trip_through_json():
    config = dataclasses.replace(TINY, logit_softcap=15.0, tie_embeddings=False)
    assert DecoderConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"d_modle": 4}, "did you mean 'd_model'"),
        ({"n_head": True}, "must be int"),
        ({"qk_norm": 1}, "must be bool"),
        ({"n_kv_head": 3}, "multiple"),
    ],
)
def test_a_config_refuses_what_it_does_not_know_or_what_does_not_fit(change, message):
    with pytest.raises(ValueError, match=message):
        DecoderConfig.from_dict({**json.loads(TINY.to_json()), **change})


def test_a_config_names_what_is_missing():
    with pytest.raises(ValueError, match="d_ff"):
        DecoderConfig.from_dict({"vocab_size": 10, "d_model": 8, "n_layer": 1, "n_head": 1})


@settings(max_examples=30, deadline=None)
@given(
    vocab=st.integers(2, 300),
    width=st.sampled_from([8, 20, 32]),
    layers=st.integers(1, 3),
    heads=st.sampled_from([(1, 1), (4, 2), (6, 1), (3, 3)]),
    d_head=st.sampled_from([2, 8, 12]),
    d_ff=st.integers(1, 40),
    tied=st.booleans(),
    qk_norm=st.booleans(),
)
def test_the_closed_form_count_is_the_count_of_the_tensors(vocab, width, layers, heads, d_head, d_ff, tied, qk_norm):
    config = DecoderConfig(vocab, width, layers, heads[0], d_ff, heads[1], d_head, tie_embeddings=tied, qk_norm=qk_norm)
    with torch.device("meta"):
        model = Decoder(config)
    assert config.param_count() == sum(p.numel() for p in model.parameters())


def test_the_first_loss_is_the_logarithm_of_the_vocabulary():
    config = dataclasses.replace(TINY, vocab_size=1000)
    x = torch.randint(0, 1000, (4, 32), generator=torch.Generator().manual_seed(0))
    loss = F.cross_entropy(Decoder(config).init_weights(0)(x).flatten(0, 1), x.roll(-1, 1).flatten())
    assert loss.item() == pytest.approx(math.log(1000), abs=0.05)


def test_padding_of_the_table_gets_no_logit():
    assert tiny()(ids()).shape == (2, 24, TINY.vocab_size)


def heads(query, shared, length, seed):
    """Random q of `query` heads, k and v of `shared` heads."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(2, n, length, 8, generator=generator) for n in (query, shared, shared)]


def test_a_rotated_product_depends_on_the_distance_only():
    table = rope_table(64, 16, 10000.0)
    q, k = torch.randn(2, 1, 1, 1, 16, generator=torch.Generator().manual_seed(1)).expand(2, 1, 1, 64, 16)
    products = rotate(q, table) @ rotate(k, table).transpose(-1, -2)
    for distance in (0, 3, 40):
        along = products[0, 0].diagonal(-distance)
        assert torch.allclose(along, along[:1].expand_as(along), atol=1e-4)


@pytest.mark.parametrize("written_out", [True, False])
def test_grouped_heads_equal_repeated_keys_and_values(written_out):
    q, k, v = heads(6, 2, 9, seed=2)
    expected = F.scaled_dot_product_attention(q, k.repeat_interleave(3, 1), v.repeat_interleave(3, 1), is_causal=True)
    assert torch.allclose(attend(q, k, v, None, written_out), expected, atol=1e-5)


def test_both_paths_of_attention_agree_under_a_document_mask():
    q, k, v = heads(4, 2, 10, seed=4)
    mask = document_mask(torch.tensor([[0] * 4 + [1] * 6, [0] * 10]))
    assert torch.allclose(attend(q, k, v, mask, True), attend(q, k, v, mask, False), atol=1e-5)


def test_a_later_token_never_changes_an_earlier_prediction():
    model, x = tiny(), ids()
    changed = x.clone()
    changed[:, 15] = (changed[:, 15] + 1) % TINY.vocab_size
    before, after = model(x), model(changed)
    assert torch.equal(before[:, :15], after[:, :15])
    assert not torch.allclose(before[:, 15:], after[:, 15:])


def test_a_document_never_changes_the_predictions_of_another():
    model, x = tiny(), ids()
    documents = torch.tensor([[0] * 10 + [1] * 14]).expand(2, -1)
    changed = x.clone()
    changed[:, :10] = (changed[:, :10] + 7) % TINY.vocab_size
    assert torch.equal(model(x, documents)[:, 10:], model(changed, documents)[:, 10:])
    assert not torch.allclose(model(x)[:, 10:], model(changed)[:, 10:])


def test_masked_documents_are_predicted_as_if_alone():
    model, x = tiny(), ids()
    documents = torch.tensor([[0] * 10 + [1] * 14]).expand(2, -1)
    assert torch.allclose(model(x, documents)[:, 10:], model(x[:, 10:]), atol=1e-4)


@pytest.mark.parametrize("pieces", [(24,), (1,) * 24, (10, 1, 5, 8)])
def test_reading_through_the_cache_equals_reading_at_once(pieces):
    model, x = tiny(), ids()
    cache = KVCache.empty(TINY, 2, 32, torch.float32, "cpu")
    with torch.no_grad():
        found = torch.cat([model(part, cache=cache) for part in x.split(pieces, 1)], 1)
        assert torch.allclose(found, model(x), atol=1e-4)


def test_more_tokens_than_the_window_are_refused():
    with pytest.raises(ValueError, match="max_seq_len 32"):
        tiny()(ids(length=33))


def test_a_softcap_bounds_the_logits():
    model = tiny(dataclasses.replace(TINY, logit_softcap=2.0))
    with torch.no_grad():
        model.embedding.weight.mul_(50)
        assert model(ids()).abs().max() <= 2.0


def test_the_same_seed_gives_the_same_bits_and_the_fingerprint_knows():
    first, second, other = (Decoder(TINY).init_weights(seed) for seed in (5, 5, 6))
    assert fingerprint(first) == fingerprint(second) != fingerprint(other)
    assert fingerprint(first) != fingerprint(first.bfloat16())


def test_a_saved_decoder_comes_back_bit_for_bit(tmp_path):
    model = tiny()
    mark = save(model, tmp_path, seed=3)
    again = load(tmp_path)
    assert fingerprint(again) == mark and torch.equal(again(ids()), model(ids()))
    assert json.loads((tmp_path / "config.json").read_text())["params"] == TINY.param_count()


def test_an_altered_decoder_is_refused(tmp_path):
    save(tiny(), tmp_path)
    other = tmp_path / "other"
    save(tiny(seed=9), other)
    (other / "model.safetensors").replace(tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="altered"):
        load(tmp_path)


def test_every_parameter_has_one_role():
    roles = Decoder(dataclasses.replace(TINY, tie_embeddings=False)).roles()
    assert roles["embedding.weight"] == "embed" and roles["head.weight"] == "head"
    assert {role for name, role in roles.items() if name.endswith("norm.weight")} == {"vector"}
    assert sum(role == "matrix" for role in roles.values()) == 7 * TINY.n_layer
