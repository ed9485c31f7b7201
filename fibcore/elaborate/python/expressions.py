"""Expressions of the source, evaluated over known and unknown values."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.limits import is_wide
from fibcore.elaborate.python.part import Handlers, Part
from fibcore.elaborate.python.values import (
    ABSENT,
    Bound,
    Class,
    Env,
    Ext,
    Func,
    Raised,
    born,
    merge,
)
from fibcore.elaborate.python.values.classes import may_be_generic
from fibcore.elaborate.python.values.exceptions import EXCEPTIONS
from fibcore.model.tree import Alternatives, SourcePlace, Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator


class Expressions(Part):
    """Evaluates `ast.expr` nodes.

    Methods are named after the syntax that they evaluate, and give its value.
    """

    def __init__(self, evaluator: Evaluator) -> None:
        super().__init__(evaluator)
        self._handlers: dict[type, Callable[[Any, Env], Any]] = {}
        self._step = evaluator.budget.step

    def register(self, handlers: Handlers) -> None:
        """Let a part evaluate kinds of syntax."""
        self._handlers.update(handlers)

    def eval(self, node: ast.expr, env: Env) -> Any:
        """The value of an expression."""
        self._step()
        handler = self._handlers.get(type(node))
        if handler is None:
            return Unknown(f"{type(node).__name__} is not evaluated", env.module.place(node))
        return handler(node, env)

    def handlers(self) -> Handlers:
        return {
            ast.Constant: self.constant,
            ast.Name: self.name,
            ast.Attribute: self.attribute,
            ast.BoolOp: self.boolop,
            ast.IfExp: self.ifexp,
            ast.Tuple: self.tuple_,
            ast.List: self.list_,
            ast.Set: self.set_,
            ast.Dict: self.dict_,
            ast.Subscript: self.subscript,
            ast.Slice: self.slice_,
            ast.JoinedStr: self.joinedstr,
            ast.Lambda: self.lambda_,
            ast.NamedExpr: self.namedexpr,
            ast.Starred: self.starred,
            ast.Await: self.await_,
            ast.Yield: self.yield_,
            ast.YieldFrom: self.yield_,
        }

    def constant(self, node: ast.Constant, env: Env) -> Any:
        return node.value

    def name(self, node: ast.Name, env: Env) -> Any:
        return self.ev.names.lookup(node.id, env, node)

    def attribute(self, node: ast.Attribute, env: Env) -> Any:
        value = self.eval(node.value, env)
        if node.attr == "shape" and isinstance(value, Unknown):
            self._narrow_to_tensor(node.value, value, env)
        found = self.ev.attributes.get(value, node.attr, env.module.place(node))
        if node.attr == "shape" and self.ev.mode.forward and isinstance(found, Unknown):
            return found.as_plain()
        return found

    def _narrow_to_tensor(self, node: ast.expr, value: Unknown, env: Env) -> None:
        """A variable whose shape a forward pass asks is a tensor, where the pass goes on."""
        local = isinstance(node, ast.Name) and node.id in env.vars
        if local and self.ev.mode.forward and not value.is_tensor:
            assert isinstance(node, ast.Name)
            tensor = Unknown.tensor(value.reason, value.place)
            self.ev.writes.put(env.vars, node.id, tensor)

    def boolop(self, node: ast.BoolOp, env: Env) -> Any:
        return self._operand(node, 0, env)

    def _operand(self, node: ast.BoolOp, position: int, env: Env) -> Any:
        """The value of `a or b or c` from one of its operands on."""
        value = self.eval(node.values[position], env)
        if position == len(node.values) - 1:
            return value
        stop_at = isinstance(node.op, ast.Or)
        truth = self.ev.operators.truth(value)
        if truth is not None:
            return value if truth is stop_at else self._operand(node, position + 1, env)
        # What Python goes on from is no result.
        parts = value.values if isinstance(value, Alternatives) else (value,)
        results = [p for p in parts if self.ev.operators.truth(p) in (None, stop_at)]
        results = [stop_at if isinstance(p, Unknown) and p.is_truth else p for p in results]
        return self.ev.writes.choose(
            [lambda: merge(results), partial(self._operand, node, position + 1, env)],
            _undecided(node, env),
        )

    def condition(self, node: ast.expr, env: Env) -> Any:
        """The value of an expression of which only the truth is asked.

        `unknown or x` is true where `x` is, and `unknown and x` is false where `x` is.
        """
        if isinstance(node, ast.BoolOp):
            return self._holds(node, 0, env)
        value = self.eval(node, env)
        if type(value) is re.Match and isinstance(node, ast.Call):
            self._only_whether(value, node.func, env)
        return value

    def _only_whether(self, found: re.Match[str], func: ast.expr, env: Env) -> None:
        """Note that nobody asks more of a match than whether there is one.

        What it matched differs from layer to layer, and they are alike all the same.
        """
        if isinstance(func, ast.Attribute) and isinstance(func.value, ast.Name):
            library = self.ev.names.lookup(func.value.id, env, func)
            if isinstance(library, Ext) and library.name in ("re", "regex"):
                self.ev.layers.only_whether(found)

    def _holds(self, node: ast.BoolOp, position: int, env: Env) -> Any:
        value = self.condition(node.values[position], env)
        if position == len(node.values) - 1:
            return value
        stop_at = isinstance(node.op, ast.Or)
        truth = self.ev.operators.truth(value)
        if truth is not None:
            return stop_at if truth is stop_at else self._holds(node, position + 1, env)
        rest: list[bool | None] = []

        def others() -> None:
            rest.append(self.ev.operators.truth(self._holds(node, position + 1, env)))

        # Whether Python comes this far is unknown.
        self.ev.writes.choose([lambda: None, others], _undecided(node, env))
        return stop_at if rest and rest[0] is stop_at else value

    def ifexp(self, node: ast.IfExp, env: Env) -> Any:
        truth = self.ev.operators.truth(self.condition(node.test, env))
        if truth is not None:
            return self.eval(node.body if truth else node.orelse, env)

        def side(part: ast.expr, positive: bool) -> Any:
            with self.ev.branches.narrowed(node.test, env, positive=positive):
                return self.eval(part, env)

        sides = [partial(side, node.body, True), partial(side, node.orelse, False)]
        return self.ev.writes.choose(sides, _undecided(node.test, env))

    def tuple_(self, node: ast.Tuple, env: Env) -> Any:
        return self._sequence(node.elts, env, tuple)

    def list_(self, node: ast.List, env: Env) -> Any:
        return self._sequence(node.elts, env, list)

    def set_(self, node: ast.Set, env: Env) -> Any:
        values = self._sequence(node.elts, env, list)
        return self.ev.operators.make_set(values, env.module.place(node))

    def _sequence(self, elements: list[ast.expr], env: Env, kind: type) -> Any:
        unknown: Unknown | None = None
        values: list[Any] = []
        for element in elements:
            if isinstance(element, ast.Starred):
                starred = self.eval(element.value, env)
                known = not isinstance(starred, (Unknown, Alternatives))
                items = self.ev.operators.items(starred) if known else None
                if items is None:
                    unknown = Unknown("unknown starred items", env.module.place(element))
                    self.ev.exceptions.may_raise(env.module.place(element), "TypeError")
                values.extend(items or ())
            else:
                values.append(self.eval(element, env))
        if unknown is not None:
            return unknown
        return born(kind(values))

    def dict_(self, node: ast.Dict, env: Env) -> Any:
        result: dict[Any, Any] = born({})
        place = env.module.place(node)
        unknown: Unknown | None = None
        for key_node, value_node in zip(node.keys, node.values, strict=False):
            if key_node is None:
                value = self.eval(value_node, env)
                if isinstance(value, (dict, Alternatives)):
                    self.ev.plain.method(result, "update", [value], {}, place)
                else:
                    unknown = Unknown("a dict merged with something unknown", place)
                    self.ev.exceptions.may_raise(place, "TypeError")
                continue
            key = self.eval(key_node, env)
            self.ev.assignments.set_item(result, key, self.eval(value_node, env), place)
        return result if unknown is None else unknown

    def subscript(self, node: ast.Subscript, env: Env) -> Any:
        value = self.eval(node.value, env)
        place = env.module.place(node)
        # What stands between the brackets of a generic type may be anything, names that are not
        # bound included, so it is evaluated only where it is a key.
        if isinstance(value, (Ext, Class)):
            if isinstance(value, Class):
                members = self.ev.classes.enum_members(value)
                if members is not None:
                    return self.ev.enums.by_key(value, self.eval(node.slice, env), place)
                return self._of_class(value, node, env, place)
            if value.name in EXCEPTIONS and not value.name.endswith("Group"):
                raise Raised("TypeError", f"type {value.name!r} is not subscriptable", place)
            return self.ev.libraries.item(value, lambda: self.eval(node.slice, env), place)
        return self.ev.operators.subscript(value, self.eval(node.slice, env), place)

    def _of_class(self, cls: Class, node: ast.Subscript, env: Env, place: SourcePlace) -> Any:
        """`cls[...]`: what the class says of it, else a generic alias, which stands for it."""
        method = self.ev.classes.attr(cls, "__class_getitem__")
        if isinstance(method, Func):
            key = self.eval(node.slice, env)
            return self.ev.calls.call(Bound(method, cls), [key], {}, place)
        if cls.metaclass is not None:
            found = cls.get_item(self.ev, self.eval(node.slice, env), place)
            if found is not ABSENT:
                return found
        if not may_be_generic(cls):
            self.eval(node.slice, env)
            raise Raised("TypeError", f"type {cls.name!r} is not subscriptable", place)
        return cls

    def slice_(self, node: ast.Slice, env: Env) -> Any:
        parts = [
            None if p is None else self.eval(p, env) for p in (node.lower, node.upper, node.step)
        ]
        return slice(*parts)

    def joinedstr(self, node: ast.JoinedStr, env: Env) -> Any:
        place = env.module.place(node)
        parts: list[Any] = []
        for piece in node.values:
            if isinstance(piece, ast.FormattedValue):
                parts.append(self._formatted(piece, env, place))
            elif isinstance(piece, ast.Constant):
                parts.append(piece.value)
        unknown = next((part for part in parts if isinstance(part, Unknown)), None)
        if unknown is not None:
            return unknown
        if len(parts) == 1:
            return parts[0]
        return self.ev.operators.apply(lambda *p: "".join(p), parts, place)

    def _formatted(self, piece: ast.FormattedValue, env: Env, place: SourcePlace) -> Any:
        value = self.eval(piece.value, env)
        if isinstance(value, (Unknown, Alternatives)):
            if piece.format_spec is not None:
                self.ev.exceptions.may_raise(place, "TypeError", "ValueError")
            return Unknown("text with an unknown part", place)
        spec = ""
        if piece.format_spec is not None:
            spec = self.eval(piece.format_spec, env)
            if not isinstance(spec, str) or is_wide(spec):
                return Unknown("text with an unknown format", place)
        conversion = None if piece.conversion < 0 else chr(piece.conversion)
        text = self.ev.texts.text(value, place, conversion, spec)
        if spec and not isinstance(text, str):
            self.ev.exceptions.may_raise(place, "TypeError", "ValueError")
        return text

    def lambda_(self, node: ast.Lambda, env: Env) -> Any:
        return self.ev.definitions.function(node, env, "<lambda>")

    def namedexpr(self, node: ast.NamedExpr, env: Env) -> Any:
        value = self.eval(node.value, env)
        scope = env  # a comprehension binds its own variables, and `:=` those of the function
        while scope.func is None and not scope.is_class and scope.outer is not None:
            scope = scope.outer
        self.ev.names.bind(scope, node.target.id, value)
        return value

    def starred(self, node: ast.Starred, env: Env) -> Any:
        return self.eval(node.value, env)

    def await_(self, node: ast.Await, env: Env) -> Any:
        return Unknown("await", env.module.place(node))

    def yield_(self, node: ast.Yield | ast.YieldFrom, env: Env) -> Any:
        # Frames of generators look for their yields themselves (`generators.py`).
        return Unknown("a yield outside of a generator's statements", env.module.place(node))


def _undecided(node: ast.expr, env: Env) -> Unknown:
    return Unknown("an undecided condition", env.module.place(node))
