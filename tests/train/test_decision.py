"""The loss of the decision head, its temperature, and the three measures: against their definitions."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.config import DecoderConfig
from model.decoder import Decoder
from model.loss import IGNORED
from train.decision import Decisions, calibration_error, class_weights, coverage, decision_terms, fit_temperature, macro_f1
from train.objective import TermWeights, terms, weighted

SHAPE = DecoderConfig(vocab_size=40, d_model=16, n_layer=1, n_head=2, d_ff=24, max_seq_len=16, decision_classes=4)


def random(*size, seed=0):
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


def awake(config=SHAPE):
    model = Decoder(config).init_weights(1)
    with torch.no_grad():
        for number, p in enumerate(model.parameters()):
            p.add_(0.1 * random(*p.shape, seed=number))
    return model


# the loss


def test_class_weights_fall_with_the_root_of_the_count_and_are_one_on_average():
    found = class_weights(torch.tensor([100, 25, 4]))
    assert torch.allclose(found, torch.tensor([0.1, 0.2, 0.5]) * 3 / 0.8) and found.mean().item() == pytest.approx(1)
    assert class_weights(torch.tensor([10**6] * 9 + [1])).tolist() == pytest.approx([0.2] * 9 + [5.0])
    assert class_weights(torch.tensor([9, 0, 9])).tolist() == pytest.approx([1, 1, 1])


def test_the_loss_is_weighted_by_class_and_its_score_is_briers():
    logits, labels, weights = random(5, 3), torch.tensor([2, IGNORED, 0, 0, 1]), torch.tensor([0.5, 1.0, 3.0])
    found = decision_terms(logits, Decisions(labels, None, weights))
    nats, share, brier = 0.0, 0.0, []
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        if label != IGNORED:
            p = [math.exp(z) / sum(map(math.exp, row)) for z in row]
            nats, share = nats - weights[label].item() * math.log(p[label]), share + weights[label].item()
            brier.append(sum((q - (c == label)) ** 2 for c, q in enumerate(p)))
    assert found["decision"].item() == pytest.approx(nats / share, rel=1e-5)
    assert found["calibration"].item() == pytest.approx(sum(brier) / 4, rel=1e-5)


def gradients(decisions, inputs):
    model = awake()
    found = terms(model, inputs, torch.full_like(inputs, IGNORED), None, None, decisions=decisions)
    weighted(found, TermWeights(), 1.0, False).backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def test_rows_without_a_label_contribute_nothing_and_the_others_reach_the_trunk():
    inputs = torch.randint(0, 40, (5, 12), generator=torch.Generator().manual_seed(2))
    labels = torch.tensor([3, IGNORED, 0, IGNORED, 1])
    labelled, positions = labels != IGNORED, torch.tensor([11, 2, 5, 0, 7])
    some = gradients(Decisions(labels, positions), inputs)
    alone = gradients(Decisions(labels[labelled], positions[labelled]), inputs[labelled])
    assert all(torch.allclose(gradient, alone[name], atol=1e-6) for name, gradient in some.items())
    assert some["blocks.0.attention.q.weight"].abs().sum() > 0 and some["decision.up.weight"].abs().sum() > 0
    none = gradients(Decisions(torch.full((5,), IGNORED)), inputs)
    assert all(torch.equal(gradient, torch.zeros_like(gradient)) for gradient in none.values())


def test_labels_for_a_decoder_without_the_head_are_refused():
    x = torch.zeros(1, 4, dtype=torch.long)
    with pytest.raises(ValueError, match="no decision head"):
        terms(awake(SHAPE.replace(decision_classes=0)), x, x, None, None, decisions=Decisions(torch.tensor([1])))


def test_four_classes_are_learnt_by_heart_in_fifty_steps():
    generator = torch.Generator().manual_seed(3)
    inputs = torch.randint(4, 40, (16, 10), generator=generator)
    labels = torch.arange(16) % 4
    inputs[torch.arange(16), torch.randint(0, 9, (16,), generator=generator)] = labels  # the class stands somewhere in the row
    model = Decoder(SHAPE).init_weights(0)
    decisions = Decisions(labels, None, class_weights(labels.bincount()))
    for step in range(50):
        found = terms(model, inputs, inputs.roll(-1, 1), None, None, decisions=decisions)
        model.zero_grad()
        (found["decision"] + found["calibration"]).backward()
        with torch.no_grad():
            for p in model.parameters():
                p -= 0.02 * (1 - step / 50) * p.grad.sign()
    decided = model.decision.decide(model.decision(model.hidden(inputs)))
    assert torch.equal(decided.chosen, labels) and decided.confidence.mean() > 0.8


# the temperature


@pytest.mark.parametrize("true", [0.4, 1.0, 3.0])
def test_the_temperature_that_was_put_in_is_found_again(true):
    z = 2 * random(20_000, 4)
    labels = torch.multinomial(z.softmax(-1), 1, generator=torch.Generator().manual_seed(1))[:, 0]
    labels[::7] = IGNORED
    found = fit_temperature(z * true, labels)
    assert found == pytest.approx(true, rel=0.03)
    kept = labels != IGNORED
    nats = [torch.nn.functional.cross_entropy(z[kept].double() * true / (found * x), labels[kept]).item() for x in (0.99, 1, 1.01)]
    assert nats[1] == min(nats)


def test_a_temperature_stays_within_bounds_and_needs_labels():
    sure = torch.eye(4)
    assert fit_temperature(sure, torch.arange(4)) == pytest.approx(0.05, rel=1e-3)
    assert fit_temperature(sure, torch.tensor([1, 2, 3, 0])) == pytest.approx(20, rel=1e-3)
    with pytest.raises(ValueError, match="there are none"):
        fit_temperature(sure, torch.full((4,), IGNORED))


# the measures

small = settings(max_examples=60, deadline=None)
scored = st.lists(st.tuples(st.integers(0, 10), st.booleans()), min_size=1, max_size=40)


@small
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3) | st.just(IGNORED)), min_size=1, max_size=30))
def test_macro_f1_is_the_mean_over_classes_of_the_harmonic_mean(pairs):
    pairs_kept = [(c, y) for c, y in pairs if y != IGNORED]
    scores = []
    for c in sorted({x for pair in pairs_kept for x in pair}):
        hit = sum(a == c == b for a, b in pairs_kept)
        said, meant = sum(a == c for a, _ in pairs_kept), sum(b == c for _, b in pairs_kept)
        precision, recall = hit / said if said else 0, hit / meant if meant else 0
        scores.append(2 * precision * recall / (precision + recall) if hit else 0)
    chosen, labels = (torch.tensor(side) for side in zip(*pairs, strict=True))
    assert macro_f1(chosen, labels) == pytest.approx(sum(scores) / len(scores) if scores else 0)


@small
@given(scored)
def test_coverage_is_the_most_that_a_threshold_lets_through_at_the_wanted_precision(rows):
    best = 0
    for threshold in {c for c, _ in rows}:
        through = [right for c, right in rows if c >= threshold]
        if sum(through) >= 0.9 * len(through) - 1e-9:
            best = max(best, len(through))
    confidence, right = torch.tensor([c / 10 for c, _ in rows]), torch.tensor([r for _, r in rows])
    assert coverage(confidence, right) == pytest.approx(best / len(rows))


def test_calibration_error_in_equal_bins():
    confidence = torch.arange(150).float() / 150
    right = torch.arange(150) % 3 == 0
    bins = zip(confidence.view(15, 10), right.view(15, 10), strict=True)  # the rows are in order: ten to a bin
    expected = sum(abs(c.mean().item() - r.float().mean().item()) for c, r in bins) / 15
    assert calibration_error(confidence, right) == pytest.approx(expected, rel=1e-5)
    assert calibration_error(torch.tensor([0.5, 0.5]), torch.tensor([True, False])) == 0
    assert calibration_error(torch.tensor([1.0, 1.0]), torch.tensor([False, False])) == 1


@small
@given(scored, st.randoms())
def test_calibration_error_depends_on_no_order(rows, rng):
    shuffled = list(rows)
    rng.shuffle(shuffled)
    one, other = (calibration_error(torch.tensor([c / 10 for c, _ in r]), torch.tensor([x for _, x in r])) for r in (rows, shuffled))
    assert one == pytest.approx(other) and 0 <= one <= 1
