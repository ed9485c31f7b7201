"""Runs small programs in CPython and in the evaluator, and says where the two differ.

A value of the evaluator is CPython's, or unknown; there is no third outcome. A program binds names,
and those that CPython binds to plain data are compared: type and value, floats by their digits, the
order of dicts. Where CPython raises, the evaluator raises the same exception or does not know.
"""

from __future__ import annotations

import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import attrs

from fibcore.elaborate.python.budget import Exhausted
from fibcore.elaborate.python.evaluator import Evaluator
from fibcore.elaborate.python.index import ModuleIndex, SourceModule
from fibcore.elaborate.python.values import OTHER_KEYS, Absent, Raised, Value
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
        shared: What stands in the module above its function, and has no effect on another program.
    """

    name: str
    source: str
    unknown: str = ""
    module: bool = False
    shared: str = ""

    @property
    def text(self) -> str:
        """The module that holds the program."""
        return self.source if self.module else f"{self.shared}\n{self.function(FUNCTION)}"

    def function(self, name: str) -> str:
        """The function that holds the program."""
        return f"def {name}():\n{textwrap.indent(self.source, '    ')}\n    return locals()\n"


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


@attrs.frozen
class _Unless:
    """What a program comes to unless an exception that the evaluator passed over was raised."""

    found: dict[str, Any] | Raised | Unknown
    passed_over: frozenset[str]


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
    return _bound(lambda: (_execute(program.text, space), space)[1 if program.module else 0])


def _execute(text: str, space: dict[str, Any], function: str = FUNCTION) -> Any:
    """Run a module, and its function where it has one."""
    if "__builtins__" not in space:
        exec(compile(text, f"{MODULE}.py", "exec", dont_inherit=True), space)  # noqa: S102
    return space[function]() if function in space else None


def _bound(run: Callable[[], dict[str, Any]]) -> dict[str, Any] | BaseException:
    """The names that are bound to data, or what is raised."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = run()
    except BaseException as error:  # noqa: BLE001 - what it raises is its result
        return error
    # Copied while all of it is there: a generator that is dropped may change a list yet.
    return {n: deepcopy(v) for n, v in found.items() if not n.startswith("__") and _is_data(v)}


def evaluated(program: Program, names: list[str]) -> dict[str, Any] | Raised | Unknown | _Unless:
    """What the evaluator binds names to; or what it raises, or why it knows none of them."""
    evaluator = Evaluator(_OneModule(program.text))
    if not program.module:
        return _called(evaluator, FUNCTION)
    try:
        return {name: evaluator.value(MODULE, name) for name in names}
    except Raised as error:
        return error
    except Exhausted:
        return Unknown("the budget is used up")


def _called(evaluator: Evaluator, function: str) -> dict[str, Any] | Raised | Unknown | _Unless:
    passed_over = evaluator.writes.passed_over
    passed_over.clear()
    found = _result(evaluator, function)
    return _Unless(found, frozenset(passed_over)) if passed_over else found


def _result(evaluator: Evaluator, function: str) -> dict[str, Any] | Raised | Unknown:
    try:
        result = evaluator.call(MODULE, function)
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
    names = [] if isinstance(expected, BaseException) else list(expected)
    return _comparison(expected, lambda: evaluated(program, names))


def compared_together(programs: Sequence[Program]) -> Iterator[Comparison]:
    """Run functions of one module one after the other, in one interpreter and one evaluator.

    Where they differ, or the evaluator has not come to the end, the rest gets new ones.
    """
    rest = list(programs)
    while rest:
        functions = [each.function(f"{FUNCTION}_{n}") for n, each in enumerate(rest)]
        text = "\n".join((rest[0].shared, *functions))
        for result in _in_turn(text, len(rest)):
            rest.pop(0)
            yield result
            if result.differences or "" in result.unknown:
                break


def _in_turn(text: str, count: int) -> Iterator[Comparison]:
    space: dict[str, Any] = {"__name__": MODULE}
    evaluator = Evaluator(_OneModule(text))
    for function in (f"{FUNCTION}_{n}" for n in range(count)):
        expected = _bound(partial(_execute, text, space, function))
        yield _comparison(expected, partial(_called, evaluator, function))


def _comparison(
    expected: dict[str, Any] | BaseException,
    evaluate: Callable[[], dict[str, Any] | Raised | Unknown | _Unless],
) -> Comparison:
    if isinstance(expected, SyntaxError):
        raise expected
    try:
        found = evaluate()
    except (FibcoreError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError,
            RuntimeError, AssertionError, NameError) as error:  # fmt: skip
        return Comparison({"": f"the evaluator fails: {type(error).__name__}: {error}"})
    if isinstance(found, _Unless):
        kinds = {kind.__name__ for kind in type(expected).__mro__}
        if isinstance(expected, BaseException) and not kinds.isdisjoint(found.passed_over):
            found = Unknown(f"unless one of these was raised: {sorted(found.passed_over)}")
        else:
            found = found.found
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
        if any(isinstance(v, Unknown) and v.kind is UnknownKind.ENTRY for v in got):
            return True
        return len(expected) == len(got) and _texts(expected) == _texts(got)
    if isinstance(expected, dict):
        if OTHER_KEYS in got:
            return all(agree(expected[k], v, depth - 1) for k, v in got.items() if k in expected)
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
