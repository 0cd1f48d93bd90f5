"""Extraction against its references and its peers, in one run. Prints tables.

    python benchmarks/extract.py html --pages FOLDER
    python benchmarks/extract.py pdf --laws FOLDER [--references FOLDER --raw FOLDER] [--work FOLDER]
    python benchmarks/extract.py references --raw FOLDER --references FOLDER [--worst 10]
    python benchmarks/extract.py ocr --raw FOLDER [--files 6]
    python benchmarks/extract.py memory --raw FOLDER [--files 500]

It needs the extra `bench`. Each subcommand is a module of its own, extract_<name>.py, whose head says what it measures;
extract_score.py says how near two texts are.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

COMMANDS = ("html", "pdf", "references", "ocr", "memory")


def main() -> None:
    """Dispatch: each module has `arguments(parser)` and `run(given)`, and is imported when it is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=COMMANDS)
    command = parser.parse_args(sys.argv[1:2]).command
    module = importlib.import_module(f"extract_{command}")
    parser = argparse.ArgumentParser(
        prog=f"extract.py {command}", description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    module.arguments(parser)
    module.run(parser.parse_args(sys.argv[2:]))


if __name__ == "__main__":
    main()
