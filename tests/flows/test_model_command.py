"""`athanor model show` and `athanor model init`: what they say, what they refuse, and bits that come out the same again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from flows.cli import MODELS, main
from model.config import DecoderConfig
from model.counts import param_count
from model.presets import PRESETS, preset

ROOT = Path(__file__).resolve().parents[2]
TINY = [a for field in ("n_layer=2", "d_model=32", "n_head=2", "d_ff=64", "vocab_size=100") for a in ("--set", field)]


@pytest.fixture
def call(capsys, tmp_path, monkeypatch):
    """(exit code, stdout, stderr) of one command in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def called(*arguments: object) -> tuple[int, str, str]:
        code = main([str(a) for a in arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return called


def test_every_preset_shows_its_exact_count(call):
    _, listed, _ = call("model", "show")
    for name in PRESETS:
        count = param_count(preset(name))
        answer = json.loads(call("model", "show", name, "--json")[1])
        assert (answer["command"], answer["status"], answer["params"]) == ("model show", "done", count)
        assert DecoderConfig.from_dict(answer["decoder"]) == preset(name)
        assert f"{count:,}" in next(line for line in listed.splitlines() if line.split()[0] == name)


def test_the_page_of_the_3b_says_what_its_card_says(call):
    code, page, err = call("model", "show", "3b")
    assert (code, err) == (0, "")
    for said in ("3,066,688,256", "2,972,480,256", "94,208 bytes a token", "36.8", "18.5", "18.4", "12.4", "24,699,129,600", "mtp_k 4"):
        assert said in page, said
    fits = {line.split("  ")[0]: line.split().count("yes") for line in page.split("Does training fit on 16 GB?")[1].splitlines()[2:7]}
    assert fits["8-bit AdamW in backward"] == 1 and sum(fits.values()) == 1


def test_pages_and_the_list_fit_on_100_columns(call):
    for arguments in ([], ["3b"], ["skylar-128b", "--rows", "64", "--gpu", "640"], ["golf-bese"], ["skylar-test", "--context", "1000000"]):
        assert max(map(len, call("model", "show", *arguments)[1].splitlines())) <= 100, arguments


def test_rows_length_context_and_gpu_are_what_is_shown(call):
    one = json.loads(call("model", "show", "50m", "--json")[1])
    given = ("--rows", 4, "--length", 512, "--context", 1024, "--gpu", 2)
    other = json.loads(call("model", "show", "50m", *given, "--json")[1])
    assert (one["rows"], one["length"], one["context"], one["gpu_gb"]) == (1, 4096, 4096, 16)
    assert (other["rows"], other["length"], other["context"], other["gpu_gb"]) == (4, 512, 1024, 2)
    assert other["inference"]["cache"] == 4 * 1024 * other["inference"]["cache_per_token"] == one["inference"]["cache"]
    assert other["flops_per_token"]["training"] < one["flops_per_token"]["training"]
    assert other["training"][1]["kept"]["rows_that_fit"] < 8 * one["training"][1]["kept"]["rows_that_fit"]
    assert "--set max_seq_len=8192 widens its window" in call("model", "show", "50m", "--context", 8192)[1]


def test_set_changes_fields_and_derives_the_others_again(call):
    shown = json.loads(call("model", "show", "50m", "--set", "d_model=256", "--set", "n_layer=3", "--json")[1])
    assert shown["decoder"]["d_head"] == 32 and shown["params"] == param_count(preset("50m", d_model=256, n_layer=3))
    looped = json.loads(call("model", "show", "golf-bese", "--set", "loop.passes=2", "--json")[1])
    assert looped["decoder"]["loop"] == {"first": 3, "last": 5, "passes": 2, "start": 0.35}


def test_options_are_named_where_they_are_not_as_usual(call):
    assert "options      rope_base 100,000\n" in call("model", "show", "skylar-test")[1]
    odd = (
        "rope_base=10000",
        "ffn_kind=ternary_swiglu",
        "ternary_group=0",
        "d_model=10",
        "n_head=1",
        "n_kv_head=1",
        "gate_window=3",
        "window_pattern=SL",
    )
    code, page, _ = call("model", "show", "skylar-test", *(a for field in odd for a in ("--set", field)), "--set", "mtp_k=2")
    assert code == 0 and "options      window_pattern SL, window 1,024, gate_window 3, ternary_group 0, mtp_k 2\n" in page


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["show", "3c"], "There is no preset '3c'. Did you mean '3b'?"),
        (["init", "skylar-tst"], "Did you mean 'skylar-test'?"),
        (["shw"], "There is no command 'model shw'. Did you mean 'show'?"),
        ([], "The following arguments are required: ACTION"),
        (["show", "50m", "--set", "n_head=7"], "'50m': n_head (7) must be a multiple of n_kv_head (2)."),
        (["show", "50m", "--set", "n_haed=8"], "unknown decoder setting 'n_haed'; did you mean 'n_head'?"),
        (["show", "50m", "--set", "n_layer=two"], "decoder setting 'n_layer' must be int, not 'two'"),
        (["show", "50m", "--set", "n_layer"], "--set takes field=value"),
        (["show", "50m", "--set", "n_layer=["], "--set n_layer: the value is not valid YAML"),
        (["show", "--set", "n_layer=2"], "--set changes a shape"),
        (["show", "50m", "--gpu", "0"], "--gpu takes gigabytes above 0"),
        (["show", "50m", "--rows", "0"], "'0' is not a whole number above 0"),
        (["show", "nowhere/model"], "There is no 'nowhere/model'"),
        (["show", "list.json"], "'list.json' is not the config.json of a model."),
        (["show", "other.json"], "'other.json': unknown decoder setting 'architectures'."),
        (["init", "50m", "-o", "full"], "is not empty: give a new folder with -o."),
        (["init", "50m", "-o", "list.json"], "is not empty: give a new folder with -o."),
        (["init", "50m", "--seed", 1 << 64], "--seed takes a whole number below 2^63"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(call, tmp_path, arguments, said):
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "other.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note.txt").write_text("mine")
    code, out, err = call("model", *arguments)
    assert (code, out) == (2, "") and said in err and err.startswith("athanor: ") and err.count("\n") == 1
    assert len(list(tmp_path.rglob("*"))) == 4


def test_init_twice_gives_the_same_bits_and_another_seed_others(call, tmp_path):
    from model.decoder import Decoder
    from model.state import fingerprint, load

    code, page, _ = call("model", "init", "50m", *TINY)
    assert code == 0 and page.startswith(str(tmp_path / "50m-seed17"))
    again, other = (json.loads(call("model", "init", "50m", *TINY, "-o", n, "--seed", s, "--json")[1]) for n, s in (("b", 17), ("c", 18)))
    mark = again["model_state_sha256"]
    assert mark in page and other["model_state_sha256"] != mark
    files = [(tmp_path / folder / "model.safetensors").read_bytes() for folder in ("50m-seed17", "b", "c")]
    assert files[0] == files[1] != files[2]

    c = preset("50m", n_layer=2, d_model=32, n_head=2, d_ff=64, vocab_size=100)
    assert fingerprint(Decoder(c).init_weights(17)) == mark == fingerprint(load(tmp_path / "b"))
    assert (again["params"], again["seed"], again["init"], again["path"]) == (param_count(c), 17, "glorot", str(tmp_path / "b"))
    assert again["bytes"] == sum(f.stat().st_size for f in (tmp_path / "b").iterdir())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["50m-seed17", "b", "c"], "nothing unfinished is left"


def test_a_saved_folder_is_shown_with_its_fingerprint(call, tmp_path):
    mark = json.loads(call("model", "init", "50m", *TINY, "-o", "mine", "--json")[1])["model_state_sha256"]
    code, page, _ = call("model", "show", "mine")
    assert code == 0 and page.startswith("mine\n") and mark in page and "seed 17" in page
    (tmp_path / "shape.json").write_text((preset("350m")).to_json())
    for given, count in (("mine/config.json", None), ("shape.json", 304_425_984)):
        shown = json.loads(call("model", "show", given, "--json")[1])
        assert shown["params"] == (count or shown["saved"]["params"])
    assert json.loads(call("model", "show", "shape.json", "--json")[1])["name"] == "shape"


def test_bfloat16_halves_the_file(call, tmp_path):
    import torch

    from model.state import load

    sizes = []
    for dtype in ("float32", "bfloat16"):
        assert call("model", "init", "50m", *TINY, "-o", dtype, "--dtype", dtype)[0] == 0
        sizes.append((tmp_path / dtype / "model.safetensors").stat().st_size)
        assert load(tmp_path / dtype).embedding.weight.dtype == getattr(torch, dtype)
    assert 0.4 < sizes[1] / sizes[0] < 0.65


def test_an_empty_folder_is_filled(call, tmp_path):
    (tmp_path / "ready").mkdir()
    assert call("model", "init", "50m", *TINY, "-o", "ready")[0] == 0
    assert sorted(f.name for f in (tmp_path / "ready").iterdir()) == ["config.json", "model.safetensors"]


def test_what_cannot_be_built_is_refused_before_it_is_begun(call, tmp_path, monkeypatch):
    code, out, err = call("model", "init", "skylar-128b")
    assert (code, out) == (1, "") and "'skylar-128b' needs 51" in err and "of memory to be built" in err and err.count("\n") == 1
    monkeypatch.setattr("shutil.disk_usage", lambda place: type("usage", (), {"free": 1000}))
    code, _, err = call("model", "init", "50m", *TINY)
    assert code == 1 and "on disk, and 1.0 kB are free" in err and "--dtype bfloat16" in err
    assert not list(tmp_path.iterdir())


def test_a_build_that_fails_leaves_nothing(call, tmp_path, monkeypatch):
    monkeypatch.setattr("model.state.fingerprint", lambda model: (_ for _ in ()).throw(MemoryError()))
    code, _, err = call("model", "init", "50m", *TINY)
    assert code == 1 and "Out of memory" in err and not list(tmp_path.iterdir())


def test_showing_imports_nothing_heavy():
    heavy = "{'torch', 'numpy', 'pyarrow', 'rich', 'yaml'}"
    code = f"import sys; from flows.cli import main; main(['model', 'show', '3b']); sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.DEVNULL, timeout=60).returncode == 0


def test_every_action_of_the_command_is_known_to_its_errors():
    from flows.cli import parser

    for action in MODELS:
        with pytest.raises(SystemExit):
            parser().parse_args(["model", action, "--help"])
