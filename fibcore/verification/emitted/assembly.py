"""Joins the modules of this package into the one `conftest.py` that a dataset gets.

The file has to work where torch and pytest are all there is, so that it cannot import the modules
that it is made of. There they are sections of one namespace, in the order of `MODULES`: what one
imports from another is bound already, and no two may bind the same name.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from importlib.resources import files

import attrs

from fibcore.errors import FibcoreError
from fibcore.verification.joining import Joiner, Part

PACKAGE = "fibcore.verification.emitted"

# Each module may import from those above it.
MODULES = {
    "places": "places",
    "errors": "errors",
    "sglang_package": "SGLang's source: where it is",
    "sglang_source": "SGLang's source: single functions",
    "options": "options",
    "devices": "devices",
    "definitions": "definitions",
    "tolerances": "tolerances",
    "tensors": "tensors",
    "differences": "comparison: differences",
    "failure_text": "comparison: what is printed",
    "comparing": "comparison",
    "ground_truths": "ground truths",
    "subjects": "what is tested",
    "checks": "the tests",
    "evidence": "evidence: what is kept",
    "recorder": "evidence: how it is written",
    "plugin": "hooks of pytest and fixtures",
}

DOCSTRING = '''\
"""What the reference tests in this folder share; needs pytest and torch and nothing else.

The test modules `test_<op_type>.py` or `test_<definition>.py` beside this file hold tables
(`OP_TYPE`, `GROUND_TRUTHS`, `DEFINITIONS`), ground truths and an input generator. From them and
from the definitions in `definitions/<op_type>/*.json`, which are read when the tests are collected,
this file makes

* `test_definition_loads[NAME]`: the file is a definition with a usable `run`;
* `test_agrees_with_ground_truth[NAME-CASE]`: `run` agrees with the first ground truth that can run
  on this machine, or the test is skipped with the reason of each one that cannot;
* `test_property[NAME-CASE-PROPERTY]`: what holds without any ground truth.

Options: `--device`, `--tolerance`, `--sglang`, `--definition`, `--evidence` (`pytest --help`).
SGLang's source is looked for in `--sglang`, the environment variable FIBCORE_SGLANG, the folder
`sglang` beside the dataset, the `repos_config.json` beside the dataset, and the installed package;
single functions are compiled from its text, and SGLang is never imported.
"""
'''


class AssemblyError(FibcoreError):
    """The modules do not fit together in one file."""


def conftest_text() -> str:
    """The text of `tests/references/conftest.py`, without the lines that seal it.

    Raises:
        AssemblyError: the modules do not fit together; a mistake in this package.
    """
    folder = files(PACKAGE)
    return assemble(
        {
            title: folder.joinpath(f"{name}.py").read_text(encoding="utf-8")
            for name, title in MODULES.items()
        },
        {title: f"{PACKAGE}.{name}" for name, title in MODULES.items()},
    )


def assemble(sources: Mapping[str, str], names: Mapping[str, str]) -> str:
    """Join source files of a package into one that imports nothing from it.

    Args:
        sources: Title to text, in order.
        names: Title to dotted name of the module.

    Raises:
        AssemblyError: a file is not Python or imports from the package what an earlier file does
            not bind, under another name, or within a function; or a name means two things.
    """
    joiner = Joiner("the emitted conftest.py", PACKAGE, AssemblyError, hint="rename one of the two")
    parts: list[Part] = []
    bound: dict[str, frozenset[str]] = {}
    for title, source in sources.items():
        part = joiner.take_apart(source, title)
        _check_nested_imports(source, title)
        parts.append(_without_own_imports(part, bound))
        bound[names[title]] = part.names
    head = DOCSTRING + "\n" + joiner.merge_imports(parts)
    return head + "\n\n".join(part.section() for part in parts)


def _without_own_imports(part: Part, bound: Mapping[str, frozenset[str]]) -> Part:
    """A part without its imports from this package, each of which an earlier part has to bind."""
    kept = {}
    for name, (module, member) in part.imports.items():
        if not _is_own(module):
            kept[name] = (module, member)
        elif name != member or member not in bound.get(module, ()):
            raise AssemblyError(
                "a module imports what no module above it binds",
                where=PACKAGE,
                expected="from MODULE import NAME, of a module that is above it in MODULES",
                found=f"{part.title}: {name} from {module}",
            )
    return attrs.evolve(part, imports=kept)


def _check_nested_imports(source: str, title: str) -> None:
    module = ast.parse(source)
    for node in ast.walk(module):
        if not isinstance(node, (ast.Import, ast.ImportFrom)) or node in module.body:
            continue
        names = [alias.name for alias in node.names]
        imported = [node.module or ""] if isinstance(node, ast.ImportFrom) else names
        if any(_is_own(name) for name in imported):
            raise AssemblyError(
                "an import from this package is not at the top level",
                where=PACKAGE,
                found=f"{title}, line {node.lineno}",
            )


def _is_own(module: str) -> bool:
    """Whether a module is fibcore's, which cannot be imported where the file runs."""
    return module.partition(".")[0] == "fibcore"
