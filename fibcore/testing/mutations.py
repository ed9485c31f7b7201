"""Mutations of a reference: small changes that a test has to see, or on which nothing depends.

The mistakes of `wrong_references` are those that somebody thought of; these are all that follow
from the text. `tools/mutate_references.py` runs them.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator

import attrs

from fibcore.model.definition import Definition
from fibcore.ops.authoring.rendering import render

Place = tuple[ast.AST, str, "int | None"]  # a node, one of its fields, an index where it is a list

COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mod,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitOr,
}
_PAIRS = (
    *("min max", "minimum maximum", "amin amax", "zeros ones", "zeros_like ones_like"),
    *("exp exp2", "log log2", "sum mean", "add sub", "mul div", "floor ceil", "any all"),
    *("logaddexp logaddexp2", "new_zeros new_ones", "sigmoid tanh", "cumsum cumprod"),
    *("sqrt rsqrt", "argmin argmax"),
)
FUNCTIONS: dict[str, str] = {}
"""Function to the one that stands in its place; of those that work in place as well."""
for _pair in _PAIRS:
    _one, _other = _pair.split()
    for _end in ("", "_"):
        FUNCTIONS[_one + _end] = _other + _end
        FUNCTIONS[_other + _end] = _one + _end
MODULES = frozenset({"torch", "math"})
"""What functions are called on that have no receiver."""
KEPT_ARGUMENTS = frozenset({"device", "strict"})
"""Keywords that decide where a tensor is, or that look at inputs, as `assert` does."""
COMMUTATIVE = frozenset(
    f"{name}{end}"
    for name in ("min", "max", "minimum", "maximum", "logaddexp", "logaddexp2", "mul", "add")
    for end in ("", "_")
)
"""Functions whose arguments have no order."""


@attrs.frozen
class Mutation:
    """One change of a reference.

    Attributes:
        line: Line of the statement in the reference, from 1.
        last_line: Its last line, or that of the head of a compound statement.
        function: The function that it is in; empty for a constant at the top.
        before: The statement, on one line; of a compound statement its head.
        after: The same with the change.
        source: The reference with the change, without comments.
    """

    line: int
    last_line: int
    function: str
    before: str
    after: str
    source: str


def with_constants(definition: Definition, **constants: object) -> Definition:
    """A definition whose reference has other constants: small pieces of work, for small inputs.

    Raises:
        FibcoreError: the reference has no such constant.
    """
    return attrs.evolve(definition, reference=render(definition.reference, constants))


def mutations(source: str) -> Iterator[Mutation]:
    """All mutations of a reference, in the order of its text and always the same ones.

    Operators, comparisons and their boundaries, signs, conditions, constants (one more, one less,
    twice, the other of True and False), functions that are left out or taken for others, arguments
    that are left out or swapped, indices, bounds of slices and statements that are left out.

    Left as they are: `assert` statements, which look at inputs and compute nothing; `del`, which
    frees memory; annotations, decorators, imports, documentation and other texts; `device=`
    and `strict=`; the order of arguments that have none.
    """
    tree = ast.parse(source)
    texts = [ast.unparse(part) for part in tree.body]
    for top, part in enumerate(tree.body):
        for function, statement, place in _statements(tree, top):
            before, told = _head(statement), set()
            inside = getattr(statement, "body", None)
            last = inside[0].lineno - 1 if inside else statement.end_lineno or statement.lineno
            for apply in _changes(statement, place):
                undo = apply()
                after = _head(_get(place))
                if after != before and after not in told:
                    told.add(after)
                    ast.fix_missing_locations(part)
                    changed = [*texts[:top], ast.unparse(tree.body[top]), *texts[top + 1 :]]
                    yield Mutation(
                        *(statement.lineno, last, function, before, after),
                        "\n".join(changed) + "\n",
                    )
                undo()


def _get(place: Place) -> ast.AST:
    node, field, index = place
    value = getattr(node, field)
    found: ast.AST = value if index is None else value[index]
    return found


def _put(place: Place, new: ast.AST) -> None:
    node, field, index = place
    if index is None:
        setattr(node, field, new)
    else:
        getattr(node, field)[index] = new


def _replaced(place: Place, new: ast.AST) -> Callable[[], Callable[[], None]]:
    """What puts `new` in a place, and returns what puts back what was there."""

    def apply() -> Callable[[], None]:
        old = _get(place)
        _put(place, new)
        return lambda: _put(place, old)

    return apply


def _head(statement: ast.AST) -> str:
    """A statement on one line, without the statements in it."""
    if hasattr(statement, "body"):
        statement = copy.copy(statement)
        for field, value in (("body", [ast.Pass()]), ("orelse", []), ("finalbody", [])):
            if hasattr(statement, field):
                setattr(statement, field, value)
    return ast.unparse(statement).partition("\n")[0]


def _statements(
    parent: ast.AST, only: int | None = None, function: str = ""
) -> Iterator[tuple[str, ast.stmt, Place]]:
    """The statements that compute something, in order: their function, and where they stand.

    Args:
        parent: What they are in.
        only: The number of one statement of it; None for all.
        function: The function that it is in.
    """
    for field in ("body", "orelse", "finalbody"):
        for index, statement in enumerate(getattr(parent, field, ())):
            if only is not None and index != only:
                continue
            name = statement.name if isinstance(statement, ast.FunctionDef) else function
            silent = isinstance(statement, (*_SILENT, ast.FunctionDef)) or _is_text(statement)
            if not silent:
                yield name, statement, (parent, field, index)
            yield from _statements(statement, function=name)


_SILENT = (ast.Assert, ast.Delete, ast.Import, ast.ImportFrom, ast.ClassDef, ast.Pass, ast.Try)


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _changes(statement: ast.stmt, place: Place) -> Iterator[Callable[[], Callable[[], None]]]:
    """The changes of one statement."""
    droppable = (ast.Assign, ast.AugAssign, ast.Expr, ast.Continue, ast.Break)
    if isinstance(statement, droppable) and place[0].__class__ is not ast.Module:
        yield _replaced(place, ast.copy_location(ast.Pass(), statement))
    if isinstance(statement, ast.AugAssign):
        yield from _operators((statement, "op", None))
    if isinstance(statement, (ast.If, ast.While)):
        for value in (True, False):
            yield _replaced((statement, "test", None), ast.Constant(value))
    for field, value in ast.iter_fields(statement):
        if field not in ("body", "orelse", "finalbody", "annotation"):
            for inner in _places(statement, field, value):
                yield from _expressions(inner)


def _places(node: ast.AST, field: str, value: object) -> Iterator[Place]:
    """The places of all expressions in a field, the outer ones first."""
    for index, item in enumerate(value) if isinstance(value, list) else [(None, value)]:
        if isinstance(item, ast.keyword) and item.arg in KEPT_ARGUMENTS:
            continue
        if isinstance(item, ast.AST):
            yield node, field, index
            for inner, more in ast.iter_fields(item):
                yield from _places(item, inner, more)


def _operators(place: Place) -> Iterator[Callable[[], Callable[[], None]]]:
    other = OPERATORS.get(type(_get(place)))  # type: ignore[arg-type]
    if other is not None:
        yield _replaced(place, other())


def _expressions(place: Place) -> Iterator[Callable[[], Callable[[], None]]]:
    """The changes of the expression in a place, not of those in it."""
    node = _get(place)
    if isinstance(node, ast.operator):
        yield from _operators(place)
    elif isinstance(node, ast.cmpop):
        for other in COMPARISONS[type(node)]:
            yield _replaced(place, other())
    elif isinstance(node, ast.boolop):
        yield _replaced(place, ast.And() if isinstance(node, ast.Or) else ast.Or())
    elif isinstance(node, ast.UnaryOp):
        yield _replaced(place, node.operand)
    elif isinstance(node, ast.IfExp):
        yield _replaced(place, node.body)
        yield _replaced(place, node.orelse)
    elif isinstance(node, ast.Constant):
        for value in _constants(node.value):
            yield _replaced(place, ast.Constant(value))
    elif isinstance(node, ast.Call):
        yield from _calls(place, node)
    elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
        yield _replaced(place, node.value)
    elif isinstance(node, ast.Slice):
        for field in ("lower", "upper", "step"):
            if getattr(node, field) is not None:
                yield _replaced(place, ast.Slice(**{**vars(node), field: None}))


def _constants(value: object) -> list[int | float | bool]:
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, (int, float)):
        return [value + 1, value - 1, *([2 * value] if value not in (0, 1) else [])]
    return []


def _calls(place: Place, node: ast.Call) -> Iterator[Callable[[], Callable[[], None]]]:
    name, receiver = _called(node.func)
    if receiver is not None:
        yield _replaced(place, receiver)
    elif node.args and not isinstance(node.args[0], ast.Starred):
        yield _replaced(place, node.args[0])
    if name in FUNCTIONS:
        func = copy.copy(node.func)
        setattr(func, "id" if isinstance(func, ast.Name) else "attr", FUNCTIONS[name])
        yield _replaced((node, "func", None), func)

    def with_(args: list[ast.expr], keywords: list[ast.keyword]) -> ast.Call:
        return ast.Call(node.func, args, keywords)

    for i in range(len(node.args)):
        if len(node.args) > 1 or receiver is not None:
            yield _replaced(place, with_(node.args[:i] + node.args[i + 1 :], node.keywords))
    for i in range(0 if name in COMMUTATIVE else len(node.args) - 1):
        swapped = [*node.args[:i], node.args[i + 1], node.args[i], *node.args[i + 2 :]]
        yield _replaced(place, with_(swapped, node.keywords))
    for i, keyword in enumerate(node.keywords):
        if keyword.arg not in KEPT_ARGUMENTS:
            yield _replaced(place, with_(node.args, node.keywords[:i] + node.keywords[i + 1 :]))


def _called(func: ast.expr) -> tuple[str, ast.expr | None]:
    """The name of a function, and what it is a method of; None for one of a module."""
    if isinstance(func, ast.Attribute):
        root: ast.expr = func
        while isinstance(root, ast.Attribute):
            root = root.value
        of_module = isinstance(root, ast.Name) and root.id in MODULES
        return func.attr, None if of_module else func.value
    return (func.id if isinstance(func, ast.Name) else ""), None
