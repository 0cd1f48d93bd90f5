"""The file made out of the rooms: whole, in an order that runs, without a name too many, and refused where it could be wrong."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from model.exports.modeling import ROOM, modeling_source

WRAPPER = '"""The end."""\n\nimport math\n\nHALF = math.pi / 2\n'


def made(folder, **modules):
    """The file of a small room; `decoder` is where it begins."""
    for name, source in modules.items():
        (folder / f"{name}.py").write_text(source)
    (folder / "hf_wrapper.txt").write_text(WRAPPER)
    return modeling_source(folder, folder / "hf_wrapper.txt")


def run(source):
    found = {"__name__": "made"}
    exec(compile(source, "made", "exec"), found)
    return found


def test_the_file_imports_no_room_and_no_name_is_undefined_or_defined_twice(tmp_path):
    source = modeling_source()
    roots = set()
    for node in ast.walk(ast.parse(source)):
        roots |= {alias.name.split(".")[0] for alias in node.names} if isinstance(node, ast.Import) else set()
        roots |= {(node.module or "").split(".")[0]} if isinstance(node, ast.ImportFrom) else set()
    assert roots - sys.stdlib_module_names == {"torch", "numpy", "safetensors", "transformers"}
    (tmp_path / "modeling_athanor.py").write_text(source)
    checks = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "E9,F63,F7,F811,F82"]
    done = subprocess.run([*checks, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_every_module_the_decoder_needs_is_in_the_file_once_under_its_docstring():
    source = modeling_source()
    for name in "checks config layers cache masks rope attention ffn stream mtp loss schema init decoder routed counts state".split():
        docstring = ast.get_docstring(ast.parse((ROOM / f"{name}.py").read_text()))
        assert source.count(f"\n# model/{name}.py: {docstring.splitlines()[0]}\n") == 1
    assert source.count("\n# model/hf_wrapper.txt: ") == 1 and "model/generation.py" not in source and "model/sizing.py" not in source


def test_modules_stand_behind_what_they_import_and_lazy_imports_find_their_module(tmp_path):
    source = made(
        tmp_path,
        base='"""What all share."""\n\nONE = 1\n',
        late='"""Needed in a function."""\n\nfrom model.base import ONE\n\n\ndef two():\n    return ONE + ONE\n',
        decoder="from model.base import ONE\n\nKEPT = ONE + 1\n\n\n"
        "def both():\n    from model.late import two\n\n    return KEPT + two()\n",
    )
    found = run(source)
    assert found["both"]() == 4 and found["HALF"] > 1.5
    assert source.index("model/base.py") < source.index("model/decoder.py") < source.index("model/late.py") < source.index("hf_wrapper")
    assert "# model/base.py: What all share." in source and "model.late" not in source


def test_private_names_of_two_modules_are_told_apart_everywhere_they_are_used(tmp_path):
    part = "{imports}def _half(x):\n    return x{op}2\n\n\ndef {name}(x):\n    return _half(x) + _half(x=x)\n"
    found = run(
        made(
            tmp_path,
            base=part.format(imports="", op=" / ", name="first"),
            decoder=part.format(imports="from model.base import first\n\n\n", op=" // ", name="second")
            + "\n\nBOTH = first(3), second(3)\n",
        )
    )
    assert found["BOTH"] == (3.0, 2) and found["_half"](3) == 1.5 and found["_half_decoder"](3) == 1


def test_a_module_named_as_a_whole_is_read_through_and_its_name_goes(tmp_path):
    decoder = "from model import base\n\n\ndef sums():\n    return base.ONE + base.twice(base.ONE)\n"
    found = run(made(tmp_path, base="ONE = 1\n\n\ndef twice(x):\n    return 2 * x\n", decoder=decoder))
    assert found["sums"]() == 3 and "base" not in found


def test_functions_that_need_what_is_left_out_are_left_out(tmp_path):
    decoder = (
        "import functools\nfrom typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from model.base import ONE\n\n\nclass Decoder:\n"
        "    def kept(self) -> int:\n        return 1\n\n"
        "    @functools.cache\n    def generate(self):\n        from model.generation import generate\n\n"
        "        return generate(self)\n\n    def also(self):\n        return 2\n"
    )
    source = made(tmp_path, base="ONE = 1\n", decoder=decoder, generation="raise RuntimeError\n")
    kind = run(source)["Decoder"]
    assert kind().kept() + kind().also() == 3 and not hasattr(kind, "generate") and "@functools.cache" not in source


def test_operators_get_a_namespace_of_their_own_at_every_load(tmp_path):
    decoder = (
        'import torch\n\ntorch.library.define("athanor::made_twice", "(Tensor x) -> Tensor")\n\n\n'
        '@torch.library.impl("athanor::made_twice", "default")\ndef _twice(x):\n    return 2 * x\n\n\n'
        "def twice(x):\n    return torch.ops.athanor.made_twice(x)\n"
    )
    source = made(tmp_path, decoder=decoder)
    first, second = run(source), run(source)
    assert first["OPERATORS"] != second["OPERATORS"]
    one = first["torch"].ones(2)
    assert first["twice"](one).tolist() == second["twice"](one).tolist() == [2, 2]


@pytest.mark.parametrize(
    ("decoder", "message"),
    [
        ("from model.base import ONE\n\nCOUNT = 2\n", "defines 'COUNT', which model/base.py does too"),
        ("from model.base import ONE as FIRST\n", "imported as `from model.x import y`"),
        ("from model import base as b\n", "imported as `from model.x import y`"),
        ("from model import base\n\nWHOLE = base\n", "base for more than one thing"),
        ("from model import base\n\nHALF = base._own(1)\n", "_own for more than one thing"),
        ("from model import base\n\n\ndef f(ONE):\n    return ONE + base.ONE\n", "ONE for more than one thing"),
        ("import model.base\n", "imported as `from model.x import y`"),
        ("from .base import ONE\n", "imported as `from model.x import y`"),
        ("from model.base import ONE\nfrom math import sqrt as math\n", "'math' is imported from"),
        ("from model.base import ONE\n\n\ndef _own(x):\n    return [_own for _own in x]\n", ""),
        (
            "from model.base import ONE\n\n\ndef _own(x):\n    return x\n\n\ndef f(_own):\n    return _own\n",
            "_own for more than one thing",
        ),
        ("from model.base import ONE\n\n\ndef f():\n    from model.base import COUNT\n", "stands alone"),
    ],
)
def test_what_cannot_be_put_together_for_certain_is_refused(decoder, message, tmp_path):
    modules = {"base": "ONE = 1\nCOUNT = 1\n\n\ndef _own(x):\n    return x\n", "decoder": decoder}
    if not message:  # a name that is bound again inside is renamed there too
        assert run(made(tmp_path, **modules))["_own_decoder"]([1, 2]) == [1, 2]
        return
    with pytest.raises(ValueError, match=message):
        made(tmp_path, **modules)
