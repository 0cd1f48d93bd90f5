"""The decoder on a GPU: training steps and generation of the presets, and the claims of their cards. Prints one table.

    python benchmarks/gpu_decoder.py [--presets 50m 350m 1b 3b] [--rows 8] [--length 4096] [--optimizer adamw8bit]

Per preset: tokens/s, model FLOPs utilisation and peak memory of training steps (forward, backward, update) on each attention path
(causal: one document a row; dense and flex: packed documents), then tokens/s of greedy generation with a cache. Weights and
activations are bf16, the step is compiled, blocks are recomputed in the backward pass where `--recompute` says so. Each measurement
is a process of its own. `adamw8bit` needs bitsandbytes; `adamw` keeps fp32 states; `release` is adamw8bit applied to each parameter
as soon as its gradient is there, which then is freed.

On a machine without a GPU `--device cpu --presets skylar-test --rows 2 --length 128 --steps 2` runs the same code.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from model.config import DecoderConfig
from model.counts import decoding_flops, training_flops
from model.decoder import Decoder
from model.presets import preset

PEAK = {"A100": 312e12, "H100": 989e12, "H200": 989e12, "4090": 165e12, "5090": 209e12}  # dense bf16, FLOP/s
CLAIMS = (  # preset, measure, optimizer, what the card says, whether a figure meets it
    ("350m", "peak_gib", "adamw8bit", "about 3 GB of training memory", lambda gib: gib <= 3.3),
    ("1b", "peak_gib", "adamw8bit", "training within 16 GB", lambda gib: gib <= 16 * 1e9 / 2**30),
    ("3b", "tokens_per_s", "adamw8bit", "8,500 tokens/s on an A100-class card at batch 8", lambda speed: speed >= 8500),
)


def optimizer_for(model: nn.Module, name: str) -> Callable[[], None]:
    """What makes one update and clears the gradients."""
    params = [p for p in model.parameters() if p.requires_grad]
    if name == "adamw":
        plain = torch.optim.AdamW(params, 2e-4, (0.9, 0.95), weight_decay=0.1, fused=params[0].is_cuda)
        return lambda: (plain.step(), plain.zero_grad(set_to_none=True))  # type: ignore[func-returns-value, return-value]
    import bitsandbytes

    if name == "adamw8bit":
        eight = bitsandbytes.optim.AdamW8bit(params, 2e-4, (0.9, 0.95), weight_decay=0.1)
        return lambda: (eight.step(), eight.zero_grad(set_to_none=True))  # type: ignore[return-value]
    for p in params:  # 'release'
        own = bitsandbytes.optim.AdamW8bit([p], 2e-4, (0.9, 0.95), weight_decay=0.1)

        def update(p: Tensor, own: Any = own) -> None:
            own.step()
            p.grad = None

        p.register_post_accumulate_grad_hook(update)
    return lambda: None


def batch(c: DecoderConfig, rows: int, length: int, path: str, device: str) -> tuple[Tensor, Tensor, Tensor | None]:
    """Random tokens; four documents a row unless the path is causal."""
    tokens = torch.randint(0, c.vocab_size, (rows, length + 1), device=device)
    documents = torch.arange(length, device=device).mul(4).div(length, rounding_mode="floor").expand(rows, -1).contiguous()
    return tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous(), None if path == "causal" else documents


def train(task: dict[str, Any]) -> dict[str, Any]:
    """Training steps: tokens/s, MFU, peak memory."""
    device, rows, length, steps = task["device"], task["rows"], task["length"], task["steps"]
    c = preset(task["preset"], max_seq_len=length)
    with torch.device(device):
        model = Decoder(c, torch.bfloat16).to(torch.bfloat16)
    for p in model.parameters():
        nn.init.normal_(p, std=0.02)
    model.attention_path, model.recompute = task["path"], task["recompute"]
    update = optimizer_for(model, task["optimizer"])
    loss_of = torch.compile(Decoder.loss, dynamic=False) if task["compile"] else Decoder.loss
    ids, targets, documents = batch(c, rows, length, task["path"], device)

    def step() -> Tensor:
        loss = loss_of(model, ids, targets, None, documents)
        loss.backward()
        update()
        return loss

    for _ in range(3):
        step()
    _wait(device)
    begun = time.perf_counter()
    for _ in range(steps):
        loss = step()
    _wait(device)
    seconds = (time.perf_counter() - begun) / steps
    speed = rows * length / seconds
    trained = c.replace(mtp_k=1)  # the step trains the next-token loss
    peak = next((value for name, value in PEAK.items() if name in card(device)), None)
    mfu = speed * training_flops(trained, length) / peak if peak else None
    return {"tokens_per_s": speed, "mfu": mfu, "peak_gib": peak_memory(device), "loss": loss.item()}


@torch.inference_mode()
def generate(task: dict[str, Any]) -> dict[str, Any]:
    """Greedy generation behind a prompt: tokens/s over all rows, and the share of the card's arithmetic."""
    from model.generation import Sampling
    from model.generation import generate as continued

    device, rows, new = task["device"], task["rows"], task["new"]
    c = preset(task["preset"], mtp_k=1, decision_classes=0)
    with torch.device(device):
        model = Decoder(c, torch.bfloat16).to(torch.bfloat16).eval()
    for p in model.parameters():
        nn.init.normal_(p, std=0.02)
    prompts = torch.randint(2, c.vocab_size, (rows, 64)).tolist()
    continued(model, prompts, Sampling(max_tokens=8, temperature=0))
    _wait(device)
    begun = time.perf_counter()
    continued(model, prompts, Sampling(max_tokens=new, temperature=0))
    _wait(device)
    speed = rows * new / (time.perf_counter() - begun)
    return {"tokens_per_s": speed, "gflop_per_token": decoding_flops(c, 64 + new // 2) / 1e9, "peak_gib": peak_memory(device)}


def card(device: str) -> str:
    """The name of what computes."""
    return torch.cuda.get_device_name() if device == "cuda" else "CPU"


def peak_memory(device: str) -> float:
    """GiB at most: allocated on the GPU, resident on a CPU."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**30
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def measured(what: str, **task: Any) -> dict[str, Any]:
    """One measurement in a process of its own; {'failed': why} when it could not be made."""
    command = [sys.executable, "-W", "ignore", __file__, "--task", json.dumps({"what": what, **task})]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    if done.returncode == 0 and lines:
        return json.loads(lines[-1])  # type: ignore[no-any-return]
    said = [line for line in done.stderr.splitlines() if "Error" in line]
    return {"failed": "out of memory" if "OutOfMemory" in done.stderr else (said or ["no answer"])[-1][:90]}


def shown(found: dict[str, Any]) -> str:
    if "failed" in found:
        return f"{found['failed']:>34}"
    mfu = f"{100 * found['mfu']:6.1f} %" if found.get("mfu") else "       –"
    return f"{found['tokens_per_s']:12,.0f}{mfu:>10}{found['peak_gib']:10.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--presets", nargs="+", default=["50m", "350m", "1b", "3b"])
    parser.add_argument("--paths", nargs="+", default=["causal", "flex", "dense"], choices=["causal", "flex", "dense"])
    parser.add_argument("--optimizer", nargs="+", default=["adamw8bit"], choices=["adamw", "adamw8bit", "release"])
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--length", type=int, default=4096)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--new", type=int, default=128, help="tokens generated per row")
    parser.add_argument("--recompute", action="store_true", help="recompute each block in the backward pass")
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--task", help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.task:
        task = json.loads(a.task)
        print(json.dumps({"train": train, "generate": generate}[task.pop("what")](task)))
        return

    print(f"{datetime.date.today()}, {card(a.device)}, torch {torch.__version__}; {a.rows} rows of {a.length} tokens, bf16,", end=" ")
    print(f"{'eager' if a.no_compile else 'compiled'}{', blocks recomputed' if a.recompute else ''}\n")
    print(f"{'preset':16}{'parameters':>15}  {'what':26}{'tokens/s':>12}{'MFU':>10}{'peak GiB':>10}")
    found: dict[tuple[str, str], dict[str, Any]] = {}
    common = {"device": a.device, "rows": a.rows, "length": a.length, "steps": a.steps, "recompute": a.recompute}
    for name in a.presets:
        params = f"{preset(name).param_count():,}"
        for optimizer in a.optimizer:
            for path in a.paths:
                result = measured("train", preset=name, path=path, optimizer=optimizer, compile=not a.no_compile, **common)
                if path == a.paths[0]:
                    found[name, optimizer] = result
                print(f"{name:16}{params:>15}  {f'training, {optimizer}, {path}':26}{shown(result)}", flush=True)
        for rows in (1, a.rows):
            result = measured("generate", preset=name, device=a.device, rows=rows, new=a.new)
            print(f"{name:16}{params:>15}  {f'generation, {rows} rows':26}{shown(result)}", flush=True)
    print("\nWhat the cards say:")
    for name, measure, optimizer, claim, holds in CLAIMS:
        result = found.get((name, optimizer), {"failed": "not run"})
        figure = result.get("failed") or f"{result[measure]:,.2f}: {'met' if holds(result[measure]) else 'not met'}"
        print(f"  {name}: {claim} – {figure}")


if __name__ == "__main__":
    main()
