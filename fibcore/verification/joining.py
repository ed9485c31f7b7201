"""Joins Python source files into one: imports merged, names checked, docstrings made comments.

A test module is joined from files of plugins, the emitted `conftest.py` from those in `emitted/`.
"""

from __future__ import annotations

import ast
import symtable
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import NoReturn

import attrs

from fibcore.errors import FibcoreError
from fibcore.syntax import WIDTH

# Where an imported name is from: (module, None) for the module, or (module, name in it).
Origin = tuple[str, str | None]


@attrs.frozen
class Part:
    """A source file, taken apart.

    Attributes:
        title: What it is called in the joined file and in errors.
        docstring: Its docstring, if it has one.
        future: Features that it imports from `__future__`.
        imports: Names that its top-level imports bind, and where they are from.
        names: Other names that it binds at the top level.
        text: Everything else, as it was written.
    """

    title: str
    docstring: str | None
    future: frozenset[str]
    imports: Mapping[str, Origin]
    names: frozenset[str]
    text: str

    def section(self) -> str:
        """The text below a line with the title; the docstring becomes a comment."""
        comment = ""
        for line in (self.docstring or "").splitlines():
            # Written for lines without the two characters of a comment.
            for piece in textwrap.wrap(line, WIDTH - 2) or [""]:
                comment += f"# {piece}".rstrip() + "\n"
        blank = "\n\n" if self.text.startswith(("def ", "class ", "@")) else "\n"
        return banner(self.title) + comment + blank + self.text

    def meanings(self, place: int) -> dict[str, Origin]:
        """Each name that it binds at the top level, with what it stands for, as part `place`."""
        found: dict[str, Origin] = {name: (f"part {place}", name) for name in self.names}
        for bound, origin in self.imports.items():
            root, dot, _ = bound.partition(".")
            found[root] = (root, None) if dot else origin
        return found


@attrs.frozen
class Joiner:
    """Takes source files apart and merges their imports.

    Attributes:
        what: The joined file, as errors name it: "a test module".
        where: Where errors say that it went wrong.
        error: The class of those errors.
        expected: What errors expect where two files bind the same name.
        hint: What they advise then.
    """

    what: str
    where: str
    error: type[FibcoreError]
    expected: str = "names of their own"
    hint: str | None = None

    def parse(self, text: str, title: str) -> ast.Module:
        """The syntax tree of a source file.

        Raises:
            FibcoreError: (of the class `error`) it is not Python.
        """
        try:
            return ast.parse(text)
        except (SyntaxError, ValueError) as error:
            raise self.error(f"{title} is not Python", where=self.where, found=str(error)) from None

    def take_apart(self, source: str, title: str) -> Part:
        """Split a source file into imports and the rest.

        Raises:
            FibcoreError: (of the class `error`) it is not Python, imports relatively or everything
                of a module, or has an import and another statement on one line.
        """
        module = self.parse(source, title)
        lines = source.replace("\r\n", "\n").split("\n")
        imports: dict[str, Origin] = {}
        future: set[str] = set()
        docstring = ast.get_docstring(module)
        drop: list[ast.stmt] = [
            node for node in module.body if isinstance(node, (ast.Import, ast.ImportFrom))
        ]
        for node in drop:
            if isinstance(node, ast.ImportFrom) and node.module == "__future__":
                future |= {alias.name for alias in node.names}
            else:
                imports |= self._bindings(node, title)
        if docstring is not None:
            drop.append(module.body[0])
        others = [node for node in module.body if node not in drop]
        for node in drop:
            end = node.end_lineno or node.lineno
            if any(o.lineno <= end and (o.end_lineno or o.lineno) >= node.lineno for o in others):
                self.refuse(
                    "an import shares its line with another statement",
                    found=f"{title}, line {node.lineno}",
                )
            lines[node.lineno - 1 : end] = [""] * (end - node.lineno + 1)
        table = symtable.symtable(source, title, "exec")
        names = {s.get_name() for s in table.get_symbols() if s.is_assigned() or s.is_imported()}
        hoisted = future | {bound.partition(".")[0] for bound in imports}
        rest = frozenset(names - hoisted)
        return Part(title, docstring, frozenset(future), imports, rest, _squeeze(lines))

    def import_lines(self, part: Part) -> str:
        """The imports of one part in the order of a formatter, without those of `__future__`."""
        return _import_blocks(frozenset(), part.imports).rstrip("\n") + "\n"

    def merge_imports(self, parts: Sequence[Part], taken: Mapping[str, str] | None = None) -> str:
        """All imports of all parts as one block, after a check that no name means two things.

        Args:
            parts: The files.
            taken: Names that the joined file binds besides, and where.

        Raises:
            FibcoreError: (of the class `error`) a name means two things.
        """
        owners = dict(taken or {})
        imports: dict[str, Origin] = {}
        for part in parts:
            for name in sorted(part.names):
                if name in owners:
                    self.refuse(
                        f"two parts of {self.what} bind the same name",
                        expected=self.expected,
                        found=f"{name} in {owners[name]} and in {part.title}",
                        hint=self.hint,
                    )
                owners[name] = part.title
            for bound, origin in part.imports.items():
                if imports.setdefault(bound, origin) != origin:
                    first, second = _in_words(imports[bound]), _in_words(origin)
                    self.refuse(
                        f"two parts of {self.what} import the same name from different places",
                        found=f"{bound} from {first} and from {second}",
                    )
        for bound in imports:
            root = bound.partition(".")[0]
            if root in owners:
                self.refuse(
                    f"{self.what} binds the same name by an import and otherwise",
                    found=f"{root}: imported, and bound in {owners[root]}",
                )
        return _import_blocks(frozenset().union(*(part.future for part in parts)), imports)

    def _bindings(self, node: ast.stmt, title: str) -> Mapping[str, Origin]:
        """The names that an import binds, and where they are from."""
        bound: dict[str, Origin] = {}
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.asname is not None:
                    bound[alias.asname] = (alias.name, None)
                else:  # import a.b binds a; the key keeps both apart
                    bound[alias.name] = (alias.name, None)
        elif isinstance(node, ast.ImportFrom):
            if node.level or any(alias.name == "*" for alias in node.names):
                self.refuse(
                    "a generated test has no package to import from, and no star imports",
                    found=f"{title}, line {node.lineno}",
                )
            for alias in node.names:
                bound[alias.asname or alias.name] = (node.module or "", alias.name)
        return bound

    def refuse(
        self, message: str, *, found: str, expected: str | None = None, hint: str | None = None
    ) -> NoReturn:
        """Raise an error of the joined file."""
        raise self.error(message, where=self.where, expected=expected, found=found, hint=hint)


def clashing(parts: Sequence[Part], taken: Iterable[str] = ()) -> set[int]:
    """The places of the parts that bind a name which stands for something else in another one.

    Args:
        parts: The files that are to be joined.
        taken: Names that the joined file binds besides.
    """
    meanings: dict[str, set[Origin]] = {name: {("", name)} for name in taken}
    bound = [part.meanings(place) for place, part in enumerate(parts)]
    for own in bound:
        for name, origin in own.items():
            meanings.setdefault(name, set()).add(origin)
    return {
        place for place, own in enumerate(bound) if any(len(meanings[name]) > 1 for name in own)
    }


def banner(title: str) -> str:
    """The line of comment above a section."""
    return f"# --- {title} ".ljust(WIDTH, "-")[: max(WIDTH, len(title) + 6)] + "\n"


def _in_words(origin: Origin) -> str:
    return origin[0] if origin[1] is None else f"{origin[0]}.{origin[1]}"


def _squeeze(lines: Iterable[str]) -> str:
    """The lines without blank ends and with no more than two blank lines together.

    Lines inside a string that spans lines are not looked into: two blank lines are all that a
    formatted file has anywhere else.
    """
    text = "\n".join(lines).strip("\n")
    inside = _string_lines(text)
    kept: list[str] = []
    blank = 0
    for number, line in enumerate(text.split("\n"), 1):
        blank = 0 if line.strip() or number in inside else blank + 1
        if blank <= 2:
            kept.append(line)
    return "\n".join(kept) + "\n"


def _string_lines(text: str) -> set[int]:
    return {
        number
        for node in ast.walk(ast.parse(text))
        if isinstance(node, (ast.Constant, ast.JoinedStr))
        for number in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }


def _import_blocks(future: frozenset[str], imports: Mapping[str, Origin]) -> str:
    """Imports in the order of a formatter: `__future__`, the standard library, others."""
    blocks = [f"from __future__ import {', '.join(sorted(future))}\n"] if future else []
    for standard in (True, False):
        chosen = {
            bound: origin
            for bound, origin in imports.items()
            if (origin[0].partition(".")[0] in sys.stdlib_module_names) is standard
        }
        if chosen:
            blocks.append(_import_lines(chosen))
    return "\n".join(blocks) + ("\n" if blocks else "")


def _import_lines(imports: Mapping[str, Origin]) -> str:
    plain = sorted(
        f"import {module}" if bound == module else f"import {module} as {bound}"
        for bound, (module, name) in imports.items()
        if name is None
    )
    members: dict[str, list[str]] = {}
    for bound, (module, name) in imports.items():
        if name is not None:
            members.setdefault(module, []).append(name if bound == name else f"{name} as {bound}")
    lines = list(plain)
    for module in sorted(members):
        line = f"from {module} import {', '.join(sorted(members[module]))}"
        if len(line) > WIDTH:
            inner = "".join(f"    {name},\n" for name in sorted(members[module]))
            line = f"from {module} import (\n{inner})"
        lines.append(line)
    return "\n".join(lines) + "\n"
