"""`athanor model show`: what a shape costs and where it fits. `athanor model init`: the same shape with fresh weights.

Showing is arithmetic (model/counts.py, model/sizing.py) and needs no torch: any shape is shown at once, also one that no
machine here could hold. `init` builds it, under a temporary name until it is whole. The same shape and seed give the same
bits, so an untrained model need not be kept or sent: its fingerprint tells that it is the one.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import shutil
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

from corpus.outcome import Misuse, Stop
from flows import tables
from flows.cli import answer
from flows.shapes import Shape, chosen
from model import counts, sizing
from model.config import DecoderConfig
from model.presets import PRESETS, preset
from model.sizing import GB, OPTIMIZERS

ROW = 4096  # tokens of a training row, where the window is longer and nothing is said
SIZES = "vocab_size d_model n_layer n_head n_kv_head d_head d_ff ffn_kind max_seq_len tie_embeddings".split()  # shown by themselves
WAYS = ("kept", "checkpointed")
SHA = "model_state_sha256"
OWN = 400 << 20  # bytes of memory that the libraries take


def model(args: argparse.Namespace) -> int:
    """The command."""
    return {"show": show, "init": init}[args.action](args)


def show(args: argparse.Namespace) -> int:
    """`athanor model show`."""
    if not 0 < args.gpu < math.inf:
        raise Misuse(f"--gpu takes gigabytes above 0, not {args.gpu:g}.")
    if args.shape is None:
        if args.sets:
            raise Misuse("--set changes a shape: name a preset, a model's folder or a config.json too.")
        return _presets(args.json)
    shape = chosen(args.shape, args.sets)
    found = measured(shape.config, args.rows, args.length, args.context, args.gpu)
    if args.json:
        answer("model show", "done", **{"name": shape.name, "saved": shape.facts, **found})
    else:
        _page(shape, found)
    return 0


def measured(c: DecoderConfig, rows: int = 1, length: int | None = None, context: int | None = None, gpu: float = 16) -> dict[str, Any]:
    """Everything the page shows, as plain values: counts, FLOPs, bytes, and what fits into `gpu` GB."""
    length, context = length or min(c.max_seq_len, ROW), context or c.max_seq_len
    return {
        **_counted(c),
        "flops_per_token": {"training": counts.training_flops(c, length), "decoding": counts.decoding_flops(c, context)},
        "rows": rows,
        "length": length,
        "context": context,
        "gpu_gb": gpu,
        "training": [sizing.training_fit(c, optimizer, rows, length, gpu * GB) for optimizer in OPTIMIZERS],
        "inference": sizing.inference_fit(c, rows, context, gpu * GB),
        "decoder": c.to_dict(),
    }


def _counted(c: DecoderConfig) -> dict[str, Any]:
    return {"params": counts.param_count(c), "non_embedding": counts.non_embedding_count(c), "active": counts.active_count(c)}


def _presets(as_json: bool) -> int:
    shapes = {name: preset(name) for name in PRESETS}
    if as_json:
        answer("model show", "done", presets=[{"name": name, **_counted(c), "decoder": c.to_dict()} for name, c in shapes.items()])
        return 0
    columns = ("preset", "d/L/Hq/Hk/dh/f", "vocab", "window", "total", "non-embed.", "active")
    rows = []
    for name, c in shapes.items():
        sizes = "/".join(map(str, (c.d_model, c.n_layer, c.n_head, c.n_kv_head, c.d_head, c.d_ff)))
        total, body, active = _counted(c).values()
        window = f"{c.max_seq_len // 1024}k" if c.max_seq_len % 1024 == 0 else f"{c.max_seq_len:,}"
        rows.append([name, sizes, f"{c.vocab_size:,}", window, f"{total:,}", _short(body), _short(active)])
    tables.show(columns, rows, right=set(columns[2:]))
    print("`athanor model show PRESET` says what one costs and where it fits; `athanor model init` builds it.")
    return 0


def _page(shape: Shape, found: dict[str, Any]) -> None:
    """For people; 100 columns."""
    rows, length, context, gpu = found["rows"], found["length"], found["context"], f"{found['gpu_gb']:g} GB"
    micro = f"{rows} row{'s' if rows > 1 else ''} of {length:,} tokens"
    flops, trained, used = found["flops_per_token"], found["training"], found["inference"]
    _lines(shape.name, _described(shape))
    total, body, active = (f"{n:>18,}" for n in _counted(shape.config).values())
    _lines("Parameters", {"total": total, "non-embedding": body, "active": active})
    training, decoding = f"in rows of {length:,}, forward and backward", f"behind {context:,} tokens"
    _lines("FLOPs per token", {"training": f"{flops['training']:>18,}  {training}", "decoding": f"{flops['decoding']:>18,}  {decoding}"})

    _title(f"Training memory in GB, {micro}")
    columns = ["optimizer", "bytes/param", "weights", "gradients", "states", "at rest", "beside"]
    held = ("weights", "gradients", "states", "at_rest")
    cells = [[t["optimizer"], f"{t['bytes_per_param']:.2f}", *(_gb(t[part]) for part in held), _gb(t["kept"]["beside"])] for t in trained]
    tables.show(columns, cells, right=set(columns[1:]))
    every, few = trained[0]["kept"], trained[0]["checkpointed"]
    turns = ", heads in turn," if shape.config.mtp_k > 1 else ""
    passing = f"{_gb(every['loss'])} in the loss{turns} or {_gb(every['block'])} in a block ({_gb(few['block'])} checkpointed): the larger"
    beside = "fp32 states of tables (8-bit, Muon), bf16 copies of fp32 weights, passing gradients"
    kept = f"{_gb(every['kept'])} with every block kept, {_gb(few['kept'])} with every block checkpointed"
    _lines("", {"beside": beside, "activations": kept, "on top": passing})

    _title(f"Does training fit on {gpu}?")
    columns = ["optimizer", "blocks kept", "most rows", "checkpointed", "most rows so"]
    cells = [[t["optimizer"], *(cell for way in WAYS for cell in (_fits(t[way]), tables.number(t[way]["rows_that_fit"])))] for t in trained]
    styles = ["green" if t["kept"]["fits"] else "yellow" if t["checkpointed"]["fits"] else "dim" for t in trained]
    tables.show(columns, cells, right=set(columns[1:]), styles=styles)
    print()
    _lines(f"Does inference fit on {gpu}?", {
        "weights": f"{_gb(used['weights']):>10}  bf16",
        "cache": f"{_gb(used['cache']):>10}  {rows} x {context:,} tokens, {used['cache_per_token']:,} bytes a token",
        "reading": f"{_gb(used['reading']):>10}  one block, while all of the context is read at once",
        "total": f"{_fits(used):>10}  the longest context that fits: {used['context_that_fits']:,} tokens",
    })  # fmt: skip
    if max(length, context) > shape.config.max_seq_len:
        print(f"This shape reads {shape.config.max_seq_len:,} tokens at most; --set max_seq_len={max(length, context)} widens its window.")


def _described(shape: Shape) -> dict[str, str]:
    """Sizes, and every option that is not as usual."""
    c = shape.config
    usual = {f.name: f.default for f in dataclasses.fields(c)} | {"rope_dims": c.d_head, "mtp_hidden": 2 * c.d_model}
    usual |= {name: getattr(c, name) for name in (*SIZES, *(() if "S" in c.window_pattern else ("window",)))}
    options = [f"{name} {_value(value)}" for name, value in c.to_dict().items() if value != usual[name]]
    found = {
        "stream": f"{c.d_model:,} wide, {c.n_layer} layers",
        "attention": f"{c.n_head} heads of {c.d_head} over {c.n_kv_head} of keys and values, {c.max_seq_len:,} tokens",
        "ffn": f"{c.ffn_kind}, {c.d_ff:,} wide",
        "vocabulary": f"{c.vocab_size:,}, the head {'is the table' if c.tie_embeddings else 'has a table of its own'}",
        "options": "\n".join(textwrap.wrap(", ".join(options), 80)),
        "saved": ", ".join(f"{name} {_value(shape.facts[name])}" for name in ("preset", "seed", "dtype") if name in shape.facts),
        "state": f"sha256 {shape.facts[SHA]}" if SHA in shape.facts else "",
    }
    return {name: text for name, text in found.items() if text}


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "(" + ", ".join(f"{k} {_value(v)}" for k, v in value.items()) + ")"
    return (
        "/".join(map(str, value)) if isinstance(value, list) else tables.number(value) if not isinstance(value, float) else f"{value:,.10g}"
    )


def _fits(found: dict[str, Any]) -> str:
    return f"{'yes' if found['fits'] else 'no'} {_gb(found['total']):>6}"


def _title(text: str) -> None:
    print(f"\033[1m{text}\033[0m" if sys.stdout.isatty() else text)


def _lines(title: str, rows: dict[str, str]) -> None:
    """Names and what they are, under a title where there is one; a text of several lines is indented."""
    if title:
        _title(title)
    for name, text in rows.items():
        print(f"  {name:<13}" + text.replace("\n", "\n" + 15 * " "))
    print()


def _short(count: int) -> str:
    return f"{count / 1e9:.3g}B" if count >= 1e9 else f"{count / 1e6:.3g}M"


def _gb(count: float) -> str:
    """GB with three digits: 12.4, 0.56, 0.024."""
    gb = count / GB
    return f"{gb:,.0f}" if gb >= 1000 or not gb else f"{gb:.1f}" if gb >= 10 else f"{gb:.2f}" if gb >= 0.1 else f"{gb:.3f}"


def init(args: argparse.Namespace) -> int:
    """`athanor model init`."""
    shape = chosen(args.shape, args.sets)
    c, out = shape.config, (args.output or Path(f"{shape.name}-seed{args.seed}")).resolve()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise Misuse(f"'{out}' is not empty: give a new folder with -o.")
    if args.seed >= 1 << 63:
        raise Misuse("--seed takes a whole number below 2^63.")
    _room(c, shape.name, out, args.dtype)
    print(f"Drawing {counts.param_count(c):,} weights ...", file=sys.stderr, flush=True)
    begun = time.monotonic()
    facts = {"preset": shape.name, "set": args.sets, "seed": args.seed, "init": c.init, "dtype": args.dtype}
    mark, size = _built(c, out, args.seed, args.dtype, facts)
    if args.json:
        answer("model init", "done", path=str(out), **{SHA: mark, "bytes": size, **facts, **_counted(c)})
        return 0
    again = f"{args.seed}, {c.init}: the same command gives the same bits"
    disk = f"{tables.size(size)}, {args.dtype}, after {time.monotonic() - begun:.1f} s"
    _lines(str(out), {"parameters": f"{counts.param_count(c):,}", "on disk": disk, "seed": again, "state": f"sha256 {mark}"})
    return 0


def _built(c: DecoderConfig, out: Path, seed: int, dtype: str, facts: dict[str, Any]) -> tuple[str, int]:
    """The folder, whole or not at all; its fingerprint and its bytes."""
    import torch

    from model.decoder import Decoder
    from model.folders import fresh
    from model.state import save

    with fresh(out) as made:
        mark = save(Decoder(c).init_weights(seed).to(getattr(torch, dtype)), made, **facts)
        size = sum(f.stat().st_size for f in made.iterdir())
    return mark, size


def _room(c: DecoderConfig, name: str, out: Path, dtype: str) -> None:
    """Stop unless memory and disk suffice: fp32 weights and two copies of a large tensor; the file."""
    import psutil

    n, large = counts.param_count(c), max(c.padded_vocab_size, c.d_ff) * c.d_model
    memory, disk = 4 * (n + 2 * large) + OWN, n * (4 if dtype == "float32" else 2) + (1 << 20)
    free, room = psutil.virtual_memory().available, shutil.disk_usage(next(p for p in out.parents if p.exists())).free
    if memory > free:
        raise Stop(f"'{name}' needs {tables.size(memory)} of memory to be built, and {tables.size(free)} are free. Take a larger machine.")
    if disk > room:
        half = ", or halve the file with --dtype bfloat16" if dtype == "float32" else ""
        raise Stop(f"'{name}' takes {tables.size(disk)} on disk, and {tables.size(room)} are free. Choose another disk with -o{half}.")
