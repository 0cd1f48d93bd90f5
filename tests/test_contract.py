"""The rooms keep their floors, stay light, and the door opens at once."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

ROOT = Path(__file__).parent.parent
ROOMS = ("corpus", "extractors", "filters", "packer", "model", "train", "flows")
HEAVY = ("torch", "docling", "docling_core", "presidio_analyzer", "spacy", "prefect", "trafilatura", "lingua", "pandas", "datasketch")
GPU_MACHINE = {"torch", "numpy", "pyarrow", "tokenizers", "safetensors", "corpus", "packer", "model", "train"}


def imported(source: Path) -> set[str]:
    """Top-level names a file imports anywhere, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


def stage_modules() -> list[str]:
    """Modules that define a stage."""
    files = [f for room in ROOMS for f in sorted((ROOT / room).rglob("*.py"))]
    return [".".join(f.relative_to(ROOT).with_suffix("").parts) for f in files if "\nSTAGE = " in f.read_text(encoding="utf-8")]


def test_every_room_keeps_to_its_floor_and_only_flows_imports_prefect(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert lint_imports(config_filename="pyproject.toml", no_cache=True) == 0, capsys.readouterr().out


@pytest.mark.parametrize("room", ["model", "packer", "train"])
def test_what_is_copied_to_a_gpu_machine_needs_five_libraries_only(room):
    allowed = GPU_MACHINE | set(sys.stdlib_module_names)
    foreign = {f"{f.name}: {name}" for f in (ROOT / room).rglob("*.py") for name in imported(f) - allowed}
    assert foreign <= {"gguf_file.py: gguf"}  # needed where that file is written, nowhere else


def test_importing_every_stage_loads_no_heavy_library():
    code = (
        "import importlib, sys\n"
        f"for name in {stage_modules()!r}:\n"
        "    importlib.import_module(name)\n"
        f"    heavy = [h for h in {HEAVY!r} if h in sys.modules]\n"
        "    assert not heavy, f'{name} imports {heavy}'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_help_takes_less_than_half_a_second_of_processor_time():
    door = "import sys; sys.argv = ['athanor', '--help']; from flows.cli import main; sys.exit(main())"

    def once() -> float:
        before = os.times()
        subprocess.run([sys.executable, "-c", door], cwd=ROOT, check=True, capture_output=True)
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system

    assert min(once() for _ in range(3)) < 0.5


def test_every_test_file_has_a_name_of_its_own():
    names = [f.name for f in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))  # pytest imports them by name: of two it would know one
