"""C++ that lies beside the Python, compiled where it runs, once: `library` gives it as something ctypes can call.

The compiler is the machine's own and is told to use what the processor has. What it makes lies in the user's cache, under a name made
of the source, the compiler and the processor: nothing stale is loaded, and a home that several machines share has one for each.

Limits: the library uses torch's own threads and is linked to none of its own, so it needs a torch with OpenMP, and torch imported.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

COMPILERS = ("c++", "g++", "clang++")
FLAGS = ("-std=c++17", "-O3", "-march=native", "-fno-math-errno", "-fopenmp", "-fPIC")
LIMIT = 120  # seconds for the compiler


class Unavailable(Exception):
    """This machine has no such library. The message says why."""


@functools.cache
def library(source: Path) -> ctypes.CDLL:
    """The library of a source file, compiled if it is not in the cache yet (seconds). Headers lie beside it.

    A function `allowed` must answer 0 where the machine lets the process use what the code was made for; where it does not, the
    code is made without matrix tiles. Raises Unavailable.
    """
    compiler = next((found for name in COMPILERS if (found := shutil.which(name))), None)
    if compiler is None:
        raise Unavailable("there is no C++ compiler")
    for without in ((), ("-mno-amx-bf16",)):
        try:
            code = ctypes.CDLL(str(_made(compiler, (*FLAGS, *without), source)))
        except (OSError, RuntimeError) as error:  # a RuntimeError: nobody's home
            raise Unavailable(f"what the compiler makes cannot be loaded or kept ({type(error).__name__})") from error
        if not code.allowed():
            return code
    raise Unavailable("the system does not allow what the processor can do")


def _made(compiler: str, flags: tuple[str, ...], source: Path) -> Path:
    """The library's path in the cache. OSError where it cannot be written."""
    target = _run(compiler, *flags, "-dM", "-E", "-x", "c++", os.devnull)  # names the compiler's version and the processor's abilities
    sources = [source, *sorted(source.parent.glob("*.h"))]
    parts = [*(path.read_bytes() for path in sources), " ".join(flags).encode(), target]
    name = hashlib.sha256(b"\0".join(parts)).hexdigest()[:20]
    made = Path.home() / ".cache" / "athanor" / f"{source.stem}-{name}.so"
    if not made.is_file():
        made.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=made.parent) as folder:
            compiled, linked = Path(folder, "it.o"), Path(folder, "it.so")
            _run(compiler, *flags, "-c", str(source), "-o", str(compiled))
            _run(compiler, "-shared", str(compiled), "-o", str(linked))  # without -fopenmp: that is already in the process
            os.replace(linked, made)
    return made


def _run(*command: str) -> bytes:
    try:
        return subprocess.run(command, capture_output=True, check=True, timeout=LIMIT).stdout
    except (subprocess.SubprocessError, OSError) as error:
        raise Unavailable(f"{Path(command[0]).name} fails ({type(error).__name__})") from error
