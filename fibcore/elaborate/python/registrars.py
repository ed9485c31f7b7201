"""Functions that enter something into a container of their module, and which files know of them.

`@register("name")` above a function of another module writes into a dict of this one. Which files
do so is read off their text, for no more is needed of most of them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING

from fibcore.elaborate.python.areas import WORD, Registry
from fibcore.elaborate.python.index import imported_from
from fibcore.syntax import walk

if TYPE_CHECKING:
    from fibcore.elaborate.python.index import SourceModule, Statement

_DEFINED = re.compile(r"[ \t]*(?:async[ \t]+)?def[ \t]+\w*regist\w*[ \t]*\(")
_FUNCTION = ("def ", "async ", "@")
_ENTERING = frozenset(("append", "add", "update", "setdefault", "extend", "insert"))
_FILLED = frozenset(("dict", "list", "set", "defaultdict", "OrderedDict"))
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def registrars_of(module: SourceModule) -> tuple[Statement, ...]:
    """The functions of a module that register something, and the classes with such methods."""
    if module.registrars is None:
        module.registrars = _registrars(module)
    return module.registrars


def _registrars(module: SourceModule) -> tuple[Statement, ...]:
    if not _defines_registrar(module.text):
        return ()
    return tuple(s for s in module.statements if s.names is not None and _defines_registrar(s.text))


def _defines_registrar(text: str) -> bool:
    """Whether a text defines a function whose name has `regist` in it."""
    at = text.find(WORD)
    while at >= 0:
        line = text.rfind("\n", 0, at) + 1
        if _DEFINED.match(text, line) is not None:
            return True
        at = text.find(WORD, at + 1)
    return False


def registries_of(module: SourceModule) -> Mapping[str, Registry]:
    """The containers that functions of a module whose names have `regist` in them change."""
    if module.registries is None:
        module.registries = _registries(module) if registrars_of(module) else {}
    return module.registries


def _registries(module: SourceModule) -> dict[str, Registry]:
    found: dict[str, set[str]] = {}
    for statement in registrars_of(module):
        for node in statement.nodes if statement.text.startswith(_FUNCTION) else ():
            if isinstance(node, _FUNCTIONS) and WORD in node.name:
                for name in set(_entered(node)):
                    if _is_filled(module, name):
                        found.setdefault(name, set()).add(node.name)
    return {
        name: Registry(name, frozenset(), _leading_to(module, functions), frozenset())
        for name, functions in found.items()
    }


def registry_of(module: SourceModule, node: ast.ClassDef) -> Registry | None:
    """The containers of a class that its methods with `regist` in their names change, if any."""
    if not any(statement.defines(node.name) for statement in registrars_of(module)):
        return None
    tables = {
        target.id
        for inner in node.body
        if _is_container(getattr(inner, "value", None))
        for target in _targets(inner)
        if isinstance(target, ast.Name)
    }
    changed: set[str] = set()
    methods: set[str] = set()
    for inner in node.body if tables else ():
        if isinstance(inner, _FUNCTIONS) and WORD in inner.name:
            here = tables.intersection(_entered(inner, {"cls", "self", node.name}))
            changed |= here
            methods |= {inner.name} if here else set()
    if not changed:
        return None
    functions = _leading_to(module, {node.name}) - {node.name}
    return Registry(node.name, frozenset(changed), functions, frozenset(methods))


def _leading_to(module: SourceModule, names: Collection[str]) -> frozenset[str]:
    """These names, and the functions that register something by mentioning one of them."""
    found = set(names)
    for statement in registrars_of(module):
        if statement.text.startswith(_FUNCTION) and any(map(statement.mentions, names)):
            found.update(name for name in statement.names or () if WORD in name)
    return frozenset(found)


def _entered(function: ast.AST, owners: set[str] | None = None) -> Iterator[str]:
    """Names of what a function enters something into: variables, or attributes of owners."""
    for node in walk(function):
        changed: list[ast.expr] = [
            target.value for target in _targets(node) if isinstance(target, ast.Subscript)
        ]
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in _ENTERING
        ):
            changed.append(node.func.value)
        for owner in changed:
            if owners is None:
                if isinstance(owner, ast.Name):
                    yield owner.id
            elif (
                isinstance(owner, ast.Attribute)
                and isinstance(owner.value, ast.Name)
                and owner.value.id in owners
            ):
                yield owner.attr


def _targets(node: ast.AST) -> list[ast.expr]:
    if isinstance(node, ast.Assign):
        return node.targets
    return [node.target] if isinstance(node, (ast.AnnAssign, ast.AugAssign)) else []


def _is_container(node: ast.expr | None) -> bool:
    if isinstance(node, ast.Call):
        made = node.func.attr if isinstance(node.func, ast.Attribute) else node.func
        return (made.id if isinstance(made, ast.Name) else made) in _FILLED
    return isinstance(node, (ast.Dict, ast.List, ast.Set))


def _is_filled(module: SourceModule, name: str) -> bool:
    """Whether a module binds a name to a container."""
    return any(
        isinstance(target, ast.Name) and target.id == name and _is_container(node.value)
        for statement in module.binding(name)
        for node in statement.nodes
        if isinstance(node, (ast.Assign, ast.AnnAssign))
        for target in _targets(node)
    )


def uses(statement: Statement, registry: Registry) -> bool:
    """Whether a statement calls, when it is run, what registers something in a registry.

    Args:
        statement: A top-level statement of any module.
        registry: The registry.
    """
    text = statement.text
    if statement.is_import:
        return False
    if any(function in text for function in registry.functions):
        if statement.used_at_import & registry.functions:
            return True
        if any(f".{f}(" in line for f in registry.functions for line in _at_import(statement)):
            return True
    return any(
        f"{registry.name}.{method}" in line
        for method in registry.methods
        if method in text
        for line in _at_import(statement)
    )


def _at_import(statement: Statement) -> Iterator[str]:
    """The lines of a statement that are run at import for sure: decorators, and no `def`."""
    if statement.names is None:
        yield statement.text
    else:
        for line in statement.text.splitlines():
            if not line.startswith(("@", ")", " ", "\t")):
                return
            yield line


def imports_of(module: SourceModule) -> frozenset[str]:
    """The modules that a module imports for sure: by statements in its first column.

    Of `from package import name`, the name may be a module; it is there too.
    """
    if module.imports is None:
        module.imports = _imports(module)
    return module.imports


def _imports(module: SourceModule) -> frozenset[str]:
    found: set[str] = set()
    for statement in module.statements:
        if statement.is_import:
            for node in statement.nodes:
                if isinstance(node, ast.Import):
                    found.update(alias.name for alias in node.names)
                elif isinstance(node, ast.ImportFrom):
                    source = imported_from(module, node)
                    found.add(source)
                    found.update(f"{source}.{alias.name}" for alias in node.names)
    return frozenset(found)
