"""Expressions of the source, evaluated over known and unknown values."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable
from functools import partial
from typing import Any

from fibcore.elaborate.python.part import Part
from fibcore.elaborate.python.values import (
    ABSENT,
    Class,
    EnumMember,
    Env,
    Ext,
    Func,
    Mod,
    Namespace,
    Obj,
    Param,
    Raised,
    Repeat,
    Tensor,
    applied,
    deep_unknown,
    depending,
    depends,
    index_fn,
    is_scalar,
    merge,
)
from fibcore.model.tree import Alternatives, SourcePlace, Unknown, origins_of

_BINARY: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.LShift: operator.lshift,
    ast.RShift: operator.rshift,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
    ast.BitAnd: operator.and_,
}
_SET_OPERATORS = (ast.Sub, ast.BitAnd, ast.BitOr, ast.BitXor)
_COMPARE: dict[type, Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_UNARY: dict[type, Callable[[Any], Any]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
    ast.Invert: operator.invert,
}
_PLAIN = (int, float, str, bytes, bool, type(None), list, tuple, dict, set, frozenset, range, slice)
_OPAQUE = (Obj, Class, Func, Ext, Namespace, EnumMember, Tensor, Repeat)
MAX_CONTAINER = 1 << 20
REPEATS_FROM = 2
"""A comprehension of at least this many elements looks for layers that repeat."""


class Expressions(Part):
    """Evaluates `ast.expr` nodes."""

    def eval(self, node: ast.expr, env: Env) -> Any:
        """The value of an expression."""
        handler = _EXPRESSIONS.get(type(node))
        if handler is None:
            return Unknown(f"{type(node).__name__} is not evaluated", env.module.place(node))
        return handler(self, node, env)

    def e_constant(self, node: ast.Constant, env: Env) -> Any:
        return node.value

    def e_name(self, node: ast.Name, env: Env) -> Any:
        return self.lookup(node.id, env, node)

    def e_attribute(self, node: ast.Attribute, env: Env) -> Any:
        return self.get_attr(self.eval(node.value, env), node.attr, env.module.place(node))

    def e_call(self, node: ast.Call, env: Env) -> Any:
        func = self.eval(node.func, env)
        args: list[Any] = []
        for arg in node.args:
            if isinstance(arg, ast.Starred):
                value = self.eval(arg.value, env)
                items = self._unpacked(value)
                if items is None:
                    if self.forward and isinstance(func, (Mod, Repeat)):
                        items = [Unknown("unpacked arguments", env.module.place(node))]
                        args.extend(items)
                        continue
                    return self.call_unbound(func, env.module.place(node), "unknown *arguments")
                args.extend(items)
            else:
                args.append(self.eval(arg, env))
        kwargs: dict[str, Any] = {}
        for keyword in node.keywords:
            value = self.eval(keyword.value, env)
            if keyword.arg is not None:
                kwargs[keyword.arg] = value
            elif isinstance(value, dict):
                kwargs.update({str(k): v for k, v in value.items()})
            elif isinstance(value, Alternatives) and all(isinstance(v, dict) for v in value.values):
                kwargs.update(self._merged_kwargs(value))
            elif isinstance(value, Namespace):
                kwargs.update(value.values)
            else:
                return self.call_unbound(func, env.module.place(node), "unknown **arguments")
        if func is self.builtins["super"] and not args:
            return self.make_super(env, env.module.place(node))
        if func is self.builtins["locals"]:
            return dict(env.vars)
        return self.call(func, args, kwargs, env.module.place(node))

    def _unpacked(self, value: Any) -> list[Any] | None:
        """The items of `*value`; of several sequences of one length, item by item."""
        if not isinstance(value, Alternatives):
            return self.items_of(value)
        rows = [self.items_of(v) for v in value.values if v is not None and v is not ABSENT]
        if not rows or any(r is None or len(r) != len(rows[0] or ()) for r in rows):
            return None
        return [merge(column) for column in zip(*(r for r in rows if r is not None), strict=True)]

    def _merged_kwargs(self, value: Alternatives) -> dict[str, Any]:
        keys = dict.fromkeys(k for d in value.values for k in d)
        return {str(k): merge(d.get(k, ABSENT) for d in value.values) for k in keys}

    def e_binop(self, node: ast.BinOp, env: Env) -> Any:
        return self.binary(
            type(node.op), self.eval(node.left, env), self.eval(node.right, env), node, env
        )

    def binary(self, op: type, left: Any, right: Any, node: ast.AST, env: Env) -> Any:
        """A binary operation; remembers origins and the dependence on the layer index."""
        fn = _BINARY.get(op)
        place = env.module.place(node)
        if fn is None:
            if op is ast.MatMult:
                return self.tensor_operation("torch.matmul", [left, right], {}, place)
            return Unknown(f"{op.__name__} is not evaluated", place)
        if type(left) is int and type(right) is int and op is not ast.Pow and op is not ast.LShift:
            try:
                return fn(left, right)
            except ArithmeticError as error:
                raise Raised(type(error).__name__, str(error), place) from None
        if isinstance(left, Alternatives) or isinstance(right, Alternatives):
            return self.mapped(
                left, lambda a: self.mapped(right, lambda b: self.binary(op, a, b, node, env))
            )
        if isinstance(left, Unknown):
            return left
        if isinstance(right, Unknown):
            return right
        if isinstance(left, _PLAIN) and isinstance(right, _PLAIN):
            if too_large(op, left, right):
                return Unknown("a value that is too large", place)
            sets = isinstance(left, (list, set)) and isinstance(right, (list, set))
            if op in _SET_OPERATORS and sets:
                # Views of a dict are kept as lists; these operators take them as sets.
                both = [set(self.items_of(s) or ()) for s in (left, right)]
                return self.native(fn, both, place)
            if op in (ast.Div, ast.FloorDiv, ast.Mod):
                by = index_fn(right)
                if by is not None:  # a layer for which it is zero is another one
                    self.guard(lambda i: bool(by(i)), bool(right))
            return self.native(fn, [left, right], place)
        return self.object_operation(op.__name__, left, right, place)

    def native(self, fn: Callable[..., Any], args: list[Any], place: SourcePlace) -> Any:
        """Apply a pure Python function to known plain values.

        A scalar result keeps the arguments' origins and their dependence on the layer index; any
        other result that depends on the index counts as a decision.
        """
        try:
            result = fn(*args)
        except (ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as error:
            raise Raised(type(error).__name__, str(error), place) from None
        tracker = self.tracker
        if isinstance(result, bool) or not isinstance(result, (int, float, str)):
            if any(depends(a) for a in args):
                if isinstance(result, (list, tuple)) and 0 < len(result) <= 64:
                    return self._depending_items(fn, args, result)
                self.guard(applied(fn, args, tracker), result)
            return result
        origins: frozenset[str] = frozenset()
        for arg in args:
            for part in arg if isinstance(arg, (list, tuple)) else (arg,):
                origins |= origins_of(part)
        if any(depends(a) for a in args):
            return depending(result, applied(fn, args, tracker), origins)
        return depending(result, None, origins)

    def _depending_items(self, fn: Callable[..., Any], args: list[Any], result: Any) -> Any:
        """A short sequence whose items depend on the layer index one by one, and its length not."""
        at = applied(fn, args, self.tracker)

        def item_at(position: int, i: int) -> Any:
            return at(i)[position]

        self.guard(lambda i: len(at(i)), len(result))
        items = []
        for position, item in enumerate(result):
            if isinstance(item, (int, float, str)) and not isinstance(item, bool):
                items.append(depending(item, partial(item_at, position)))
            else:
                self.guard(partial(item_at, position), item)
                items.append(item)
        return type(result)(items)

    def object_operation(self, op: str, left: Any, right: Any, place: SourcePlace) -> Any:
        """A binary operation that involves an object of the source or of torch."""
        if isinstance(left, Mod) and left.items is not None and isinstance(right, list):
            return [*left.items, *right]
        if isinstance(left, Tensor) or isinstance(right, Tensor):
            for side in (left, right):
                if isinstance(side, Param):
                    return Unknown("a tensor computed from a parameter", place)
            other = right if isinstance(left, Tensor) else left
            if isinstance(other, (int, float)):  # scaled, element by element
                tensor = left if isinstance(left, Tensor) else right
                return Tensor(tensor.shape, tensor.dtype)
            return Tensor(None)
        if op == "BitOr":  # a union of types or a merge of flags
            return Unknown("a union", place)
        name = {"Add": "__add__", "Sub": "__sub__", "Mult": "__mul__", "Mod": "__mod__"}.get(op)
        if isinstance(left, Obj) and name is not None:
            method = self.find_attr(left, name, place)
            if method is not ABSENT:
                return self.call(method, [right], {}, place)
        return Unknown(f"{op} on {_kind(left)} and {_kind(right)}", place)

    def e_unaryop(self, node: ast.UnaryOp, env: Env) -> Any:
        if isinstance(node.op, ast.Not):
            return self.mapped(self.condition(node.operand, env), self._not)
        value = self.eval(node.operand, env)
        place = env.module.place(node)
        fn = _UNARY[type(node.op)]

        def each(part: Any) -> Any:
            if isinstance(part, Unknown):
                return part
            if isinstance(part, (int, float)):
                return self.native(fn, [part], place)
            return Unknown(f"{type(node.op).__name__} on {_kind(part)}", place)

        return self.mapped(value, each)

    def _not(self, value: Any) -> Any:
        truth = self.truth(value)
        return value if truth is None else not truth

    def e_boolop(self, node: ast.BoolOp, env: Env) -> Any:
        stop_at = isinstance(node.op, ast.Or)
        pending: list[Any] = []
        for index, part in enumerate(node.values):
            last = index == len(node.values) - 1
            if pending:
                # Whether Python comes this far is unknown; what raises here may never run.
                try:
                    value = self.eval(part, env)
                except Raised as error:
                    pending.append(Unknown(f"{error.kind}: {error.message}", error.place))
                    break
            else:
                value = self.eval(part, env)
            if last and not pending:
                return value
            truth = self.truth(value)
            if truth is stop_at:
                if isinstance(value, bool) and all(isinstance(p, Unknown) for p in pending):
                    return value  # `unknown or True` is true whatever the unknown is
                return merge([*pending, value])
            if last:
                pending.append(value)
            elif truth is None:
                # What Python goes on from is no result.
                parts = value.values if isinstance(value, Alternatives) else (value,)
                pending += [p for p in parts if self.truth(p) in (None, stop_at)]
        return merge(pending)

    def condition(self, node: ast.expr, env: Env) -> Any:
        """The value of an expression of which only the truth is asked.

        `unknown or x` is true where `x` is, and `unknown and x` is false where `x` is.
        """
        if not isinstance(node, ast.BoolOp):
            return self.eval(node, env)
        stop_at = isinstance(node.op, ast.Or)
        undecided: Any = None
        for part in node.values:
            try:
                value = self.condition(part, env)
            except Raised:
                if undecided is None:
                    raise
                return undecided  # what raises may never run
            truth = self.truth(value)
            if truth is stop_at:
                return stop_at
            if truth is None:
                undecided = value if undecided is None else undecided
        return not stop_at if undecided is None else undecided

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
        if isinstance(value, (int, float, str)):
            result = bool(value)
            fn = index_fn(value)
            if fn is not None:
                self.guard(lambda i: bool(fn(i)), result)
            return result
        if isinstance(value, Mod) and value.items is not None:
            return bool(value.items)
        if isinstance(value, Tensor):
            return None
        if isinstance(value, EnumMember):
            if value.cls.derives("IntEnum", "IntFlag", "Flag"):
                return self.truth(value.value)
            return True
        if isinstance(value, Ext):
            return self.external_truth(value)
        if isinstance(value, Obj):
            for name in ("__bool__", "__len__"):
                method = self.find_attr(value, name, value.place or SourcePlace("", 1))
                if method is not ABSENT:
                    return self.truth(self.call(method, [], {}, value.place))
            return True
        if isinstance(value, (list, tuple, dict, set, frozenset, bytes, range)):
            return bool(value)
        return True

    def e_compare(self, node: ast.Compare, env: Env) -> Any:
        left = self.eval(node.left, env)
        result: Any = True
        for op, right_node in zip(node.ops, node.comparators, strict=False):
            right = self.eval(right_node, env)
            result = self.compare(op, left, right, env.module.place(node))
            if len(node.ops) == 1:
                return result
            truth = self.truth(result)
            if truth is False:
                return False
            if truth is None:
                return Unknown("a comparison with something unknown", env.module.place(node))
            left = right
        return result

    def compare(self, op: ast.cmpop, left: Any, right: Any, place: SourcePlace) -> Any:
        """One comparison; a bool or Unknown, or Alternatives of those."""
        if isinstance(left, Alternatives) or isinstance(right, Alternatives):
            return self.mapped(
                left, lambda a: self.mapped(right, lambda b: self.compare(op, a, b, place))
            )
        if isinstance(op, (ast.Is, ast.IsNot)):
            answer = self._identical(left, right)
            if left is not None and right is not None:
                self.pin(left)
                self.pin(right)
            if answer is None:
                return Unknown("an identity that is not known", place)
            return answer if isinstance(op, ast.Is) else not answer
        if isinstance(op, (ast.In, ast.NotIn)):
            return self._contains(op, left, right, place)
        for side in (left, right):
            if isinstance(side, Unknown):
                return side
        fn = _COMPARE[type(op)]
        if isinstance(left, _PLAIN) and isinstance(right, _PLAIN):
            inner = deep_unknown(left) or deep_unknown(right)
            if inner is not None:
                return inner
            return self.native(lambda a, b: bool(fn(a, b)), [left, right], place)
        if isinstance(op, (ast.Eq, ast.NotEq)):
            equal = self._equal(left, right, place)
            if isinstance(equal, bool):
                return equal if isinstance(op, ast.Eq) else not equal
            return equal
        if isinstance(left, EnumMember) and isinstance(right, EnumMember):
            return self.native(lambda a, b: bool(fn(a, b)), [left.value, right.value], place)
        return Unknown(f"comparison of {_kind(left)} with {_kind(right)}", place)

    def _equal(self, left: Any, right: Any, place: SourcePlace) -> Any:
        for one, other in ((left, right), (right, left)):
            if isinstance(one, EnumMember):
                self.pin(other)
                return bool(one == other)
            if isinstance(one, Ext) and isinstance(other, Ext):
                return one == other
            if isinstance(one, Obj) and not isinstance(one, Mod):
                if one is other:
                    return True
                method = self.find_attr(one, "__eq__", place)
                if method is not ABSENT:
                    return self.call(method, [other], {}, place)
        if isinstance(left, (Tensor, Namespace)) or isinstance(right, (Tensor, Namespace)):
            return Unknown("comparison of tensors", place)
        return left is right

    @staticmethod
    def _identical(left: Any, right: Any) -> bool | None:
        if left is None or right is None:
            other = right if left is None else left
            if isinstance(other, Unknown):
                # A tensor or object of which nothing is known but that it is there.
                return False if other.is_tensor else None
            return other is None
        if isinstance(left, Unknown) or isinstance(right, Unknown):
            return None
        if isinstance(left, (Ext, EnumMember)):
            return bool(left == right)
        if isinstance(left, (bool, int, str)) and isinstance(right, (bool, int, str)):
            return isinstance(left, bool) is isinstance(right, bool) and left == right
        if isinstance(left, Tensor) and isinstance(right, Tensor) and left is not right:
            return None
        if isinstance(left, (tuple, frozenset)):
            return left is right or None
        return left is right

    def _contains(self, op: ast.cmpop, item: Any, container: Any, place: Any) -> Any:
        wanted = isinstance(op, ast.In)
        if isinstance(container, Unknown):
            return container
        if isinstance(container, Namespace):
            self.pin(item)
            return container.values.__contains__(item) is wanted
        if isinstance(container, Mod) and container.items is not None:
            return Unknown("membership in a module list", place)
        if isinstance(container, Ext):
            if container.name == "os.environ":
                return not wanted
            return Unknown(f"membership in {container.name}", place)
        if isinstance(container, Class):  # an enumeration
            members = self.enum_members(container)
            if members is not None:
                self.pin(item)
                return any(m == item or m.value == item for m in members) is wanted
        if isinstance(container, Obj):
            method = self.find_attr(container, "__contains__", place)
            if method is not ABSENT:
                result = self.call(method, [item], {}, place)
                return result if wanted else self._not(result)
            return Unknown(f"membership in {container!r}", place)
        inner = deep_unknown(item)
        if inner is not None:
            return inner
        if not isinstance(container, _PLAIN):
            return Unknown(f"membership in {_kind(container)}", place)
        if isinstance(container, str) and not isinstance(item, str):
            return Unknown("membership of a value of another kind in a string", place)
        if isinstance(item, _PLAIN):
            result = self.native(lambda a, b: a in b, [item, container], place)
        else:
            result = any(item is c or item == c for c in self.items_of(container) or ())
        if not result and not isinstance(container, dict):
            inner = deep_unknown(container, 1)
            if inner is not None:
                return inner
        if result and isinstance(container, dict):
            held = container.get(item)
            if isinstance(held, Alternatives) and ABSENT in held.values:
                return Unknown("a key that depends on a branch", place)
        return bool(result) is wanted

    def e_ifexp(self, node: ast.IfExp, env: Env) -> Any:
        truth = self.truth(self.condition(node.test, env))
        if truth is not None:
            return self.eval(node.body if truth else node.orelse, env)
        values = []
        failure: Raised | None = None
        for side, positive in ((node.body, True), (node.orelse, False)):
            try:
                with self.narrowed(node.test, env, positive=positive):
                    values.append(self.eval(side, env))
            except Raised as error:  # noqa: PERF203 - each side for itself
                failure = failure or error
        if not values:
            assert failure is not None
            raise failure
        return merge(values)

    def e_tuple(self, node: ast.Tuple, env: Env) -> Any:
        return self._sequence(node.elts, env, tuple)

    def e_list(self, node: ast.List, env: Env) -> Any:
        return self._sequence(node.elts, env, list)

    def e_set(self, node: ast.Set, env: Env) -> Any:
        values = self._sequence(node.elts, env, list)
        return self.make_set(values, env.module.place(node))

    def make_set(self, values: Any, place: SourcePlace) -> Any:
        """A set of known values, else Unknown."""
        if isinstance(values, Unknown):
            return values
        inner = deep_unknown(list(values), 1)
        if inner is not None:
            return inner
        for value in values:
            self.pin(value)
        try:
            return set(values)
        except TypeError as error:
            raise Raised("TypeError", str(error), place) from None

    def _sequence(self, elements: list[ast.expr], env: Env, kind: type) -> Any:
        values: list[Any] = []
        for element in elements:
            if isinstance(element, ast.Starred):
                items = self.items_of(self.eval(element.value, env))
                if items is None:
                    return Unknown("unknown starred items", env.module.place(element))
                values.extend(items)
            else:
                values.append(self.eval(element, env))
        return kind(values)

    def e_dict(self, node: ast.Dict, env: Env) -> Any:
        result: dict[Any, Any] = {}
        place = env.module.place(node)
        for key_node, value_node in zip(node.keys, node.values, strict=False):
            value = self.eval(value_node, env)
            if key_node is None:
                if not isinstance(value, dict):
                    return Unknown("a dict merged with something unknown", place)
                result.update(value)
                continue
            key = self.eval(key_node, env)
            if isinstance(key, (Unknown, Alternatives)):
                return Unknown("a dict with an unknown key", place)
            self.pin(key)
            try:
                result[key] = value
            except TypeError as error:
                raise Raised("TypeError", str(error), place) from None
        return result

    def e_subscript(self, node: ast.Subscript, env: Env) -> Any:
        value = self.eval(node.value, env)
        place = env.module.place(node)
        if isinstance(value, (Ext, Class)):
            if isinstance(value, Class):
                members = self.enum_members(value)
                if members is not None:
                    return self._enum_by_name(value, self.eval(node.slice, env), place)
                return value  # a generic alias
            if value.name == "os.environ":
                raise Raised("KeyError", "environment variable", place)
            if value.name.startswith(("typing.", "collections.")):
                return value
            key = self.eval(node.slice, env)
            # A table of another package: what it holds has a name of its own.
            return (
                Ext(f"{value.name}[{key}]")
                if isinstance(key, str)
                else Unknown(f"{value.name}[...]", place)
            )
        return self.subscript(value, self.eval(node.slice, env), place)

    def _enum_by_name(self, cls: Class, key: Any, place: SourcePlace) -> Any:
        for member in self.enum_members(cls) or ():
            if isinstance(key, str) and member.name == key:
                return member
        if isinstance(key, str):
            raise Raised("KeyError", key, place)
        return Unknown("an enumeration member that is not known", place)

    def subscript(self, value: Any, key: Any, place: SourcePlace) -> Any:
        """`value[key]`."""
        if isinstance(value, Alternatives) or isinstance(key, Alternatives):
            return self.mapped(
                value, lambda v: self.mapped(key, lambda k: self.subscript(v, k, place))
            )
        for side in (value, key):
            if isinstance(side, Unknown):
                return side
        if isinstance(value, Mod) and value.items is not None:
            if isinstance(key, str):
                return self.get_attr(value, key, place)
            return self.subscript(value.items, key, place)
        if isinstance(value, Namespace):
            self.pin(key)
            if key in value.values:
                return value.values[key]
            if value.is_mapping:
                raise Raised("KeyError", str(key), place)
            if isinstance(key, str) and value.fallback is not None:
                return value.fallback(key)
            return Unknown(f"{value.name}[{key!r}]", place)
        if isinstance(value, Tensor):
            return Tensor(None, value.dtype)
        if isinstance(value, Obj):
            method = self.find_attr(value, "__getitem__", place)
            if method is not ABSENT:
                return self.call(method, [key], {}, place)
            return Unknown(f"{value!r}[...]", place)
        if isinstance(key, slice):
            inner = deep_unknown((key.start, key.stop, key.step))
            if inner is not None:
                return inner
            if depends((key.start, key.stop, key.step)):
                bounds = [key.start, key.stop, key.step]
                return self.native(lambda v, *b: v[slice(*b)], [value, *bounds], place)
        if isinstance(value, str):
            return self.native(operator.getitem, [value, key], place)
        if isinstance(value, _PLAIN):
            fn = index_fn(key)
            holder: Any = value
            try:
                result = holder[key]
            except (LookupError, TypeError) as error:
                raise Raised(type(error).__name__, str(error), place) from None
            if fn is not None:
                if is_scalar(result):
                    kind = str if isinstance(result, str) else (int, float)
                    self.guard(lambda i: isinstance(holder[fn(i)], kind), True)
                    return depending(result, lambda i: holder[fn(i)], origins_of(result))

                def like_this(i: int) -> bool:
                    return holder[fn(i)] is result or bool(holder[fn(i)] == result)

                self.guard(like_this, True)
            if isinstance(result, Alternatives) and ABSENT in result.values:
                return merge(v for v in result.values if v is not ABSENT)
            return result
        return Unknown(f"{_kind(value)}[...]", place)

    def e_slice(self, node: ast.Slice, env: Env) -> Any:
        parts = [
            None if p is None else self.eval(p, env) for p in (node.lower, node.upper, node.step)
        ]
        return slice(*parts)

    def e_joinedstr(self, node: ast.JoinedStr, env: Env) -> Any:
        place = env.module.place(node)
        parts: list[Any] = []
        for piece in node.values:
            if isinstance(piece, ast.FormattedValue):
                value = self.eval(piece.value, env)
                if isinstance(value, (Unknown, Alternatives)):
                    return Unknown("text with an unknown part", place)
                spec = ""
                if piece.format_spec is not None:
                    spec = self.eval(piece.format_spec, env)
                    if not isinstance(spec, str) or _wide(spec):
                        return Unknown("text with an unknown format", place)
                if isinstance(value, (int, float, str)) and not isinstance(value, bool):
                    conversion = {114: repr, 115: str, 97: ascii}.get(piece.conversion)
                    parts.append(
                        self.native(
                            lambda v, spec=spec, c=conversion: format(c(v) if c else v, spec),
                            [value],
                            place,
                        )
                    )
                else:
                    parts.append(str(value))
            elif isinstance(piece, ast.Constant):
                parts.append(piece.value)
        if len(parts) == 1:
            return parts[0]
        return self.native(lambda *p: "".join(p), parts, place)

    def e_lambda(self, node: ast.Lambda, env: Env) -> Any:
        return self.make_function(node, env, "<lambda>")

    def e_namedexpr(self, node: ast.NamedExpr, env: Env) -> Any:
        value = self.eval(node.value, env)
        scope = env
        while scope.func is None and scope.outer is not None and scope.outer.outer is not None:
            scope = scope.outer
        self.bind(scope, node.target.id, value)
        return value

    def e_starred(self, node: ast.Starred, env: Env) -> Any:
        return self.eval(node.value, env)

    def e_await(self, node: ast.Await, env: Env) -> Any:
        return Unknown("await", env.module.place(node))

    def e_yield(self, node: ast.Yield | ast.YieldFrom, env: Env) -> Any:
        value = None if node.value is None else self.eval(node.value, env)
        scope: Env | None = env
        while scope is not None and scope.func is None:
            scope = scope.outer
        if scope is None:
            return Unknown("yield outside of a function", env.module.place(node))
        if scope.yields is None:
            scope.yields = []
        out = scope.yields
        self.changing(out)
        if isinstance(node, ast.YieldFrom):
            items = self.items_of(value)
            out.extend(
                items if items is not None else [Unknown("yield from", env.module.place(node))]
            )
        else:
            out.append(value)
        return Unknown("what is sent to a generator", env.module.place(node))

    # -- comprehensions ------------------------------------------------------------------------

    def e_listcomp(self, node: ast.ListComp | ast.GeneratorExp | ast.SetComp, env: Env) -> Any:
        result: list[Any] = []
        done = self._comprehend(node.generators, 0, env, lambda e: node.elt, result)
        if isinstance(done, Unknown):
            return done
        if isinstance(node, ast.SetComp):
            return self.make_set(result, env.module.place(node))
        return result

    def e_dictcomp(self, node: ast.DictComp, env: Env) -> Any:
        pairs: list[Any] = []
        both = ast.Tuple(elts=[node.key, node.value], ctx=ast.Load())
        ast.copy_location(both, node)
        done = self._comprehend(node.generators, 0, env, lambda e: both, pairs)
        if isinstance(done, Unknown):
            return done
        if any(isinstance(k, (Unknown, Alternatives)) for k, _ in pairs):
            return Unknown("a dict with an unknown key", env.module.place(node))
        for key, _ in pairs:
            self.pin(key)
        return dict(pairs)

    def _comprehend(
        self,
        generators: list[ast.comprehension],
        level: int,
        env: Env,
        element: Callable[[Env], ast.expr],
        result: list[Any],
    ) -> Unknown | None:
        generator = generators[level]
        iterable = self.eval(generator.iter, env)
        items = self.items_of(iterable)
        if items is None:
            if isinstance(iterable, Unknown):
                return iterable
            return Unknown("iteration over something unknown", env.module.place(generator.iter))
        last = level == len(generators) - 1
        inner = Env(env.module, env)
        if last and not generator.ifs and len(items) >= REPEATS_FROM and _is_count(items):

            def one(item: Any) -> Any:
                scope = Env(env.module, env)
                self.assign(generator.target, item, scope)
                return self.eval(element(scope), scope)

            result.extend(self.repeated(items, one))
            return None
        for item in items:
            self.step()
            inner = Env(env.module, env)  # closures keep the variables of their own round
            self.assign(generator.target, item, inner)
            keep: bool | None = True
            for condition in generator.ifs:
                keep = self.truth(self.condition(condition, inner))
                if not keep:
                    break
            if keep is None:
                return Unknown(
                    "a comprehension with an unknown condition", env.module.place(generator.iter)
                )
            if not keep:
                continue
            if last:
                result.append(self.eval(element(inner), inner))
            else:
                done = self._comprehend(generators, level + 1, inner, element, result)
                if done is not None:
                    return done
        return None

    def repeated(self, items: list[Any], one: Callable[[Any], Any]) -> list[Any]:
        """`[one(i) for i in items]`, building layers that equal an earlier one only once.

        The first element is built while every decision that depends on the index is noted; a later
        index for which all of them go the same way is the same layer again.
        """
        if self.tracker is not None:
            # Inside a layer that is being tracked, an inner list is built element by element: a
            # value can depend on one index only.
            return [one(item) for item in items]
        templates: list[Mod] = []
        result: list[Any] = []
        for item in items:
            self.step()
            number = int(item)

            def build(number: int = number, item: Any = item) -> Any:
                return self.tracked(
                    lambda: one(depending(number, lambda i: i, origins_of(item))), number
                )

            found = next((t for t in templates if t.tracker and t.tracker.holds(number)), None)
            if found is not None:
                again = Repeat(found, number, partial(self.rebuilt, build))
                found.repeats.append(again)
                if found.tracker is not None:
                    found.tracker.repeated = True
                result.append(again)
                continue
            value = build()
            if isinstance(value, Mod) and value.tracker is not None:
                templates.append(value)
            result.append(value)
        return result

    def rebuilt(self, build: Callable[[], Any]) -> Any:
        """Build a repeated layer for itself, outside of any branch or pass that asks for it."""
        saved = (self._journals, self.building, self.forward)
        self._journals, self.building, self.forward = [], [], False
        try:
            return build()
        finally:
            self._journals, self.building, self.forward = saved

    def items_of(self, value: Any) -> list[Any] | None:
        """What iteration over a value gives; None where that is not known."""
        if isinstance(value, Mod) and value.items is not None:
            return list(value.items)
        if isinstance(value, range) and len(value) > MAX_CONTAINER:
            return None
        if isinstance(value, (list, tuple, range, set, frozenset, dict, str)):
            self.pin(value)  # the characters of a string are not followed
            return list(value)
        if isinstance(value, Class):
            members = self.enum_members(value)
            return None if members is None else list(members)
        if isinstance(value, Namespace) and value.is_mapping:
            return list(value.values)
        return None


def too_large(op: type, left: Any, right: Any) -> bool:
    """Whether the result of an operation would take more memory than a model's numbers do."""
    if op is ast.Mult:
        for many, times in ((left, right), (right, left)):
            if isinstance(many, (list, tuple, str, bytes)) and isinstance(times, int):
                return len(many) * times > MAX_CONTAINER
    if op in (ast.Pow, ast.LShift) and isinstance(left, int) and isinstance(right, int):
        return right > 4096 or left.bit_length() * max(right, 1) > 1 << 16
    if op is ast.Mod and isinstance(left, str):
        return _wide(left)
    return False


def _wide(spec: str) -> bool:
    """Whether a format pads to a width that no name has."""
    return re.search(r"\d{5}", spec) is not None


def _is_count(items: list[Any]) -> bool:
    return all(isinstance(i, int) and not isinstance(i, bool) for i in items)


def _kind(value: Any) -> str:
    if isinstance(value, (Class, Ext)):
        return value.name
    return type(value).__name__


_EXPRESSIONS: dict[type, Callable[[Any, Any, Env], Any]] = {
    ast.Constant: Expressions.e_constant,
    ast.Name: Expressions.e_name,
    ast.Attribute: Expressions.e_attribute,
    ast.Call: Expressions.e_call,
    ast.BinOp: Expressions.e_binop,
    ast.UnaryOp: Expressions.e_unaryop,
    ast.BoolOp: Expressions.e_boolop,
    ast.Compare: Expressions.e_compare,
    ast.IfExp: Expressions.e_ifexp,
    ast.Tuple: Expressions.e_tuple,
    ast.List: Expressions.e_list,
    ast.Set: Expressions.e_set,
    ast.Dict: Expressions.e_dict,
    ast.Subscript: Expressions.e_subscript,
    ast.Slice: Expressions.e_slice,
    ast.JoinedStr: Expressions.e_joinedstr,
    ast.Lambda: Expressions.e_lambda,
    ast.NamedExpr: Expressions.e_namedexpr,
    ast.Starred: Expressions.e_starred,
    ast.Await: Expressions.e_await,
    ast.Yield: Expressions.e_yield,
    ast.YieldFrom: Expressions.e_yield,
    ast.ListComp: Expressions.e_listcomp,
    ast.GeneratorExp: Expressions.e_listcomp,
    ast.SetComp: Expressions.e_listcomp,
    ast.DictComp: Expressions.e_dictcomp,
}
