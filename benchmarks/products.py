"""fp32 products by matrix tiles (`model/pieces.py`) beside the library's, in turn: GFLOP/s by the median, and how near to fp64 they are.

    python benchmarks/products.py [--tokens 64 256 1024] [--shapes 1024x1024 2816x1024] [--threads 2] [--turns 9]

A shape is rows x values of a matrix. A turn multiplies by twelve matrices, more than a cache holds, first ours, then the library's.
Errors are the root of their mean square over that of the result.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent.parent))
from model import pieces

MATRICES = 12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", nargs="+", type=int, default=[64, 256, 1024])
    parser.add_argument("--shapes", nargs="+", default=["1024x1024", "256x1024", "2816x1024", "1024x2816"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--turns", type=int, default=9)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    pieces.MANY = 1  # also where the library is taken otherwise
    print(f"{'matrix':>12}{'tokens':>8}{'ours':>9}{'library':>9}{'beside it':>11}{'error':>10}{'library':>10}")
    for shape in given.shapes:
        rows, values = map(int, shape.split("x"))
        generator = torch.Generator().manual_seed(0)
        matrices = [torch.randn(rows, values, generator=generator) for _ in range(MATRICES)]
        for tokens in given.tokens:
            x = torch.randn(tokens, values, generator=generator)
            ways = (pieces.product, F.linear)
            turns = [[_seconds(way, x, matrices) for way in ways] for _ in range(given.turns + 1)][1:]
            speeds = [2e-9 * MATRICES * tokens * rows * values / statistics.median(one) for one in zip(*turns, strict=True)]
            exact = x.double() @ matrices[0].double().T
            errors = [float((way(x, matrices[0]) - exact).norm() / exact.norm()) for way in ways]
            measured = f"{speeds[0]:9,.0f}{speeds[1]:9,.0f}{speeds[0] / speeds[1]:10.2f}×"
            print(f"{shape:>12}{tokens:>8}{measured}{errors[0]:10.1e}{errors[1]:10.1e}", flush=True)


def _seconds(way: Callable[[Tensor, Tensor], Tensor], x: Tensor, matrices: list[Tensor]) -> float:
    begun = time.perf_counter()
    for matrix in matrices:
        way(x, matrix)
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
