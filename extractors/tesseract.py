"""Tesseract as it is installed on this machine: which version and models, and what it says of an image.

Images go to it through a pipe, so that no page of a private document is written to the disk. One thread, because the sandbox
counts and limits CPU time.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from corpus.outcome import Circumstance

if TYPE_CHECKING:
    from PIL.Image import Image

DPI = 300  # of the pages rendered, as the engine's models were trained
_SECONDS = 180  # for one page, by the clock


@dataclass(frozen=True)
class Engine:
    """An installed Tesseract: its program, version, and its languages with a digest of their models."""

    program: str
    version: str
    languages: Mapping[str, str]


def found_engine() -> Engine | None:
    program = shutil.which("tesseract")
    return installed(program) if program else None


@functools.cache
def installed(program: str) -> Engine | None:
    """Version and languages; None when the program cannot be run."""
    try:
        said = subprocess.run([program, "--version"], capture_output=True, timeout=30, stdin=subprocess.DEVNULL)
        listed = subprocess.run([program, "--list-langs"], capture_output=True, timeout=30, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError):
        return None
    version = re.search(rb"tesseract\s+v?([\w.-]+)", said.stdout + said.stderr)
    lines = (listed.stdout or listed.stderr).decode("utf-8", "replace").splitlines()
    if version is None or not lines:
        return None
    folder = re.search(r'"(.+)"', lines[0])  # List of available languages in "/usr/share/.../tessdata/" (3):
    names = [line.strip().replace("\\", "/") for line in lines[1:] if re.fullmatch(r"[\w/\\.-]+", line.strip())]
    models = {name: Path(folder[1] if folder else ".", f"{name}.traineddata") for name in names if name not in ("osd", "equ")}
    return Engine(program, version[1].decode(), {name: _digest(path) for name, path in models.items()})


def _digest(model: Path) -> str:
    """Models of one name differ (fast, best, trained by the user): a digest tells them apart. '' when the file is not found."""
    try:
        with model.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:12]
    except OSError:
        return ""


def orientation(image: Image) -> int:
    """Degrees, counterclockwise, by which to turn the page upright; 0 when the engine cannot tell."""
    engine = found_engine()
    said = run(engine.program, image, "--psm", "0", "-l", "osd", "--dpi", str(DPI)) if engine else None
    match = re.search(r"(?m)^Rotate: (90|180|270)\s*$", said or "")
    return 360 - int(match[1]) if match else 0


def run(program: str, image: Image, *options: str) -> str | None:
    """What the engine says of an image; None when it fails. Raises Circumstance when it takes too long."""
    pixels = b"P5 %d %d 255\n" % image.size + image.tobytes()
    try:
        done = subprocess.run(
            [program, "stdin", "stdout", *options],
            input=pixels,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_SECONDS,
            env=dict(os.environ, OMP_THREAD_LIMIT="1"),
        )
    except subprocess.TimeoutExpired:
        raise Circumstance("deadline", f"the OCR engine took more than {_SECONDS} seconds for a page") from None
    except OSError as error:
        raise Circumstance("ocr_engine", "the OCR engine cannot be started: see athanor doctor") from error
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None
