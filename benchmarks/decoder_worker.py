"""Contestants: each a process of its own that prepares itself, then measures one turn whenever it is told to, and waits in between.

Turns are taken in rounds, one contestant after the other, so that what else the machine does meets all alike; only one computes at a
time. A job is a generator of JSON values: the first say what was prepared, each further one is a turn.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from train.numerics import ENVIRONMENT

MIB = 1 << 20


def arguments(parser: argparse.ArgumentParser) -> None:
    """What every subcommand takes."""
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of each contestant; one computes at a time")
    parser.add_argument("--turns", type=int, default=5, help="rounds")
    parser.add_argument("--seconds", type=float, default=2.0, help="a turn lasts at least so long, and at least one step")


class Failed(Exception):
    """A contestant ended instead of answering."""


class Contestant:
    """A job in a process of its own. `ask` lets it go on to its next value."""

    def __init__(self, job: str, threads: int, **task: Any) -> None:
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - as long as the process
        environment = {**os.environ, **ENVIRONMENT, "OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", __file__, job, json.dumps(task)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env=environment,
            text=True,
        )

    def ask(self) -> dict[str, Any]:
        """The job's next value. Failed when it ended, with the last thing it said."""
        try:
            self.process.stdin.write("\n")  # type: ignore[union-attr]
            self.process.stdin.flush()  # type: ignore[union-attr]
            answer = self.process.stdout.readline()  # type: ignore[union-attr]
        except BrokenPipeError:
            answer = ""
        if answer:
            return json.loads(answer)  # type: ignore[no-any-return]
        code = self.process.wait()
        self.errors.seek(0)
        said = self.errors.read().strip().splitlines()
        raise Failed(f"killed by signal {-code}" if code < 0 else said[-1] if said else f"exit status {code}")

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.errors.close()


def rounds(contestants: dict[str, Contestant], turns: int, failed: dict[str, str]) -> dict[str, list[dict[str, Any]]]:
    """So many turns of every contestant, in turn; one that fails is entered in `failed` and left out."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in contestants}
    for _ in range(turns):
        for name, contestant in contestants.items():
            if name not in failed:
                try:
                    found[name].append(contestant.ask())
                except Failed as error:
                    failed[name] = str(error)
    return {name: values for name, values in found.items() if name not in failed}


def timed_turn(step: Callable[[], Any], seconds: float, device: str) -> dict[str, list[float]]:
    """Steps until `seconds` are over: the seconds of each by the clock, and of processor time, all threads together.

    A step that does not count goes before them, and memory is given back behind them: whoever waits holds the weights only.
    """
    cuda = device.startswith("cuda")
    step()
    found: list[float] = []
    cpu: list[float] = []
    while sum(found) < seconds:
        begun, used = time.perf_counter(), time.process_time()
        step()
        if cuda:
            import torch

            torch.cuda.synchronize()
        found.append(time.perf_counter() - begun)
        cpu.append(time.process_time() - used)
    give_back(device)
    return {"seconds": found, "cpu": cpu}


def give_back(device: str) -> None:
    """Blocks that the allocator keeps for later."""
    gc.collect()
    if device.startswith("cuda"):
        import torch

        torch.cuda.empty_cache()
    else:
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def median(turns: Sequence[dict[str, Any]], which: str = "seconds") -> float:
    """Seconds of the median step."""
    return statistics.median(s for turn in turns for s in turn[which])


def spread(turns: Sequence[dict[str, Any]]) -> float:
    """Half the way from the fastest to the slowest turn, as a share of the median."""
    middles = [statistics.median(turn["seconds"]) for turn in turns]
    return (max(middles) - min(middles)) / 2 / median(turns)


def peak(turns: Sequence[dict[str, Any]], name: str) -> float:
    return max(float(turn[name]) for turn in turns)


class Memory:
    """How far memory rises, MiB: above what is in use at `rest()`, and altogether. The device's, or on a CPU the process's (Linux)."""

    def __init__(self, device: str) -> None:
        self.device, self.cuda, self.floor = device, device.startswith("cuda"), 0.0

    def rest(self) -> None:
        """Give freed blocks back and forget the peak so far."""
        give_back(self.device)
        if self.cuda:
            import torch

            torch.cuda.reset_peak_memory_stats()
            self.floor = torch.cuda.memory_allocated() / MIB
        else:
            Path("/proc/self/clear_refs").write_text("5")
            self.floor = self._status("VmRSS")

    def peak(self) -> dict[str, float]:
        if self.cuda:
            import torch

            highest = torch.cuda.max_memory_allocated() / MIB
        else:
            highest = self._status("VmHWM")
        return {"rise": highest - self.floor, "process": highest}

    @staticmethod
    def _status(name: str) -> float:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(float(line.split()[1]) / 1024 for line in lines if line.startswith(name + ":"))


def _serve(job: str, task: dict[str, Any], asked: Iterable[str]) -> None:
    """Answer every line that comes in with the job's next value."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    module, function = job.split(":")
    values = getattr(importlib.import_module(module), function)(**task)
    for _ in asked:
        answers.write(json.dumps(next(values)) + "\n")
        answers.flush()


if __name__ == "__main__":
    _serve(sys.argv[1], json.loads(sys.argv[2]), sys.stdin)
