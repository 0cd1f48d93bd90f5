"""Small plain decoders whose every weight matters, and a tokenizer for them."""

from __future__ import annotations

import random

import torch

from model.config import DecoderConfig
from model.decoder import Decoder
from packer import bpe

SHAPE = {"vocab_size": 61, "d_model": 32, "n_layer": 2, "n_head": 4, "n_kv_head": 2, "d_ff": 48, "max_seq_len": 64}
WORDS = "il comune dell'articolo approva la legge perché l'amministrazione chiede 12 contratti nel 1978 don't the town's schools".split()


def decoder(seed=3, **changes):
    """Gains, embeddings and matrices far from where they begin."""
    model = Decoder(DecoderConfig.from_dict(SHAPE | changes)).init_weights(seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.2 * torch.randn(p.shape, generator=generator))
    return model


def tokens(rows=2, length=40, below=61):
    return torch.randint(0, below, (rows, length), generator=torch.Generator().manual_seed(5))


@torch.no_grad()
def logits(model, ids):
    return model.eval()(ids)


def text(words=400):
    rng = random.Random(1)
    return " ".join(rng.choice(WORDS) for _ in range(words)) + ".\n"


def tokenizer(folder, vocab_size=320):
    """A trained tokenizer in `folder`, as the stage writes it."""
    folder.mkdir()
    bpe.save(bpe.train([text()], vocab_size, 2), folder)
    return bpe.Tokenizer.load(folder)
