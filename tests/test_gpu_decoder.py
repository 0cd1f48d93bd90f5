"""The GPU benchmark runs end to end without a GPU: its table says what was measured and what was not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "gpu_decoder.py"
SMALL = ["--presets", "skylar-test", "--rows", "2", "--length", "32", "--steps", "1", "--new", "2", "--no-compile", "--optimizer", "adamw"]


def test_it_measures_training_and_generation_on_a_cpu_and_claims_nothing_it_did_not_run():
    done = subprocess.run(
        [sys.executable, SCRIPT, "--device", "cpu", "--paths", "dense", *SMALL], capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    measured = [line for line in lines if line.startswith("skylar-test")]
    assert len(measured) == 3 and all(float(line.split()[-3].replace(",", "")) > 0 for line in measured)
    assert "5,899,648" in measured[0] and "training, adamw, dense" in measured[0]
    assert sum("not run" in line for line in lines) == 3
