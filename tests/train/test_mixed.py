"""A step over rows with and without an image: the same gradient as if every row went alone and weighed by what it counts."""

from __future__ import annotations

import pytest
import torch

from model.config import ChartEncoder, DecoderConfig
from model.decoder import Decoder
from model.loss import IGNORED
from train.batch import Batch
from train.decision import Decisions
from train.mixed import MixedBatch, mixed_step
from train.objective import TermWeights, terms, weighted

SHAPE = DecoderConfig(
    50, 16, 2, 2, 24, max_seq_len=32, bos_id=1, mtp_k=3, decision_classes=3, chart_encoder=ChartEncoder(1, 8, 4), logit_softcap=9.0
)


def awake(**changes):
    model, generator = Decoder(SHAPE.replace(**changes)).init_weights(1), torch.Generator().manual_seed(4)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.2 * torch.randn(p.shape, generator=generator))
    return model


def mixed(weighed=True):
    generator = torch.Generator().manual_seed(7)
    stream = torch.randint(2, 50, (6, 13), generator=generator)
    stream[2, 6] = 1
    targets = stream[:, 1:].clone()
    for row, unlearnt in enumerate((0, 3, 7, 1, 12, 5)):
        targets[row, :unlearnt] = IGNORED
    documents = torch.zeros(6, 12, dtype=torch.long)
    documents[2, 6:], documents[5, 9:] = 1, -1
    targets[5, 8:] = IGNORED
    weights = torch.rand(6, 12, generator=generator) + 0.5 if weighed else None
    decisions = Decisions(torch.tensor([0, IGNORED, 2, 1, IGNORED, 1]), None, torch.tensor([0.5, 1.0, 2.0]))
    images = torch.rand(2, 1, 8, 8, generator=generator)
    return MixedBatch(Batch(stream[:, :-1], targets, weights, documents), images, torch.tensor([-1, 1, -1, 0, -1, 1]), decisions)


def gradients(model):
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def row_by_row(model, batch):
    """Sums over rows read alone, divided by what the whole step counts: written without the code under test."""
    sums, counts = {}, {}
    for row in range(len(batch.rows.inputs)):
        one = batch.rows[torch.tensor([row])]
        image = None if batch.image_of[row] < 0 else batch.images[batch.image_of[row]][None]
        h = model.trunk(one.inputs, one.documents, images=image)
        states = [h, *model.ahead(h, one.inputs, one.documents)]
        for ahead, state in enumerate(states, 1):
            logp = model.logits(model.norm(state)).log_softmax(-1)[0]
            for t in range(12 - ahead + 1):
                target = int(one.targets[0, t + ahead - 1])
                inside = one.inputs[0, t + 1 : t + ahead].tolist() + [target]
                if target == IGNORED or (ahead > 1 and 1 in inside):
                    continue
                weight = 1.0 if one.weights is None else one.weights[0, t + ahead - 1]
                sums[ahead] = sums.get(ahead, 0) - weight * logp[t, target]
                counts[ahead] = counts.get(ahead, 0) + weight
        label = int(batch.decisions.labels[row])
        if label != IGNORED:
            last = int((one.documents[0] >= 0).nonzero()[-1])
            p = model.decision(model.norm(h), torch.tensor([last]))[0].softmax(-1)
            weight = batch.decisions.class_weights[label]
            sums["decision"] = sums.get("decision", 0) - weight * p[label].log()
            counts["decision"] = counts.get("decision", 0) + weight
            sums["brier"] = sums.get("brier", 0) + (p - torch.eye(3)[label]).square().sum()
            counts["brier"] = counts.get("brier", 0) + 1
    mean = {name: total / counts[name] for name, total in sums.items()}
    value = mean[1] + 0.3 * (mean[2] + mean[3]) / 2 + 0.5 * mean["decision"] + 0.2 * mean["brier"]
    return value, mean


@pytest.mark.parametrize("at_once", [0, 1, 2])
@pytest.mark.parametrize("kind", ["mlp", "deepseek"])
def test_a_mixed_step_is_every_row_alone_weighed_by_what_it_counts(kind, at_once):
    model, batch = awake(mtp_kind=kind), mixed()
    value, mean = row_by_row(model, batch)
    value.backward()
    expected = gradients(model)
    model.zero_grad()
    found = mixed_step(model, batch, at_once=at_once)
    assert found["loss"].item() == pytest.approx(mean[1].item(), rel=1e-5)
    assert found["mtp"].item() == pytest.approx((mean[2] + mean[3]).item() / 2, rel=1e-5)
    assert found["decision"].item() == pytest.approx(mean["decision"].item(), rel=1e-5)
    assert found["calibration"].item() == pytest.approx(mean["brier"].item(), rel=1e-5)
    assert expected.keys() == gradients(model).keys()
    for name, gradient in gradients(model).items():
        assert torch.allclose(gradient, expected[name], atol=2e-5, rtol=1e-4), name


def test_a_step_of_text_alone_is_the_ordinary_step():
    model, batch = awake(), mixed(weighed=False)
    rows = batch.rows
    whole = terms(model, rows.inputs, rows.targets, None, rows.documents)
    weighted(whole, TermWeights(), 1.0, False).backward()
    expected = gradients(model)
    model.zero_grad()
    found = mixed_step(model, MixedBatch(rows), at_once=2)
    assert found.keys() == whole.keys()
    assert all(term.item() == pytest.approx(whole[name].item(), rel=1e-5) for name, term in found.items())
    assert all(torch.allclose(gradient, expected[name], atol=1e-5) for name, gradient in gradients(model).items())
    assert not any(name.startswith("chart.") for name in gradients(model))


def test_a_bucket_holds_rows_with_an_image_or_rows_without_and_every_row_once():
    seen = []
    for rows, images, decisions in mixed().parts(at_once=2):
        assert len(rows.inputs) <= 2 and (images is None or len(images) == len(rows.inputs)) and len(decisions.labels) == len(rows.inputs)
        seen.append((len(rows.inputs), images is not None))
    assert seen == [(2, False), (1, False), (2, True), (1, True)]
    assert [len(rows.inputs) for rows, _, _ in mixed().parts()] == [3, 3]


def test_the_image_of_a_row_is_the_one_that_is_named():
    batch = mixed()
    pictured = [(rows, images) for rows, images, _ in batch.parts() if images is not None]
    assert torch.equal(pictured[0][1], batch.images[[1, 0, 1]]) and torch.equal(pictured[0][0].inputs, batch.rows.inputs[[1, 3, 5]])


def test_rows_whose_images_are_missing_are_refused():
    batch = mixed()
    with pytest.raises(ValueError, match="there are none"):
        mixed_step(awake(), MixedBatch(batch.rows, None, batch.image_of))
    with pytest.raises(ValueError, match="no chart encoder"):
        mixed_step(awake(chart_encoder=None), batch)


def test_routers_are_balanced_over_both_buckets():
    model = awake(ffn_kind="routed_lowrank_swiglu", ffn_rank=4, ffn_experts=2).train()
    batch = mixed()
    alone = [terms(model, *(r.inputs, r.targets, r.weights, r.documents), i, d) for r, i, d in batch.parts()]
    found = mixed_step(model, batch)
    positions = torch.tensor([3 * 12.0, 3 * 16.0])  # four patches before each row that has an image
    for name in ("balance", "z"):
        each = torch.stack([terms_of[name].detach() for terms_of in alone])
        assert found[name].item() == pytest.approx(((each * positions).sum() / positions.sum()).item(), rel=1e-5)
