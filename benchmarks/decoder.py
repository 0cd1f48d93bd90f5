"""The decoder against its peers, equal shapes and equal weights, in one run. Prints tables.

    python benchmarks/decoder.py train [--shapes 50m skylar-small] [--rows 8x512 1x2048] [--dtypes bfloat16 float32]
    python benchmarks/decoder.py decode [--shapes 50m 350m] [--batches 1 16]
    python benchmarks/decoder.py speculative [--corpus FOLDER] [--minutes 10]
    python benchmarks/decoder.py options [--shape 50m] [--only NAME ...]
    python benchmarks/decoder.py all

Peers: Qwen3ForCausalLM of transformers and GPT of litgpt. They need the extra `bench`, and litgpt without what it asks for (it wants
an old huggingface-hub): pip install --no-deps litgpt==0.5.13. Each subcommand is a module of its own, decoder_<name>.py, whose head
says what it measures; decoder_peers.py builds the contestants, decoder_worker.py runs each in a process of its own.

Every contestant gets the environment that train/numerics.py sets for training on a CPU, and as many threads.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

COMMANDS = ("train", "decode", "speculative", "options")


def main() -> None:
    """Dispatch: each module has `arguments(parser)` and `run(given)`, and is imported when it is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=(*COMMANDS, "all"))
    asked = parser.parse_args(sys.argv[1:2]).command
    for command in COMMANDS if asked == "all" else (asked,):
        module = importlib.import_module(f"decoder_{command}")
        parser = argparse.ArgumentParser(
            prog=f"decoder.py {command}", description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        module.arguments(parser)
        module.run(parser.parse_args([] if asked == "all" else sys.argv[2:]))


if __name__ == "__main__":
    main()
