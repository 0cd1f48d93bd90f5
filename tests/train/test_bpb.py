"""Bits per byte: every target once, and the sums right."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.config import DecoderConfig
from model.decoder import Decoder
from train.bpb import Sample, bits_per_byte, document_nats

CONFIG = DecoderConfig(vocab_size=30, d_model=16, n_layer=1, n_head=2, d_ff=16, max_seq_len=16)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 70), min_size=1, max_size=6), st.integers(1, 16))
def test_a_uniform_model_pays_the_same_for_every_target_once(lengths, stride):
    model = Decoder(CONFIG).init_weights(0)
    torch.nn.init.zeros_(model.embedding.weight)
    documents = Sample([np.arange(n) % 30 for n in lengths])
    nats = document_nats(model, documents, 16, stride, rows=3)
    assert nats == pytest.approx([(n - 1) * math.log(30) for n in lengths], rel=1e-5)


def test_a_document_within_the_window_pays_the_sum_of_its_losses():
    model = Decoder(CONFIG).init_weights(1)
    tokens = np.random.default_rng(0).integers(0, 30, 12)
    logits = model(torch.from_numpy(tokens)[None, :-1])
    expected = torch.nn.functional.cross_entropy(logits[0], torch.from_numpy(tokens[1:]), reduction="sum").item()
    assert document_nats(model, Sample([tokens]), 16)[0] == pytest.approx(expected, rel=1e-5)


def test_bits_per_byte_of_one_bit_a_byte():
    assert bits_per_byte(800 * math.log(2), 800) == pytest.approx(1)
