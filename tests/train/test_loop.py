"""The loop: it can learn by heart, masks what it should, and refuses to follow a run that diverges."""

from __future__ import annotations

import json

import pytest
import torch

from corpus.outcome import Stop
from model.config import DecoderConfig
from model.decoder import Decoder
from train.batch import Batch, TableSource
from train.loop import Regime, train
from train.numerics import resolve

CONFIG = DecoderConfig(vocab_size=40, d_model=32, n_layer=2, n_head=2, d_ff=64, max_seq_len=16)
EAGER = resolve("cpu", "float32", "off", 0)


def rows(count=8, seed=0):
    tokens = torch.randint(0, 40, (count, 17), generator=torch.Generator().manual_seed(seed))
    return Batch(tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous())


def test_it_learns_a_few_rows_by_heart(tmp_path):
    done = train(Decoder(CONFIG).init_weights(0), TableSource(rows(), 8, 0), Regime(steps=120, momentum_warmup=30), EAGER, tmp_path)
    assert done.loss < 0.1 and done.skipped == 0 and done.tokens == 120 * 8 * 16


def test_the_loss_counts_weighted_targets_only():
    model, batch = Decoder(CONFIG).init_weights(0), rows(2)
    targets = batch.targets.clone()
    targets[0] = -100
    assert model.loss(batch.inputs, targets, None, None).item() == pytest.approx(
        model.loss(batch.inputs[1:], batch.targets[1:], None, None).item(), rel=1e-5
    )
    weights = torch.ones(2, 16)
    weights[0] = 0
    assert model.loss(batch.inputs, batch.targets, weights, None).item() == pytest.approx(
        model.loss(batch.inputs, targets, None, None).item(), rel=1e-5
    )


def test_a_run_that_diverges_stops_with_a_remedy(tmp_path):
    model = Decoder(CONFIG).init_weights(0)
    torch.nn.init.constant_(model.norm.weight, float("nan"))
    with pytest.raises(Stop, match="lower learning rates"):
        train(model, TableSource(rows(), 8, 0), Regime(steps=100), EAGER, tmp_path)


def test_a_run_by_the_clock_ends_in_time_and_decays_to_its_end(tmp_path):
    regime = Regime(steps=10**6, max_seconds=1.0, warmup=1)
    done = train(Decoder(CONFIG).init_weights(0), TableSource(rows(), 8, 0), regime, EAGER, tmp_path)
    scales = [json.loads(line)["scale"] for line in (tmp_path / "loss.jsonl").read_text().splitlines()]
    assert 0.9 < done.seconds < 10 and done.steps == len(scales)
    assert scales[0] == 1 and scales[-1] < 0.2 and scales == sorted(scales, reverse=True)


def test_a_table_is_read_whole_each_epoch_in_another_order_and_can_be_sought():
    source = TableSource(rows(6), 3, seed=1)
    first, second = [torch.cat([source.next().inputs for _ in range(2)]) for _ in range(2)]
    assert sorted(first.tolist()) == sorted(second.tolist()) and first.tolist() != second.tolist()
    again = TableSource(rows(6), 3, seed=1)
    again.seek(6)
    assert torch.equal(torch.cat([again.next().inputs for _ in range(2)]), second)
