"""One file out of many: the source of the decoder and of every module of this room that it imports, then the classes that
transformers asks for (hf_wrapper.txt). A folder that carries this file opens where Athanor is not installed.

The file is made at every export and never kept, so it cannot fall behind the rooms. Modules come in the order of their imports,
each under its docstring; imports among them go, others stand once at the top. A private name that two modules define gets its
module's name; functions that need a module outside the file are left out. Whatever cannot be told apart for certain is a
ValueError here, not a wrong file there.

Limits: modules of this room are imported as `from model.x import y` or `from model import x`, without `as`; nothing is executed
when one is imported but definitions. All options are in the file, whatever the config uses.
"""

from __future__ import annotations

import ast
import functools
import io
import re
import tokenize
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOM = Path(__file__).parent.parent
ROOT = "decoder"
LEFT_OUT = ("generation",)  # transformers has its own
WRAPPER = Path(__file__).with_name("hf_wrapper.txt")
OPERATORS = {  # as modules write them -> as the file does
    r'"athanor::(\w+)"': r'OPERATORS + "::\1"',
    r"torch\.ops\.athanor\b": "getattr(torch.ops, OPERATORS)",
}
Function = ast.FunctionDef | ast.AsyncFunctionDef

HEAD = '''"""A decoder, and the classes that let transformers open it: from_pretrained(folder, trust_remote_code=True). Generated from the
modules of Athanor that trained it; each begins with its docstring. Needs torch, numpy, safetensors and transformers.

SPDX-License-Identifier: Apache-2.0
"""

from __future__ import annotations

{imports}

OPERATORS = next(  # a namespace of this load's own: an operator is registered once in a process
    name for name in map("athanor_{{}}".format, itertools.count()) if not hasattr(getattr(torch.ops, name), "{operator}")
)'''


@dataclass
class Part:
    """One module: its source as it will stand, and as a tree."""

    name: str
    file: str
    source: str
    tree: ast.Module

    @classmethod
    def read(cls, file: Path) -> Part:
        source = file.read_text("utf-8")
        return cls(file.stem, f"model/{file.name}", source, ast.parse(source))


@functools.cache
def modeling_source(room: Path = ROOM, wrapper: Path = WRAPPER) -> str:
    """The whole file, out of the modules in `room` and the wrapper. ValueError when they cannot be put together."""
    parts = [*_ordered(room), Part.read(wrapper)]
    imports = _imports(parts)
    operators = [found for part in parts for found in re.findall(r'"athanor::(\w+)"', part.source)]
    _tell_apart(parts, imports)
    head = HEAD.format(imports="\n".join(_statements(imports)), operator=[*operators, "none"][0])
    source = "\n\n\n".join([head, *map(_body, parts)]) + "\n"
    if left := [name for node in ast.walk(ast.parse(source)) for name in _inner(node)]:
        raise ValueError(f"an import of model/{left[0]}.py is left over: it stands where it cannot be taken out")
    return source


# which modules


def _ordered(room: Path) -> list[Part]:
    """Every module that is needed, each behind those it imports at its top; those that only functions import come last."""
    found: dict[str, Part] = {}

    def visit(name: str) -> None:
        if name in found or name in LEFT_OUT:
            return
        part = Part.read(room / f"{name}.py")
        for node in part.tree.body:
            for inner in _inner(node):
                visit(inner)
        found[name] = part

    visit(ROOT)
    waiting = deque(found)
    while waiting:
        for node in ast.walk(found[waiting.popleft()].tree):
            for inner in _inner(node):
                before = set(found)
                visit(inner)
                waiting.extend(found.keys() - before)
    return list(found.values())


def _inner(node: ast.AST) -> Iterator[str]:
    """The modules of this room that an import statement names. ValueError for a form that is not read."""
    names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
    of = node.module or "" if isinstance(node, ast.ImportFrom) else ""
    if isinstance(node, ast.ImportFrom) and not node.level and of.split(".")[0] != "model":
        return
    if isinstance(node, ast.Import) and not any(name.split(".")[0] == "model" for name in names):
        return
    if isinstance(node, ast.ImportFrom) and not node.level and not any(alias.asname or alias.name == "*" for alias in node.names):
        yield from names if of == "model" else [of.removeprefix("model.")]
    elif isinstance(node, ast.Import | ast.ImportFrom):
        raise ValueError(f"line {node.lineno}: modules of this room are imported as `from model.x import y` or `from model import x`")


def _for_types(node: ast.AST) -> bool:
    """`if TYPE_CHECKING:`, which says nothing when the file runs."""
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING" and not node.orelse


# names


def _imports(parts: Iterable[Part]) -> dict[str, tuple[str, str]]:
    """Name -> (module, what is imported of it; "" for the module itself): everything from outside the room at the top of a module."""
    found = {"itertools": ("itertools", ""), "torch": ("torch", "")}
    for part in parts:
        for node in part.tree.body:
            if not isinstance(node, ast.Import | ast.ImportFrom) or list(_inner(node)):
                continue
            source = node.module or "" if isinstance(node, ast.ImportFrom) else ""
            for alias in node.names:
                if source == "__future__" or alias.name == "TYPE_CHECKING":
                    continue
                name = alias.asname or (alias.name if source else alias.name.split(".")[0])
                what = (source, alias.name) if source else (alias.name, "")
                if found.setdefault(name, what) != what:
                    raise ValueError(f"'{name}' is imported from {found[name][0]} and, in {part.file}, from {what[0]}")
    return found


def _statements(imports: dict[str, tuple[str, str]]) -> list[str]:
    """The import statements, one per module: first `import x`, then `from x import y, z`."""
    plain: list[str] = []
    of: dict[str, list[str]] = {}
    for name, (module, what) in sorted(imports.items(), key=lambda item: item[0].lower()):
        if what:
            of.setdefault(module, []).append(what if what == name else f"{what} as {name}")
        else:
            plain.append(f"import {module}" if name == module.split(".")[0] else f"import {module} as {name}")
    return [*sorted(plain), *(f"from {module} import {', '.join(names)}" for module, names in sorted(of.items()))]


def _tell_apart(parts: list[Part], imports: Iterable[str]) -> None:
    """No name is defined twice: private ones get their module's name, for public ones ValueError. What is written `module.name`
    becomes `name`; operators get their namespace.
    """
    owner = {**dict.fromkeys(imports, "the imports"), "OPERATORS": "the head"}
    for part in parts:
        renamed = {}
        for name in dict.fromkeys(name for node in part.tree.body for name in _defined(node)):
            if name == "_":  # functions that are only registered
                continue
            if name not in owner:
                owner[name] = part.file
            elif name.startswith("_") and f"{name}_{part.name}" not in owner:
                renamed[name] = f"{name}_{part.name}"
                owner[renamed[name]] = part.file
            else:
                raise ValueError(f"{part.file} defines '{name}', which {owner[name]} does too: in one file they need different names")
        nodes = list(ast.walk(part.tree))
        modules = {name for node in nodes if isinstance(node, ast.ImportFrom) and node.module == "model" for name in _inner(node)}
        through = {node.attr for node in nodes if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") in modules}
        bound = {node.arg for node in nodes if isinstance(node, ast.arg | ast.keyword)}
        here = bound | {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        here |= {node.name for node in nodes if isinstance(node, Function | ast.ClassDef)}
        part.source = _respelled(part.source, renamed, modules)
        part.tree = ast.parse(part.source)
        left = {node.id for node in ast.walk(part.tree) if isinstance(node, ast.Name)}  # in an f-string, or for something else
        unsure = {*(renamed.keys() & (bound | left)), *(modules & left), *(through & here), *(name for name in through if name[0] == "_")}
        if unsure:
            raise ValueError(f"{part.file} uses {', '.join(sorted(unsure))} for more than one thing: it cannot be renamed")


def _defined(node: ast.AST) -> Iterator[str]:
    """Names that a statement at the top of a module binds, imports apart."""
    if isinstance(node, Function | ast.ClassDef):
        yield node.name
    elif not isinstance(node, ast.Import | ast.ImportFrom) and not _for_types(node):
        yield from (inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store))


def _respelled(source: str, renamed: dict[str, str], modules: set[str]) -> str:
    """The same lines with these names renamed (never attributes), without these modules' names before a dot, operators apart."""
    for written, instead in OPERATORS.items():
        source = re.sub(written, instead, source)
    lines, edits = source.splitlines(keepends=True), list[tuple[int, int, int, str]]()
    tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    for before, token, after in zip([tokens[0], *tokens], tokens, tokens[1:], strict=False):
        (row, start), (_, end) = token.start, token.end
        if token.type != tokenize.NAME or before.string == ".":
            continue
        if token.string in renamed:
            edits.append((row, start, end, renamed[token.string]))
        elif token.string in modules and after.string == ".":
            edits.append((row, start, after.end[1], ""))
    for row, start, end, text in reversed(edits):
        line = lines[row - 1]
        lines[row - 1] = line[:start] + text + line[end:]
    return "".join(lines)


# what stays


def _body(part: Part) -> str:
    """The module under its docstring as a comment, without the imports that stand elsewhere or nowhere."""
    lines, gone = part.source.splitlines(), set[int]()
    docstring = ast.get_docstring(part.tree)
    if docstring is not None:
        gone.update(_lines_of(part.tree.body[0]))
    for node in part.tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom) or _for_types(node):
            gone.update(_lines_of(node))
    for body in _blocks(part.tree):
        for node in body:
            if isinstance(node, Function) and any(name in LEFT_OUT for inner in ast.walk(node) for name in _inner(inner)):
                gone.update(_with_space(_lines_of(node), lines))
            elif node.lineno not in gone and list(_inner(node)):
                if len(body) == 1:
                    raise ValueError(f"{part.file}, line {node.lineno}: an import stands alone and cannot be left out")
                gone.update(_with_space(_lines_of(node), lines))
    said = [f"# {part.file}" + (f": {docstring}" if docstring else "")]
    head = [f"# {line.removeprefix('# ')}".rstrip() for text in said for line in text.splitlines()]
    kept = "\n".join(line for number, line in enumerate(lines, 1) if number not in gone)
    return "\n".join(["# " + "-" * 120, *head]) + "\n\n\n" + kept.strip("\n")


def _blocks(tree: ast.Module) -> Iterator[list[ast.stmt]]:
    """Every list of statements."""
    for parent in ast.walk(tree):
        for name in ("body", "orelse", "finalbody"):
            if isinstance(block := getattr(parent, name, None), list):
                yield block


def _lines_of(node: ast.stmt) -> range:
    """The lines of a statement, its decorators included."""
    first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
    return range(first, (node.end_lineno or node.lineno) + 1)


def _with_space(removed: range, lines: list[str]) -> range:
    """The blank lines behind go too."""
    stop = removed.stop
    while stop <= len(lines) and not lines[stop - 1].strip():
        stop += 1
    return range(removed.start, stop)
