"""Checks of what plugins have written into test modules: imports, entries, parameters."""

from __future__ import annotations

import ast
import sys
from collections.abc import Mapping

from fibcore.model.definition import Definition
from fibcore.ops.hookspecs import GroundTruth
from fibcore.references.reading import REFERENCE_IMPORTS, foreign_imports

_TREE_IMPORTS = frozenset({*REFERENCE_IMPORTS, *sys.stdlib_module_names})


def check_emitted(who: str, source: str) -> None:
    """Source that is written into test modules: no package but torch and numpy at the top."""
    module = ast.parse(source)
    top = ast.Module([n for n in module.body if isinstance(n, (ast.Import, ast.ImportFrom))], [])
    foreign = foreign_imports(ast.unparse(top), _TREE_IMPORTS)
    assert not foreign, (
        f"{who}: {foreign[0].what} at the top level; only torch, numpy and the standard library "
        "may be imported there, anything else inside functions"
    )
    assert not _imports_fibcore(module), f"{who} imports fibcore, which need not be installed"


def _imports_fibcore(module: ast.Module) -> bool:
    names: list[str] = []
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names.append(node.module or "")
    return any(name.partition(".")[0] == "fibcore" for name in names)


def check_entry(who: str, truth: GroundTruth, definition: Definition) -> None:
    """The entry of a ground truth takes the definition's inputs by name."""
    entry = functions(truth.source).get(truth.entry)
    assert entry is not None, f"{who}: {truth.entry} is no function at the top level"
    parameters = parameters_of(entry)
    if truth.kind == "sglang":
        assert parameters[:1] == ["load_sglang"], (
            f"{who}: its first parameter is load_sglang, as its kind is sglang"
        )
        parameters = parameters[1:]
    optional = set(_optional(entry))
    unknown = [p for p in parameters if p not in definition.inputs and p not in optional]
    left_out = [n for n in definition.inputs if n not in parameters and entry.args.kwarg is None]
    wrong = unknown or left_out
    assert not wrong, (
        f"{who}: {truth.entry} takes {', '.join(parameters)}; "
        f"the inputs are {', '.join(definition.inputs)}"
    )


def functions(source: str) -> Mapping[str, ast.FunctionDef]:
    """The functions at the top level of a source, by name."""
    return {n.name: n for n in ast.parse(source).body if isinstance(n, ast.FunctionDef)}


def parameters_of(function: ast.FunctionDef) -> list[str]:
    """The names of a function's parameters, in order."""
    args = function.args
    return [a.arg for a in (*args.posonlyargs, *args.args, *args.kwonlyargs)]


def _optional(function: ast.FunctionDef) -> list[str]:
    """The parameters with a default."""
    args = function.args
    positional = [*args.posonlyargs, *args.args]
    keywords = zip(args.kwonlyargs, args.kw_defaults, strict=True)
    return [a.arg for a in positional[len(positional) - len(args.defaults) :]] + [
        a.arg for a, default in keywords if default is not None
    ]
