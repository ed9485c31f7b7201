"""Comparisons, identity and membership."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterator, Set
from functools import partial
from typing import Any

from fibcore.elaborate.python import limits, plain
from fibcore.elaborate.python.part import Handlers, Part
from fibcore.elaborate.python.plain import PLAIN
from fibcore.elaborate.python.values import (
    ABSENT,
    OTHER_KEYS,
    DictView,
    Env,
    Obj,
    Raised,
    Value,
    deep_unknown,
    depends,
    hashable,
    made_of,
    plain_of,
)
from fibcore.elaborate.python.values.dicts import OrderedDict
from fibcore.model.tree import Alternatives, SourcePlace, Unknown

_CONTAINERS = (list, tuple, dict, set, frozenset)
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


_SMALL = range(-5, 257)
_SHORT = 2
"""Numbers and lengths of texts of which CPython keeps one each."""


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
        if not _is_bool(result):
            self.ev.writes.choose([lambda: None, following], unknown)
            return unknown
        found = self.ev.writes.choose([lambda: False, following], unknown)
        if found is False:
            return False
        return unknown.as_truth() if _is_bool(found) else unknown

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
                return Unknown.truth("an identity that is not known", place)
            return answer if isinstance(op, ast.Is) else not answer
        if isinstance(op, (ast.In, ast.NotIn)):
            found = self.contains(left, right, place)
            if isinstance(found, Unknown):
                found = found.as_truth()  # whatever a method of a class gives, Python makes it one
            return self.ev.operators.negated(found) if isinstance(op, ast.NotIn) else found
        if isinstance(left, Unknown) or isinstance(right, Unknown):
            if not isinstance(op, (ast.Eq, ast.NotEq)):
                self.ev.exceptions.may_raise(place, "TypeError")
            found = made_of(left, right)
            return found.as_truth() if found.is_plain else found
        fn = _COMPARE[type(op)]
        if not isinstance(op, (ast.Eq, ast.NotEq)) and any(
            isinstance(side, DictView) and side.is_set for side in (left, right)
        ):
            return self.compare(op, self._as_set(left, place), self._as_set(right, place), place)
        if isinstance(left, PLAIN) and isinstance(right, PLAIN):
            inner = deep_unknown(left) or deep_unknown(right)
            if inner is not None:
                if not isinstance(op, (ast.Eq, ast.NotEq)):
                    self.ev.exceptions.may_raise(place, "TypeError")
                return inner
            if isinstance(left, OrderedDict) and isinstance(right, OrderedDict):
                return self.compare(op, list(left.items()), list(right.items()), place)
            if isinstance(left, _CONTAINERS) and holds_objects(left, right):
                return self._compare_items(op, left, right, place)
            return self.ev.operators.apply(lambda a, b: bool(fn(a, b)), [left, right], place)
        if isinstance(op, ast.Eq):
            return self._equal(left, right, place)
        if isinstance(op, ast.NotEq):
            return self._unequal(left, right, place)
        members = plain_of(left), plain_of(right)
        if members[0] is not left or members[1] is not right:
            return self.compare(op, *members, place)
        found = self.ev.special_methods.order(type(op).__name__, left, right, place)
        if found is not ABSENT:
            return found
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

    def _as_set(self, value: Any, place: SourcePlace) -> Any:
        """A view of a dict as a set; any other value as it is."""
        if not isinstance(value, DictView):
            return value
        items = value.now()
        if not all(map(hashable, items)):  # Python asks another view for them, and not for hashes
            self.ev.exceptions.may_raise(place, "TypeError")
            return Unknown("a view with values that cannot be in a set", place)
        return self.ev.operators.make_set(items, place)

    def equal(self, left: Any, right: Any, place: SourcePlace) -> Any:
        """`left == right`."""
        return self.compare(ast.Eq(), left, right, place)

    def _unequal(self, left: Any, right: Any, place: SourcePlace) -> Any:
        for one, other in ((left, right), (right, left)):
            answer = self.ev.special_methods.of(one, "__ne__", [other], place)
            if answer is not ABSENT:
                return answer
        equal = self._equal(left, right, place)
        return self.ev.operators.negated(equal)

    def among(self, item: Any, items: Any, place: SourcePlace) -> Any:
        """Whether an item is, or equals, one of several."""
        undecided = False
        for other in items:
            if item is other:
                return True
            truth = self.ev.operators.truth(self.equal(item, other, place))
            if truth:
                return True
            undecided = undecided or truth is None
        return Unknown("membership that is not known", place) if undecided else False

    def _compare_items(self, op: ast.cmpop, left: Any, right: Any, place: SourcePlace) -> Any:
        """Compare containers that hold objects, item by item."""
        ordered = isinstance(left, (list, tuple)) and type(left) is type(right)
        if isinstance(op, (ast.Eq, ast.NotEq)):
            if ordered:
                pairs: Any = zip(left, right, strict=False)
            elif isinstance(left, dict) and isinstance(right, dict):
                if set(left) != set(right):
                    return Unknown("a comparison of dicts with objects", place)
                pairs = ((value, right[key]) for key, value in left.items())
            elif isinstance(left, (set, frozenset)) and isinstance(right, (set, frozenset)):
                return Unknown("a comparison of sets of objects", place)
            else:
                return isinstance(op, ast.NotEq)
            answer: bool | None = len(left) == len(right)
            for one, other in pairs if answer else ():
                truth = one is other or self.ev.operators.truth(self.equal(one, other, place))
                if truth is not True:
                    answer = truth
                    break
            if answer is None:
                return Unknown("a comparison with something unknown", place)
            return answer is isinstance(op, ast.Eq)
        if not ordered:
            return Unknown("a comparison of containers with objects", place)
        for one, other in zip(left, right, strict=False):
            truth = one is other or self.ev.operators.truth(self.equal(one, other, place))
            if truth is None:
                return Unknown("a comparison with something unknown", place)
            if not truth:
                return self.compare(op, one, other, place)
        return bool(_COMPARE[type(op)](len(left), len(right)))

    def _equal(self, left: Any, right: Any, place: SourcePlace) -> Any:
        for one, other in ((left, right), (right, left)):
            if isinstance(one, Value):
                answer = one.equals(self.ev, other, place)
                if answer is not ABSENT:
                    return answer
        if not all(v.comparable for v in (left, right) if isinstance(v, Value)):
            return Unknown("comparison of tensors", place)
        return left is right

    @staticmethod
    def _identical(left: Any, right: Any) -> bool | None:
        """`left is right`; None where that is not known.

        Of equal numbers and texts CPython keeps the small ones once; others may be one or two.
        """
        if left is None or right is None:
            other = right if left is None else left
            if isinstance(other, Unknown):
                # A tensor or number of which nothing is known but that it is there.
                return False if other.is_there else None
            return other is None
        if isinstance(left, Unknown) or isinstance(right, Unknown):
            return None
        if isinstance(left, Value):
            return left.identical(right)
        if isinstance(left, bool) or isinstance(right, bool):
            return left is right
        for kind in (int, float, complex, str, bytes):
            if isinstance(left, kind) and isinstance(right, kind):
                if left != right:
                    return False
                small = len(left) < _SHORT if isinstance(left, (str, bytes)) else left in _SMALL
                kept = small and kind not in (float, complex)
                return True if left is right or kept else None
        if isinstance(left, (tuple, frozenset)) and type(left) is type(right):
            return left is right or None  # constants of the source may be one object or two
        return left is right

    def contains(self, item: Any, container: Any, place: SourcePlace) -> Any:
        """`item in container`."""
        if isinstance(container, Unknown):
            self.ev.exceptions.may_raise(place, "TypeError")
            return container
        if isinstance(container, Value):
            found = container.contains(self.ev, item, place)
            if found is not ABSENT:
                return found
        inner = deep_unknown(item)
        if inner is not None:
            if not isinstance(container, (list, tuple)):
                self.ev.exceptions.may_raise(place, "TypeError")
            # Of text nothing is asked: not even whether it is empty, which "" would be in as well.
            if not isinstance(container, (list, tuple, dict, set, frozenset)) or container:
                return inner
            return False  # nothing is in what is empty
        if not isinstance(container, PLAIN):
            return Unknown(f"membership in {plain.kind_name(container)}", place)
        if isinstance(container, str) and not isinstance(item, str):
            message = "'in <string>' requires string as left operand"
            raise Raised("TypeError", message, place)
        operators = self.ev.operators
        if isinstance(container, (dict, set, frozenset)) and isinstance(item, (Obj, tuple)):
            item = self.ev.special_methods.key(container, item, place)
            if isinstance(item, Unknown):
                return item
        if isinstance(container, (list, tuple)) and holds_objects(container, item):
            return self.among(item, container, place)
        if isinstance(item, PLAIN):
            if isinstance(container, (dict, set, frozenset)) and not depends(item):
                # Keys depend on no layer (they were pinned): it need not be gone through for that.
                result = operators.apply(lambda i: limits.contains(i, container), [item], place)
            else:
                result = operators.apply(limits.contains, [item, container], place)
        else:
            if isinstance(container, (set, frozenset)):
                return self._in_set(item, container, place)
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

    def _in_set(self, item: Any, container: Set[Any], place: SourcePlace) -> Any:
        """`item in container` for a set, whose order does not matter for that."""
        self.ev.budget.spend(len(container), "a look-up in a set")
        answers = [self.same(each, item, place) for each in container]
        if True in answers:
            return True
        return Unknown("membership of something unknown", place) if None in answers else False


def _is_bool(value: Any) -> bool:
    """Whether a value is True or False, if not known which."""
    parts = value.values if isinstance(value, Alternatives) else (value,)
    return all(part.is_truth if isinstance(part, Unknown) else type(part) is bool for part in parts)


def holds_objects(*values: Any) -> bool:
    """Whether there is anything but plain data in values, however deep."""
    return next(objects_of(*values), None) is not None


def objects_of(*values: Any) -> Iterator[Value]:
    """What is no plain data in values, however deep; each container is gone through once."""
    seen: set[int] = set()
    pending = list(values)
    while pending:
        value = pending.pop()
        if isinstance(value, Value):
            yield value
        elif isinstance(value, _CONTAINERS) and id(value) not in seen:
            seen.add(id(value))
            pending.extend(value)
            if isinstance(value, dict):
                pending.extend(value.values())
