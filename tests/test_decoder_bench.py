"""The decoder's benchmark measures what it says: one function, one process each, every option."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import pytest

from model.config import DecoderConfig
from model.decoder import Decoder

SIZES = set(
    "vocab_size d_model n_layer n_head n_kv_head d_head d_ff pad_vocab_to max_seq_len norm_eps bos_id rope_base attn_scale init "
    "tie_embeddings mtp_hidden gate_window window ffn_rank ffn_experts ternary_group ternary_sub_norm embed_multiplier logit_multiplier "
    "mup_base_d mup_base_d_head mup_base_layers decision_classes chart_encoder".split()
)  # shape, constants, and heads that the next-token loss does not run


@pytest.fixture(scope="module")
def bench() -> Iterator[SimpleNamespace]:
    """The modules of the benchmark, by name."""
    folder = str(Path(__file__).parent.parent / "benchmarks")
    sys.path.insert(0, folder)
    try:
        yield SimpleNamespace(**{name: importlib.import_module(f"decoder_{name}") for name in ("worker", "peers", "options", "train")})
    finally:
        sys.path.remove(folder)


def test_the_benchmark_gives_every_contestant_a_whole_state_that_is_nowhere_plain(bench: SimpleNamespace) -> None:
    shape = bench.peers.shape_of("skylar-test", 64)
    state = bench.peers.weights(shape)
    model = Decoder(shape)
    model.load_state_dict(state)
    assert all(tensor.std() > 0.01 for tensor in state.values()), "a zero matrix or a gain of one would hide another function"
    ids, targets = bench.peers.batch(shape, 2, 16, "cpu")
    assert (ids[:, 1:] == targets[:, :-1]).all()
    assert abs(model.loss(ids, targets).item() - 10.62) > 0.02, "not the loss of an untrained decoder, ln 40,960"


def test_contestants_that_disagree_end_the_benchmark(bench: SimpleNamespace) -> None:
    bench.train._agree({"a": {"loss": 10.0, "norm": 1.0}, "b": {"loss": 10.0005, "norm": 1.0}})
    with pytest.raises(SystemExit, match="same function: loss"):
        bench.train._agree({"a": {"loss": 10.0, "norm": 1.0}, "b": {"loss": 10.002, "norm": 1.0}})
    with pytest.raises(SystemExit, match="same function: norm"):
        bench.train._agree({"a": {"loss": 10.0, "norm": 1.0}, "b": {"loss": 10.0, "norm": 1.001}})


def test_every_option_of_the_config_has_its_line_and_every_line_is_a_possible_shape(bench: SimpleNamespace) -> None:
    plain = bench.peers.shape_of("50m", 512)
    lines = bench.options.options(plain.d_ff, plain.n_layer, plain.d_head, 512)
    shapes = {name: plain.replace(**changes) for name, changes in lines.items()}
    assert {name for name, shape in shapes.items() if shape == plain} == {"documents"}
    touched = {field for changes in lines.values() for field in changes} | SIZES
    assert {f.name for f in fields(DecoderConfig)} - touched == set()


def test_turns_are_taken_in_rounds_and_one_that_ends_is_left_out_with_its_reason(bench: SimpleNamespace) -> None:
    contestants = {
        "counts": bench.worker.Contestant("itertools:count", 1, start=3),
        "ends": bench.worker.Contestant("builtins:iter", 1, nothing=1),
    }
    try:
        failed: dict[str, str] = {}
        assert bench.worker.rounds(contestants, 3, failed) == {"counts": [3, 4, 5]}
        assert list(failed) == ["ends"] and "TypeError: iter()" in failed["ends"]
    finally:
        for contestant in contestants.values():
            contestant.close()


def test_a_turn_is_judged_by_its_median_step(bench: SimpleNamespace) -> None:
    turns = [{"seconds": [1.0, 1.0, 9.0]}, {"seconds": [2.0]}, {"seconds": [1.2, 1.2]}]
    assert bench.worker.median(turns) == 1.2
    assert bench.worker.spread(turns) == pytest.approx(0.5 / 1.2)


def test_memory_is_the_rise_above_what_was_in_use(bench: SimpleNamespace) -> None:
    kept = bytearray(64 << 20)
    memory = bench.worker.Memory("cpu")
    memory.rest()
    passing = bytearray(96 << 20)
    del passing
    assert 90 < memory.peak()["rise"] < 150 and len(kept)
