"""Writes the test module of an op type from a plugin's files: valid, formatted, deterministic."""

from __future__ import annotations

import ast
import math
import symtable
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence

import attrs

from fibcore.errors import PluginError
from fibcore.ops.hookspecs import GroundTruth, TestTemplate
from fibcore.verification.generated import seal

WIDTH = 100
ALLOWED = frozenset({"numpy", "torch"}) | sys.stdlib_module_names
TABLES = ("OP_TYPE", "GROUND_TRUTHS", "DEFINITIONS")

DOCSTRING = '''"""Reference tests of the definitions in `definitions/{op_type}/`.

From the dataset's folder:

    pytest tests/references/{file} -v [--device cpu|cuda|auto] [--tolerance X]

They need pytest and torch; `conftest.py` beside this file says how they work. A definition that is
not in DEFINITIONS is compared with nothing until `fibcore add-reference-tests` has added it.
"""
'''

FOOTER = '''def test_definition_loads(definition_file) -> None:
    """The file is a definition, and its reference can be executed."""
    definition_file.check()


def test_agrees_with_ground_truth(agreement) -> None:
    """The reference agrees with the first ground truth that can run here."""
    agreement.check()


def test_property(property_check) -> None:
    """What holds without any ground truth."""
    property_check.check()
'''


def _hashable(truths: Iterable[GroundTruth]) -> tuple[GroundTruth, ...]:
    # Plugins may give lists, which cannot be looked up.
    return tuple(attrs.evolve(t, packages=tuple(t.packages)) for t in truths)


@attrs.frozen
class TestedDefinition:
    """What the module's table says of a definition.

    Attributes:
        truths: Its ground truths, the preferred one first.
        tolerance: rtol and atol in place of the defaults; None for those.
    """

    __test__ = False  # not a test class, whatever pytest thinks of the name

    truths: tuple[GroundTruth, ...] = attrs.field(converter=_hashable)
    tolerance: float | None = None


@attrs.frozen
class _Part:
    """A plugin's file, taken apart: top-level imports, and all else as it was written."""

    title: str
    docstring: str | None
    future: frozenset[str]
    imports: Mapping[str, tuple[str, str | None]]
    names: frozenset[str]
    text: str


def module_file(op_type: str) -> str:
    """The file name of an op type's test module."""
    return f"test_{op_type}.py"


def render_module(
    op_type: str, template: TestTemplate, definitions: Mapping[str, TestedDefinition]
) -> str:
    """The text of `test_<op_type>.py`.

    Args:
        op_type: The op type.
        template: Sizes, inputs and properties.
        definitions: Name to what the module knows of a definition. Sources that several
            definitions share are written once.

    Raises:
        PluginError: a source does not parse, imports what the tests cannot rely on, or binds a
            name that is another's.
    """
    where = f"tests of op type {op_type}"
    keys, rows = _ground_truths(definitions)
    sources: dict[str, list[str]] = {}
    for row in rows.values():
        names = sources.setdefault(row.source, [])
        if row.name not in names:
            names.append(row.name)
    parts = [
        _take_apart(source, f"ground truth: {', '.join(names)}", where)
        for source, names in sources.items()
    ]
    parts.append(_take_apart(template.source, "test sizes, inputs and properties", where))
    imports = _merge(parts, where)
    tables = "\n".join(
        [
            _assign("OP_TYPE", op_type),
            "# Implementations to compare with, and what they need.",
            _assign("GROUND_TRUTHS", {key: _row(truth) for key, truth in rows.items()}),
            "# The ground truths of each definition, the preferred one first.",
            _assign(
                "DEFINITIONS",
                {
                    name: {"ground_truths": keys[name], "tolerance": definitions[name].tolerance}
                    for name in sorted(definitions)
                },
            ),
        ]
    )
    sections = [
        DOCSTRING.format(op_type=op_type, file=module_file(op_type)) + "\n" + imports + tables,
        *(_section(part) for part in parts),
        _banner("tests; the fixtures are in conftest.py") + "\n\n" + FOOTER,
    ]
    text = seal("\n\n".join(section.strip("\n") + "\n" for section in sections))
    _parse(text, where, "the generated module")
    return text


def _ground_truths(
    definitions: Mapping[str, TestedDefinition],
) -> tuple[dict[str, tuple[str, ...]], dict[str, GroundTruth]]:
    """Keys per definition, and the ground truth of each key, in a stable order.

    A key is the ground truth's name, with its entry where two of one name differ.
    """
    named: dict[str, list[GroundTruth]] = {}
    for name in sorted(definitions):
        for truth in definitions[name].truths:
            same = named.setdefault(truth.name, [])
            if truth not in same:
                same.append(truth)
    keys: dict[GroundTruth, str] = {}
    for name, same in named.items():
        for truth in same:
            key = name if len(same) == 1 else f"{name} ({truth.entry})"
            number = 1
            while key in keys.values():
                number += 1
                key = f"{name} ({truth.entry}, {number})"
            keys[truth] = key
    own = {name: tuple(keys[t] for t in tested.truths) for name, tested in definitions.items()}
    return own, {key: truth for truth, key in keys.items()}


def _row(truth: GroundTruth) -> dict[str, object]:
    return {
        "name": truth.name,
        "kind": truth.kind,
        "entry": truth.entry,
        "device": truth.device,
        "min_capability": truth.min_capability,
        "max_capability": truth.max_capability,
        "packages": tuple(truth.packages),
    }


def _parse(text: str, where: str, what: str) -> ast.Module:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError) as error:
        raise PluginError(f"{what} is not Python", where=where, found=str(error)) from None


def _take_apart(source: str, title: str, where: str) -> _Part:
    """Split a plugin's file into imports and the rest, and check what it relies on."""
    module = _parse(source, where, title)
    lines = source.replace("\r\n", "\n").split("\n")
    imports: dict[str, tuple[str, str | None]] = {}
    future: set[str] = set()
    docstring = ast.get_docstring(module)
    drop: list[ast.stmt] = [
        node for node in module.body if isinstance(node, (ast.Import, ast.ImportFrom))
    ]
    for node in drop:
        if isinstance(node, ast.ImportFrom) and node.module == "__future__":
            future |= {alias.name for alias in node.names}
            continue
        imports |= _bindings(node, title, where)
    for inner in ast.walk(module):
        if isinstance(inner, (ast.Import, ast.ImportFrom)):
            _check_import(inner, inner in drop, title, where)
    if docstring is not None:
        drop.append(module.body[0])
    others = [node for node in module.body if node not in drop]
    for node in drop:
        end = node.end_lineno or node.lineno
        if any(o.lineno <= end and (o.end_lineno or o.lineno) >= node.lineno for o in others):
            raise PluginError(
                "an import shares its line with another statement",
                where=where,
                found=f"{title}, line {node.lineno}",
            )
        lines[node.lineno - 1 : end] = [""] * (end - node.lineno + 1)
    table = symtable.symtable(source, title, "exec")
    names = {s.get_name() for s in table.get_symbols() if s.is_assigned() or s.is_imported()}
    hoisted = future | {bound.partition(".")[0] for bound in imports}
    return _Part(
        title, docstring, frozenset(future), imports, frozenset(names - hoisted), _squeeze(lines)
    )


def _bindings(node: ast.stmt, title: str, where: str) -> Mapping[str, tuple[str, str | None]]:
    """The names that an import binds: to (module, None), or to (module, name in it)."""
    bound: dict[str, tuple[str, str | None]] = {}
    if isinstance(node, ast.Import):
        for alias in node.names:
            if alias.asname is not None:
                bound[alias.asname] = (alias.name, None)
            else:  # import a.b binds a; the key keeps both apart
                bound[alias.name] = (alias.name, None)
    elif isinstance(node, ast.ImportFrom):
        if node.level or any(alias.name == "*" for alias in node.names):
            raise PluginError(
                "a generated test has no package to import from, and no star imports",
                where=where,
                found=f"{title}, line {node.lineno}",
            )
        for alias in node.names:
            bound[alias.asname or alias.name] = (node.module or "", alias.name)
    return bound


def _check_import(
    node: ast.Import | ast.ImportFrom, top_level: bool, title: str, where: str
) -> None:
    modules = (
        [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module]
    )
    for module in modules:
        root = (module or "").partition(".")[0]
        if root == "fibcore" or root.startswith("fibcore_"):
            raise PluginError(
                "generated tests run without fibcore and its plugins",
                where=where,
                found=f"{title}, line {node.lineno}: import of {module}",
            )
        if top_level and root not in ALLOWED:
            raise PluginError(
                "generated tests need no more than pytest and torch when they are collected",
                where=where,
                expected="torch, numpy and the standard library at the top level",
                found=f"{title}, line {node.lineno}: import of {module}",
                hint="import it inside the function, and name it in the ground truth's packages",
            )


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


def _merge(parts: Sequence[_Part], where: str) -> str:
    """All imports of all parts as one block, after a check that no name means two things."""
    owners: dict[str, str] = dict.fromkeys(TABLES, "the generated tables")
    imports: dict[str, tuple[str, str | None]] = {}
    for part in parts:
        for name in sorted(part.names):
            if name.startswith(("test_", "pytest_")):
                raise PluginError(
                    "pytest would take this name for its own",
                    where=where,
                    found=f"{name} in {part.title}",
                )
            if name in owners:
                raise PluginError(
                    "two parts of a test module bind the same name",
                    where=where,
                    expected="names of their own (begin them with the entry's name)",
                    found=f"{name} in {owners[name]} and in {part.title}",
                    hint="a ground truth that differs from definition to definition needs an "
                    "entry name that differs, too",
                )
            owners[name] = part.title
        for bound, origin in part.imports.items():
            if imports.setdefault(bound, origin) != origin:
                raise PluginError(
                    "two parts of a test module import the same name from different places",
                    where=where,
                    found=f"{bound} from {_origin(imports[bound])} and from {_origin(origin)}",
                )
    for bound in imports:
        root = bound.partition(".")[0]
        if root in owners:
            raise PluginError(
                "a test module binds the same name by an import and otherwise",
                where=where,
                found=f"{root}: imported, and bound in {owners[root]}",
            )
    future = sorted(frozenset().union(*(part.future for part in parts)))
    blocks = [f"from __future__ import {', '.join(future)}\n"] if future else []
    for standard in (True, False):
        chosen = {
            bound: origin
            for bound, origin in imports.items()
            if (origin[0].partition(".")[0] in sys.stdlib_module_names) is standard
        }
        if chosen:
            blocks.append(_import_lines(chosen))
    return "\n".join(blocks) + ("\n" if blocks else "")


def _origin(origin: tuple[str, str | None]) -> str:
    return origin[0] if origin[1] is None else f"{origin[0]}.{origin[1]}"


def _import_lines(imports: Mapping[str, tuple[str, str | None]]) -> str:
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


def _section(part: _Part) -> str:
    comment = ""
    for line in (part.docstring or "").splitlines():
        # Written for lines without the two characters of a comment.
        for piece in textwrap.wrap(line, WIDTH - 2) or [""]:
            comment += f"# {piece}".rstrip() + "\n"
    blank = "\n\n" if part.text.startswith(("def ", "class ", "@")) else "\n"
    return _banner(part.title) + comment + blank + part.text


def _banner(title: str) -> str:
    return f"# --- {title} ".ljust(WIDTH, "-")[: max(WIDTH, len(title) + 6)] + "\n"


def _assign(name: str, value: object) -> str:
    return f"{name} = {literal(value, len(name) + 3)}\n"


def literal(value: object, column: int = 0, indent: int = 0) -> str:
    """A Python literal as a formatter would write it.

    Args:
        value: None, bool, int, float, str, tuple, list or dict of those.
        column: Where on the line it begins.
        indent: Blanks before the line that it begins on.
    """
    flat = _flat(value)
    # One column is left for the comma behind it.
    if not isinstance(value, (dict, tuple, list)) or not value or column + len(flat) < WIDTH:
        return flat
    inner = " " * (indent + 4)
    if isinstance(value, dict):
        lines = [
            f"{inner}{_flat(k)}: {literal(v, indent + 6 + len(_flat(k)), indent + 4)},\n"
            for k, v in value.items()
        ]
        return "{\n" + "".join(lines) + " " * indent + "}"
    opening, closing = ("(", ")") if isinstance(value, tuple) else ("[", "]")
    lines = [f"{inner}{literal(v, indent + 4, indent + 4)},\n" for v in value]
    return opening + "\n" + "".join(lines) + " " * indent + closing


def _flat(value: object) -> str:
    if isinstance(value, str):
        text = repr(value)
        # A formatter prefers double quotes where that needs no escape.
        return f'"{text[1:-1]}"' if text[0] == "'" and '"' not in text else text
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_flat(k)}: {_flat(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (tuple, list)):
        inner = ", ".join(_flat(v) for v in value)
        if isinstance(value, list):
            return f"[{inner}]"
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"not a literal: {value!r}")
    return repr(value)


def covered_definitions(text: str) -> dict[str, float | None]:
    """The definitions that a test module covers, with the tolerance of each.

    Args:
        text: The module's text. One that was edited beyond recognition covers none.
    """
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError):
        return {}
    for node in body:
        if (
            isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and node.targets[0].id == "DEFINITIONS"
        ):
            try:
                table = ast.literal_eval(node.value)
                return {str(name): entry["tolerance"] for name, entry in table.items()}
            except (ValueError, TypeError, KeyError, AttributeError):
                return {}
    return {}
