"""Generate and chat: the current model of a workspace, its streaming, its memory."""

from __future__ import annotations

import io
import json

import house
import pytest

from corpus.store import committed
from corpus.workspace import Workspace
from flows import chat
from flows.run import promote

TEXTS = ["Il comune di Bologna è una città.", "La legge prevede che il cittadino abbia diritto.", "C'era una volta un re, perché sì."] * 20


@pytest.fixture
def home(tmp_path, monkeypatch, capsys):
    found = house.build(tmp_path, monkeypatch, capsys)
    assert found.run()[0] == 0
    return found


@pytest.fixture
def trained(home):
    """The house with a very small, untrained model in it, promoted."""
    from model.config import DecoderConfig
    from model.decoder import Decoder
    from model.state import save
    from packer.bpe import save as save_tokenizer
    from packer.bpe import train

    workspace = Workspace.open(home.workspace)
    run = workspace.latest_run()
    for name in ("tokenizer", "pretrain", "sft"):
        with committed(workspace.store, workspace.store / name / "key", {"stage": name, "digest": name}) as folder:
            if name == "tokenizer":
                bpe = train(TEXTS, 300, 3)
                save_tokenizer(bpe, folder)
            else:
                config = DecoderConfig(vocab_size=300, d_model=16, n_layer=1, n_head=2, n_kv_head=1, d_ff=32, max_seq_len=64)
                save(Decoder(config).init_weights(0), folder)
        stage = {"name": name, "unit": "artifact", "status": "ran", "folder": f"{name}/key", "metrics": {}}
        run.record["stages"].append(stage)
    run.__dict__.pop("stages", None)
    assert promote(workspace, run)
    return home


def test_without_a_model_one_is_told_how_to_get_one(home):
    code, _, err = home.call("generate", "Ciao", "-w", home.workspace)
    assert code == 1 and "has no model yet: `athanor run RAW" in err


def test_the_same_seed_gives_the_same_text_and_another_seed_another(trained):
    def text(seed):
        return trained.ask("generate", "Il comune", "--max-tokens", 20, "--seed", seed)["text"]

    assert text(1) == text(1) != text(2)


def test_generated_text_follows_the_prompt_on_stdout(trained, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("La legge"))
    code, out, err = trained.call("generate", "-", "-w", trained.workspace, "--max-tokens", 5)
    assert code == 0 and out.startswith("La legge") and out.endswith("\n") and err == ""


def test_a_conversation_goes_on_until_it_is_ended(trained, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("Ciao\n/new\nChi sei?\nE poi?\n/exit\nmai detto\n"))
    code, out, _ = trained.call("chat", "-w", trained.workspace, "--max-tokens", 4, "--json")
    messages = json.loads(out.splitlines()[-1])["messages"]
    assert code == 0 and [m["role"] for m in messages][-2:] == ["user", "assistant"]
    assert [m["content"] for m in messages if m["role"] == "user"][-1] == "E poi?" and "Ciao" not in str(messages)


def test_a_text_ends_before_a_stop_string(trained):
    whole = trained.ask("generate", "Il comune", "--max-tokens", 40)["text"]
    stop = whole[10:13]
    assert trained.ask("generate", "Il comune", "--max-tokens", 40, "--stop", stop)["text"] == whole[: whole.index(stop)]


def test_the_likeliest_token_alone_is_the_same_whatever_the_seed(trained):
    def text(*options):
        return trained.ask("generate", "Il comune", "--max-tokens", 8, *options)["text"]

    assert text("--top-k", 1, "--seed", 1) == text("--min-p", 1, "--seed", 2) == text("--temperature", 0)


def test_drafts_cannot_be_had_from_a_model_without_heads(trained):
    code, _, err = trained.call("generate", "Ciao", "-w", trained.workspace, "--speculative", "heads")
    assert code == 2 and "no heads" in err


WRONG = [("--temperature", "-1"), ("--top-p", "2"), ("--min-p", "2"), ("--repetition-penalty", "0"), ("--stop", "")]


@pytest.mark.parametrize(("option", "value"), WRONG)
def test_sampling_that_makes_no_sense_is_a_mistake(trained, option, value):
    code, _, err = trained.call("generate", "Ciao", "-w", trained.workspace, option, value)
    assert code == 2 and option in err


def test_an_altered_model_is_refused(trained):
    (trained.workspace / "store" / "pretrain" / "key" / "config.json").write_text("{}")
    code, _, err = trained.call("generate", "Ciao", "-w", trained.workspace)
    assert code == 1 and "athanor verify" in err and "Traceback" not in err


def test_a_run_without_a_model_promotes_nothing_and_a_sample_does_not_replace_a_whole(trained):
    workspace = Workspace.open(trained.workspace)
    before = (workspace.path / "current").read_text()
    assert not promote(workspace, workspace.latest_run())
    run = workspace.latest_run()
    run.record["stages"] += [{"name": n, "unit": "artifact", "status": "ran", "folder": f"{n}/other"} for n in ("tokenizer", "pretrain")]
    run.record["sample"] = 5
    assert not promote(workspace, run) and (workspace.path / "current").read_text() == before
    run.record["sample"] = None
    assert promote(workspace, run) and "pretrain/other" in (workspace.path / "current").read_text()


class Ten:
    """A tokenizer whose messages are ten tokens long."""

    def encode_chat(self, messages, reply=False):
        return [0] * sum(10 for _ in messages), []


def test_the_oldest_turns_leave_first_and_the_system_message_stays():
    turns = [{"role": r, "content": str(i)} for i, r in enumerate(["system", "user", "assistant", "user", "assistant", "user"])]
    _, kept = chat.fitting(Ten(), turns, 45)
    assert [m["content"] for m in kept] == ["0", "3", "4", "5"]
    _, kept = chat.fitting(Ten(), turns, 1)
    assert [m["content"] for m in kept] == ["0", "5"]
