"""The head that decides and the encoder of images: what they compute, what sees what, how they are left out."""

from __future__ import annotations

import json

import pytest
import torch
import torch.nn.functional as F

from model.cache import KVCache
from model.config import ChartEncoder
from model.decoder import Decoder
from model.state import load, save
from tests.model.options import BASE, BOS, awake, ids, shape

CHART, OPEN = (BASE.replace(chart_encoder=ChartEncoder(3, 16, 8, free)) for free in (False, True))
every_chart = pytest.mark.parametrize("config", [CHART, OPEN], ids=["causal prefix", "open prefix"])


def images(rows=2, seed=0):
    return torch.rand(rows, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


# the decision head


@torch.no_grad()
def test_a_row_is_decided_at_its_last_real_token_unless_a_position_is_named():
    model = awake(shape("decision"))
    head, hidden = model.decision, model.hidden(ids(3))
    by_hand = torch.stack([F.silu(row @ head.up.weight.T) @ head.out.weight.T for row in hidden.unbind(1)], 1)  # [B, T, classes]
    assert torch.allclose(head(hidden), by_hand[:, -1], atol=1e-5)
    documents = torch.tensor([[0] * 24, [0] * 7 + [-1] * 17, [0] * 3 + [1] * 9 + [-1] * 12])
    assert torch.allclose(head(hidden, documents=documents), by_hand[[0, 1, 2], [23, 6, 11]], atol=1e-5)
    assert torch.allclose(head(hidden, torch.tensor([4, 0, 9]), documents), by_hand[[0, 1, 2], [4, 0, 9]], atol=1e-5)


@torch.no_grad()
def test_an_untrained_head_prefers_no_class():
    model = Decoder(shape("decision")).init_weights(0)
    found = model.decision.decide(model.decision(model.hidden(ids())))
    assert torch.allclose(found.probabilities, torch.full((2, 4), 0.25)) and torch.allclose(found.confidence, torch.tensor(0.25))


@torch.no_grad()
def test_the_temperature_changes_how_sure_a_decision_is_and_not_which(tmp_path):
    model = awake(shape("decision"))
    model.decision.temperature.fill_(3.0)
    save(model, tmp_path)
    logits = 4 * model.decision(model.hidden(ids(6)))
    found = load(tmp_path).decision.decide(logits)
    assert torch.equal(found.probabilities, logits.softmax(-1)) and torch.equal(found.calibrated, (logits / 3).softmax(-1))
    assert torch.equal(found.chosen, logits.argmax(-1)) and torch.equal(found.confidence, found.calibrated.amax(-1))
    assert (found.confidence < found.probabilities.amax(-1)).all()


# the chart encoder


@torch.no_grad()
def test_an_image_is_read_by_a_convolution_whose_patches_know_their_row_and_column():
    encoder, x = awake(CHART).chart, images()
    kernel = encoder.patches.weight.view(32, 3, 8, 8)
    patches = F.conv2d(2 * x - 1, kernel, stride=8).flatten(2).mT  # row by row
    expected = patches + torch.stack([encoder.rows[r] + encoder.columns[c] for r in range(2) for c in range(2)])
    expected = expected / (expected.square().mean(-1, keepdim=True) + 1e-6).sqrt() * encoder.norm.weight
    assert torch.allclose(encoder(x, torch.float32), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("image", "message"), [(torch.rand(2, 3, 16, 8), "3, 16, 16"), (torch.zeros(2, 3, 16, 16, dtype=torch.uint8), "divide bytes by 255")]
)
def test_an_image_of_another_shape_or_in_bytes_is_refused(image, message):
    with pytest.raises(ValueError, match=message):
        awake(CHART)(ids(), images=image)


def test_a_decoder_without_an_encoder_refuses_images():
    with pytest.raises(ValueError, match="no chart encoder"):
        awake(BASE)(ids(), images=images())


@every_chart
@torch.no_grad()
def test_text_knows_the_image_before_it_and_no_other_rows(config):
    model, x, pixels = awake(config), ids(), images()
    other = pixels.clone()
    other[1] = 1 - other[1]
    before, after = model(x, images=pixels), model(x, images=other)
    assert before.shape == (2, 24, 61)
    assert torch.allclose(before[0], after[0], atol=1e-6) and not torch.isclose(before[1], after[1], atol=1e-3).all(-1).any()
    assert torch.allclose(model(x[:1], images=pixels[:1]), before[:1], atol=1e-4)
    assert not torch.allclose(model(x), before, atol=1e-3)


@every_chart
@torch.no_grad()
def test_only_an_open_prefix_knows_its_later_patches_and_neither_knows_the_text(config):
    model, x, pixels, seen = awake(config), ids(), images(), []
    model.blocks[-1].register_forward_hook(lambda module, given, out: seen.append(out[0][:, :4]))
    later = pixels.clone()
    later[:, :, 8:, 8:] += 0.5  # the last of four patches
    for text, shown in ((x, pixels), (x + 1, pixels), (x, later)):
        model(text % 61, images=shown)
    whole, other_text, other_patch = seen
    assert torch.allclose(whole, other_text, atol=1e-6)
    free = config.chart_encoder.bidirectional
    assert torch.allclose(whole[:, :3], other_patch[:, :3], atol=1e-5) is not free


@every_chart
@torch.no_grad()
def test_text_behind_an_image_stays_causal(config):
    model, x = awake(config), ids()
    changed = x.clone()
    changed[:, 15] = (changed[:, 15] + 7) % 50 + 2
    before, after = model(x, images=images()), model(changed, images=images())
    assert torch.allclose(before[:, :15], after[:, :15], atol=1e-6) and not torch.allclose(before[:, 15], after[:, 15], atol=1e-4)


@every_chart
@torch.no_grad()
def test_an_image_belongs_to_the_first_document_of_its_row(config):
    model, x = awake(config), ids()
    x[:, 10] = BOS
    documents = torch.tensor([[0] * 10 + [1] * 14]).expand(2, -1)
    before, after = (model(x, documents, images=images(seed=seed)) for seed in (0, 1))
    assert torch.allclose(before[:, 10:], after[:, 10:], atol=1e-6) and not torch.allclose(before[:, :10], after[:, :10], atol=1e-3)


@every_chart
@pytest.mark.parametrize("more", [{}, {"window_pattern": "SL", "window": 5}, {"smear": "gate"}], ids=["plain", "windows", "smear"])
@torch.no_grad()
def test_writing_on_behind_an_image_equals_reading_it_all_at_once(config, more):
    model, x, pixels = awake(config.replace(**more)), ids(), images()
    whole = model(x, images=pixels)
    cache = KVCache(model.config, 2, torch.float32, "cpu")
    found = [model(x[:, :9], images=pixels, cache=cache)] + [model(part, cache=cache) for part in x[:, 9:].split((1, 4, 10), 1)]
    assert torch.allclose(torch.cat(found, 1), whole, atol=1e-4) and cache.lengths.tolist() == [28, 28]


@every_chart
@torch.no_grad()
def test_rows_of_different_length_behind_an_image_read_as_they_do_alone(config):
    model, x, pixels, lengths = awake(config), ids(), images(), torch.tensor([24, 6])
    cache = KVCache(model.config, 2, torch.float32, "cpu")
    model(x, images=pixels, cache=cache, lengths=lengths)
    found = model(ids(2, 1, seed=9), cache=cache)
    for row, length in enumerate(lengths.tolist()):
        text = torch.cat((x[row : row + 1, :length], ids(2, 1, seed=9)[row : row + 1]), 1)
        assert torch.allclose(found[row], model(text, images=pixels[row : row + 1])[0, -1:], atol=1e-4)


@torch.no_grad()
def test_the_patches_of_an_image_count_into_the_window():
    model, cache = awake(CHART), KVCache(CHART, 2, torch.float32, "cpu")
    assert model(ids(length=60), images=images()).shape[1] == 60
    with pytest.raises(ValueError, match="65 tokens do not fit in max_seq_len 64"):
        model(ids(length=61), images=images())
    with pytest.raises(ValueError, match="65 tokens do not fit in max_seq_len 64"):
        model(ids(length=61), images=images(), cache=cache)


# leaving heads out


@torch.no_grad()
def test_heads_beside_the_trunk_can_be_left_out_when_a_decoder_is_loaded(tmp_path):
    model = awake(BASE.replace(mtp_k=4, decision_classes=4, chart_encoder=ChartEncoder(3, 16, 8)))
    save(model, tmp_path)
    bare = load(tmp_path, mtp_k=1, decision_classes=0, chart_encoder=None).eval()
    assert bare.config == BASE and (bare.mtp, bare.decision, bare.chart) == (None, None, None)
    assert torch.equal(bare(ids()), model(ids()))
    fewer, h = load(tmp_path, mtp_k=2), model.trunk(ids())
    assert torch.equal(fewer.ahead(h, ids())[0], model.ahead(h, ids())[0]) and len(fewer.mtp) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tie_embeddings": True}, "tie_embeddings=True.*1 have no place .*head.weight"),
        ({"decision_classes": 3}, "decision_classes=3.*another shape .*decision.out.weight"),
        ({"mtp_k": 5}, "mtp_k=5.*missing .*mtp.3"),
        ({"n_layer": 3}, "n_layer=3.*no place .*blocks.3"),
    ],
)
def test_nothing_else_can_be_left_out(tmp_path, changes, message):
    save(awake(BASE.replace(mtp_k=4, decision_classes=4, tie_embeddings=False)), tmp_path)
    with pytest.raises(ValueError, match=message):
        load(tmp_path, **changes)


def test_a_head_that_vanished_from_the_config_is_an_error_and_no_wish(tmp_path):
    save(awake(BASE.replace(mtp_k=2)), tmp_path)
    described = json.loads((tmp_path / "config.json").read_text())
    described["decoder"]["mtp_k"] = 1
    (tmp_path / "config.json").write_text(json.dumps(described))
    with pytest.raises(ValueError, match="do not fit the config.*mtp.0"):
        load(tmp_path)
