"""The decoder: how it begins, what its options compute, how it is kept."""

from __future__ import annotations

import json
import math

import pytest
import torch
import torch.nn.functional as F

from model.config import BigramHash, Loop, ValueEmbed
from model.decoder import Decoder
from model.presets import preset
from model.state import fingerprint, load, save
from tests.model.options import BASE, OPTIONS, awake, ids, shape

TRANSPARENT = {
    "qk gain": {"qk_gain": 1.0},
    "xsa": {"xsa_last_n": 4},
    "gate attn_out": {"attn_gate": "attn_out"},
    "shared value embedding": {"value_embed": ValueEmbed("shared", 8, (1, 3))},
    "branch scale": {"branch_scale": True},
    "resid mix": {"resid_mix": "vector"},
    "smear": {"smear": "gate"},
    "bigram": {"bigram_hash": BigramHash(64, 8)},
    "mtp": {"mtp_k": 4},
    "decision": {"decision_classes": 4},
    "loop of one pass": {"loop": Loop(1, 2, 1)},
}


def beginning(option_fields, seed=3):
    """A decoder at its beginning, but for the branches' outputs, which would hide everything behind them."""
    model = Decoder(BASE.replace(**option_fields)).init_weights(seed).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for block in model.blocks:
            for p in (block.attention.o.weight, block.ffn.down.weight):
                p.copy_(0.2 * torch.randn(p.shape, generator=generator))
    return model


@pytest.mark.parametrize("option", TRANSPARENT)
@torch.no_grad()
def test_an_option_that_is_transparent_changes_nothing_at_first(option):
    assert torch.allclose(beginning(TRANSPARENT[option])(ids()), beginning({})(ids()), atol=1e-5)


@pytest.mark.parametrize("option", ["gate gated", "gate sparse"])
@torch.no_grad()
def test_a_gate_that_begins_at_one_half_halves_the_attention(option):
    gated, plain = beginning(OPTIONS[option]), beginning({})
    gated.blocks[0].attention.gate.weight.zero_()
    n = torch.randn(2, 6, 32, generator=torch.Generator().manual_seed(0))
    steps = [model._step(ids(2, 6), None, None, None, 0, False) for model in (gated, plain)]
    halved, whole = (model.blocks[0].attention(n, step, 0) for model, step in zip((gated, plain), steps, strict=True))
    assert torch.allclose(halved, whole / 2, atol=1e-6)


@pytest.mark.parametrize("tied", [True, False])
def test_the_first_loss_is_the_logarithm_of_the_vocabulary(tied):
    config = BASE.replace(vocab_size=1000, tie_embeddings=tied, d_model=64, d_head=16)
    x = torch.randint(2, 1000, (8, 64), generator=torch.Generator().manual_seed(0))
    loss = Decoder(config).init_weights(0).loss(x, x.roll(-1, 1))
    assert loss.item() == pytest.approx(math.log(1000), abs=0.02)


def test_the_loss_is_the_cross_entropy_of_the_logits():
    model, x = awake(shape("softcap")), ids()
    targets = x.roll(-1, 1)
    assert model.loss(x, targets).item() == pytest.approx(F.cross_entropy(model(x).flatten(0, 1), targets.flatten()).item(), rel=1e-5)


def test_padding_of_the_table_gets_no_logit_and_no_gradient():
    model, x = awake(BASE), ids()
    assert model(x).shape == (2, 24, BASE.vocab_size) and model.embedding.weight.shape[0] == 64
    model.loss(x, x).backward()
    assert model.embedding.weight.grad[BASE.vocab_size :].abs().sum() == 0


@torch.no_grad()
def test_a_softcap_bounds_the_logits():
    model = awake(shape("softcap"))
    model.embedding.weight.mul_(50)
    assert 7 < model(ids()).abs().max() <= 8


@torch.no_grad()
def test_as_many_key_heads_as_query_heads_equal_shared_ones_that_are_repeated():
    shared, each = awake(BASE), awake(shape("one head per key"))
    state = shared.state_dict()
    for name in list(state):
        if name.endswith(("attention.k.weight", "attention.v.weight")):
            state[name] = state[name].view(2, 8, 32).repeat_interleave(2, 0).reshape(32, 32)
    each.load_state_dict(state)
    assert torch.allclose(shared(ids()), each(ids()), atol=1e-5)


@torch.no_grad()
def test_depth_recurrence_runs_its_layers_again_when_it_is_switched_on():
    looped, plain = awake(shape("loop")), awake(BASE)
    looped.looping = False
    assert torch.equal(looped(ids()), plain(ids()))
    looped.looping = True
    unrolled = awake(BASE.replace(n_layer=8))
    unrolled.load_state_dict(plain.state_dict(), strict=False)
    for place, layer in enumerate(looped.config.unrolled()):
        unrolled.blocks[place].load_state_dict(looped.blocks[layer].state_dict())
    assert looped.config.unrolled() == (0, 1, 2, 1, 2, 1, 2, 3)
    assert torch.allclose(looped(ids()), unrolled(ids()), atol=1e-5)


@torch.no_grad()
def test_mup_divides_the_logits_by_the_growth_of_the_width():
    model = awake(shape("mup"))
    hidden = model.hidden(ids())
    assert torch.allclose(model.logits(hidden), hidden @ model.table.T / 2, atol=1e-5)
    assert model.config.scale == 4**0.5 / 8 and model.blocks[0].branch == 0.5**0.5


def test_dropout_is_of_training_only():
    model, x = awake(BASE.replace(dropout=0.5)), ids()
    assert torch.equal(model(x), model(x))
    model.train()
    assert not torch.equal(model(x), model(x))


def test_more_tokens_than_the_window_are_refused():
    with pytest.raises(ValueError, match="max_seq_len 64"):
        awake(BASE)(ids(length=65))


def test_half_precision_computes_in_half_precision_with_weights_as_they_are():
    model = awake(shape("everything"), dtype=torch.bfloat16)
    assert model.hidden(ids()).dtype == torch.bfloat16 and model.embedding.weight.dtype == torch.float32
    cast = awake(shape("everything"), dtype=torch.bfloat16).to(torch.bfloat16)
    assert torch.allclose(model(ids()), cast(ids()), atol=0.3) and cast(ids()).dtype == torch.float32


def test_the_same_seed_gives_the_same_bits_and_the_fingerprint_knows():
    first, second, other = (Decoder(BASE).init_weights(seed) for seed in (5, 5, 6))
    assert fingerprint(first) == fingerprint(second) != fingerprint(other)
    assert fingerprint(first) != fingerprint(first.bfloat16())


def test_a_release_of_initial_weights_can_be_made_again_anywhere():
    assert fingerprint(Decoder(BASE).init_weights(17)) == "022dd02b5b5b5a018fdadd49ff5943533a8a5dca842f9e8aa148b4a292483011"


def test_a_further_head_moves_no_other_tensor():
    bare, more = Decoder(BASE).init_weights(5).state_dict(), Decoder(shape("mtp", decision_classes=4)).init_weights(5).state_dict()
    assert len(more) > len(bare) and all(torch.equal(more[name], tensor) for name, tensor in bare.items())


@pytest.mark.parametrize("kind", ["zero_out", "glorot", "orthogonal"])
def test_initial_matrices_have_the_spread_of_their_kind(kind):
    config = preset("skylar-test", init=kind)
    q = Decoder(config).init_weights(0).blocks[0].attention.q.weight.detach()
    expected = {"zero_out": 128**-0.5, "glorot": 128**-0.5, "orthogonal": 128**-0.5}[kind]
    assert q.std().item() == pytest.approx(expected, rel=0.03)
    if kind == "orthogonal":
        assert torch.allclose(q @ q.T, torch.eye(128), atol=1e-4)
    if kind == "zero_out":
        assert q.abs().max() <= 3 * 128**-0.5


def test_a_saved_decoder_comes_back_bit_for_bit(tmp_path):
    model = awake(shape("loop"))
    model.looping = False
    mark = save(model, tmp_path, seed=3)
    again = load(tmp_path).eval()
    assert fingerprint(again) == mark and not again.looping and torch.equal(again(ids()), model(ids()))
    assert json.loads((tmp_path / "config.json").read_text())["params"] == shape("loop").param_count()


def test_an_altered_decoder_is_refused(tmp_path):
    save(awake(BASE), tmp_path)
    other = tmp_path / "other"
    save(awake(BASE, seed=9), other)
    (other / "model.safetensors").replace(tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="altered"):
        load(tmp_path)


def test_an_override_that_fits_is_taken_and_one_that_does_not_says_why(tmp_path):
    save(awake(BASE), tmp_path)
    assert load(tmp_path, rope_base=5e4, logit_softcap=3.0).config.logit_softcap == 3.0
    ternary = load(tmp_path, ffn_kind="ternary_swiglu", ternary_group=16, ternary_sub_norm=False)
    assert ternary.config.ffn_kind == "ternary_swiglu" and torch.isfinite(ternary(ids())).all()
    with pytest.raises(ValueError, match=r"ffn_kind='relu2'.*blocks.0.ffn.gate.weight"):
        load(tmp_path, ffn_kind="relu2")
    with pytest.raises(ValueError, match=r"d_ff=64.*another shape.*\[32, 48\], wanted \[32, 64\]"):
        load(tmp_path, d_ff=64)
    with pytest.raises(ValueError, match=r"did you mean 'ffn_kind'"):
        load(tmp_path, fnn_kind="relu2")


def test_roles_follow_what_a_parameter_is():
    roles = Decoder(shape("everything")).roles()
    assert roles["embedding.weight"] == roles["value_embed.table.weight"] == "embed" and roles["head.weight"] == "head"
    assert roles["blocks.0.attention.gate.weight"] == roles["blocks.3.lanes"] == "vector"
    assert {role for name, role in roles.items() if name.endswith(("q.weight", "down.weight", "proj.weight"))} == {"matrix"}


@pytest.mark.parametrize("option", ["plain", "routed", "everything"])
def test_running_layers_again_in_the_backward_pass_changes_no_gradient(option):
    model, x = awake(shape(option)).train(), ids()
    model.loss(x, x.roll(-1, 1)).backward()
    kept = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    model.recompute = True
    model.loss(x, x.roll(-1, 1)).backward()
    assert kept and all(torch.allclose(p.grad, kept[name], atol=1e-6) for name, p in model.named_parameters() if name in kept)
