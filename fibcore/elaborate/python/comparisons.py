"""Comparisons, identity and membership."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from functools import partial
from typing import Any

from fibcore.elaborate.python import limits, plain
from fibcore.elaborate.python.part import Handlers, Part
from fibcore.elaborate.python.plain import PLAIN
from fibcore.elaborate.python.values import (
    ABSENT,
    OTHER_KEYS,
    EnumMember,
    Env,
    Obj,
    Raised,
    Value,
    deep_unknown,
)
from fibcore.elaborate.python.values.objects import NOT_IMPLEMENTED
from fibcore.model.tree import Alternatives, SourcePlace, Unknown

_COMPARE: dict[type, Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}

_ORDERS = {
    ast.Lt: ("__lt__", "__gt__"),
    ast.LtE: ("__le__", "__ge__"),
    ast.Gt: ("__gt__", "__lt__"),
    ast.GtE: ("__ge__", "__le__"),
}
"""The methods of orders, and those that the right side is asked for."""


class Comparisons(Part):
    """Compares values."""

    def handlers(self) -> Handlers:
        return {ast.Compare: self.chain}

    def chain(self, node: ast.Compare, env: Env) -> Any:
        """`a < b <= c`."""
        return self._link(node, self.ev.expressions.eval(node.left, env), 0, env)

    def _link(self, node: ast.Compare, left: Any, position: int, env: Env) -> Any:
        """A chain from one of its comparisons on."""
        right = self.ev.expressions.eval(node.comparators[position], env)
        result = self.compare(node.ops[position], left, right, env.module.place(node))
        if position == len(node.ops) - 1:
            return result
        truth = self.ev.operators.truth(result)
        if truth is False:
            return result
        following = partial(self._link, node, right, position + 1, env)
        if truth:
            return following()
        unknown = Unknown("a comparison with something unknown", env.module.place(node))
        found = self.ev.writes.choose([lambda: unknown, following], unknown)
        return False if found is False else unknown

    def compare(self, op: ast.cmpop, left: Any, right: Any, place: SourcePlace) -> Any:
        """One comparison; a bool or Unknown, or Alternatives of those."""
        if isinstance(left, Alternatives) or isinstance(right, Alternatives):
            each = self.ev.writes.mapped
            return each(left, lambda a: each(right, lambda b: self.compare(op, a, b, place)))
        if isinstance(op, (ast.Is, ast.IsNot)):
            answer = self._identical(left, right)
            if left is not None and right is not None:
                self.ev.layers.pin(left)
                self.ev.layers.pin(right)
            if answer is None:
                return Unknown("an identity that is not known", place)
            return answer if isinstance(op, ast.Is) else not answer
        if isinstance(op, (ast.In, ast.NotIn)):
            found = self._contains(left, right, place)
            return self.ev.operators.negated(found) if isinstance(op, ast.NotIn) else found
        for side in (left, right):
            if isinstance(side, Unknown):
                return side
        fn = _COMPARE[type(op)]
        if isinstance(left, PLAIN) and isinstance(right, PLAIN):
            inner = deep_unknown(left) or deep_unknown(right)
            if inner is not None:
                return inner
            return self.ev.operators.apply(lambda a, b: bool(fn(a, b)), [left, right], place)
        if isinstance(op, (ast.Eq, ast.NotEq)):
            return self._equal(type(op), left, right, place)
        if isinstance(left, Obj) or isinstance(right, Obj):
            return self._ordered(type(op), left, right, place)
        if isinstance(left, EnumMember) and isinstance(right, EnumMember):
            values = [left.value, right.value]
            return self.ev.operators.apply(lambda a, b: bool(fn(a, b)), values, place)
        return Unknown(
            f"comparison of {plain.kind_name(left)} with {plain.kind_name(right)}", place
        )

    def same(self, left: Any, right: Any, place: SourcePlace) -> bool | None:
        """Whether two values are one or equal, as containers ask it; None where not known."""
        if isinstance(left, (Unknown, Alternatives)) or isinstance(right, (Unknown, Alternatives)):
            return None
        if left is right:
            return True
        return self.ev.operators.truth(self.compare(ast.Eq(), left, right, place))

    def _equal(self, op: type, left: Any, right: Any, place: SourcePlace) -> Any:
        """`left == right` or `left != right`, as the methods of their classes say."""
        if op is ast.NotEq:
            for one, other in ((left, right), (right, left)):
                if isinstance(one, Obj):
                    found = one.special(self.ev, "__ne__", [other], place)
                    if found is not ABSENT and found != NOT_IMPLEMENTED:
                        return found
        answer = self._asked_for_equality(left, right, place)
        if op is ast.Eq or not isinstance(answer, bool):
            return answer if op is ast.Eq else self.ev.operators.negated(answer)
        return not answer

    def _asked_for_equality(self, left: Any, right: Any, place: SourcePlace) -> Any:
        for one, other in ((left, right), (right, left)):
            if isinstance(one, Value):
                answer = one.equals(self.ev, other, place)
                if answer is not ABSENT:
                    return answer
        if not all(v.comparable for v in (left, right) if isinstance(v, Value)):
            return Unknown("comparison of tensors", place)
        return left is right

    def _ordered(self, op: type[ast.cmpop], left: Any, right: Any, place: SourcePlace) -> Any:
        """`left < right` and the like, as the methods of their classes say."""
        name, reflected = _ORDERS[op]
        for one, other, method in ((left, right, name), (right, left, reflected)):
            if isinstance(one, Obj):
                found = one.special(self.ev, method, [other], place)
                if found is not ABSENT and found != NOT_IMPLEMENTED:
                    return found
        sides = ((left, name), (right, reflected))
        if all(isinstance(v, PLAIN) or (isinstance(v, Obj) and v.says(self.ev, n))
               for v, n in sides):  # fmt: skip
            raise Raised("TypeError", f"{name} is not supported between these", place)
        return Unknown(
            f"comparison of {plain.kind_name(left)} with {plain.kind_name(right)}", place
        )

    @staticmethod
    def _identical(left: Any, right: Any) -> bool | None:
        """`left is right`; None where that is not known.

        Equal numbers and strings are taken for the same: source that compares them by identity
        means the small ones, which CPython keeps once.
        """
        if left is None or right is None:
            other = right if left is None else left
            if isinstance(other, Unknown):
                # A tensor or object of which nothing is known but that it is there.
                return False if other.is_tensor else None
            return other is None
        if isinstance(left, Unknown) or isinstance(right, Unknown):
            return None
        if isinstance(left, Value):
            return left.identical(right)
        if isinstance(left, (bool, int, str)) and isinstance(right, (bool, int, str)):
            return isinstance(left, bool) is isinstance(right, bool) and left == right
        if isinstance(left, (tuple, frozenset)) and type(left) is type(right):
            return left is right or None  # constants of the source may be one object or two
        return left is right

    def _contains(self, item: Any, container: Any, place: SourcePlace) -> Any:
        """`item in container`."""
        if isinstance(container, Unknown):
            return container
        if isinstance(container, Value):
            found = container.contains(self.ev, item, place)
            if found is not ABSENT:
                return found
        inner = deep_unknown(item)
        if inner is not None:
            return inner
        if not isinstance(container, PLAIN):
            return Unknown(f"membership in {plain.kind_name(container)}", place)
        if isinstance(container, str) and not isinstance(item, str):
            message = "'in <string>' requires string as left operand"
            raise Raised("TypeError", message, place)
        operators = self.ev.operators
        if isinstance(item, PLAIN):
            result = operators.apply(limits.contains, [item, container], place)
        else:
            held = operators.items(container)
            if held is None:
                return Unknown(f"membership in {plain.kind_name(container)}", place)
            result = False
            for each in held:
                same = self.same(each, item, place)
                if same is None:
                    return Unknown("membership of something unknown", place)
                if same:
                    return True
        if not result and not isinstance(container, dict):
            inner = deep_unknown(container, 1)
            if inner is not None:
                return inner  # it may be the item
        if not result and isinstance(container, dict) and OTHER_KEYS in container:
            return Unknown("whether a dict has a key", place)
        if result and isinstance(container, dict):
            held = container.get(item)
            if isinstance(held, Alternatives) and ABSENT in held.values:
                return Unknown("a key that depends on a branch", place)
        return bool(result)
