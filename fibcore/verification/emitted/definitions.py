"""A definition is read from its file and checked, and its reference is loaded."""

from __future__ import annotations

import ast
import functools
import json
import linecache
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from fibcore.verification.emitted.errors import BrokenDefinitionError


def load_definition(path: Path) -> dict[str, Any]:
    """The definition in a file, checked as far as the tests need it.

    Raises:
        BrokenDefinitionError: with the path and the place in the file.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BrokenDefinitionError(f"{path}: cannot be read: {error}") from None
    except json.JSONDecodeError as error:
        raise BrokenDefinitionError(
            f"{path}: line {error.lineno} column {error.colno}: not JSON: {error.msg}"
        ) from None

    need = functools.partial(_need, path)
    need(isinstance(data, dict), "$", "expected an object")
    for key, kind in (("name", str), ("op_type", str), ("reference", str)):
        need(isinstance(data.get(key), kind), f"$.{key}", "expected a string")
    for key in ("axes", "inputs", "outputs"):
        need(isinstance(data.get(key), dict), f"$.{key}", "expected an object")
    need(data["name"] == path.stem, "$.name", f"expected the file's name, found {data['name']!r}")
    folder = path.parent.name
    need(data["op_type"] == folder, "$.op_type", f"expected the folder's name, {folder!r}")
    need(bool(data["outputs"]), "$.outputs", "expected at least one output")
    _check_tensor_specs(path, data)
    _check_reference(path, data)
    return cast("dict[str, Any]", data)


def _need(path: Path, right: bool, place: str, message: str) -> None:
    if not right:
        raise BrokenDefinitionError(f"{path}: {place}: {message}")


def _check_tensor_specs(path: Path, data: Mapping[str, Any]) -> None:
    need = functools.partial(_need, path)
    for group in ("inputs", "outputs"):
        for name, spec in data[group].items():
            place = f"$.{group}.{name}"
            need(isinstance(spec, dict), place, "expected an object")
            need(isinstance(spec.get("dtype"), str), f"{place}.dtype", "expected a string")
            shape = spec.get("shape")
            need(shape is None or isinstance(shape, list), f"{place}.shape", "expected a list")
            for axis in shape or ():
                need(axis in data["axes"], f"{place}.shape", f"no such axis: {axis!r}")


def _check_reference(path: Path, data: Mapping[str, Any]) -> None:
    """Assert that the reference's `run` takes the inputs in their order."""
    need = functools.partial(_need, path)
    try:
        tree = ast.parse(data["reference"])
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        raise BrokenDefinitionError(f"{path}: $.reference line {line}: {error}") from None
    runs = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "run"]
    need(bool(runs), "$.reference", "no top-level function run")
    parameters = [a.arg for a in (*runs[-1].args.posonlyargs, *runs[-1].args.args)]
    need(
        parameters == list(data["inputs"]),
        "$.reference",
        f"run takes ({', '.join(parameters)}), expected ({', '.join(data['inputs'])})",
    )


def load_run(definition: Mapping[str, Any]) -> Callable[..., Any]:
    """`run` of a definition's reference, in a namespace of its own."""
    source, name = definition["reference"], f"<reference of {definition['name']}>"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    namespace: dict[str, Any] = {"__name__": f"reference_of_{definition['name']}"}
    exec(compile(source, name, "exec", dont_inherit=True), namespace)  # noqa: S102  (it is the test)
    return cast("Callable[..., Any]", namespace["run"])
