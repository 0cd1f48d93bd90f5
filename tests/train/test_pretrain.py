"""The way from packed text to a trained decoder, its figures, and a run that is killed and goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_corpus
import torch

from corpus.outcome import Skip
from model.state import fingerprint, load
from train import pretrain, recipe

SHAPE = {"size": "custom", "d_model": 32, "n_layer": 2, "n_head": 2, "n_kv_head": 1, "d_ff": 64, "length": 32, "tokens_per_step": 256}
HOW = {"compile": "off", "validate_every": 5, "checkpoint_every": 10}


def prepared(folder: Path, max_steps: int):
    inputs = tiny_corpus.packed(folder / "corpus", tiny_corpus.documents())
    return tiny_corpus.build(recipe.STAGE, inputs, folder / "recipe", max_steps=max_steps, min_steps=1, **SHAPE)[1]


def die_at_13(done, note):
    if done == 13:
        os.kill(os.getpid(), signal.SIGKILL)


def curve(folder: Path):
    return [json.loads(line) for line in (folder / "loss.jsonl").read_text().splitlines()]


def test_a_killed_run_goes_on_bit_for_bit(tmp_path):
    inputs = prepared(tmp_path / "straight", 20)
    straight, _ = tiny_corpus.build(pretrain.STAGE, inputs, tmp_path / "straight/pretrain", **HOW)

    here = tmp_path / "killed"
    code = f"""
import sys; sys.path[:0] = {[str(Path(tiny_corpus.__file__).parent), str(Path(pretrain.__file__).parents[1])]!r}
from pathlib import Path
import tiny_corpus, test_pretrain
from train import pretrain
inputs = test_pretrain.prepared(Path({str(here)!r}), 20)
tiny_corpus.build(pretrain.STAGE, inputs, Path({str(here / "pretrain")!r}), watch=test_pretrain.die_at_13, **test_pretrain.HOW)
"""
    child = subprocess.run([sys.executable, "-c", code], env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}, check=False)
    assert child.returncode == -signal.SIGKILL
    scratch = here / "pretrain-scratch"
    assert len((scratch / "loss.jsonl").read_text().splitlines()) > 12  # lines beyond the checkpoint: to be cut off
    assert [p.name for p in (scratch / "checkpoints").glob("step-*")] == ["step-00000010"]

    steps = []
    again, _ = tiny_corpus.build(pretrain.STAGE, inputs, here / "pretrain", watch=lambda done, note: steps.append(done), **HOW)
    assert steps[0] == 11
    assert (here / "pretrain/loss.jsonl").read_bytes() == (tmp_path / "straight/pretrain/loss.jsonl").read_bytes()
    assert fingerprint(load(here / "pretrain")) == fingerprint(load(tmp_path / "straight/pretrain"))
    assert again["val_bpb"] == straight["val_bpb"]


def test_it_learns_and_says_how_well(tmp_path):
    inputs = prepared(tmp_path, 80)
    metrics, _ = tiny_corpus.build(pretrain.STAGE, inputs, tmp_path / "pretrain", compile="off", validate_every=20)
    lines = curve(tmp_path / "pretrain")
    validated = [line["val_bpb"] for line in lines if "val_bpb" in line]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert len(losses) == 80 and losses[-1] < 0.4 * losses[0]
    assert validated[-1] < validated[0] and metrics["val_bpb"] < 1.2
    assert metrics["val_documents"] == 10 and metrics["tokens"] == 80 * 256
    assert metrics["numerics"]["compiled"] is False and metrics["tokens_per_second"] > 0
    assert load(tmp_path / "pretrain").config.param_count() == metrics["params"]


def test_without_training_text_it_is_skipped(tmp_path):
    documents = [{**d, "split": "val"} for d in tiny_corpus.documents()[:5]] + tiny_corpus.documents()[-3:]
    inputs = tiny_corpus.packed(tmp_path / "corpus", documents)
    for stage in (recipe.STAGE, pretrain.STAGE):
        made = tiny_corpus.with_artifact(inputs, "recipe", tmp_path)
        (tmp_path / "recipe.json").write_text(json.dumps({"length": 32}))
        with pytest.raises(Skip, match="no training text"):
            tiny_corpus.build(stage, made, tmp_path / stage.name)


def test_a_folder_without_validation_text_still_trains(tmp_path):
    inputs = tiny_corpus.packed(tmp_path / "corpus", [{**d, "split": "train"} for d in tiny_corpus.documents(12, 0)])
    inputs = tiny_corpus.build(recipe.STAGE, inputs, tmp_path / "recipe", max_steps=3, min_steps=1, **SHAPE)[1]
    metrics, _ = tiny_corpus.build(pretrain.STAGE, inputs, tmp_path / "pretrain", compile="off", validate_every=2)
    assert metrics["steps"] == 3 and "val_bpb" not in metrics
