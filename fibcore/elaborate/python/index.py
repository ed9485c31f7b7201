"""The source index: finds and parses the modules of a source tree when they are first needed.

Files are read as text and parsed with `ast`; nothing is imported. A file is cut into its top-level
statements first, and a statement is parsed when one of its names is wanted, because model files
are long and an elaboration needs a few classes of each.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from fibcore import layout
from fibcore.elaborate.python import lazy_methods
from fibcore.elaborate.python.areas import Area, Registry, in_name
from fibcore.elaborate.python.import_time import used_at_import
from fibcore.elaborate.python.mangling import PRIVATE
from fibcore.errors import SourceError
from fibcore.regular_files import read_text
from fibcore.syntax import children, parse_module, walk

MAX_FILE = 2 << 20
"""Characters of a file: the largest seen has 445,000, and syntax takes 300 bytes for each."""
_AREA = 2
"""Packages around a module whose files may register something in it."""
_BINDS = re.compile(r"^(?:async\s+def|def|class)\s+(\w+)", re.MULTILINE)
_NAME = re.compile(r"[^\W\d]\w*")


class Statement:
    """One top-level statement of a module, parsed on demand."""

    __slots__ = (
        "_bound", "_line", "_nodes", "_start", "_used", "is_import", "names", "owner", "position",
        "text",
    )  # fmt: skip

    def __init__(
        self, owner: SourceModule, text: str, line: int, position: int, start: int
    ) -> None:
        self.owner = owner
        self.text = text
        self.position = position
        self._line = line
        self._start = start
        self._nodes: list[ast.stmt] | None = None
        self._bound: frozenset[str] | None = None
        self._used: frozenset[str] | None = None
        self.names = _quick_names(text)
        self.is_import = text.startswith(("import ", "from "))

    @property
    def nodes(self) -> list[ast.stmt]:
        """The statement's syntax (several where they share a line)."""
        if self._nodes is None:
            try:
                self._nodes = self._class_nodes()
                if self._nodes is None:
                    # Blank lines in front keep the line numbers of the file.
                    self._nodes = parse_module("\n" * (self._line - 1) + self.text).body
            except (RecursionError, MemoryError):  # of the parser's own stack, too
                raise SourceError(
                    "the source nests deeper than can be parsed",
                    where=f"{self.owner.file}:{self._line}",
                ) from None
            except SyntaxError:
                last = self._line + self.text.count("\n")
                self._nodes = [n for n in self.owner.whole if self._line <= n.lineno <= last]
        return self._nodes

    def _class_nodes(self) -> list[ast.stmt] | None:
        """The syntax of a long class, whose methods are parsed later; None for anything else."""
        if len(self.text) < lazy_methods.LONG or "\n    def " not in self.text:
            return None
        start, end = self._start, self._start + len(self.text)
        strings = [(a - start, b - start) for a, b in self.owner.strings if start <= a < end]
        return lazy_methods.parse(self.text, self._line, strings, self.owner.body_at)

    def defines(self, name: str) -> bool:
        """Whether it is the definition of a function or class of this name."""
        return self.names is not None and name in self.names

    def mentions(self, name: str) -> bool:
        """Whether a name stands in its text, attributes left out; in comments and strings too."""
        text, size = self.text, len(name)
        at = text.find(name)
        while at >= 0:
            before, after = text[at - 1 : at], text[at + size : at + size + 1]
            if not (in_name(before) or before == "." or in_name(after)):
                return True
            at = text.find(name, at + 1)
        return False

    @property
    def bound(self) -> frozenset[str]:
        """The names that it may bind or change."""
        if self._bound is None:
            found = self.names if self.names is not None else bound_names(self.nodes)
            if self.owner.has_walrus and self.names is None:
                found |= walrus_names(self.nodes)
            self._bound = found
        return self._bound

    @property
    def used_at_import(self) -> frozenset[str]:
        """The names that it uses when it is run."""
        if self._used is None:
            self._used = used_at_import(self.nodes)
        return self._used


def _quick_names(text: str) -> frozenset[str] | None:
    """Names bound by a def or class, read off the first line; None where it takes a parse."""
    match = _BINDS.search(text) if text.startswith("@") else _BINDS.match(text)
    return frozenset((match.group(1),)) if match else None


# Statements that hold no others of the scope that they stand in.
_WITHOUT_STATEMENTS = (
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
    ast.Import,
    ast.ImportFrom,
    ast.Assign,
    ast.AnnAssign,
    ast.AugAssign,
    ast.Delete,
    ast.Expr,
    ast.Return,
    ast.Raise,
    ast.Assert,
)


def bound_names(nodes: list[ast.stmt]) -> frozenset[str]:
    """The names that statements may bind or change in the scope that they stand in."""
    found: set[str] = set()

    def target(node: ast.expr) -> None:
        while isinstance(node, (ast.Attribute, ast.Subscript, ast.Starred)):
            node = node.value
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, (ast.Tuple, ast.List)):
            for part in node.elts:
                target(part)

    def visit(node: ast.stmt) -> None:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias in node.names:
                found.add(alias.asname or alias.name.split(".")[0])
        elif isinstance(node, ast.Assign):
            for each in node.targets:
                target(each)
        elif isinstance(node, (ast.AnnAssign, ast.AugAssign, ast.For, ast.AsyncFor)):
            target(node.target)
        elif isinstance(node, ast.Delete):
            for each in node.targets:
                target(each)
        elif isinstance(node, ast.Match):
            for pattern in (p for case in node.cases for p in walk(case.pattern)):
                name = getattr(pattern, "name", None) or getattr(pattern, "rest", None)
                if name is not None:
                    found.add(name)
        elif isinstance(node, ast.With):
            for item in node.items:
                if item.optional_vars is not None:
                    target(item.optional_vars)
        elif isinstance(node, ast.Expr):
            # `TABLE.update(...)` changes what the name holds.
            for call in walk(node.value):
                if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
                    target(call.func)
        if isinstance(node, _WITHOUT_STATEMENTS):
            return
        for inner in children(node):
            if isinstance(inner, ast.stmt):
                visit(inner)
            elif isinstance(inner, (ast.ExceptHandler, ast.match_case)):
                if isinstance(inner, ast.ExceptHandler) and inner.name:
                    found.add(inner.name)
                for deep in inner.body:
                    visit(deep)

    for node in nodes:
        visit(node)
    return frozenset(found)


def walrus_names(nodes: list[ast.stmt]) -> frozenset[str]:
    """The names that `:=` binds in statements."""
    return frozenset(
        inner.target.id
        for node in nodes
        for inner in walk(node)
        if isinstance(inner, ast.NamedExpr)
    )


class SourceModule:
    """One file of the source tree."""

    def __init__(self, name: str, path: Path, file: str, is_package: bool) -> None:
        self.name = name
        self.path = path
        self.state = state_of(path)
        self.file = file
        self.is_package = is_package
        self._binding: dict[str, tuple[Statement, ...]] = {}
        # What `effects` found out about names of the module.
        self.related_statements: dict[str, tuple[Statement, ...]] = {}
        self.changed_classes: dict[str, bool] = {}
        # What `quiet` found out about classes.
        self.quiet_classes: dict[str, bool] = {}
        # What `registrars` found out; None until somebody asked.
        self.registrars: tuple[Statement, ...] | None = None
        self.registries: Mapping[str, Registry] | None = None
        self.imports: frozenset[str] | None = None

    @cached_property
    def text(self) -> str:
        """The file's text, without a byte-order mark."""
        try:
            text = read_text(self.path, encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise SourceError(
                "a source file cannot be read", where=str(self.path), found=str(error)
            ) from None
        if len(text) > MAX_FILE:
            raise SourceError(
                "a source file is larger than any that is written by hand",
                where=self.file,
                expected=f"{MAX_FILE:,} characters at most",
                found=f"{len(text):,}",
            )
        return text

    @cached_property
    def statements(self) -> tuple[Statement, ...]:
        """The top-level statements in order."""
        return tuple(
            Statement(self, text, line, position, start)
            for position, (text, line, start) in enumerate(
                layout.statements(self.text, self.strings)
            )
        )

    @cached_property
    def strings(self) -> list[tuple[int, int]]:
        """Where strings of several lines begin and end in the text."""
        return layout.long_strings(self.text)

    def body_at(self, line: int) -> list[ast.stmt]:
        """The body of the function that stands in a line, by a parse of the whole file.

        Raises:
            SourceError: the file is not Python that this interpreter can parse.
        """
        for statement in self.whole:
            for node in walk(statement):
                if isinstance(node, ast.FunctionDef) and node.lineno == line:
                    return node.body
        raise SourceError("the source does not parse", where=f"{self.file}:{line}")

    @cached_property
    def whole(self) -> list[ast.stmt]:
        """The file's statements by a parse of all of it.

        Raises:
            SourceError: the file is not Python that this interpreter can parse.
        """
        try:
            return parse_module(self.text).body
        except (RecursionError, MemoryError):
            raise SourceError(
                "the source nests deeper than can be parsed", where=f"{self.file}:1"
            ) from None
        except SyntaxError as error:
            raise SourceError(
                "the source does not parse",
                where=f"{self.file}:{error.lineno or 1}",
                found=error.msg,
            ) from None

    def binding(self, name: str) -> tuple[Statement, ...]:
        """Statements that may bind or change `name`, in order."""
        found = self._binding.get(name)
        if found is None:
            by_name, others = self._by_name
            known = by_name.get(name, ())
            changing = [s.position for s in others if name in s.text and name in s.bound]
            found = tuple(self.statements[n] for n in sorted((*known, *changing)))
            self._binding[name] = found
        return found

    @cached_property
    def _by_name(self) -> tuple[dict[str, list[int]], list[Statement]]:
        """Positions of defs and classes by their names, and all other statements."""
        by_name: dict[str, list[int]] = {}
        others: list[Statement] = []
        for position, statement in enumerate(self.statements):
            if statement.names is None:
                others.append(statement)
            for name in statement.names or ():
                by_name.setdefault(name, []).append(position)
        return by_name, others

    def mentioning(self, name: str) -> list[Statement]:
        """The statements in whose text a name stands, attributes left out."""
        return [s for s in self.statements if name in s.text and s.mentions(name)]

    @cached_property
    def declared_global(self) -> frozenset[str]:
        """The names that functions of the module may bind by a `global` statement."""
        return layout.declared_global(self.text)

    @cached_property
    def has_private(self) -> bool:
        """Whether there are names that Python mangles in classes."""
        return PRIVATE.search(self.text) is not None

    @cached_property
    def has_walrus(self) -> bool:
        """Whether expressions may bind names."""
        return ":=" in self.text

    @cached_property
    def is_open(self) -> bool:
        """Whether it may bind names that its statements do not show."""
        return any(word in self.text for word in ("globals()", "exec(", "import *", "vars()"))

    @cached_property
    def yields(self) -> bool:
        """Whether there may be generators in the module."""
        return "yield" in self.text

    @cached_property
    def exports_star(self) -> tuple[ast.ImportFrom, ...]:
        """The `from x import *` statements of the module."""
        return tuple(
            node
            for s in self.statements
            if s.names is None and "*" in s.text
            for node in s.nodes
            if isinstance(node, ast.ImportFrom) and node.names[0].name == "*"
        )


def state_of(path: Path) -> tuple[int, ...] | None:
    """What tells one content of a file from another; None where there is no such file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


class ModuleIndex:
    """The modules of a folder, by dotted name.

    Args:
        root: The folder.
        package: The import name of the package that the folder is; "" for a folder that holds
            modules and packages side by side, as one on Python's path does.
    """

    def __init__(self, root: Path, package: str = "") -> None:
        self.root = Path(root)
        self.package = package
        self._modules: dict[str, SourceModule | None] = {}
        self._areas: dict[str, Area] = {}

    def module(self, name: str) -> SourceModule | None:
        """The module of this dotted name; None where the tree holds no such file."""
        if name not in self._modules:
            self._modules[name] = self._find(name)
        return self._modules[name]

    @property
    def size(self) -> int:
        """Characters of the files that were read."""
        read = (m for m in self._modules.values() if m is not None and "text" in vars(m))
        return sum(len(module.text) for module in read)

    def is_current(self) -> bool:
        """Whether the files that were asked for are those that are there."""
        for name, module in self._modules.items():
            if module is None:
                if self._find(name) is not None:
                    return False
            elif module.state != state_of(module.path):
                return False
        return all(area.is_current() for area in self._areas.values())

    def area(self, name: str) -> Area | None:
        """The files among which those of a module's other users are looked for.

        They are those of the outer two packages that it is in: of `a.b.c.d`, `a.b`.

        Args:
            name: The module; None comes of one that is in no package.
        """
        package = ".".join(name.split(".")[:-1][:_AREA])
        below = self._below(package)
        if below is None or not package:
            return None
        if package not in self._areas:
            self._areas[package] = Area.of(self.root.joinpath(*below), package)
        return self._areas[package]

    def holds(self, name: str) -> bool:
        """Whether a dotted name belongs to the folder, by what it begins with."""
        if self.package:
            return name == self.package or name.startswith(self.package + ".")
        first = name.partition(".")[0]
        return self.is_package_folder(first) or self.module(first) is not None

    def home(self, module: str, name: str) -> str | None:
        """The module of the folder that binds a name which another one imports lazily, if any.

        Args:
            module: The module that is asked for the name, and does not bind it by its statements.
            name: The name.
        """
        return None

    def is_package_folder(self, name: str) -> bool:
        """Whether `name` is a folder of the tree (with or without `__init__.py`)."""
        below = self._below(name)
        return below is not None and self.root.joinpath(*below).is_dir()

    def _below(self, name: str) -> list[str] | None:
        """The parts of a dotted name below the root; None for a name of another package."""
        parts = name.split(".")
        # A name with anything else in it could lead out of the folder.
        if not all(_NAME.fullmatch(p) for p in parts):
            return None
        if not self.package:
            return parts
        return parts[1:] if parts[0] == self.package else None

    def _find(self, name: str) -> SourceModule | None:
        below = self._below(name)
        if below is None:
            return None
        base = self.root.joinpath(*below)
        for path, is_package in ((base.with_suffix(".py"), False), (base / "__init__.py", True)):
            if (path != self.root.with_suffix(".py")) and path.is_file():
                relative = path.relative_to(self.root).as_posix()
                file = f"{self.package}/{relative}" if self.package else relative
                return SourceModule(name, path, file, is_package)
        return None


def imported_from(module: SourceModule, node: ast.ImportFrom) -> str:
    """The absolute name of the module that a module imports names from."""
    if not node.level:
        return node.module or ""
    parts = module.name.split(".")
    parts = parts[: max(0, len(parts) - node.level + module.is_package)]
    return ".".join([*parts, node.module] if node.module else parts)
