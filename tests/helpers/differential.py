"""Runs small programs in CPython and in the evaluator, and says where the two differ.

A value of the evaluator is CPython's, or unknown; there is no third outcome. A program binds names,
and those that CPython binds to plain data are compared: type and value, floats by their digits, the
order of dicts. Where CPython raises, the evaluator raises the same exception or does not know.
"""

from __future__ import annotations

import sys
import textwrap
import warnings
from copy import deepcopy
from pathlib import Path
from typing import Any

import attrs

from fibcore.elaborate.python.budget import Exhausted
from fibcore.elaborate.python.evaluator import Evaluator
from fibcore.elaborate.python.index import ModuleIndex, SourceModule
from fibcore.elaborate.python.values import Absent, Raised, Value
from fibcore.errors import FibcoreError
from fibcore.model.tree import Alternatives, Unknown, UnknownKind

MODULE = "program"
FUNCTION = "run_program"
_PLAIN = (int, float, complex, str, bytes, bool, type(None), type(Ellipsis), range)
_DEPTH = 12


@attrs.frozen
class Program:
    """A program as data.

    Attributes:
        name: What it shows.
        source: Statements.
        unknown: Why the evaluator does not know what it comes to; "" where it has to.
        module: Whether its statements are a module's own; else they are a function's.
    """

    name: str
    source: str
    unknown: str = ""
    module: bool = False

    @property
    def text(self) -> str:
        """The module that holds the program."""
        if self.module:
            return self.source
        return f"def {FUNCTION}():\n{textwrap.indent(self.source, '    ')}\n    return locals()\n"


@attrs.frozen
class Comparison:
    """What came of a program.

    Attributes:
        differences: Names that the evaluator knows another value of, with both.
        unknown: Names that it does not know, or only in part, with what it gave.
        known: How many names are equal.
    """

    differences: dict[str, str] = attrs.field(factory=dict)
    unknown: dict[str, str] = attrs.field(factory=dict)
    known: int = 0


class _OneModule(ModuleIndex):
    """An index of a single module whose text is given."""

    def __init__(self, text: str) -> None:
        super().__init__(Path("nowhere"))
        self._only = SourceModule(MODULE, Path("nowhere"), f"{MODULE}.py", False)
        self._only.__dict__["text"] = text

    def module(self, name: str) -> SourceModule | None:
        return self._only if name == MODULE else None

    def holds(self, name: str) -> bool:
        return name == MODULE


def programs(path: Path) -> list[Program]:
    """The programs of a file: each below a line `## name | unknown: why | module | since 3.11`."""
    found = []
    for part in path.read_text(encoding="utf-8").split("\n## ")[1:]:
        head, _, source = part.partition("\n")
        name, *marks = (piece.strip() for piece in head.split(" | "))
        unknown = next((m.partition(": ")[2] for m in marks if m.startswith("unknown")), "")
        if "since 3.11" not in marks or sys.version_info >= (3, 11):
            found.append(Program(name, source.strip("\n"), unknown, "module" in marks))
    return found


def in_cpython(program: Program) -> dict[str, Any] | BaseException:
    """The names that CPython binds, or what it raises."""
    space: dict[str, Any] = {"__name__": MODULE}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            code = compile(program.text, f"{MODULE}.py", "exec", dont_inherit=True)
            exec(code, space)  # noqa: S102 - programs of these tests
            found = space if program.module else space[FUNCTION]()
    except BaseException as error:  # noqa: BLE001 - what it raises is its result
        return error
    # Copied while all of it is there: a generator that is dropped may change a list yet.
    return {n: deepcopy(v) for n, v in found.items() if not n.startswith("__") and _is_data(v)}


def evaluated(program: Program, names: list[str]) -> dict[str, Any] | Raised | Unknown:
    """What the evaluator binds names to; or what it raises, or why it knows none of them."""
    evaluator = Evaluator(_OneModule(program.text))
    try:
        if program.module:
            return {name: evaluator.value(MODULE, name) for name in names}
        result = evaluator.call(MODULE, FUNCTION)
    except Raised as error:
        return error
    except Exhausted:
        return Unknown("the budget is used up")
    if isinstance(result, dict):
        return result
    return result if isinstance(result, Unknown) else Unknown(f"{result!r} is no dict of names")


def compared(program: Program) -> Comparison:
    """Run a program in both and compare."""
    expected = in_cpython(program)
    if isinstance(expected, SyntaxError):
        raise expected
    try:
        found = evaluated(program, [] if isinstance(expected, BaseException) else list(expected))
    except (FibcoreError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError,
            RuntimeError, AssertionError, NameError) as error:  # fmt: skip
        return Comparison({"": f"the evaluator fails: {type(error).__name__}: {error}"})
    if isinstance(found, Unknown):
        return Comparison(unknown={"": str(found)})
    if isinstance(expected, BaseException):
        return _compared_raising(expected, found)
    if isinstance(found, Raised):
        return Comparison({"": f"CPython binds {_shown(expected)}; the evaluator raises {found}"})
    return _compared_names(expected, found)


def _compared_raising(expected: BaseException, found: dict[str, Any] | Raised) -> Comparison:
    kind = type(expected).__name__
    if isinstance(found, Raised):
        if found.kind == kind:
            return Comparison(known=1)
        return Comparison({"": f"CPython raises {kind} ({expected}); the evaluator {found}"})
    doubts = {n: str(v) for n, v in found.items() if _doubt(v)}
    if doubts:
        return Comparison(unknown=doubts)
    return Comparison({"": f"CPython raises {kind} ({expected}); the evaluator goes on: {found}"})


def _compared_names(expected: dict[str, Any], found: dict[str, Any]) -> Comparison:
    differences, unknown, known = {}, {}, 0
    for name, value in expected.items():
        got = found.get(name, "(not bound)")
        if not agree(value, got):
            differences[name] = f"CPython: {_shown(value)}; the evaluator: {_shown(got)}"
        elif _doubt(got):
            unknown[name] = str(got)
        else:
            known += 1
    return Comparison(differences, unknown, known)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 400 else text[:400] + "..."


def _kind(value: Any) -> type:
    """The plain type of a value: numbers of the evaluator may remember where they are from."""
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind
    return type(value)


def _is_data(value: Any, depth: int = _DEPTH) -> bool:
    if type(value) in _PLAIN:
        return True
    if depth and type(value) in (list, tuple, set, frozenset):
        return all(_is_data(item, depth - 1) for item in value)
    if depth and type(value) is dict:
        return all(_is_data(k, depth - 1) and _is_data(v, depth - 1) for k, v in value.items())
    return False


def agree(expected: Any, got: Any, depth: int = _DEPTH) -> bool:
    """Whether a value of the evaluator is CPython's, as far as it is known."""
    if isinstance(got, Unknown):
        return True
    if isinstance(got, Alternatives):
        return any(agree(expected, each, depth) for each in got.values)
    if isinstance(got, Value) or _kind(got) is not type(expected) or not depth:
        return False
    if isinstance(expected, (list, tuple)):
        if any(isinstance(v, Unknown) and v.kind is UnknownKind.ENTRY for v in got):
            return True  # not even the length is known
        return len(expected) == len(got) and all(
            agree(a, b, depth - 1) for a, b in zip(expected, got, strict=True)
        )
    if isinstance(expected, (set, frozenset)):
        return len(expected) == len(got) and _texts(expected) == _texts(got)
    if isinstance(expected, dict):
        got = {k: v for k, v in got.items() if k in expected or not _may_be_absent(v)}
        return len(expected) == len(got) and all(
            agree(a, b, depth - 1) and agree(expected[a], got[b], depth - 1)
            for a, b in zip(expected, got, strict=True)
        )
    return bool(_repr(expected) == _repr(got))


def _may_be_absent(value: Any) -> bool:
    return isinstance(value, Alternatives) and any(isinstance(v, Absent) for v in value.values)


def _texts(values: Any) -> list[str]:
    return sorted(_repr(value) for value in values)


def _repr(value: Any) -> str:
    """The text of plain data; of numbers that remember where they are from, their plain one."""
    if isinstance(value, tuple):
        return f"({', '.join(map(_repr, value))})"
    if isinstance(value, frozenset):
        return f"frozenset({_texts(value)})"
    for kind in (int, float, str):
        if isinstance(value, kind) and not isinstance(value, bool):
            return kind.__repr__(value)
    return repr(value)


def _doubt(value: Any, depth: int = _DEPTH) -> bool:
    """Whether a value of the evaluator is not known, or in part only."""
    if isinstance(value, (Unknown, Alternatives)):
        return True
    if depth and isinstance(value, (list, tuple, set, frozenset)):
        return any(_doubt(item, depth - 1) for item in value)
    if depth and isinstance(value, dict):
        return any(_doubt(k, depth - 1) or _doubt(v, depth - 1) for k, v in value.items())
    return False
