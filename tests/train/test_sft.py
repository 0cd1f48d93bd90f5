"""Chat tuning: ChatML read strictly, only the assistant's words learnt, conversations apart."""

from __future__ import annotations

import json

import pytest
import tiny_corpus
import torch

from corpus.chatml import parse, render
from corpus.outcome import Skip
from model.state import load
from packer.bpe import Tokenizer
from train import evaluate, pretrain, recipe, sft
from train.conversations import conversation_rows

CHAT = [
    {"role": "system", "content": "Rispondi in italiano."},
    {"role": "user", "content": "Che cos'è\nun bando?"},
    {"role": "assistant", "content": "Un avviso pubblico."},
    {"role": "user", "content": "Grazie"},
    {"role": "assistant", "content": "Prego!"},
]


def test_chatml_makes_the_round_trip():
    assert parse(render(CHAT)) == CHAT


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("segreto<|im_start|>user\nciao<|im_end|>", "begins with"),
        ("<|im_start|>user\nsegreto", "message 1 has no <|im_end|>"),
        ("<|im_start|>user<|im_end|>", "line with its role"),
        ("<|im_start|>segreto\nciao<|im_end|>", "unknown role"),
        ("<|im_start|>user\nciao<|im_end|>segreto<|im_start|>assistant\nciao<|im_end|>", "between message 1"),
        ("<|im_start|>user\nciao<|im_end|>", "said by the assistant"),
    ],
)
def test_what_is_not_chatml_is_refused_without_being_quoted(text, message):
    with pytest.raises(ValueError, match=message) as error:
        parse(text)
    assert "segreto" not in str(error.value)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Inputs with a small pretrained decoder."""
    folder = tmp_path_factory.mktemp("sft")
    inputs = tiny_corpus.packed(folder / "corpus", tiny_corpus.documents())
    shape = {"size": "custom", "d_model": 32, "n_layer": 2, "n_head": 2, "d_ff": 64, "length": 128, "tokens_per_step": 512}
    inputs = tiny_corpus.build(recipe.STAGE, inputs, folder / "recipe", max_steps=30, **shape)[1]
    return tiny_corpus.build(pretrain.STAGE, inputs, folder / "pretrain", compile="off")[1]


@pytest.fixture(scope="module")
def tokenizer(trained):
    return Tokenizer.load(trained.artifacts["tokenizer"].path)


def test_what_is_learnt_decodes_to_what_the_assistant_says(tokenizer):
    batch = conversation_rows([tokenizer.encode_chat(CHAT)], 512, tokenizer.pad, tokenizer.im_end, 3.0)
    learnt = batch.targets[batch.targets != -100]
    assert tokenizer.decode(learnt.tolist(), specials=True) == "Un avviso pubblico.<|im_end|>Prego!<|im_end|>"
    assert (batch.weights[batch.targets == tokenizer.im_end] == 3).all()
    assert (batch.weights[batch.targets != tokenizer.im_end][:20] == 1).all()


def test_rows_hold_whole_conversations_apart(tokenizer):
    one = tokenizer.encode_chat(CHAT)
    size = len(one[0]) - 1
    batch = conversation_rows([one, one, one], 2 * size + 5, tokenizer.pad, tokenizer.im_end, 1.0)
    assert batch.inputs.shape == (2, 2 * size + 5)
    assert batch.documents[0].tolist() == [0] * size + [1] * size + [-1] * 5
    assert torch.equal(batch.targets[0, :size], batch.targets[0, size : 2 * size])
    assert (batch.targets[0, 2 * size :] == -100).all() and (batch.inputs[0, 2 * size :] == tokenizer.pad).all()


def test_a_conversation_cut_by_the_window_loses_the_weight_of_its_end(tokenizer):
    ids, learnt = tokenizer.encode_chat(CHAT[1:3])
    first = learnt.index(True)
    batch = conversation_rows([(ids, learnt)], first + 2, tokenizer.pad, tokenizer.im_end, 3.0)
    assert (batch.targets != -100).sum() == 3 and not (batch.targets == tokenizer.im_end).any()
    assert len(conversation_rows([(ids, learnt)], first - 1, tokenizer.pad, tokenizer.im_end, 3.0).inputs) == 0


def test_the_chat_model_answers_better_and_its_specials_have_moved(trained, tokenizer, tmp_path):
    metrics, _ = tiny_corpus.build(sft.STAGE, trained, tmp_path / "sft", compile="off", min_steps=40)
    assert metrics["val_loss"] < 0.8 * metrics["val_loss_before"] and metrics["conversations"] == 5
    before, after = load(trained.artifacts["pretrain"].path), load(tmp_path / "sft")
    moved = (after.embedding.weight - before.embedding.weight).norm(dim=1)
    assert moved[[tokenizer.im_start, tokenizer.im_end]].min() > 0


def test_without_conversations_it_is_skipped(trained, tmp_path):
    inputs = type(trained)(trained.artifacts, {**trained.views, "split": tiny_corpus.View(tiny_corpus.documents(10, 0))})
    with pytest.raises(Skip, match="no chat documents"):
        tiny_corpus.build(sft.STAGE, inputs, tmp_path / "sft")


def test_the_evaluation_tells_bits_per_byte_by_language_beside_the_ngram(trained, tmp_path):
    with_chat = tiny_corpus.build(sft.STAGE, trained, tmp_path / "sft", compile="off", min_steps=10)[1]
    metrics, _ = tiny_corpus.build(evaluate.STAGE, with_chat, tmp_path / "both", max_tokens=8)
    alone, _ = tiny_corpus.build(evaluate.STAGE, trained, tmp_path / "base", max_tokens=8)
    assert metrics["val_bpb_pretrain"] == alone["val_bpb_pretrain"] and "val_bpb_sft" not in alone
    found = json.loads((tmp_path / "both/evaluation.json").read_text())["bpb"]
    assert set(found) == {"pretrain", "sft", "ngram3"} and set(found["pretrain"]) == {"all", "it", "en"}
    base = found["pretrain"]
    assert min(base["it"], base["en"]) <= base["all"] <= max(base["it"], base["en"])
    samples = (tmp_path / "both/samples.md").read_text()
    assert "## pretrain" in samples and "**Il comune di**" in samples and "## sft" in samples
