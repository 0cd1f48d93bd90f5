"""The sum that training minimises: which terms there are, what each is a mean of, how they are weighed."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from model.config import DecoderConfig
from model.decoder import Decoder
from model.loss import IGNORED
from train.decision import Decisions
from train.objective import TermWeights, amounts, router_stats, terms, weighted

SHAPE = DecoderConfig(vocab_size=50, d_model=16, n_layer=2, n_head=2, d_ff=24, max_seq_len=32, bos_id=1)
ROUTED = SHAPE.replace(ffn_kind="routed_lowrank_swiglu", ffn_rank=4)


def awake(**changes):
    model, generator = Decoder(SHAPE.replace(**changes)).init_weights(1), torch.Generator().manual_seed(4)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.2 * torch.randn(p.shape, generator=generator))
    return model


def batch(rows=3, length=12):
    stream = torch.randint(2, 50, (rows, length + 1), generator=torch.Generator().manual_seed(7))
    stream[:, 5] = 1
    return stream[:, :-1], stream[:, 1:].clone()


def test_a_decoder_has_the_terms_of_its_heads_and_no_others():
    x, y = batch()
    decisions = Decisions(torch.tensor([0, 1, IGNORED]))
    assert set(terms(awake(), x, y, None, None)) == {"loss"}
    assert set(terms(awake(mtp_k=3), x, y, None, None)) == {"loss", "mtp"}
    assert set(terms(awake(ffn_kind="routed_lowrank_swiglu", ffn_rank=4), x, y, None, None)) == {"loss", "balance", "z"}
    assert set(terms(awake(decision_classes=2), x, y, None, None)) == {"loss"}
    assert set(terms(awake(decision_classes=2), x, y, None, None, decisions=decisions)) == {"loss", "decision", "calibration"}


def test_the_loss_is_the_cross_entropy_whatever_other_terms_there_are():
    x, y = batch()
    y[0, 3:6] = IGNORED
    model = awake(mtp_k=3, decision_classes=2)
    found = terms(model, x, y, None, None, decisions=Decisions(torch.tensor([0, 1, 1])))
    assert found["loss"].item() == pytest.approx(F.cross_entropy(model(x).flatten(0, 1), y.flatten()).item(), rel=1e-5)
    assert found["loss"].item() == pytest.approx(model.loss(x, y, None, None).item(), rel=1e-6)


@pytest.mark.parametrize("kind", ["mlp", "deepseek", "shared"])
def test_later_tokens_count_with_their_own_weight_and_never_across_documents(kind):
    x, y = batch()
    y[1, 8] = IGNORED
    weights = torch.rand(3, 12, generator=torch.Generator().manual_seed(1)) + 0.5
    model = awake(mtp_k=3, mtp_kind=kind)
    states = model.ahead(model.trunk(x), x)
    means = []
    for ahead, state in enumerate(states, 2):
        logp = model.logits(model.norm(state)).log_softmax(-1)
        total = counted = 0.0
        for b in range(3):
            for t in range(12 - ahead + 1):
                target = y[b, t + ahead - 1].item()
                if target != IGNORED and 1 not in [*x[b, t + 1 : t + ahead].tolist(), y[b, t + ahead - 1].item()]:
                    weight = weights[b, t + ahead - 1].item()
                    total, counted = total - weight * logp[b, t, target].item(), counted + weight
        means.append(total / counted)
    assert terms(model, x, y, weights, None)["mtp"].item() == pytest.approx(sum(means) / 2, rel=1e-5)


def test_rows_shorter_than_the_furthest_head_are_fine():
    x, y = batch(length=12)
    found = terms(awake(mtp_k=4), x[:, :2], y[:, :2], None, None)
    assert all(torch.isfinite(term) for term in found.values())


def test_terms_are_weighed_and_only_the_look_ahead_follows_the_schedule():
    found = {name: torch.tensor(float(10**place)) for place, name in enumerate(("loss", "mtp", "balance", "z", "decision", "calibration"))}
    weigh = TermWeights(mtp=0.5, balance=0.1, z=0.01, decision=2, calibration=3)
    fixed = 10 + 10 + 20_000 + 300_000
    assert weighted(found, weigh, 1.0, False).item() == pytest.approx(1 + 5 + fixed)
    assert weighted(found, weigh, 0.2, False).item() == pytest.approx(1 + 1 + fixed)
    assert weighted({"loss": found["loss"]}, weigh, 1.0, False) == 1


def test_with_a_shared_head_the_weights_of_all_distances_sum_to_one():
    found = {"loss": torch.tensor(3.0), "mtp": torch.tensor(3.0)}
    assert weighted(found, TermWeights(mtp=0.3), 1.0, True).item() == pytest.approx(3)
    assert weighted({"loss": torch.tensor(3.0)}, TermWeights(mtp=0.3), 1.0, True).item() == 3  # one distance only


def test_amounts_are_what_the_terms_are_divided_by():
    x, y = batch()
    y[0, :4] = IGNORED
    weights = torch.full((3, 12), 2.0)
    found = amounts(awake(mtp_k=2, decision_classes=3), x, y, weights, None, None, Decisions(torch.tensor([2, IGNORED, 0])))
    # two ahead: eleven positions of twelve have a target in the row, two of them in the document that begins at 5
    assert found == {"loss": 64, "mtp 2": 2 * (6 + 9 + 9), "decision": 2, "calibration": 2, "router": 36}


def test_routers_are_told_apart_layer_by_layer():
    model, (x, y) = Decoder(ROUTED).init_weights(0), batch()
    terms(model, x, y, None, None)
    assert len(router_stats(model)) == 2 and all(stats.load.sum() == x.numel() for stats in router_stats(model))


@pytest.mark.parametrize("kind", ["mlp", "deepseek"])
def test_extra_heads_computed_again_in_the_backward_pass_give_the_same_gradients(kind):
    model, kept = awake(mtp_k=3, mtp_kind=kind), []
    for model.recompute in (False, True):
        model.zero_grad()
        weighted(terms(model, *batch(), None, None), TermWeights(), 1.0, False).backward()
        kept.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    assert kept[0].keys() == kept[1].keys() and all(torch.allclose(kept[0][name], kept[1][name], atol=1e-6) for name in kept[0])
