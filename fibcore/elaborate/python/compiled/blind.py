"""Which loops treat names as text with numbers that mean nothing to them.

A body is blind to numbers where it only compares pieces of text with each other: it does not count
characters, order, slice, or tell digits from letters, has no digit among its constants, and keeps
nothing from one round to the next. What it does with `layers.7.mlp` and an entry of a list that has
no 7 is then what it does with any other number that the entry does not have.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable

from fibcore.syntax import walk

_METHODS = frozenset((
    "startswith", "endswith", "removeprefix", "removesuffix", "split", "rsplit", "strip", "lstrip",
    "rstrip", "partition", "rpartition", "replace", "join", "lower", "upper", "fullmatch",
))  # fmt: skip
_WHOLE = ("startswith", "endswith", "fullmatch", "lower", "upper")
"""Those that give no piece of a text."""
_COMPARISONS = (ast.Eq, ast.NotEq, ast.In, ast.NotIn, ast.Is, ast.IsNot)
_QUANTIFIERS = ("any", "all")

Callee = Callable[[str], ast.FunctionDef | None]
"""The function of the source that a name of its module stands for; None where it is none."""


class Blindness:
    """Looks at the syntax of loops.

    Args:
        variables: The variables of the function around the loop.
        callee: The functions that a name may stand for.
        depth: How many calls of functions are followed.

    Attributes:
        free: The variables of the function that a body reads.
        read: The variables of a round that decide how it ends.
        cuts: Whether texts are cut into pieces, so that one may begin or end at a number.
    """

    def __init__(self, variables: Iterable[str], callee: Callee, depth: int = 3) -> None:
        self._variables = frozenset(variables)
        self._callee = callee
        self._depth = depth
        self.free: set[str] = set()
        self.read: set[str] = set()
        self.cuts = False

    def loop(self, node: ast.For, function: ast.FunctionDef) -> bool:
        """Whether the body of a loop is blind."""
        inside = _stored([node])
        elsewhere = _outside(function, node)
        if inside & elsewhere or node.orelse:
            return False
        return self._block(node.body, _names(node.target), inside)

    def quantified(self, generator: ast.comprehension, elements: list[ast.expr]) -> bool:
        """Whether the rounds of a comprehension are blind."""
        own = _names(generator.target)
        return all(self._value(v, own, own) for v in (*generator.ifs, *elements))

    def _function(self, node: ast.FunctionDef) -> bool:
        spec = node.args
        own = {a.arg for a in (*spec.posonlyargs, *spec.args, *spec.kwonlyargs)}
        stored = _stored(node.body)
        inner = Blindness(own | stored, self._callee, self._depth - 1)
        # Its parameters may be given new values, for they are this call's alone.
        found = self._depth > 0 and inner._block(node.body, own, stored | own)
        self.cuts |= inner.cuts
        return found

    def _block(self, body: list[ast.stmt], known: set[str], stored: set[str]) -> bool:
        """Whether statements are blind.

        Args:
            body: The statements.
            known: Variables that were bound in this round.
            stored: Variables that are bound somewhere in the loop.
        """
        known = set(known)
        for statement in body:
            if isinstance(statement, ast.Assign):
                (target, *more) = statement.targets
                if more or not isinstance(target, ast.Name):
                    return False
                if not self._value(statement.value, known, stored):
                    return False
                known.add(target.id)
            elif isinstance(statement, ast.If):
                if not self._value(statement.test, known, stored):
                    return False
                if not self._block(statement.body, known, stored):
                    return False
                if not self._block(statement.orelse, known, stored):
                    return False
            elif isinstance(statement, ast.For):
                if statement.orelse or not self._value(statement.iter, known, stored):
                    return False
                if not self._block(statement.body, known | _names(statement.target), stored):
                    return False
            elif isinstance(statement, ast.Return):
                # Its value is made once the loop is over.
                if statement.value is not None and not self._reads(statement.value, known, stored):
                    return False
            elif not isinstance(statement, (ast.Pass, ast.Continue)) and not (
                isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
            ):
                return False
        return True

    def _reads(self, node: ast.expr, known: set[str], stored: set[str]) -> bool:
        """Whether the variables of an expression are this round's, or none of the loop's."""
        names = {n.id for n in walk(node) if isinstance(n, ast.Name)} & self._variables
        self.free |= names - known - stored
        return not names & (stored - known) and not any(
            isinstance(n, (ast.NamedExpr, ast.Lambda)) for n in walk(node)
        )

    def _value(self, node: ast.expr, known: set[str], stored: set[str]) -> bool:
        def all_of(nodes: Iterable[ast.expr]) -> bool:
            return all(self._value(n, known, stored) for n in nodes)

        match node:
            case ast.Constant(value=str(text)):
                return not any(c.isdigit() for c in text)
            case ast.Constant(value=value):
                return value is None or value in (True, False, 1)
            case ast.Name(id=name):
                if name in known:
                    self.read.add(name)
                    return True
                if name in stored or name not in self._variables:
                    return False  # an earlier round's, or data that has names of its own
                self.free.add(name)
                return True
            case ast.Compare():
                if not all(isinstance(op, _COMPARISONS) for op in node.ops):
                    return False
                return all_of((node.left, *node.comparators))
            case ast.BoolOp():
                return all_of(node.values)
            case ast.UnaryOp(op=ast.Not()):
                return self._value(node.operand, known, stored)
            case ast.BinOp(op=ast.Add()):
                return all_of((node.left, node.right))
            case ast.IfExp():
                return all_of((node.test, node.body, node.orelse))
            case ast.JoinedStr():
                return all(
                    isinstance(v, ast.Constant)
                    or (isinstance(v, ast.FormattedValue) and v.format_spec is None)
                    for v in node.values
                ) and all_of(
                    v.value if isinstance(v, ast.FormattedValue) else v for v in node.values
                )
            case ast.Subscript():
                self.cuts = True
                return _is_end(node.slice) and self._value(node.value, known, stored)
            case ast.GeneratorExp() | ast.ListComp():
                (generator, *more) = node.generators
                own = known | _names(generator.target)
                return (
                    not more
                    and self._value(generator.iter, known, stored)
                    and all(self._value(v, own, stored | own) for v in (*generator.ifs, node.elt))
                )
            case ast.Call():
                given = [*node.args, *(k.value for k in node.keywords)]
                return self._called(node.func, known, stored) and all_of(given)
        return False

    def _called(self, func: ast.expr, known: set[str], stored: set[str]) -> bool:
        if isinstance(func, ast.Name) and func.id not in self._variables:
            node = self._callee(func.id)
            return func.id in _QUANTIFIERS if node is None else self._function(node)
        if isinstance(func, ast.Attribute):
            if isinstance(func.value, ast.Name) and func.value.id not in self._variables:
                return func.attr in ("compile", "fullmatch")
            self.cuts |= func.attr not in _WHOLE
            return func.attr in _METHODS and self._value(func.value, known, stored)
        return False


def _stored(nodes: Iterable[ast.AST]) -> set[str]:
    """The variables that statements bind."""
    return {
        inner.id
        for node in nodes
        for inner in walk(node)
        if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store)
    }


def _names(target: ast.expr) -> set[str]:
    return {n.id for n in walk(target) if isinstance(n, ast.Name)}


def _outside(function: ast.FunctionDef, loop: ast.For) -> set[str]:
    """The variables that a function reads outside of a loop."""
    found: set[str] = set()
    stack: list[ast.AST] = list(function.body)
    while stack:
        node = stack.pop()
        if node is loop:
            stack.append(loop.iter)
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            found.add(node.id)
        stack += ast.iter_child_nodes(node)
    return found


def _is_end(node: ast.expr) -> bool:
    """Whether a subscript is 0 or -1."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        node = node.operand
        return isinstance(node, ast.Constant) and node.value == 1
    return isinstance(node, ast.Constant) and type(node.value) is int and node.value == 0
