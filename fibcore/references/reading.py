"""What can be said about a reference's source without running it."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterator

import attrs

from fibcore.model.definition import MAX_SIZE, Definition
from fibcore.syntax import walk

REFERENCE_IMPORTS = frozenset({"__future__", "math", "numpy", "torch", "typing"})
"""What a reference may import: torch, math and numpy, and what needs no package at all."""

_DYNAMIC = frozenset({"__import__", "compile", "eval", "exec", "open", "import_module"})
_ARITHMETIC: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}

_MAX_VALUES = 10_000
"""The most values that are followed: a source that assigns more says nothing about a size."""


@attrs.frozen
class Finding:
    """Something about a source text, and the 1-based line where it stands."""

    line: int
    what: str


def foreign_imports(source: str, allowed: frozenset[str] = REFERENCE_IMPORTS) -> list[Finding]:
    """What a source imports beyond `allowed`, and calls that can reach beyond it.

    Raises:
        SyntaxError: the source does not parse.
    """
    found = []
    for node in walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [
                Finding(node.lineno, f"import {alias.name}")
                for alias in node.names
                if alias.name.partition(".")[0] not in allowed
            ]
        elif isinstance(node, ast.ImportFrom):
            if node.level or (node.module or "").partition(".")[0] not in allowed:
                found.append(Finding(node.lineno, f"from {'.' * node.level}{node.module or ''}"))
        elif isinstance(node, ast.Call):
            name = _called(node.func)
            if name in _DYNAMIC:
                found.append(Finding(node.lineno, f"{name}(...)"))
    return sorted(found, key=lambda finding: finding.line)


def _called(function: ast.expr) -> str | None:
    if isinstance(function, ast.Name):
        return function.id
    # Methods of tensors and modules may have these names too: model.eval(), torch.compile.
    if isinstance(function, ast.Attribute) and function.attr in ("__import__", "import_module"):
        return function.attr
    return None


def unasserted_axes(definition: Definition) -> list[str]:
    """Const axes that tensors have and whose size no assert (or raise) of the reference names.

    A hint, not a proof: an assertion counts when the axis's size occurs in it as a number, as a
    constant of the module or a local name bound to it, or as arithmetic of those.
    """
    module = ast.parse(definition.reference)
    constants = _constants(module)
    sizes: set[int] = set()
    for test in _tests(module):
        for node in walk(test):
            sizes |= _values(node, constants)
    used = {a for spec in definition.inputs.values() for a in spec.shape or ()}
    return [n for n, size in definition.const_axes.items() if n in used and size not in sizes]


def _tests(module: ast.Module) -> Iterator[ast.expr]:
    """The conditions of asserts and of `if ...: raise`."""
    for node in walk(module):
        if isinstance(node, ast.Assert) or (
            isinstance(node, ast.If) and any(isinstance(s, ast.Raise) for s in node.body)
        ):
            yield node.test


def _constants(module: ast.Module) -> dict[str, set[int]]:
    """Every name that is assigned an int, or arithmetic of such names, anywhere: its values."""
    constants: dict[str, set[int]] = {}
    left = _MAX_VALUES
    for node in walk(module):
        if left < 0:
            break
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                if isinstance(target, ast.Name):
                    values = _values(node.value, constants)
                    left -= len(values)
                    constants.setdefault(target.id, set()).update(values)
    return constants


def _values(node: ast.AST, constants: dict[str, set[int]]) -> set[int]:
    """The ints that an expression may be."""
    if isinstance(node, ast.Constant):
        value = node.value
        return {value} if type(value) is int and value <= MAX_SIZE else set()
    if isinstance(node, ast.Name):
        return constants.get(node.id, set())
    if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        apply = _ARITHMETIC[type(node.op)]
        divides = isinstance(node.op, (ast.FloorDiv, ast.Mod))
        lefts, rights = _values(node.left, constants), _values(node.right, constants)
        if len(lefts) * len(rights) > _MAX_VALUES:
            return set()
        found = {apply(left, right) for left in lefts for right in rights if right or not divides}
        return {value for value in found if abs(value) <= MAX_SIZE}
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return {-value for value in _values(node.operand, constants)}
    return set()
