"""Functions that enter something into a container of their module, and which files know of them.

`@register("name")` above a function of another module writes into a dict of this one. Which files
do so is read off their text, for no more is needed of most of them.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from fibcore.regular_files import read_bytes
from fibcore.syntax import walk

if TYPE_CHECKING:
    from fibcore.elaborate.python.index import SourceModule, Statement

_DEFINED = re.compile(r"[ \t]*(?:async[ \t]+)?def[ \t]+\w*regist\w*[ \t]*\(")
_FUNCTION = ("def ", "async ", "@")
WORD = "regist"
"""What the names of functions that register something have in them."""
_WORD = WORD.encode()
_ENTERING = frozenset(("append", "add", "update", "setdefault", "extend", "insert"))
_FILLED = frozenset(("dict", "list", "set", "defaultdict", "OrderedDict"))
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@attrs.frozen
class Registry:
    """Containers of a module in which other modules register something.

    Attributes:
        name: What the module binds: a dict, list or set, or a class that has some.
        tables: The attributes that are the containers, of a class; empty where the name is one.
        functions: The functions of the module that register.
        methods: The methods of the class that do.
    """

    name: str
    tables: frozenset[str]
    functions: frozenset[str]
    methods: frozenset[str]


def registrars_of(module: SourceModule) -> tuple[Statement, ...]:
    """The functions of a module that register something, and the classes with such methods."""
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


def registries_of(module: SourceModule) -> dict[str, Registry]:
    """The containers that functions of a module whose names have `regist` in them change."""
    found: dict[str, set[str]] = {}
    for statement in module.registrars:
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
    if not any(statement.defines(node.name) for statement in module.registrars):
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
    for statement in module.registrars:
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


@attrs.frozen
class Area:
    """The files of a folder, in which somebody may register something.

    Attributes:
        folder: The folder.
        files: The file of a module and the words with `regist` in its text, by the module's name;
            only those that have one.
        states: All files, and what tells one content of each from another.
    """

    folder: Path
    files: Mapping[str, tuple[str, frozenset[str]]]
    states: Mapping[str, tuple[int, ...]]

    @classmethod
    def of(cls, folder: Path, package: str) -> Area:
        """Read the files of a folder that is the package of this name."""
        files = {}
        states = _states(folder)
        for path in states:
            try:
                text = read_bytes(path)
                words = words_in(text.decode("utf-8", "replace")) if _WORD in text else None
            except OSError:  # whoever needs it says so
                continue
            if words:
                parts = Path(path).relative_to(folder).with_suffix("").parts
                parts = parts[:-1] if parts[-1] == "__init__" else parts
                files[".".join((package, *parts) if package else parts)] = path, words
        return cls(folder, files, states)

    def callers(self, registry: Registry) -> set[str]:
        """The modules in whose text stands what registers something in a registry."""
        found = set()
        for module, (path, words) in self.files.items():
            if words & registry.functions or (
                words & registry.methods and registry.name.encode() in read_bytes(path)
            ):
                found.add(module)
        return found

    def is_current(self) -> bool:
        """Whether the files are those that were read."""
        return _states(self.folder) == self.states


def words_in(text: str) -> frozenset[str]:
    """The words of a text that have `regist` in them."""
    found = set()
    at = text.find(WORD)
    while at >= 0:
        start, end = at, at + len(WORD)
        while start and _in_name(text[start - 1]):
            start -= 1
        while end < len(text) and _in_name(text[end]):
            end += 1
        found.add(text[start:end])
        at = text.find(WORD, end)
    return frozenset(found)


def _in_name(character: str) -> bool:
    return character.isalnum() or character == "_"


def _states(folder: Path) -> dict[str, tuple[int, ...]]:
    """The Python files of a folder and those in it, without links out of it."""
    found: dict[str, tuple[int, ...]] = {}
    pending = [os.fspath(folder)]
    while pending:
        for entry in _entries(pending.pop()):
            if entry.is_dir(follow_symlinks=False):
                if entry.name.isidentifier():
                    pending.append(entry.path)
            elif entry.name.endswith(".py") and entry.is_file(follow_symlinks=False):
                state = entry.stat(follow_symlinks=False)
                found[entry.path] = (state.st_ino, state.st_size, state.st_mtime_ns)
    return found


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError:  # one that cannot be read holds no module that could be imported
        return []


def imports_of(module: SourceModule) -> frozenset[str]:
    """The modules that a module imports for sure: by statements in its first column.

    Of `from package import name`, the name may be a module; it is there too.
    """
    found: set[str] = set()
    for statement in module.statements:
        if statement.is_import:
            for node in statement.nodes:
                if isinstance(node, ast.Import):
                    found.update(alias.name for alias in node.names)
                elif isinstance(node, ast.ImportFrom):
                    source = _absolute(module, node)
                    found.add(source)
                    found.update(f"{source}.{alias.name}" for alias in node.names)
    return frozenset(found)


def _absolute(module: SourceModule, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    parts = module.name.split(".")
    parts = parts[: len(parts) - node.level + module.is_package]
    return ".".join([*parts, node.module] if node.module else parts)
