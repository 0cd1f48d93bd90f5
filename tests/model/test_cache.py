"""The cache: it refuses what does not belong, grows in powers of two, keeps rings for windows, and can be cut back."""

from __future__ import annotations

import pytest
import torch

from model.cache import SPARE, KVCache
from tests.model.options import BASE, awake, ids


def cache(config=BASE, rows=2):
    return KVCache(config, rows, torch.float32, "cpu")


def test_it_refuses_rows_heads_lengths_and_dtypes_that_are_not_its_own():
    held, x = cache(), ids(2, 3)
    with pytest.raises(ValueError, match="2 rows, not 3"):
        held.begin(ids(3, 3))
    held.begin(x)
    k = torch.zeros(2, 2, 3, 8)
    for wrong in (torch.zeros(2, 4, 3, 8), torch.zeros(2, 2, 3, 6), k.bfloat16()):
        with pytest.raises(ValueError, match="the cache takes"):
            held.append(0, wrong, wrong)
    with pytest.raises(ValueError, match="as many tokens"):
        held.append(0, k[:, :, :2], k[:, :, :2])
    with pytest.raises(ValueError, match="max_seq_len"):
        cache().begin(ids(2, 65))


def test_it_grows_in_powers_of_two():
    config = BASE.replace(max_seq_len=1024, window=256)
    held, model = cache(config), awake(config)
    capacities = set()
    with torch.no_grad():
        for piece in ids(2, 300).split(60, 1):
            model(piece, cache=held)
            capacities.add(held.keys[0].shape[2])
    assert capacities == {64, 128, 256, 512} and held.longest == 300


@torch.no_grad()
def test_a_window_keeps_a_ring_however_long_the_row():
    config = BASE.replace(max_seq_len=512, window_pattern="SL", window=20)
    model, x = awake(config), ids(2, 400)
    held = cache(config)
    read = torch.cat([model(piece, cache=held) for piece in (x[:, :150], *x[:, 150:].split(25, 1))], 1)
    assert held.keys[0].shape[2] == 64 and held.keys[1].shape[2] == 512
    assert torch.allclose(read, model(x), atol=1e-4)


@torch.no_grad()
def test_what_was_cut_back_never_was():
    config = BASE.replace(max_seq_len=512, window_pattern="SL", window=20)
    model, x, wrong = awake(config), ids(2, 300), ids(2, SPARE, seed=9)
    held = cache(config)
    model(x[:, :250], cache=held)
    for at in range(250, 290, 8):
        model(wrong, cache=held)
        held.cut(torch.tensor([at, at]))
        found = model(x[:, at : at + 8], cache=held)
    assert torch.allclose(found, model(x[:, :290])[:, -8:], atol=1e-4)


@torch.no_grad()
def test_rows_can_be_left_out_and_reordered():
    model, x = awake(BASE), ids(3, 20)
    held = cache(rows=3)
    model(x[:, :10], cache=held, lengths=torch.tensor([10, 4, 7]))
    held.select(torch.tensor([2, 0]))
    found = model(x[[2, 0], 10:12], cache=held)
    assert torch.allclose(found[0], model(torch.cat((x[2, :7], x[2, 10:12]))[None])[0, -2:], atol=1e-4)
    assert torch.allclose(found[1], model(x[:1, :12])[0, -2:], atol=1e-4)


def test_it_says_how_much_memory_it_takes():
    held, model = cache(), awake(BASE)
    model(ids(2, 30), cache=held)
    assert held.nbytes == 2 * 4 * 2 * 2 * 64 * 8 * 4
