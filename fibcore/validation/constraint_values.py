"""Values of constraints: numbers, tuples, ranges and NumPy arrays, and operations with a bound."""

from __future__ import annotations

import ast
import itertools
import math
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any

MAX_WORK = 10_000_000
"""The most elements that one evaluation computes or looks at."""

MAX_BITS = 256
"""The most bits of an integer."""


class BoundExceededError(Exception):
    """A constraint takes more work than any that says something about a kernel."""


class Bound:
    """The work of one evaluation. Operations state theirs before they do it."""

    def __init__(self) -> None:
        self.left = MAX_WORK

    def charge(self, elements: int) -> None:
        """Take so many elements off what is left.

        Raises:
            BoundExceededError: there is not so much left.
        """
        self.left -= elements
        if self.left < 0:
            raise BoundExceededError(f"more than {MAX_WORK} elements to compute")

    def elementwise(self, *operands: Any) -> None:
        """Charge for an operation on each element of its operands, broadcast as NumPy does."""
        shapes = [value.shape for value in operands if is_array(value)]
        if shapes:
            sizes = itertools.zip_longest(*(reversed(shape) for shape in shapes), fillvalue=1)
            self.charge(math.prod(map(max, sizes)))
        else:
            self.charge(sum(len(v) if isinstance(v, tuple) else 1 for v in operands))

    def bits(self, bits: int) -> None:
        """Refuse an integer of so many bits before it is computed."""
        if bits > MAX_BITS:
            raise BoundExceededError(f"an integer of more than {MAX_BITS} bits")

    def checked(self, value: Any) -> Any:
        """A value, unless it is an integer that is too large; a tensor of one number as that."""
        if is_array(value) and not value.shape:
            value = value.item()
        if isinstance(value, int):
            self.bits(value.bit_length())
        return value

    def widened(self, value: Any) -> Any:
        """An input: arrays of integers with 64 bits, so that differences do not wrap."""
        if is_array(value) and value.dtype.kind in "iu":
            self.charge(value.size)
            return value.astype("int64")
        return value


def is_array(value: Any) -> bool:
    """Whether a value is a NumPy array or a scalar of one."""
    return hasattr(value, "dtype")


def is_number(value: Any) -> bool:
    """Whether a value is a number; a truth value is one."""
    return isinstance(value, int | float)


def shape_of(value: Any) -> tuple[int, ...]:
    """The shape of a tensor, that of a number being ()."""
    if not is_number(value) and not is_array(value):
        raise TypeError(f"no tensor: {type(value).__name__}")
    return tuple(getattr(value, "shape", ()))


# Operators.

_Operation = Callable[[Bound, Any, Any], Any]


def _plain(function: Callable[[Any, Any], Any]) -> _Operation:
    def operation(bound: Bound, left: Any, right: Any) -> Any:
        bound.elementwise(left, right)
        return function(left, right)

    return operation


def _product(bound: Bound, left: Any, right: Any) -> Any:
    if isinstance(left, int) and isinstance(right, int):
        bound.bits(left.bit_length() + right.bit_length() - 1)
    for one, other in ((left, right), (right, left)):
        if isinstance(one, tuple) and isinstance(other, int):
            bound.charge(len(one) * max(other, 0))
    bound.elementwise(left, right)
    return left * right


def _power(bound: Bound, left: Any, right: Any) -> Any:
    if not is_number(left) or not is_number(right):
        raise TypeError("only numbers have powers here")
    if isinstance(left, int) and isinstance(right, int) and abs(left) > 1:
        bound.bits((left.bit_length() - 1) * abs(right))
    value: Any = left**right
    return value


OPERATORS: Mapping[type[ast.AST], _Operation] = {
    ast.Add: _plain(operator.add),
    ast.Sub: _plain(operator.sub),
    ast.Mult: _product,
    ast.Pow: _power,
    ast.Div: _plain(operator.truediv),
    ast.FloorDiv: _plain(operator.floordiv),
    ast.Mod: _plain(operator.mod),
    ast.Eq: _plain(operator.eq),
    ast.NotEq: _plain(operator.ne),
    ast.Lt: _plain(operator.lt),
    ast.LtE: _plain(operator.le),
    ast.Gt: _plain(operator.gt),
    ast.GtE: _plain(operator.ge),
}
"""What each operator of Python's grammar does."""


# Functions.


def _reduced(name: str, function: Callable[[Iterable[Any]], Any]) -> Callable[..., Any]:
    """A builtin that looks at all elements of a sequence; NumPy does it for a tensor."""

    def of_sequence(bound: Bound, value: Any) -> Any:
        if is_array(value) and len(value.shape) == 1:
            return METHODS[name](bound, value)
        if not isinstance(value, tuple | range):
            raise TypeError(f"no sequence of numbers: {type(value).__name__}")
        bound.charge(_length(bound, value))
        return function(value)

    return of_sequence


def _extreme(name: str, function: Callable[[Iterable[Any]], Any]) -> Callable[..., Any]:
    of_sequence = _reduced(name, function)
    return lambda bound, *given: of_sequence(bound, given[0] if len(given) == 1 else given)


def _range(_: Bound, *given: Any) -> range:
    if not all(isinstance(value, int) for value in given):
        raise TypeError("range takes integers")
    return range(*given)


def _length(_: Bound, value: Any) -> int:
    if isinstance(value, range):  # len() of a long one overflows
        return max(0, -(-(value.stop - value.start) // value.step))
    length: int = len(value)
    return length


def _absolute(bound: Bound, value: Any) -> Any:
    bound.elementwise(value)
    return abs(value)


_BUILTINS: Mapping[str, Callable[..., Any]] = {
    "abs": _absolute,
    "all": _reduced("all", all),
    "any": _reduced("any", any),
    "int": lambda _, value: int(value),
    "len": _length,
    "max": _extreme("max", max),
    "min": _extreme("min", min),
    "range": _range,
    "sum": _reduced("sum", sum),
}


def call(bound: Bound, name: str, arguments: list[Any]) -> Any:
    """The value of a builtin for these arguments; see `CONSTRAINT_BUILTINS`."""
    return _BUILTINS[name](bound, *arguments)


# Methods and attributes of tensors, under their names in NumPy and torch.


def _reduction(name: str) -> Callable[..., Any]:
    def method(bound: Bound, tensor: Any, axis: int | None = None) -> Any:
        if is_number(tensor):
            return bool(tensor) if name in ("all", "any") else tensor
        bound.charge(math.prod(shape_of(tensor)))
        return getattr(tensor, name)(axis=axis)  # one of the names below, of a NumPy array

    return method


def _item(_: Bound, tensor: Any) -> Any:
    if is_number(tensor):
        return tensor
    return tensor.item()


def _size(_: Bound, tensor: Any, axis: int | None = None) -> Any:
    shape = shape_of(tensor)
    return shape if axis is None else shape[axis]


METHODS: Mapping[str, Callable[..., Any]] = {
    **{name: _reduction(name) for name in ("all", "any", "max", "min", "sum")},
    "item": _item,
    "numel": lambda _, tensor: math.prod(shape_of(tensor)),
    "shape": lambda _, tensor: shape_of(tensor),
    "size": _size,
}
"""What may stand after the dot behind a tensor."""
