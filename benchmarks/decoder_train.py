"""A step of training without the optimizer: forward, loss and backward, beside the peers.

For every shape, rows x length, dtype and mode: tokens a second over the median step, how far the turns lie apart (half of fastest to
slowest, as a share of the median), tokens a second of processor time (which others on the machine disturb less), how far a step
raises memory above the weights at rest (activations, gradients, what the allocator cannot use again), and the highest memory of the
whole process, libraries and compiled code included.

    eager, compiled   all alike: the same dtype, the whole loss compiled or nothing; bfloat16: weights and activations, mixed: fp32
                      weights and bf16 activations, float32
    defaults          what each does unasked. ours: fp32 weights, bf16 activations where the machine has them, compiled. transformers:
                      its Trainer's fp32, eager. litgpt: its pretrain's autocast to bf16, the model compiled, the loss not

Before anything is timed every contestant computes the loss and its gradient's norm in fp32 on the same weights and tokens; the
benchmark ends where they differ by more than 1e-4. `off by` is how far the timed mode's loss lies from that.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from typing import Any

from decoder_worker import Contestant, Memory, give_back, median, peak, rounds, spread, timed_turn
from decoder_worker import arguments as common

AGREE = 1e-4
MODES = ("eager", "compiled", "defaults")


def arguments(parser: argparse.ArgumentParser) -> None:
    common(parser)
    parser.add_argument("--shapes", nargs="+", default=["50m", "skylar-small"], help="presets")
    parser.add_argument("--rows", nargs="+", default=["8x512", "1x2048"], metavar="ROWSxLENGTH")
    parser.add_argument("--dtypes", nargs="+", default=["bfloat16", "float32"], help="bfloat16, float32, mixed")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--who", nargs="+", default=["ours", "transformers", "litgpt"])


def run(given: argparse.Namespace) -> None:
    from decoder_peers import installed, shape_of

    from train.numerics import default_device

    device, who = default_device(), installed(given.who)
    print(f"train: {device}, {given.threads} threads, {given.turns} turns of {given.seconds:g} s or more", flush=True)
    for name in given.shapes:
        for size in given.rows:
            rows, length = map(int, size.split("x"))
            shape = shape_of(name, length)
            print(
                f"\n{name}, {rows} x {length} tokens: d {shape.d_model}, layers {shape.n_layer}, heads {shape.n_head}/{shape.n_kv_head}, "
                f"d_ff {shape.d_ff}, vocabulary {shape.vocab_size:,}; {shape.param_count():,} parameters, "
                f"{shape.flops_per_token(length) / 1e6:,.0f} MFLOP a token"
            )
            print(f"{'':20}{'':21}{'tokens/s':>10}{'spread':>8}{'/core s':>9}{'step MiB':>10}{'process':>9}{'off by':>10}{'prepared':>10}")
            apart = []
            for mode in given.modes:
                for dtype in given.dtypes if mode != "defaults" else ("own",):
                    task = {"config": shape.to_dict(), "rows": rows, "length": length, "dtype": dtype, "mode": mode}
                    apart.append(_table(f"{dtype} {mode}" if mode != "defaults" else mode, who, task | {"device": device}, given))
            loss, norm = (max(found[value] for found in apart) for value in ("loss", "norm"))
            print(f"in fp32 losses lie within {loss:.0e} of each other, gradient norms within {norm:.0e}")


def _table(title: str, who: list[str], task: dict[str, Any], given: argparse.Namespace) -> dict[str, float]:
    """The lines of one dtype and mode; how far the contestants lay apart in fp32."""
    contestants = {name: Contestant("decoder_train:turns", given.threads, who=name, seconds=given.seconds, **task) for name in who}
    try:
        failed: dict[str, str] = {}
        checked = {name: found[0] for name, found in rounds(contestants, 1, failed).items()}
        apart = _agree(checked)
        ready = {name: found[0] for name, found in rounds(contestants, 1, failed).items()}
        turns = rounds(contestants, given.turns, failed)
        for name in who:
            shown = f"{name}, {_own(name, task['device'])}" if task["dtype"] == "own" else name
            if name in failed:
                print(f"{title:20}{shown:21}  failed: {failed[name]}")
            else:
                found, tokens = turns[name], task["rows"] * task["length"]
                measured = f"{tokens / median(found):10,.0f}{spread(found):8.1%}{tokens / median(found, 'cpu'):9,.0f}"
                memory = f"{peak(found, 'rise'):10,.0f}{peak(found, 'process'):9,.0f}"
                off = ready[name]["loss"] - checked[name]["loss"]
                print(f"{title:20}{shown:21}{measured}{memory}{off:+10.5f}{ready[name]['prepared']:8.0f} s")
            title = ""
        print("", end="", flush=True)
        return apart
    finally:
        for contestant in contestants.values():
            contestant.close()


def _agree(checked: dict[str, dict[str, Any]]) -> dict[str, float]:
    """How far losses and norms lie apart at most, relative to what is above 1. Ends the benchmark where they do not agree."""
    apart = {}
    for value in ("loss", "norm"):
        found = {name: answer[value] for name, answer in checked.items()}
        apart[value] = (max(found.values()) - min(found.values())) / max(1.0, min(found.values())) if found else 0.0
        if apart[value] > AGREE:
            raise SystemExit(f"the contestants do not compute the same function: {value} {found}")
    return apart


def turns(
    who: str, config: dict[str, Any], rows: int, length: int, dtype: str, mode: str, device: str, seconds: float
) -> Iterator[dict[str, Any]]:
    """The job of a contestant: the check in fp32, what the timed mode gives on it, then turns of steps."""
    from decoder_peers import batch, build, quiet, weights

    from model.config import DecoderConfig

    quiet()
    shape = DecoderConfig.from_dict(config)
    state = weights(shape)
    ids, targets = batch(shape, rows, length, device)
    peer = build(who, shape, state, "float32", device)
    value = peer.loss(ids, targets)
    value.backward()
    checked = {"loss": value.item(), "norm": peer.gradient_norm()}
    del peer, value
    give_back(device)
    yield checked

    begun = time.monotonic()
    peer = build(who, shape, state, _own(who, device) if dtype == "own" else dtype, device)
    del state
    compute = _own_loss(who, peer, device) if dtype == "own" else compiled(peer.loss) if mode == "compiled" else peer.loss
    yield from stepping(peer.model, lambda: compute(ids, targets), peer.backward, begun, device, seconds)


def stepping(
    model: Any, compute: Callable[[], Any], backward: Callable[[Any], None], begun: float, device: str, seconds: float
) -> Iterator[dict[str, Any]]:
    """Steps of a training: the loss and how long it took since `begun` until two were done, then turns."""

    def step() -> float:
        model.zero_grad(set_to_none=True)
        value = compute()
        backward(value)
        return float(value.item())

    memory = Memory(device)
    loss, _ = step(), step()
    prepared = time.monotonic() - begun
    model.zero_grad(set_to_none=True)
    memory.rest()
    step()
    raised = memory.peak()
    model.zero_grad(set_to_none=True)
    give_back(device)
    yield {"loss": loss, "prepared": prepared}
    while True:
        yield {**timed_turn(step, seconds, device), **raised}


def compiled(loss: Callable[..., Any]) -> Callable[..., Any]:
    import torch

    return torch.compile(loss, dynamic=False)


def _own(who: str, device: str) -> str:
    """The dtype a contestant trains in unasked."""
    if who == "transformers":
        return "float32"
    if who == "litgpt":
        return "mixed"
    from train.numerics import resolve

    return "mixed" if resolve(device, "auto", "auto", 1e18).dtype == "bfloat16" else "float32"


def _own_loss(who: str, peer: Any, device: str) -> Callable[..., Any]:
    """The loss as a contestant's own trainer computes it."""
    if who == "transformers":
        return peer.loss
    if who == "ours":
        from train.numerics import resolve

        return compiled(peer.loss) if resolve(device, "auto", "auto", 1e18).compiled else peer.loss
    import torch
    from lightning import Fabric
    from litgpt.utils import chunked_cross_entropy

    fabric = Fabric(accelerator=device.split(":")[0], devices=1, precision="bf16-mixed")
    model = fabric.setup(torch.compile(peer.model))
    peer.backward = fabric.backward
    return lambda ids, targets: chunked_cross_entropy(model(ids), targets)
