"""One trainer and one checkpoint format for the whole family: an option is a line of config."""

from __future__ import annotations

import json

import pytest
import torch

from model.decoder import Decoder
from model.state import fingerprint
from tests.model.options import BASE, OPTIONS
from train.batch import Batch, TableSource
from train.loop import Regime, train
from train.numerics import resolve
from train.recipe import RecipeConfig
from train.recipe import resolve as resolve_recipe

EAGER = resolve("cpu", "float32", "off", 0)
KINDS = ["relu2", "leakyrelu2", "ternary", "low rank", "routed", "mtp", "mtp chain", "mtp shared", "loop and skips", "everything"]


def source():
    tokens = torch.randint(2, 61, (4, 25), generator=torch.Generator().manual_seed(1))
    return TableSource(Batch(tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()), 4, 0)


def curve(folder):
    return [json.loads(line) for line in (folder / "loss.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("option", KINDS)
def test_every_kind_learns_in_the_same_loop(option, tmp_path):
    model = Decoder(BASE.replace(**OPTIONS[option])).init_weights(0)
    done = train(model, source(), Regime(steps=60, momentum_warmup=20, warmup=5), EAGER, tmp_path)
    first = curve(tmp_path)[0]
    assert done.skipped == 0 and done.loss < 0.6 * first["loss"]
    assert ("mtp" in first) == (model.config.mtp_k > 1) and ("balance" in first) == (option == "routed")


def test_depth_recurrence_begins_when_its_share_of_the_run_is_done_and_survives_a_stop(tmp_path):
    config, regime = BASE.replace(**OPTIONS["loop"]), Regime(steps=12, validate_every=0)
    whole = Decoder(config).init_weights(0)
    train(whole, source(), regime, EAGER, tmp_path / "whole", checkpoint_every=4)
    assert [line["looping"] for line in curve(tmp_path / "whole")] == [False] * 5 + [True] * 7  # 0.35 of 12

    class Killed(Exception):
        pass

    def kill(done, total, note):
        if done == 9:
            raise Killed

    with pytest.raises(Killed):
        train(Decoder(config).init_weights(0), source(), regime, EAGER, tmp_path / "cut", report=kill, checkpoint_every=4)
    again = Decoder(config).init_weights(0)
    train(again, source(), regime, EAGER, tmp_path / "cut", checkpoint_every=4)
    assert again.looping and fingerprint(again) == fingerprint(whole) and curve(tmp_path / "cut") == curve(tmp_path / "whole")


def test_any_field_of_the_decoder_can_be_set_in_the_recipe():
    wanted = RecipeConfig(decoder={"ffn_kind": "routed_lowrank_swiglu", "ffn_rank": 16, "loop": {"first": 1, "last": 2, "passes": 2}})
    decoder = resolve_recipe(wanted, 4096, 10**6, "cpu", bos=0)["decoder"]
    assert (decoder["ffn_kind"], decoder["loop"]["passes"], decoder["bos_id"]) == ("routed_lowrank_swiglu", 2, 0)
    with pytest.raises(ValueError, match="did you mean 'ffn_kind'"):
        resolve_recipe(RecipeConfig(decoder={"ffn_knd": "relu2"}), 4096, 10**6, "cpu")


def test_a_preset_can_be_trained_over_the_corpus_own_vocabulary():
    recipe = resolve_recipe(RecipeConfig(size="350m"), 5000, 10**6, "cuda", bos=0)
    decoder = recipe["decoder"]
    assert (decoder["d_model"], decoder["vocab_size"], decoder["pad_vocab_to"], decoder["mtp_k"]) == (1024, 5000, 64, 4)
