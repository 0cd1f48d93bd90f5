"""Heads that predict further ahead: which targets count, what each head may know, what they leave untouched."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.decoder import Decoder
from model.loss import IGNORED
from model.mtp import targets_ahead
from tests.model.options import BASE, BOS, awake, ids

KINDS = ("mlp", "deepseek", "shared")
every_kind = pytest.mark.parametrize("kind", KINDS)


def heads(kind, k=4, **changes):
    return BASE.replace(mtp_k=k, mtp_kind=kind, **changes)


def counted_ahead(stream, targets, documents, ahead, bos):
    """The definition, one position after the other; `stream` holds the token behind the row too."""
    T = len(targets)

    def begins(j):
        return (bos >= 0 and stream[j] == bos) or (documents is not None and j < T and documents[j] != documents[j - 1])

    found = []
    for t in range(T):
        known = t + ahead <= T and not any(begins(j) for j in range(t + 1, t + ahead + 1))
        found.append(targets[t + ahead - 1] if known else IGNORED)
    return found


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_targets_ahead_stop_at_documents_and_at_the_rows_end(data):
    length = data.draw(st.integers(1, 9), "length")
    bos = data.draw(st.sampled_from([-1, 0]), "bos")
    rows = [data.draw(st.lists(st.integers(0, 3), min_size=length + 1, max_size=length + 1)) for _ in range(2)]
    unlearnt = [data.draw(st.sets(st.integers(0, length - 1))) for _ in rows]
    targets = [[IGNORED if t in skipped else row[t + 1] for t in range(length)] for row, skipped in zip(rows, unlearnt, strict=True)]
    documents = None
    if data.draw(st.booleans(), "documents"):
        documents = [data.draw(st.lists(st.integers(0, 1), min_size=length, max_size=length).map(sorted)) for _ in rows]
        padded = data.draw(st.integers(0, length - 1), "padding")
        documents = [row[: length - padded] + [-1] * padded for row in documents]
    known = torch.tensor(documents) if documents else None
    for ahead in range(1, 6):
        found = targets_ahead(torch.tensor([row[:-1] for row in rows]), torch.tensor(targets), known, ahead, bos)
        pairs = zip(rows, targets, documents or [None] * 2, strict=True)
        assert found.tolist() == [counted_ahead(row, wanted, of, ahead, bos) for row, wanted, of in pairs]


def test_a_document_that_begins_right_behind_the_row_is_no_target():
    row = torch.tensor([[5, 6, 7]])
    assert targets_ahead(row, torch.tensor([[6, 7, BOS]]), None, 2, BOS).tolist() == [[7, IGNORED, IGNORED]]
    assert targets_ahead(row, torch.tensor([[6, 7, 8]]), None, 2, BOS).tolist() == [[7, 8, IGNORED]]


@pytest.mark.parametrize("init", ["zero_out", "glorot", "orthogonal"])
@torch.no_grad()
def test_mlp_heads_predict_what_the_trunk_does_at_first(init):
    model = Decoder(heads("mlp", init=init)).init_weights(1)
    h = model.trunk(ids())
    assert len(model.ahead(h, ids())) == 3 and all(torch.equal(state, h) for state in model.ahead(h, ids()))


@every_kind
def test_further_heads_change_neither_the_main_loss_nor_its_gradients(kind):
    plain, more = Decoder(BASE).init_weights(2), Decoder(heads(kind)).init_weights(2)
    x = ids()
    for model in (plain, more):
        model.loss(x, x.roll(-1, 1)).backward()
    assert torch.equal(plain.loss(x, x), more.loss(x, x))
    trunk, found = dict(plain.named_parameters()), dict(more.named_parameters())
    assert all(torch.equal(p.grad, found[name].grad) for name, p in trunk.items())
    assert [name for name in found.keys() - trunk.keys() if found[name].grad is not None] == []


@torch.no_grad()
def test_a_chain_is_told_the_tokens_in_between_and_never_its_target():
    model, x = awake(heads("deepseek")), ids()
    states = model.ahead(model.trunk(x), x)
    for further, before in enumerate(states, 1):
        told, target = x.clone(), x.clone()
        told[:, 10 + further] += 1
        target[:, 11 + further] += 1
        assert not torch.allclose(model.ahead(model.trunk(told), told)[further - 1][:, 10], before[:, 10], atol=1e-4)
        assert torch.allclose(model.ahead(model.trunk(target), target)[further - 1][:, :11], before[:, :11], atol=1e-6)


@pytest.mark.parametrize("kind", ["mlp", "shared"])
@torch.no_grad()
def test_heads_that_stand_alone_know_no_later_token(kind):
    model, x = awake(heads(kind)), ids()
    changed = x.clone()
    changed[:, 11] += 1
    for one, other in zip(model.ahead(model.trunk(x), x), model.ahead(model.trunk(changed), changed), strict=True):
        assert torch.allclose(one[:, :11], other[:, :11], atol=1e-6) and not torch.allclose(one[:, 11], other[:, 11], atol=1e-4)


@every_kind
@torch.no_grad()
def test_what_is_scored_in_a_packed_row_is_what_its_documents_give_alone(kind):
    model, x = awake(heads(kind)), ids()
    x[:, 9] = BOS
    documents = torch.tensor([[0] * 9 + [1] * 15]).expand(2, -1)
    packed = model.ahead(model.trunk(x, documents), x, documents)
    for start, end in ((0, 9), (9, 24)):
        alone = model.ahead(model.trunk(x[:, start:end]), x[:, start:end])
        for ahead, (one, other) in enumerate(zip(packed, alone, strict=True), 2):
            scored = targets_ahead(x, x.roll(-1, 1), documents, ahead, BOS)[:, start:end] != IGNORED
            assert scored[:, : end - start - ahead].all() and not scored[:, end - start - ahead + 1 :].any()
            assert torch.allclose(one[:, start:end][scored], other[scored], atol=1e-4)


@every_kind
def test_no_block_of_logits_is_kept_for_the_backward_pass(kind):
    config = heads(kind, vocab_size=4096, pad_vocab_to=1)
    model, x, kept = Decoder(config).init_weights(0), ids(2, 64), []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (kept.append(t.numel()), t)[1], lambda t: t):
        h = model.trunk(x)
        value = model.nats(model.norm(h), x) + sum(model.nats(model.norm(state), x) for state in model.ahead(h, x))
    value.backward()
    assert max(kept) <= config.vocab_size * config.d_model < 2 * 64 * config.vocab_size


@every_kind
def test_every_head_learns_to_look_ahead(kind):
    model = Decoder(heads(kind, k=3, n_layer=1)).init_weights(4)
    stream = (torch.arange(17) * 7 % 13 + 2).expand(2, -1)  # each token says what all later ones are
    x, y, lost = stream[:, :-1], stream[:, 1:], []
    for step in range(25):
        h = model.trunk(x)
        later = [model.nats(model.norm(s), targets_ahead(x, y, None, k, BOS)) for k, s in enumerate(model.ahead(h, x), 2)]
        model.zero_grad()
        torch.stack(later).sum().backward()
        with torch.no_grad():
            for p in model.parameters():
                if p.grad is not None:
                    p -= 0.03 * (1 - step / 25) * p.grad.sign()
        lost.append([nats.item() for nats in later])
    # one head for two distances is at best torn between them: ln 2 each
    assert all(last < first / 3 for first, last in zip(lost[0], lost[-1], strict=True))
