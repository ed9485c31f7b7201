"""What an emitted source says to nobody: branches on constants, names that nothing reads.

A reference is one file for every variant of its kernel; rendering drops what a variant does not
need, so that a reader of the emitted one meets no line that is never run.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator

_PURE = frozenset({"abs", "bool", "float", "int", "max", "min"})
_PLAIN = (ast.expr_context, ast.operator, ast.unaryop, ast.boolop, ast.cmpop)
_EXPRESSIONS = (ast.Constant, ast.Tuple, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare)


def idle_code(source: str) -> list[str]:
    """What is idle in a reference, a sentence each with its line; empty where nothing is.

    That is a condition of constants alone (an assertion is none: it says what holds); a constant,
    function or import at the top level that nothing reads, `run` aside; a variable of a function
    that is assigned and not read, unless a tuple is unpacked; a parameter that its function does
    not read.
    """
    module = ast.parse(source)
    constants = _constants(module)
    found = [
        (test.lineno, f"`{ast.unparse(test)}` is decided by constants alone")
        for test in _conditions(module)
        if _is_constant(test, constants)
    ]
    read = _read(module)
    found += [
        (line, f"{name} is read by nothing")
        for name, line in _top_level(module)
        if name not in read and name != "run"
    ]
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef):
            found += _idle_in(node)
    return [f"line {line}: {what}" for line, what in sorted(set(found))]


def _constants(module: ast.Module) -> set[str]:
    """Top-level names whose values follow from literals."""
    found: set[str] = set()
    for node in module.body:
        if isinstance(node, ast.Assign) and _is_constant(node.value, found):
            found |= {t.id for t in node.targets if isinstance(t, ast.Name)}
    return found


def _is_constant(expression: ast.expr, constants: Collection[str]) -> bool:
    for node in ast.walk(expression):
        if isinstance(node, ast.Name):
            if node.id not in constants and node.id not in _PURE:
                return False
        elif isinstance(node, ast.Call):
            if not isinstance(node.func, ast.Name) or node.func.id not in _PURE:
                return False
        elif not isinstance(node, (*_EXPRESSIONS, *_PLAIN)):
            return False
    return True


def _conditions(module: ast.Module) -> Iterator[ast.expr]:
    asserted = {id(n) for a in ast.walk(module) if isinstance(a, ast.Assert) for n in ast.walk(a)}
    for node in ast.walk(module):
        if isinstance(node, (ast.If, ast.IfExp)):
            yield node.test
        elif isinstance(node, ast.While):
            if not isinstance(node.test, ast.Constant):  # `while True` is a way to write a loop
                yield node.test
        elif isinstance(node, ast.comprehension):
            yield from node.ifs
        elif isinstance(node, ast.BoolOp) and id(node) not in asserted:
            yield from node.values[:-1]


def _read(tree: ast.AST) -> set[str]:
    """Names that are read somewhere in a tree."""
    return {
        n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Store)
    }


def _top_level(module: ast.Module) -> Iterator[tuple[str, int]]:
    for node in module.body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias in node.names:
                yield (alias.asname or alias.name.partition(".")[0]), node.lineno
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name, node.lineno
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                for name in ast.walk(target):
                    if isinstance(name, ast.Name):
                        yield name.id, node.lineno


def _idle_in(function: ast.FunctionDef) -> Iterator[tuple[int, str]]:
    read = _read(ast.Module(function.body, []))
    where = f"of {function.name}"
    args = function.args
    for argument in (*args.posonlyargs, *args.args, *args.kwonlyargs):
        # What `run` takes is what the definition says, whether the kernel needs it or not.
        if argument.arg not in read and function.name != "run":
            yield argument.lineno, f"the parameter {argument.arg} {where} is read by nothing"
    for node in ast.walk(function):
        if not isinstance(node, ast.Assign):
            continue
        for target in node.targets:
            if isinstance(target, ast.Name) and target.id not in read:
                yield node.lineno, f"the variable {target.id} {where} is read by nothing"
