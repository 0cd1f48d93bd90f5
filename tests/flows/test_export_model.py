"""The workspace's model as others open it: the same bits, what the runs recorded on its card, and refusals in a sentence."""

from __future__ import annotations

import json

import house
import pyarrow as pa
import pytest
import torch
import toys
import yaml

from corpus.outcome import kept
from corpus.stage import DocumentStage
from corpus.store import committed, problems
from corpus.tombstones import Tombstones
from corpus.workspace import Workspace
from flows.run import promote
from model.config import DecoderConfig
from model.decoder import Decoder
from model.exports.native import import_native
from model.state import fingerprint, save
from packer import bpe

TEXTS = ["Il comune di Bologna è una città.", "La legge prevede che il cittadino abbia diritto.", "C'era una volta un re, perché sì."] * 20
SHAPE = {"vocab_size": 320, "d_model": 16, "n_layer": 1, "n_head": 2, "n_kv_head": 1, "d_ff": 32, "max_seq_len": 64}
FIGURES = {"params": 1, "steps": 1200, "tokens": 98_304, "epochs": 1.5, "loss": 3.21}
SCORES = {"val_documents": 12, "val_bytes": 40_000, "bpb": {name: {"all": 1.5, "en": 1.25, "und": 2.0} for name in ("pretrain", "sft")}}


def sides(config, m):
    return kept(split="val" if m["words"] < 4 else "train")


DIVIDE = DocumentStage(
    name="split",
    version=1,
    config=toys.NothingConfig(),
    measures=pa.schema([("words", pa.int64())]),
    writes=pa.schema([("split", pa.string())]),
    measure=house.look,
    decide=sides,
)


def model(name, **changes):
    return Decoder(DecoderConfig.from_dict(SHAPE | changes)).init_weights(len(name))


def settle(home, stages=("tokenizer", "pretrain", "sft", "evaluate"), **changes):
    """Very small models in the store, promoted as after a run."""
    workspace = Workspace.open(home.workspace)
    run = workspace.latest_run()
    for name in stages:
        with committed(workspace.store, workspace.store / name / "key", {"stage": name, "digest": name}) as folder:
            if name == "tokenizer":
                bpe.save(bpe.train(TEXTS, 300, 3), folder)
            elif name == "evaluate":
                (folder / "evaluation.json").write_text(json.dumps(SCORES))
            else:
                save(model(name, **changes), folder, seed=7, trained_tokens=98_304)
                (folder / "eval.json").write_text(json.dumps(FIGURES | ({"val_loss": 2.5} if name == "sft" else {})))
        run.record["stages"].append({"name": name, "unit": "artifact", "status": "ran", "folder": f"{name}/key", "metrics": {}})
    run.__dict__.pop("stages", None)
    assert promote(workspace, run)
    return home


@pytest.fixture
def home(tmp_path, monkeypatch, capsys):
    found = house.build(tmp_path, monkeypatch, capsys)
    assert found.run()[0] == 0
    return found


def test_the_chat_model_is_exported_bit_for_bit_with_what_the_runs_recorded(home, tmp_path):
    settle(home)
    said = home.ask("export", "hf", tmp_path / "out", "--name", "casa/nome", "--licence", "apache-2.0")
    back = Decoder.from_pretrained(tmp_path / "out")
    assert fingerprint(back) == fingerprint(model("sft")) == said["model_state_sha256"]
    assert said["stage"] == "sft" and said["left_out"] == [] and said["params"] == back.config.param_count()
    described = json.loads((tmp_path / "out" / "config.json").read_text())
    assert described["seed"] == 7 and described["trained_tokens"] == 98_304 and "tokenizer_sha256" in described
    text = (tmp_path / "out" / "README.md").read_text()
    head = yaml.safe_load(text.split("---")[1])
    assert head["language"] == ["en"] and head["license"] == "apache-2.0" and "conversational" in head["tags"]
    for line in (
        "| updates | 1,200 |",
        "| tokens read | 98,304 |",
        "| bits per byte, all of it | 1.5000 |",
        "| bits per byte, en | 1.2500 |",
    ):
        assert line in text
    assert "12 documents, 40.0 kB" in text and "apply_chat_template" in text and "from_pretrained('casa/nome'" in text
    assert problems(tmp_path / "out") == []


def test_the_base_model_is_exported_where_it_is_asked_for_or_alone(home, tmp_path):
    settle(home, stages=("tokenizer", "pretrain"))
    said = home.ask("export", "hf")
    assert said["stage"] == "pretrain" and said["path"].endswith(f"exports/hf-{said['run']}")
    text = (home.workspace / "exports" / f"hf-{said['run']}" / "README.md").read_text()
    assert "not tuned to answer" in text and "No figures are given" in text and "Not stated: ask" in text
    code, _, err = home.call("export", "hf", tmp_path / "out", "-w", home.workspace, "--model", "chat")
    assert code == 1 and "no chat model yet" in err and not (tmp_path / "out").exists()


@torch.no_grad()
def test_a_plain_model_leaves_as_qwen3_and_as_one_gguf_file(home, tmp_path):
    settle(home)
    home.ask("export", "qwen3", tmp_path / "out", "--model", "base", "--dtype", "bfloat16")
    ids = torch.arange(20)[None]
    torch.testing.assert_close(import_native(tmp_path / "out")(ids), model("pretrain").to(torch.bfloat16).float()(ids), atol=1e-5, rtol=0)
    text = (tmp_path / "out" / "README.md").read_text()
    assert "trust_remote_code" not in text and "import_native" in text and "| weights | bfloat16 |" in text
    home.ask("export", "gguf", tmp_path / "one", "--dtype", "float16")
    assert (tmp_path / "one" / "model.gguf").read_bytes()[:4] == b"GGUF" and "llama-cli" in (tmp_path / "one" / "README.md").read_text()


def test_what_is_not_plain_is_refused_with_what_fits_and_heads_are_left_out_where_that_is_asked_for(home, tmp_path):
    settle(home, mtp_k=3)
    code, _, err = home.call("export", "qwen3", tmp_path / "out", "-w", home.workspace)
    assert code == 2 and "mtp_k 3" in err and "--drop-heads" in err and not (tmp_path / "out").exists()
    code, out, err = home.call("export", "qwen3", tmp_path / "out", "-w", home.workspace, "--drop-heads")
    assert code == 0 and "Left out: mtp_k 3." in out and "mtp_k 3" in (tmp_path / "out" / "README.md").read_text()
    code, _, err = home.call("export", "llama", tmp_path / "other", "-w", home.workspace, "--drop-heads")
    assert code == 2 and "qk_norm is affine" in err and "`athanor export hf` writes any shape" in err
    home.ask("export", "hf", tmp_path / "whole")
    assert Decoder.from_pretrained(tmp_path / "whole").config.mtp_k == 3


def test_an_export_takes_the_place_of_an_earlier_one_and_of_nothing_else(home, tmp_path):
    settle(home)
    first = home.ask("export", "hf", tmp_path / "out", "--model", "base")["model_state_sha256"]
    assert home.ask("export", "hf", tmp_path / "out")["model_state_sha256"] != first
    assert [e["path"] for e in Workspace.open(home.workspace).memory["exports"]] == ["../out"]
    (tmp_path / "out" / "mine.txt").write_text("mine")
    code, _, err = home.call("export", "hf", tmp_path / "out", "-w", home.workspace)
    assert code == 2 and "holds other things" in err and (tmp_path / "out" / "mine.txt").read_text() == "mine"


def test_a_model_that_learnt_something_forgotten_does_not_leave(home, tmp_path):
    settle(home)
    tombstones = Tombstones.of(Workspace.open(home.workspace))
    tombstones.tainted = ["sft/key"]
    tombstones.save()
    code, _, err = home.call("export", "hf", tmp_path / "out", "-w", home.workspace)
    assert code == 1 and "forgotten" in err and "--refit sft" in err and not (tmp_path / "out").exists()


@pytest.mark.parametrize("redacts", [True, False])
def test_a_model_leaves_only_where_its_text_was_redacted(redacts, tmp_path, monkeypatch, capsys):
    home = house.build(tmp_path, monkeypatch, capsys)
    monkeypatch.setattr("flows.pipeline.WAY", (toys.INGEST, house.READ, *([house.HIDE] if redacts else []), DIVIDE))
    assert home.run()[0] == 0
    settle(home)
    code, _, err = home.call("export", "hf", tmp_path / "out", "-w", home.workspace)
    if redacts:
        text = (tmp_path / "out" / "README.md").read_text()
        assert code == 0 and "| documents for training | 1 |" in text and "| documents for validation | 2 |" in text
    else:
        assert code == 1 and "not redacted" in err and not (tmp_path / "out").exists()


def test_without_a_model_one_is_told_how_to_get_one(home, tmp_path):
    code, _, err = home.call("export", "hf", tmp_path / "out", "-w", home.workspace)
    assert code == 1 and "has no model yet: `athanor run RAW" in err
    code, _, err = home.call("export", "gguff", tmp_path / "out")
    assert code == 2 and "There is no export 'gguff'. Did you mean 'gguf'?" in err
