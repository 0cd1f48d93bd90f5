"""The short form of benchmarks/crash.py: killed in every document stage up to prose and once between payload and record."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import rawfolder


def test_killed_anywhere_and_run_again_is_the_same(tmp_path, capsys):
    spec = importlib.util.spec_from_file_location("crash", Path(__file__).parent.parent / "benchmarks" / "crash.py")
    assert spec and spec.loader
    crash = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(crash)
    raw = rawfolder.make(tmp_path / "raw", rows=60)
    code = crash.main(["--raw", str(raw), "--until", "prose", "--kills", "6"])
    out = capsys.readouterr().out
    assert code == 0 and "different: none" in out, out
    assert "between payload and record: ended with -9" in out
