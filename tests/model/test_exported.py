"""Exported folders, opened in a process without Athanor: the same numbers, the same text, and back again."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import plain_decoders as plain
import pytest
import torch
import torch.nn.functional as F

from model.decoder import Decoder
from model.exports.card import Facts
from model.exports.exported import export_transformers
from model.folders import read_tensors
from model.presets import preset
from model.state import fingerprint
from tests.model.options import awake, ids, shape

SMALL = {"vocab_size": 61, "d_model": 32, "n_head": 4, "n_kv_head": 2, "d_ff": 48, "max_seq_len": 64, "rope_dims": 4}
SHAPES = {
    "plain": shape("plain"),
    "everything": shape("everything"),
    "routed": shape("routed"),
    "ternary": shape("ternary"),
    "golf-bese": preset("golf-bese", **SMALL),
    "golf-caseops": preset("golf-caseops", **SMALL),
    "open chart": shape("open chart"),
}
WRITTEN = ("plain", "everything", "routed", "ternary")
SAVED = ("everything", "ternary")
MESSAGES = [{"role": "user", "content": "l'articolo?"}, {"role": "assistant", "content": "approva"}, {"role": "user", "content": "12"}]
NAMES = {"vocab_size": 61, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4}
NAMES |= {"num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64, "tie_word_embeddings": True, "model_type": "athanor"}
every_written = pytest.mark.parametrize("name", WRITTEN)
every_shape = pytest.mark.parametrize("name", SHAPES)


def batch():
    """Two rows of which the first has seven columns of padding on its left."""
    x = ids(2, 20)
    mask = torch.ones_like(x)
    mask[0, :7] = 0
    return x, mask


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Every folder this file opens elsewhere."""
    folder, (x, mask) = tmp_path_factory.mktemp("exported"), batch()
    for name, config in SHAPES.items():
        export_transformers(awake(config), folder / name, seed=5)
    export_transformers(awake(SHAPES["plain"]), folder / "narrow", dtype=torch.bfloat16)
    export_transformers(awake(SHAPES["everything"]), folder / "in shards", shard_bytes=40_000)
    tokenizer = plain.tokenizer(folder / "tokenizer")
    speaking = plain.decoder(vocab_size=tokenizer.vocab_size, bos_id=tokenizer.bos)
    export_transformers(speaking, folder / "with tokenizer", tokenizer=folder / "tokenizer")
    asked = {"ids": x, "mask": mask, "shapes": [*SHAPES], "written": [*WRITTEN], "saved": [*SAVED], "names": [*NAMES]}
    torch.save(asked | {"text": plain.text(20), "messages": MESSAGES}, folder / "asked.pt")
    return folder


@pytest.fixture(scope="module")
def found(folders):
    """What a process without Athanor says of them."""
    site = Path(torch.__file__).parent.parent
    quiet = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folders / "home"), "HF_MODULES_CACHE": str(folders / "modules")}
    environment = {**os.environ, **quiet, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
    script = [str(Path(__file__).with_name("opened_elsewhere.py")), str(folders), str(Path(__file__).parents[2])]
    done = subprocess.run([sys.executable, "-S", "-P", *script], env=environment, cwd=folders, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return torch.load(folders / "found.pt", weights_only=True)


def ours(name):
    return awake(SHAPES[name])


@torch.no_grad()
def follows(model, row, new=16):
    """Greedily, without a cache."""
    row = row[None]
    for _ in range(new):
        row = torch.cat((row, model(row)[:, -1:].argmax(-1)), 1)
    return row[0, -new:].tolist()


def test_athanor_is_not_installed_where_the_folders_are_opened(found):
    assert found["installed"] == []


@every_shape
@torch.no_grad()
def test_transformers_computes_the_same_logits(found, name):
    expected = ours(name)(batch()[0])
    assert expected.std() > 0.3
    torch.testing.assert_close(found[name]["logits"], expected, atol=1e-5, rtol=0)


@every_shape
@torch.no_grad()
def test_padding_on_either_side_changes_nothing_for_the_real_tokens(found, name):
    model, x, there = ours(name), batch()[0], found[name]
    torch.testing.assert_close(there["left"][0, 7:], model(x[:1, 7:])[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(there["left"][1], model(x[1:])[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(there["last"], there["left"][:, -1:], atol=1e-5, rtol=0)
    torch.testing.assert_close(there["right"][0, :13], model(there["kept"][:1, :13])[0], atol=1e-5, rtol=0)


@every_written
def test_generate_writes_the_same_text_alone_and_in_a_padded_batch(found, name):
    model, (x, _) = ours(name), batch()
    assert found[name]["greedy"].tolist() == [follows(model, row) for row in x]
    assert found[name]["padded"].tolist() == [follows(model, x[0, 7:]), follows(model, x[1])]
    assert found[name]["without cache"].tolist() == found[name]["padded"].tolist()


@every_written
def test_beams_drafts_prompts_in_pieces_and_a_cache_that_goes_on_change_no_text(found, name):
    there = found[name]
    assert there["beams"].tolist() == there["beams without cache"].tolist()
    assert there["drafts"].tolist() == there["greedy"][:1].tolist()
    assert there["in pieces"].tolist() == there["padded"].tolist()
    assert there["continued"].tolist() == there["greedy"].tolist()
    windows = "layers with windows can take back 16 tokens, not 17: draft fewer at once" if name == "everything" else ""
    assert there["taken back"] == [windows, ""]


@every_shape
def test_fine_tuning_there_begins_with_our_loss_and_gradients_and_learns(found, name):
    model, (x, mask) = ours(name).train(), batch()
    targets = F.pad(x.masked_fill(mask == 0, -100)[:, 1:], (0, 1), value=-100)
    targets[0, 6] = -100  # of padding
    rows = [(x[:1, 7:], targets[:1, 7:]), (x[1:], targets[1:])]
    count = sum(int((t != -100).sum()) for _, t in rows)
    loss = sum(model.loss(row, t) * (t != -100).sum() / count for row, t in rows)
    loss.backward()
    losses = found[name]["losses"]
    torch.testing.assert_close(losses[0], loss.detach(), atol=1e-5, rtol=0)
    assert losses[2] < losses[0]
    grads = {f"model.{n}": p.grad for n, p in model.named_parameters() if p.grad is not None}
    assert found[name]["grads"].keys() == grads.keys()
    for n, grad in grads.items():
        torch.testing.assert_close(found[name]["grads"][n], grad, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found[name]["of two batches"], found[name]["of one"] * 2 * 19 / 80, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", SAVED)
@torch.no_grad()
def test_a_folder_that_transformers_saved_opens_there_and_in_athanor_with_what_was_learnt(found, folders, name):
    there, x = found[name], batch()[0]
    assert not torch.allclose(there["saved"], there["logits"], atol=1e-2)
    torch.testing.assert_close(there["again"], there["saved"], atol=1e-6, rtol=0)
    back = Decoder.from_pretrained(folders / f"{name}, saved")
    torch.testing.assert_close(back(x), there["saved"], atol=1e-5, rtol=0)
    described = json.loads((folders / f"{name}, saved" / "config.json").read_text())
    assert described["model_state_sha256"] == fingerprint(back) != fingerprint(ours(name))
    assert described["seed"] == 5 and described["params"] == back.config.param_count()


@every_shape
@torch.no_grad()
def test_athanor_opens_its_own_folder_bit_for_bit(folders, name):
    model, back = ours(name), Decoder.from_pretrained(folders / name)
    assert fingerprint(back) == fingerprint(model) and back.config == model.config and back.looping == model.looping
    assert torch.equal(back(batch()[0]), model(batch()[0]))


def test_an_altered_folder_is_refused_by_athanor(folders, tmp_path):
    export_transformers(ours("plain"), tmp_path / "out")
    (tmp_path / "out" / "model.safetensors").write_bytes((folders / "narrow" / "model.safetensors").read_bytes())
    with pytest.raises(ValueError, match="altered"):
        Decoder.from_pretrained(tmp_path / "out")


def test_other_tools_find_the_names_they_look_for(found, folders):
    described = json.loads((folders / "plain" / "config.json").read_text())
    assert found["names"] == NAMES and {key: described[key] for key in NAMES} == NAMES
    assert found["embeddings"] == (64, 64)
    assert described["seed"] == 5 and described["versions"]["torch"] == torch.__version__


def test_what_the_model_does_not_do_there_is_refused_in_a_sentence(found):
    resize, positions, cache, window = found["errors"]
    assert "61 tokens and cannot have 70" in resize and "position_ids" in positions
    assert "a cache of its own" in cache and "max_seq_len 64" in window


@torch.no_grad()
def test_bf16_weights_take_half_the_room_and_open_in_either_precision(found, folders):
    there, x = found["narrow"], batch()[0]
    sizes = [(folders / name / "model.safetensors").stat().st_size for name in ("narrow", "plain")]
    assert there["dtype"] == "torch.bfloat16" and sizes[0] < 0.6 * sizes[1]
    rounded = ours("plain").to(torch.bfloat16)
    torch.testing.assert_close(there["wide"], rounded.float()(x), atol=1e-5, rtol=0)
    rounded = ours("plain").to(torch.bfloat16)
    rounded.dtype = torch.bfloat16
    torch.testing.assert_close(there["logits"], rounded(x), atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_big_model_is_written_in_several_files_that_transformers_reads(found, folders):
    index = json.loads((folders / "in shards" / "model.safetensors.index.json").read_text())
    files = sorted({*index["weight_map"].values()})
    assert len(files) > 2 and {*index["weight_map"]} == {*ours("everything").state_dict()}
    state = ours("everything").state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in read_tensors(folders / "in shards").items())
    assert fingerprint(Decoder.from_pretrained(folders / "in shards")) == fingerprint(ours("everything"))
    torch.testing.assert_close(found["in shards"], found["everything"]["logits"], atol=1e-6, rtol=0)


def test_a_fresh_model_made_there_has_the_weights_athanor_gives_for_its_seed(found):
    expected = Decoder(SHAPES["plain"]).init_weights(5).state_dict()
    assert found["fresh"].keys() == expected.keys()
    assert all(torch.equal(found["fresh"][name], tensor) for name, tensor in expected.items())


def test_the_tokenizer_there_reads_and_writes_as_ours_and_knows_where_a_text_ends(found, folders):
    from packer.bpe import Tokenizer

    tokenizer, text = Tokenizer.load(folders / "tokenizer"), plain.text(20)
    there = found["tokenizer"]
    assert there["text"] == tokenizer.encode(text) and there["back"] == text
    assert there["chat"] == tokenizer.encode_chat(MESSAGES, reply=True)[0]
    t = tokenizer
    assert found["generation"] == {"bos": t.bos, "eos": sorted((t.bos, t.im_end)), "pad": t.pad, "drawn": True}
    described = json.loads((folders / "with tokenizer" / "config.json").read_text())
    assert described["tokenizer_sha256"] == hashlib.sha256((folders / "tokenizer" / "tokenizer.json").read_bytes()).hexdigest()
    assert described["eos_token_id"] == tokenizer.im_end


def test_a_folder_opens_beside_athanor_in_one_process_and_again(found):
    here, there = found["both"]
    torch.testing.assert_close(there, here, atol=1e-6, rtol=0)
    torch.testing.assert_close(found["reloaded"], here, atol=1e-6, rtol=0)


def test_the_card_says_what_is_known_and_no_more(folders, tmp_path):
    silent = (folders / "plain" / "README.md").read_text()
    assert "license" not in silent.split("---")[1] and silent.count("Not stated") == 4 and "No figures are given" in silent
    config = shape("routed", mtp_k=3)
    facts = Facts(
        "casa/nome", "A small one.", ("it", "en"), "apache-2.0", data={"documents": "12 | 13"}, evaluation={"bpb": 1.25}, uses="To test."
    )
    mark = export_transformers(awake(config), tmp_path / "out", facts=facts)
    text = (tmp_path / "out" / "README.md").read_text()
    import yaml

    head = yaml.safe_load(text.split("---")[1])
    assert head == {
        "language": ["it", "en"],
        "license": "apache-2.0",
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["athanor", "custom_code"],
    }
    for said in (
        f"{config.param_count():,}",
        "A small one.",
        "| documents | 12 \\| 13 |",
        "| bpb | 1.25 |",
        "To test.",
        mark,
        "used by each token",
    ):
        assert said in text
    assert "from_pretrained('casa/nome', trust_remote_code=True)" in text and "multi-token prediction" in text


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="holds something already"):
        export_transformers(ours("plain"), tmp_path / "out")
    assert [f.name for f in tmp_path.rglob("*")] == ["out", "mine.txt"]


def test_a_failed_export_leaves_nothing_behind(tmp_path):
    plain.tokenizer(tmp_path / "tokenizer")
    with pytest.raises(ValueError, match="tokens, the model 61"):
        export_transformers(ours("plain"), tmp_path / "out", tokenizer=tmp_path / "tokenizer")
    with pytest.raises(ValueError, match="float32 or bfloat16, not float16"):
        export_transformers(ours("plain"), tmp_path / "out", dtype=torch.float16)
    assert [f.name for f in tmp_path.iterdir()] == ["tokenizer"]


@torch.no_grad()
def test_the_three_methods_of_published_cards_work_on_the_decoder(tmp_path):
    model, x = ours("plain"), ids(2, 8)
    model.save_pretrained(tmp_path / "out", note="first")
    again = Decoder.from_pretrained(str(tmp_path / "out"))
    text = again.generate(x, max_new_tokens=5, temperature=0)
    assert text.tolist() == [row.tolist() + follows(model, row, 5) for row in x]
    uneven = again.generate([x[0, :5].tolist(), x[1].tolist()], max_new_tokens=5, temperature=0, pad_id=9)
    assert uneven.tolist() == [x[0, :5].tolist() + follows(model, x[0, :5], 5) + [9] * 3, x[1].tolist() + follows(model, x[1], 5)]
    drawn = [again.generate(x, max_new_tokens=5, temperature=1.0, top_k=20, seed=seed).tolist() for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    other = Decoder.from_pretrained(tmp_path / "out", ffn_kind="ternary_swiglu", ternary_sub_norm=False, ternary_group=16)
    assert other.config.ffn_kind == "ternary_swiglu" and not torch.allclose(other(x), model(x), atol=1e-2)
