"""Operators, and what Python does with values by itself: truth, iteration, items."""

from __future__ import annotations

import ast
import itertools
import operator
import re
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

from fibcore.elaborate.python import limits, plain
from fibcore.elaborate.python.limits import TooLarge
from fibcore.elaborate.python.part import Handlers, Part
from fibcore.elaborate.python.plain import PLAIN
from fibcore.elaborate.python.plain_types import is_plain
from fibcore.elaborate.python.values import (
    ABSENT,
    ACTIVE,
    OTHER_KEYS,
    Class,
    DictView,
    EnumMember,
    Env,
    Mod,
    Obj,
    Param,
    Raised,
    Tensor,
    Value,
    applied,
    at_index,
    bare,
    born,
    bound,
    certain_length,
    deep_unknown,
    depending,
    depends,
    hashable,
    index_fn,
    is_filled,
    is_open,
    is_scalar,
    kind_of,
    made_of,
    mapped,
    merge,
    one_of,
    plain_of,
    same,
    snapshot,
)
from fibcore.elaborate.python.values.classes import is_of_source
from fibcore.elaborate.python.values.dicts import ClassNames, DefaultDict
from fibcore.elaborate.python.values.iterators import Iterator
from fibcore.elaborate.python.values.open_ended import may_be_absent
from fibcore.model.tree import Alternatives, SourcePlace, Unknown, UnknownKind, origins_of


def _inverted(value: Any) -> Any:
    """`~value`; of a bool without the warning that Python 3.12 gives."""
    return ~int(value) if isinstance(value, bool) else ~value


_BINARY: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: limits.add,
    ast.Sub: operator.sub,
    ast.Mult: limits.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: limits.modulo,
    ast.Pow: limits.power,
    ast.LShift: limits.lshift,
    ast.RShift: operator.rshift,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
    ast.BitAnd: operator.and_,
}
_EXACT: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
    ast.BitAnd: operator.and_,
}
"""Operators that never raise on integers; those of small ones are small."""
_IN_PLACE: dict[tuple[type, type], str] = {
    (list, ast.Add): "extend",
    (list, ast.Mult): "extend",
    (set, ast.BitOr): "update",
    (set, ast.BitAnd): "intersection_update",
    (set, ast.Sub): "difference_update",
    (set, ast.BitXor): "symmetric_difference_update",
    (dict, ast.BitOr): "update",
}
"""The methods by which containers are changed in place."""
_SMALL = 1 << 63
_SIZED = (str, bytes, list, tuple, set, frozenset, dict)
_PIECE = 1024
_SET_OPERATORS = (ast.Sub, ast.BitAnd, ast.BitOr, ast.BitXor)
_UNARY: dict[type, Callable[[Any], Any]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
    ast.Invert: _inverted,
}


_UNARY_SPECIAL = {ast.UAdd: "__pos__", ast.USub: "__neg__", ast.Invert: "__invert__"}


def _is_constant(value: Any) -> bool:
    """Whether another value that equals it is as good, in every layer and for good."""
    if isinstance(value, tuple):
        return all(map(_is_constant, value))
    return isinstance(value, (Value, bool, bytes, type(None))) and not isinstance(value, Obj)


class Operators(Part):
    """Applies operators to values."""

    def handlers(self) -> Handlers:
        return {ast.BinOp: self.binop, ast.UnaryOp: self.unaryop}

    def binop(self, node: ast.BinOp, env: Env) -> Any:
        """`left + right`."""
        eval_ = self.ev.expressions.eval
        return self.binary(type(node.op), eval_(node.left, env), eval_(node.right, env), node, env)

    def binary(self, op: type, left: Any, right: Any, node: ast.AST, env: Env) -> Any:
        """A binary operation as it stands in the source."""
        if (
            type(left) is int
            and type(right) is int
            and op in _EXACT
            and -_SMALL < left < _SMALL
            and -_SMALL < right < _SMALL
        ):
            # Two plain numbers have neither origins nor an index to remember.
            return _EXACT[op](left, right)
        return self.combine(op, left, right, env.module.place(node))

    def combine(self, op: type, left: Any, right: Any, place: SourcePlace) -> Any:
        """A binary operation; remembers origins and the dependence on the layer index."""
        if isinstance(left, Alternatives) or isinstance(right, Alternatives):
            each = self.ev.writes.mapped
            return each(left, lambda a: each(right, lambda b: self.combine(op, a, b, place)))
        if op is ast.MatMult:
            found = self.ev.special_methods.binary("MatMult", left, right, place)
            if found is not ABSENT and not isinstance(found, Unknown):
                return found
            if found is ABSENT and all(map(_has_no_matmul, (left, right))):
                raise Raised("TypeError", "unsupported operand types for @", place)
            self.ev.exceptions.may_raise(place, "TypeError")
            return self.ev.forward.tensor_operation("torch.matmul", [left, right], {}, place)
        if isinstance(left, Unknown) or isinstance(right, Unknown):
            self.ev.exceptions.may_raise(place, "TypeError", "ZeroDivisionError")
            return made_of(left, right)
        if op is ast.Mod and isinstance(left, str):
            left, right = self.ev.texts.percent_of_objects(left, right, place)
            if isinstance(right, Unknown):
                self.ev.exceptions.may_raise(place, "TypeError", "ValueError")
        if isinstance(left, PLAIN) and isinstance(right, PLAIN):
            return self._plain_binary(op, _BINARY[op], left, right, place)
        if isinstance(left, DictView) or isinstance(right, DictView):
            return self._of_views(op, left, right, place)
        if op is ast.Mult and isinstance(left, Param) and isinstance(right, Param):
            # A weight that is folded into another one is no layer's own any more.
            return self.ev.forward.tensor_operation("torch.mul", [left, right], {}, place)
        found = self.ev.special_methods.plain_members(op.__name__, left, right)
        if found is not None:
            return self.combine(op, found[0], found[1], place)
        return self._object_binary(op.__name__, left, right, place)

    def in_place(self, op: type, left: Any, right: Any, place: SourcePlace) -> Any:
        """`left += right`: what is assigned to the target; containers change as they are."""
        if not isinstance(right, (Unknown, Alternatives)):
            found = self.ev.special_methods.in_place(op.__name__, left, right, place)
            if found is not ABSENT:
                return found
        if isinstance(left, Alternatives):
            return self.ev.writes.mapped(left, lambda v: self.in_place(op, v, right, place))
        method = _IN_PLACE.get((dict if isinstance(left, dict) else type(left), op))
        if method is None or (isinstance(left, list) and op is ast.Mult):
            pass
        elif isinstance(right, (Unknown, Alternatives)):
            self.ev.exceptions.may_raise(place, "TypeError", "ValueError")
            if isinstance(left, set) and op is not ast.BitOr:
                self.ev.doubts.lose(left, Unknown("a set changed by something unknown", place))
            else:
                self.ev.plain.method(left, method, [right], {}, place)
            return left
        if method is None:
            return self.combine(op, left, right, place)
        if isinstance(left, set) and not isinstance(right, (set, frozenset)):
            return self.combine(op, left, right, place)  # raises TypeError
        if isinstance(left, list) and op is ast.Mult:
            product = self.combine(op, left, right, place)
            if isinstance(product, list):
                self.ev.writes.refill(left, product)
            else:
                self.ev.doubts.lose(left, Unknown("a list repeated an unknown number", place))
            return left
        if isinstance(left, list) and not isinstance(right, Iterator):
            items = None if isinstance(right, Unknown) else self.items(right)
            right = [_unknown_items(place)] if items is None else items
        self.ev.plain.method(left, method, [right], {}, place)
        return left

    def _plain_binary(
        self, op: type, fn: Callable[[Any, Any], Any], left: Any, right: Any, place: SourcePlace
    ) -> Any:
        if op is ast.Mod and isinstance(left, (str, bytes)):
            why = deep_unknown(right) or self.ev.texts.percent(left, right, place)
            if why is not None:
                self.ev.exceptions.may_raise(place, "TypeError", "ValueError")
                return why
        if any(is_open(side) for side in (left, right) if isinstance(side, (set, frozenset, dict))):
            if not any(
                isinstance(left, kinds) and isinstance(right, kinds)
                for kinds in ((set, frozenset), dict)
            ):
                raise Raised("TypeError", f"unsupported operand types for {op.__name__}", place)
            return Unknown("an operation on a container that may hold more", place)
        if op in (ast.Div, ast.FloorDiv, ast.Mod):
            by = index_fn(right)
            if by is not None:  # a layer for which it is zero is another one
                self.ev.layers.guard(lambda i: bool(by(i)), bool(right))
        return self.apply(fn, [left, right], place)

    def _of_views(self, op: type, left: Any, right: Any, place: SourcePlace) -> Any:
        """An operation on views of dicts, which are sets to it; the other side may be iterable."""
        if op not in _SET_OPERATORS or not any(
            isinstance(s, DictView) and s.is_set for s in (left, right)
        ):
            kinds = f"{plain.kind_name(left)} and {plain.kind_name(right)}"
            raise Raised("TypeError", f"unsupported operation {op.__name__}: {kinds}", place)
        sets = []
        for side in (left, right):
            items = self.items(side)
            if items is None:
                return Unknown("an operation on a view with something unknown", place)
            made = self.make_set(items, place)
            if isinstance(made, Unknown):
                return made
            sets.append(made)
        return self.apply(_BINARY[op], sets, place)

    def _object_binary(self, op: str, left: Any, right: Any, place: SourcePlace) -> Any:
        """A binary operation that involves an object of the source or of torch."""
        for side, other in ((left, right), (right, left)):
            if isinstance(side, Value):
                found = side.combine(op, other, place, reflected=side is right)
                if found is not ABSENT:
                    return found
        found = self.ev.special_methods.binary(op, left, right, place)
        if found is not ABSENT:
            if type(found) is Unknown:
                self.ev.exceptions.may_raise(place, "TypeError")
            return found
        if op == "BitOr":  # a union of types
            return self.ev.special_methods.union(left, right, place)
        if isinstance(left, Value):
            found = left.operate(self.ev, op, right, place)
            if found is not ABSENT:
                return found
        self.ev.exceptions.may_raise(place, "TypeError")
        return Unknown(f"{op} on {plain.kind_name(left)} and {plain.kind_name(right)}", place)

    def apply(self, fn: Callable[..., Any], args: list[Any], place: SourcePlace) -> Any:
        """Apply a pure Python function to known plain values.

        A scalar result keeps the arguments' origins and their dependence on the layer index; any
        other result that depends on the index counts as a decision.
        """
        tracker = ACTIVE.tracker
        moving = False
        try:
            steps = limits.check(fn, args)
            if steps:
                self.ev.budget.spend(steps, "a look through the arguments of a function")
            moving = tracker is not None and any(depends(a) for a in args)
            result = fn(*map(bare, args)) if moving else fn(*args)
        except TooLarge as error:
            if moving:  # in another layer it may be smaller
                self._pin_all(args)
            return self.too_large(error, place)
        except (
            ArithmeticError,
            LookupError,
            TypeError,
            ValueError,
            AttributeError,
            re.error,
        ) as error:
            if moving:  # another layer may not raise
                self._pin_all(args)
            if isinstance(error, TypeError) and any(isinstance(arg, Value) for arg in args):
                # Its class may have a special method, `__index__` say, that Python would call.
                self.ev.exceptions.may_raise(place, "TypeError", "ValueError")
                return Unknown(f"an object in the place of plain data: {error}", place)
            raise Raised(type(error).__name__, str(error), place) from None
        if isinstance(result, _SIZED) and len(result) > 64:
            self.ev.budget.spend(len(result) >> 4, "what a function makes")
        if isinstance(result, bool) or not isinstance(result, (int, float, str)):
            if moving:
                if isinstance(result, (list, tuple)) and 0 < len(result) <= 64:
                    return born(self._depending_items(fn, args, result))
                self.ev.layers.guard(applied(fn, args, tracker), snapshot(result))
            return born(result)
        origins: frozenset[str] = frozenset()
        for arg in args:
            for part in arg if isinstance(arg, (list, tuple)) else (arg,):
                origins |= origins_of(part)
        if not moving:
            return depending(result, None, origins)
        at = applied(fn, args, tracker)
        if not isinstance(result, str):
            kind = kind_of(result)
            self.ev.layers.guard(lambda i: kind_of(at(i)), kind)
        return depending(result, at, origins)

    def _pin_all(self, args: list[Any]) -> None:
        for arg in args:
            self.ev.layers.pin(arg)

    def too_large(self, error: TooLarge, place: SourcePlace) -> Unknown:
        """What an operation gives that was not done, because it would take too much.

        Raises:
            Exhausted: it alone would take more than all that is left.
        """
        if error.steps > self.ev.budget.left():
            self.ev.budget.spend(error.steps, error.what)
        return Unknown(f"{error.what} takes too much", place)

    def _depending_items(self, fn: Callable[..., Any], args: list[Any], result: Any) -> Any:
        """A short sequence whose items depend on the layer index one by one, and its length not."""
        at = applied(fn, args, ACTIVE.tracker)

        def item_at(position: int, i: int) -> Any:
            return at(i)[position]

        def kind_at(position: int, i: int) -> type:
            return kind_of(at(i)[position])

        guard = self.ev.layers.guard
        guard(lambda i: len(at(i)), len(result))
        items = []
        for position, item in enumerate(result):
            if is_scalar(item):
                kind = kind_of(item)
                guard(partial(kind_at, position), kind)
                items.append(depending(item, partial(item_at, position), origins_of(item)))
            else:
                guard(partial(item_at, position), snapshot(item))
                items.append(item)
        return type(result)(items)

    def unaryop(self, node: ast.UnaryOp, env: Env) -> Any:
        """`-value`, `not value`."""
        if isinstance(node.op, ast.Not):
            return mapped(self.ev.expressions.condition(node.operand, env), self.negated)
        value = self.ev.expressions.eval(node.operand, env)
        place = env.module.place(node)
        fn = _UNARY[type(node.op)]

        def each(part: Any) -> Any:
            if isinstance(part, Unknown):
                self.ev.exceptions.may_raise(place, "TypeError")
                return part.as_plain() if part.is_plain else part
            part = plain_of(part) if not isinstance(node.op, ast.Invert) else part
            if isinstance(part, PLAIN):
                return self.apply(fn, [part], place)
            if isinstance(part, (EnumMember, Obj)):
                return self.ev.special_methods.unary(type(node.op).__name__, part, place)
            return Unknown(f"{type(node.op).__name__} on {plain.kind_name(part)}", place)

        return self.ev.writes.mapped(value, each)

    def negated(self, value: Any) -> Any:
        """`not value`."""
        truth = self.truth(value)
        if truth is not None:
            return not truth
        if isinstance(value, Unknown):
            return value.as_truth()
        return Unknown.truth("the truth of something unknown")

    def truth(self, value: Any) -> bool | None:
        """Whether a value is true; None where that cannot be decided."""
        if isinstance(value, bool):
            return value
        if value is None:
            return False
        if isinstance(value, Unknown):
            return None
        if isinstance(value, Alternatives):
            found = {self.truth(v) for v in value.values if v is not ABSENT}
            return found.pop() if len(found) == 1 else None
        if isinstance(value, Value):
            return value.truth(self.ev)
        if isinstance(value, (list, dict, set)) and value:
            return is_filled(value)
        if type(value) is ClassNames:
            return True  # Python adds names to that of an empty body
        result = bool(bare(value)) if isinstance(value, PLAIN) else True
        fn = index_fn(value)
        if fn is not None:
            self.ev.layers.guard(lambda i: bool(fn(i)), result)
        return result

    def subscript(self, value: Any, key: Any, place: SourcePlace) -> Any:
        """`value[key]`."""
        if isinstance(value, Alternatives) or isinstance(key, Alternatives):
            each = self.ev.writes.mapped
            return each(value, lambda v: each(key, lambda k: self.subscript(v, k, place)))
        if isinstance(value, Unknown):
            self.ev.exceptions.may_raise(place, "KeyError", "IndexError", "TypeError")
            return value.as_plain() if value.is_plain else value
        if isinstance(key, Unknown):
            # That the place is told by a number does not make what lies there one.
            key = key.as_anything()
            if isinstance(value, Tensor):
                key = Unknown.tensor(key.reason, key.place)
            self.ev.exceptions.may_raise(place, "KeyError", "IndexError", "TypeError")
            if isinstance(value, dict):
                return self._unknown_entry(value, key, place)
            if isinstance(value, (list, tuple)):
                return one_of(value, key)
            if not isinstance(value, Obj) or isinstance(value, Mod):
                return key
        if isinstance(key, (EnumMember, Obj)) and not isinstance(value, (Value, dict)):
            key = self.ev.special_methods.index(key, place)
            if isinstance(key, Unknown):
                return key
        if isinstance(value, Value):
            found = value.get_item(self.ev, key, place)
            if found is not ABSENT:
                return found
        if isinstance(key, slice):
            if not isinstance(value, (Value, dict)):
                key = self.ev.special_methods.slice_of(key, place)
            bounds = [key.start, key.stop, key.step]
            inner = deep_unknown(bounds)
            if inner is None and is_open(value):
                inner = Unknown("a part of a list of unknown length", place)
            if inner is not None:
                self.ev.exceptions.may_raise(place, "TypeError")
                held = one_of(value, inner) if isinstance(value, (list, tuple)) else inner
                return held if held is inner else born([self.ev.doubts.entry(inner), held])
            if depends(bounds):
                return self.apply(lambda v, *b: v[slice(*b)], [value, *bounds], place)
        if isinstance(key, tuple):
            limits.bounded(key)
            inner = deep_unknown(key)
            if inner is not None and isinstance(value, dict):
                self.ev.exceptions.may_raise(place, "KeyError", "TypeError")
                return self._unknown_entry(value, inner, place)
            if inner is not None:
                return inner
        if isinstance(value, str):
            return self.apply(operator.getitem, [value, key], place)
        if isinstance(value, PLAIN):
            return self._plain_item(value, key, place)
        return Unknown(f"{plain.kind_name(value)}[...]", place)

    def _plain_item(self, holder: Any, key: Any, place: SourcePlace) -> Any:
        if isinstance(key, (Obj, tuple)) and isinstance(holder, dict):
            key = self.ev.special_methods.key(holder, key, place)
            if isinstance(key, Unknown):
                return key
        if isinstance(holder, list) and is_open(holder):
            if not isinstance(key, int) or not 0 <= bare(key) < certain_length(holder):
                self.ev.exceptions.may_raise(place, "IndexError")
                return one_of(holder, Unknown("an entry of a list of unknown length", place))
        elif isinstance(holder, dict) and OTHER_KEYS in holder and key not in holder:
            if isinstance(holder, DefaultDict) and holder.factory is not None:
                return self._unknown_entry(
                    holder, Unknown("an entry that may be in a dict", place), place
                )
            self.ev.exceptions.may_raise(place, "KeyError")
            return one_of(holder.values(), Unknown("an entry that may be in a dict", place))
        if isinstance(holder, DefaultDict) and holder.factory is not None:
            return self._default_item(holder, key, place)
        try:
            result = holder[bare(key)]
        except (LookupError, TypeError, ValueError, OverflowError) as error:
            self.ev.layers.pin(key)
            if isinstance(error, TypeError) and not is_plain(key):
                self.ev.exceptions.may_raise(place, "TypeError", "ValueError")
                return Unknown(f"an object in the place of plain data: {error}", place)
            given = error.args if isinstance(error, KeyError) else None
            raise Raised(type(error).__name__, str(error), place, given=given) from None
        if may_be_absent(result):
            self.ev.exceptions.may_raise(place, "KeyError")
        fn = index_fn(key)
        if fn is None:
            self.ev.layers.pin(key)
            return bound(result)
        held = holder.copy() if isinstance(holder, (list, dict)) else holder
        return bound(self.looked_up(result, lambda i: held[fn(i)]))

    def _unknown_entry(self, holder: dict[Any, Any], key: Unknown, place: SourcePlace) -> Any:
        """`holder[unknown]`, which makes an entry where a missing one is made."""
        if not isinstance(holder, DefaultDict) or holder.factory is None:
            return self.ev.doubts.one_of_entries(holder, key)
        made = self.ev.calls.call(holder.factory, [], {}, place)
        found = one_of([*holder.values(), made], key)
        self.ev.writes.put(holder, OTHER_KEYS, key)
        return found

    def _default_item(self, holder: DefaultDict, key: Any, place: SourcePlace) -> Any:
        """`holder[key]`, which makes what is missing."""
        self.ev.layers.pin(key)
        if not hashable(bare(key)):
            raise Raised("TypeError", f"unhashable type: {plain.kind_name(key)!r}", place)
        if bare(key) not in holder:
            made = self.ev.calls.call(holder.factory, [], {}, place)
            self.ev.writes.put(holder, bare(key), made)
            return made
        held = holder[bare(key)]
        if may_be_absent(held):
            made = self.ev.calls.call(holder.factory, [], {}, place)
            held = merge([*(v for v in held.values if v is not ABSENT), made])
            self.ev.doubts.order(holder, bare(key), place)
            self.ev.writes.put(holder, bare(key), held)
        return held

    def looked_up(self, result: Any, at: Callable[[int], Any]) -> Any:
        """What was found under a key that depends on the layer index.

        Args:
            result: What this layer finds.
            at: What the layer with an index finds, with its dependence on the index.
        """
        guard = self.ev.layers.guard
        tracker = ACTIVE.tracker
        if is_scalar(result):
            # Each layer has an entry of its own; they are alike where the entries are of one kind.
            kind = kind_of(result)
            guard(lambda i: kind_of(at(i)), kind)
            return depending(result, lambda i: at_index(at(i), i, tracker), origins_of(result))

        def like_this(i: int) -> bool:
            other = at(i)
            return other is result or (_is_constant(result) and same(other, result))

        guard(like_this, True)
        return result

    def check_key(self, key: Any, place: SourcePlace) -> None:
        """Note that a value is used as a key, and raise what Python does of one that cannot be."""
        self.ev.layers.pin(key)
        if not hashable(key):
            raise Raised("TypeError", f"unhashable type: {plain.kind_name(key)!r}", place)

    def make_set(self, values: Any, place: SourcePlace) -> Any:
        """A set of known values, else Unknown."""
        if isinstance(values, Unknown):
            return values
        inner = deep_unknown(list(values), 1)
        if inner is not None:
            self.ev.exceptions.may_raise(place, "TypeError")
            return inner
        for value in values:
            self.ev.layers.pin(value)
        if any(isinstance(value, (Obj, tuple)) for value in values):
            found: dict[Any, None] = {}
            for value in values:
                key = self.ev.special_methods.key(found, value, place)
                if isinstance(key, Unknown):
                    return key
                if not hashable(key):
                    raise Raised("TypeError", "an unhashable item of a set", place)
                found[key] = None
            return set(found)
        try:
            return born(self._gathered(values))
        except TypeError as error:
            raise Raised("TypeError", str(error), place) from None

    def _gathered(self, values: Collection[Any]) -> set[Any]:
        """A set of values, made piece by piece: those of equal hashes take a square of time."""
        found: set[Any] = set()
        pending = iter(values)
        for _ in range(0, len(values), _PIECE):
            self.ev.budget.spend(min(_PIECE, len(values)), "a set")
            found.update(itertools.islice(pending, _PIECE))
        return found

    def items(self, value: Any) -> list[Any] | None:
        """What iteration over a value gives; None where that is not known."""
        return self.ev.iteration.items(value)


def _unknown_items(place: SourcePlace) -> Unknown:
    """What stands in a list for items of which not even the number is known."""
    return Unknown("unknown items", place, UnknownKind.ENTRY)


def _has_no_matmul(value: Any) -> bool:
    """Whether a value without a method for it is certainly no matrix."""
    if type(value) is Obj:
        return isinstance(value.cls, Class) and is_of_source(value.cls)
    return isinstance(value, PLAIN)
