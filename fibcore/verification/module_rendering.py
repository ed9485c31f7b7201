"""Writes the test module of an op type from a plugin's files: valid, formatted, deterministic."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Mapping

import attrs

from fibcore.dataset.seals import seal
from fibcore.errors import PluginError
from fibcore.ops.hookspecs import GroundTruth, TestTemplate
from fibcore.syntax import literal
from fibcore.verification.enclosing import PYTEST, enclosed, mark, scoped
from fibcore.verification.joining import Joiner, Part, banner, clashing

ALLOWED = frozenset({"numpy", "torch"}) | sys.stdlib_module_names
TABLES = ("OP_TYPE", "ONLY", "GROUND_TRUTHS", "DEFINITIONS")

DOCSTRING = '''"""Reference tests of {what}.

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


def module_file(name: str) -> str:
    """The file name of the test module of an op type, or of one definition."""
    return f"test_{name}.py"


def render_module(
    op_type: str,
    template: TestTemplate,
    definitions: Mapping[str, TestedDefinition],
    *,
    only: str | None = None,
) -> str:
    """The text of `test_<op_type>.py`, or of `test_<only>.py`.

    Args:
        op_type: The op type.
        template: Sizes, inputs and properties.
        definitions: Name to what the module knows of a definition. Sources that several
            definitions share are written once.
        only: The one definition that the module is for, in place of all of the op type.

    Raises:
        PluginError: a source does not parse, imports what the tests cannot rely on, or is the
            template and binds a name of the module's own.
    """
    joiner = Joiner("a test module", f"tests of op type {op_type}", PluginError)
    definitions, parts = _parts(joiner, template, definitions)
    keys, rows = _ground_truths(definitions)
    imports = joiner.merge_imports(parts, dict.fromkeys(TABLES, "the generated tables"))
    tables = "\n".join(
        [
            _assign("OP_TYPE", op_type),
            *(() if only is None else (_assign("ONLY", only),)),
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
    what = f"the definition `{only}`" if only else f"the definitions in `definitions/{op_type}/`"
    sections = [
        DOCSTRING.format(what=what, file=module_file(only or op_type)) + "\n" + imports + tables,
        *(part.section() for part in parts),
        banner("tests; the fixtures are in conftest.py") + "\n\n" + FOOTER,
    ]
    text = seal("\n\n".join(section.strip("\n") + "\n" for section in sections))
    joiner.parse(text, "the generated module")
    return text


def _parts(
    joiner: Joiner, template: TestTemplate, definitions: Mapping[str, TestedDefinition]
) -> tuple[dict[str, TestedDefinition], list[Part]]:
    """Definitions with the entries that their ground truths have in the module, and its parts.

    A ground truth that shares a name with another part, or has one that pytest would take for its
    own, gets a scope of its own, and its entry a name after its text.

    Raises:
        PluginError: see `render_module`.
    """
    of_source: dict[str, list[GroundTruth]] = {}
    for row in _ground_truths(definitions)[1].values():
        of_source.setdefault(row.source, []).append(row)
    parts = []
    for source, truths in of_source.items():
        names = ", ".join(dict.fromkeys(truth.name for truth in truths))
        parts.append(_part(joiner, source, f"ground truth: {names}"))
    parts.append(_part(joiner, template.source, "test sizes, inputs and properties"))
    shared = clashing(parts, TABLES)
    renamed: dict[tuple[str, str], str] = {}
    for place, (source, truths) in enumerate(of_source.items()):
        entries = sorted({truth.entry for truth in truths})
        if place in shared or _names_for_pytest(parts[place]):
            suffix = mark(source)
            parts[place] = enclosed(parts[place], entries, suffix, joiner)
            renamed |= {(source, entry): scoped(entry, suffix) for entry in entries}
    for name in _names_for_pytest(parts[-1]):
        joiner.refuse(
            "pytest would take this name for its own", found=f"{name} in {parts[-1].title}"
        )
    return {name: _renamed(tested, renamed) for name, tested in definitions.items()}, parts


def _renamed(tested: TestedDefinition, renamed: Mapping[tuple[str, str], str]) -> TestedDefinition:
    truths = (
        attrs.evolve(truth, entry=renamed.get((truth.source, truth.entry), truth.entry))
        for truth in tested.truths
    )
    return attrs.evolve(tested, truths=tuple(truths))


def _names_for_pytest(part: Part) -> list[str]:
    """The names that pytest would take for tests or hooks."""
    return sorted(name for name in part.names if name.startswith(PYTEST))


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


def _part(joiner: Joiner, source: str, title: str) -> Part:
    """A plugin's file, taken apart, after a check of what it relies on."""
    part = joiner.take_apart(source, title)
    module = ast.parse(source)
    for node in ast.walk(module):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            _check_import(node, node in module.body, title, joiner.where)
    return part


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


def _assign(name: str, value: object) -> str:
    return f"{name} = {literal(value, len(name) + 3)}\n"


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
