"""Models that read: what they take from a decoder, what padding and direction do to them, what comes back from disk."""

from __future__ import annotations

import json

import pytest
import torch

from model import derived
from model.decoder import Decoder
from model.derived import Classifier, Embedder, SparseEncoder
from model.state import fingerprint
from model.state import load as load_decoder
from model.state import save as save_decoder
from tests.model.options import BASE, BOS, OPTIONS, awake, ids, shape

MAKE = {
    "embedder": lambda decoder: Embedder.from_decoder(decoder, dim=6),
    "plain embedder": lambda decoder: Embedder.from_decoder(decoder, normalize=False),
    "causal embedder": lambda decoder: Embedder.from_decoder(decoder, causal=True),
    "sparse encoder": lambda decoder: SparseEncoder.from_decoder(decoder, special=(0, 5)),
    "classifier": lambda decoder: Classifier.from_decoder(decoder, 4),
    "causal classifier": lambda decoder: Classifier.from_decoder(decoder, 4, "last", causal=True),
    "first classifier": lambda decoder: Classifier.from_decoder(decoder, 3, pool="first"),
    "reward": lambda decoder: Classifier.from_decoder(decoder, pool="last", causal=True),
}
every_model = pytest.mark.parametrize("kind", MAKE)
LENGTHS = torch.tensor([24, 5, 1])


def made(kind, option="plain", **changes):
    """A derived model whose every weight matters."""
    model = MAKE[kind](awake(shape(option, **changes)))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if not name.startswith("trunk."):
                p.add_(0.1 * torch.randn(p.shape, generator=generator))
    return model


@every_model
@torch.no_grad()
def test_padding_never_changes_what_a_row_gives(kind):
    model, x = made(kind), ids(3)
    other = x.clone()
    other[torch.arange(24) >= LENGTHS[:, None]] = 7
    found = model(x, LENGTHS)
    assert torch.allclose(found, model(other, LENGTHS), atol=1e-6)
    for row, length in enumerate(LENGTHS.tolist()):
        assert torch.allclose(model(x[row : row + 1, :length])[0], found[row], atol=1e-5)


@pytest.mark.parametrize("option", OPTIONS)
@torch.no_grad()
def test_a_padded_row_reads_as_it_does_alone_whatever_is_on(option):
    model, x = made("sparse encoder", option), ids(3)
    found = model(x, LENGTHS)
    assert torch.allclose(model(x[1:2, :5])[0], found[1], atol=1e-4) and torch.allclose(model(x[2:, :1])[0], found[2], atol=1e-4)


@torch.no_grad()
def test_without_the_causal_mask_a_later_token_changes_earlier_states():
    x = ids(1)
    changed = x.clone()
    changed[:, 20] += 1
    for kind, causal in (("embedder", False), ("causal embedder", True)):
        model = made(kind)
        before, after = model.states(x)[0], model.states(changed)[0]
        assert torch.allclose(before[:, :20], after[:, :20], atol=1e-5) is causal
        assert causal or not torch.isclose(before, after, atol=1e-5).all(-1).any()


@torch.no_grad()
def test_a_causal_reader_has_the_states_of_the_decoder():
    decoder = awake(shape("everything"))
    assert torch.equal(Classifier.from_decoder(decoder, 2, "last", causal=True).states(ids())[0], decoder.hidden(ids()))


@every_model
def test_a_derived_model_is_a_copy_and_shares_nothing(kind):
    decoder = awake(shape("untied", mtp_k=2, decision_classes=3))
    before, model = fingerprint(decoder), MAKE[kind](decoder)
    assert all(torch.equal(tensor, decoder.state_dict()[name.removeprefix("trunk.")]) for name, tensor in model.trunk.state_dict().items())
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    assert fingerprint(decoder) == before


@every_model
def test_what_a_reader_does_not_need_is_left_out(kind):
    model = MAKE[kind](awake(shape("untied", mtp_k=2, decision_classes=3, chart_encoder={"size": 16, "patch": 8})))
    names = {name.split(".")[1] for name, _ in model.named_parameters() if name.startswith("trunk.")}
    assert names == {"embedding", "blocks", "norm"} | ({"head"} if kind == "sparse encoder" else set())


@every_model
@pytest.mark.parametrize("option", ["untied", "everything", "no gains"])
def test_the_closed_form_count_is_that_of_the_tensors(kind, option):
    model = MAKE[kind](Decoder(shape(option)))
    assert model.param_count() == sum(p.numel() for p in model.parameters())
    assert set(model.roles()) == {name for name, _ in model.named_parameters()}


@every_model
def test_every_parameter_learns(kind):
    model = made(kind, "untied").train()
    found = model(ids(3), LENGTHS)
    (found * torch.linspace(-1, 2, found.shape[1])).sum().backward()
    still = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert still == []


@torch.no_grad()
def test_an_embedding_is_the_mean_of_the_real_states_projected_to_length_one():
    model, x = made("embedder"), ids(3)
    states = model.states(x, LENGTHS)[0]
    by_hand = torch.stack([row[:n].mean(0) @ model.projection.weight.T for row, n in zip(states, LENGTHS.tolist(), strict=True)])
    found = model(x, LENGTHS)
    assert found.shape == (3, 6) and torch.allclose(found.norm(dim=-1), torch.ones(3))
    assert torch.allclose(found, by_hand / by_hand.norm(dim=-1, keepdim=True), atol=1e-5)
    assert made("plain embedder")(x).shape == (3, 32) and not torch.allclose(made("plain embedder")(x).norm(dim=-1), torch.ones(3))


@pytest.mark.parametrize("option", ["plain", "untied", "softcap", "mup"])
@torch.no_grad()
def test_a_sparse_encoder_takes_the_largest_logit_of_the_decoder_for_each_word(option):
    model, x = made("sparse encoder", option), ids(3)
    logits = model.trunk.logits(model.states(x, LENGTHS)[0])
    peaks = torch.stack([row[:n].amax(0) for row, n in zip(logits, LENGTHS.tolist(), strict=True)])
    expected = torch.log1p(peaks.clamp(min=0))
    expected[:, [0, 5, BOS]] = 0
    found = model(x, LENGTHS)
    assert torch.allclose(found, expected, atol=1e-5) and (found >= 0).all() and 0 < (found > 0).float().mean() < 1
    if option == "softcap":
        assert found.max() <= torch.log1p(torch.tensor(8.0))


@torch.no_grad()
def test_a_classifier_reads_the_state_its_pool_names():
    x = ids(3)
    for kind, chosen in (("causal classifier", LENGTHS - 1), ("first classifier", torch.zeros(3, dtype=torch.long))):
        model = made(kind).eval()
        state = model.states(x, LENGTHS)[0][torch.arange(3), chosen]
        assert torch.allclose(model(x, LENGTHS), state @ model.classes.weight.T + model.classes.bias, atol=1e-5)
    assert made("reward")(x, LENGTHS).shape == (3, 1)


def test_dropout_is_before_the_classes_and_in_training_only():
    model, x = made("classifier"), ids()
    assert torch.equal(model.eval()(x), model(x))
    model.train()
    assert not torch.equal(model(x), model(x))


@every_model
@torch.no_grad()
def test_a_saved_reader_comes_back_bit_for_bit(kind, tmp_path):
    model = made(kind, "loop")
    model.trunk.looping = False
    mark, x = derived.save(model, tmp_path, note="fact"), ids(3)
    again = derived.load(tmp_path).eval()
    assert type(again) is type(model) and again.settings == model.settings and not again.trunk.looping
    assert fingerprint(again) == mark and torch.equal(again(x, LENGTHS), model.eval()(x, LENGTHS))
    described = json.loads((tmp_path / "config.json").read_text())
    assert described["params"] == model.param_count() and described["note"] == "fact"


def test_a_folder_of_another_kind_or_an_altered_one_is_refused(tmp_path):
    save_decoder(awake(BASE), tmp_path / "decoder")
    derived.save(made("classifier"), tmp_path / "reader")
    with pytest.raises(ValueError, match="from_decoder"):
        derived.load(tmp_path / "decoder")
    with pytest.raises(ValueError, match="classifier.*model.derived"):
        load_decoder(tmp_path / "reader")
    about = json.loads((tmp_path / "reader" / "config.json").read_text())
    for change, message in (
        ({"settings": {**about["settings"], "classes": 5}}, "classes.bias"),
        ({"settings": {**about["settings"], "colour": 5}}, "does not describe"),
        ({"kind": "embedder", "settings": {}}, "2 have no place .*classes.bias"),
        ({"model_state_sha256": "0"}, "altered"),
    ):
        (tmp_path / "reader" / "config.json").write_text(json.dumps({**about, **change}))
        with pytest.raises(ValueError, match=message):
            derived.load(tmp_path / "reader")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda d: Embedder.from_decoder(d, dim=-1), "dim must be"),
        (lambda d: SparseEncoder.from_decoder(d, special=(61,)), "below 61"),
        (lambda d: Classifier.from_decoder(d, 0), "at least 1 class"),
        (lambda d: Classifier.from_decoder(d, 2, "middle"), "mean, last, first"),
        (lambda d: Classifier.from_decoder(d, 2, "first", causal=True), "seen only itself"),
    ],
)
def test_settings_that_cannot_be_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make(Decoder(BASE))


@pytest.mark.parametrize("lengths", [[0, 3], [3, 25]])
def test_a_row_without_tokens_or_with_more_than_there_are_is_refused(lengths):
    with pytest.raises(ValueError, match="between 1 and 24"):
        made("embedder")(ids(), torch.tensor(lengths))


@torch.no_grad()
def test_a_reader_of_a_decoder_in_half_precision_is_in_half_precision():
    decoder = awake(BASE, dtype=torch.bfloat16).to(torch.bfloat16)
    model = Embedder.from_decoder(decoder, 6)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16} and model(ids()).dtype == torch.float32
