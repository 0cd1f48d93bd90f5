"""Greedy decoding with a key/value cache, beside the peers: a fixed number of new tokens behind prompts of one length.

Tokens a second count the new tokens of all rows: in `whole call` over the whole call, the reading of the prompts included; in `decode`
those behind the first, over what a call takes longer than one that gives a single token. transformers decodes with `generate`, litgpt
with its `generate` for one prompt and its `batched_generate_fn` for several, ours with `model.generation.generate`, as `athanor chat` does
and without its drafts; all eager, and every contestant has the same weights.

Before anything is timed each gives its tokens in fp32; `same` says how many rows are the same as the first contestant's, to the last
token. How far a call raises memory: above the weights at rest.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from decoder_worker import Contestant, Memory, median, peak, rounds, spread, timed_turn
from decoder_worker import arguments as common


def arguments(parser: argparse.ArgumentParser) -> None:
    common(parser)
    parser.add_argument("--shapes", nargs="+", default=["50m", "350m"], help="presets")
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 16], help="prompts at once")
    parser.add_argument("--prompt", type=int, default=64, help="tokens of each prompt")
    parser.add_argument("--new", type=int, default=128, help="tokens to decode, two or more")
    parser.add_argument("--dtypes", nargs="+", default=["bfloat16", "float32"], help="of weights and activations")
    parser.add_argument("--who", nargs="+", default=["ours", "undrafted", "transformers", "litgpt"])


def run(given: argparse.Namespace) -> None:
    from decoder_peers import installed, shape_of

    from train.numerics import default_device

    device, who = default_device(), installed(given.who)
    print(f"decode: {device}, {given.threads} threads, {given.turns} turns")
    print(f"{given.new} tokens behind prompts of {given.prompt}", flush=True)
    for name in given.shapes:
        shape = shape_of(name, given.prompt + given.new)
        print(f"\n{name}: {shape.param_count():,} parameters")
        print(f"{'':20}{'':14}{'decode':>10}{'whole call':>12}{'spread':>8}{'/core s':>9}{'call MiB':>10}{'process':>9}{'same':>10}")
        for prompts in given.batches:
            for dtype in given.dtypes:
                task = {"config": shape.to_dict(), "prompts": prompts, "prompt": given.prompt, "new": given.new, "dtype": dtype}
                _table(f"{dtype}, batch {prompts}", who, task | {"device": device}, given)


def _table(title: str, who: list[str], task: dict[str, Any], given: argparse.Namespace) -> None:
    """The lines of one batch and dtype."""
    contestants = {name: Contestant("decoder_decode:turns", given.threads, who=name, seconds=given.seconds, **task) for name in who}
    try:
        failed: dict[str, str] = {}
        said = {name: found[0]["tokens"] for name, found in rounds(contestants, 1, failed).items()}
        first = next(iter(said.values()), [])
        turns = rounds(contestants, given.turns, failed)
        for name in who:
            if name in failed:
                print(f"{title:20}{name:14}  failed: {failed[name]}")
            else:
                found, same = turns[name], sum(a == b for a, b in zip(said[name], first, strict=True))
                tokens = task["prompts"] * task["new"]
                decode = (tokens - task["prompts"]) / (median(found) - median(found, "first"))
                measured = f"{decode:10,.1f}{tokens / median(found):12,.1f}{spread(found):8.1%}{tokens / median(found, 'cpu'):9,.1f}"
                memory = f"{peak(found, 'rise'):10,.0f}{peak(found, 'process'):9,.0f}"
                print(f"{title:20}{name:14}{measured}{memory}{f'{same} of {len(first)}':>10}")
            title = ""
        print("", end="", flush=True)
    finally:
        for contestant in contestants.values():
            contestant.close()


def turns(
    who: str, config: dict[str, Any], prompts: int, prompt: int, new: int, dtype: str, device: str, seconds: float
) -> Iterator[dict[str, Any]]:
    """The job of a contestant: its tokens in fp32, then turns of whole calls."""
    from decoder_peers import batch, build, quiet, weights

    from model.config import DecoderConfig

    quiet()
    shape = DecoderConfig.from_dict(config)
    state = weights(shape)
    ids = batch(shape, prompts, prompt, "cpu")[0].tolist()
    peer = build(who, shape, state, "float32", device)
    tokens = peer.greedy(ids, new)
    if [len(row) for row in tokens] != [new] * prompts:
        raise SystemExit(f"{who} decoded rows of {[len(row) for row in tokens]} tokens instead of {new}")
    if dtype != "float32":
        del peer
        peer = build(who, shape, state, dtype, device)
    del state
    memory = Memory(device)
    memory.rest()
    peer.greedy(ids, new)
    raised = memory.peak()
    yield {"tokens": tokens}
    while True:
        first = timed_turn(lambda: peer.greedy(ids, 1), seconds, device)["seconds"]
        yield {**timed_turn(lambda: peer.greedy(ids, new), seconds, device), **raised, "first": first}
