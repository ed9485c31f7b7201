"""Python's operations that make much out of little, refused before they run where it is too much.

A source line of ten characters asks for a number of a billion digits, a text of a terabyte or a
walk through a million million items, and Python would do it in one go that nothing can interrupt.
Here each such operation is computed only where its result, estimated from its arguments, stays
below sizes that no model's numbers have. The other operations take time and memory in proportion to
their arguments, which are below these sizes because everything that made them was.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable
from typing import Any

from fibcore.elaborate.python.budget import Exhausted

MAX_CONTAINER = 1 << 20
"""Items of a container, characters of a text, parts of nested containers."""
MAX_BITS = 1 << 16
"""Bits of a whole number: 19,728 digits."""
_MAX_MODULAR = 50_000_000
"""Products of digits in a power of numbers modulo a third; a second or so."""
_BITS_A_STEP = 512
_DIGITS = re.compile(r"\d+")


class TooLarge(ValueError):
    """An operation would take more memory or time than a model's do.

    Attributes:
        steps: What it would take, in steps of the budget.
        what: The operation, in messages.
    """

    def __init__(self, steps: int, what: str) -> None:
        super().__init__(f"{what} takes {steps} steps")
        self.steps = steps
        self.what = what


def weight(value: Any) -> int:
    """The steps that it takes to go through a value: one a part, one for 16 characters.

    Args:
        value: Any value; what is no plain data counts as one part.

    Raises:
        TooLarge: there are too many parts, as in a list that holds itself.
    """
    if not isinstance(value, _CONTAINERS):
        return _scalar_weight(value)
    total = 0
    pending: list[Any] = [value]
    # What a list holds twice is gone through twice, as Python's own functions do.
    while pending:
        for part in _parts(pending.pop()):
            total += 1
            if isinstance(part, _CONTAINERS):
                pending.append(part)
            elif isinstance(part, _LONG):
                total += _scalar_weight(part)
            if total > MAX_CONTAINER:
                raise TooLarge(total, "a look through nested containers")
    return total


def _scalar_weight(value: Any) -> int:
    # By the functions of the types: numbers and texts of a class of their own may take a question
    # for their length as a use of the value.
    if isinstance(value, str):
        return str.__len__(value) >> 4
    if isinstance(value, bytes):
        return len(value) >> 4
    return int.bit_length(value) // _BITS_A_STEP if isinstance(value, int) else 0


_LONG = (str, int, bytes)


def bounded(value: Any) -> None:
    """Refuse containers that a function of ours would not come to the end of.

    What a list holds twice is gone through twice: forty lists of two can have a million million
    parts.

    Raises:
        Exhausted: there are too many parts.
    """
    try:
        weight(value)
    except TooLarge as error:
        raise Exhausted(f"{error.what} of more than {MAX_CONTAINER:,} parts") from None


_CONTAINERS = (list, tuple, dict, set, frozenset)


def _parts(value: Any) -> Iterable[Any]:
    return (part for pair in value.items() for part in pair) if isinstance(value, dict) else value


def _at_most(size: int, what: str, limit: int = MAX_CONTAINER) -> None:
    """Refuse a result of so many items or characters."""
    if size > limit:
        raise TooLarge(size >> 4, what)


def _bits_at_most(bits: int, what: str) -> None:
    if bits > MAX_BITS:
        raise TooLarge(bits // _BITS_A_STEP, what)


_SIZED = (str, bytes, list, tuple)


# -- operators ---------------------------------------------------------------------------------


def add(left: Any, right: Any) -> Any:
    """`left + right`."""
    if isinstance(left, _SIZED) and isinstance(right, _SIZED):
        _at_most(len(left) + len(right), "+")
    return operator.add(left, right)


def mul(left: Any, right: Any) -> Any:
    """`left * right`."""
    if isinstance(left, int) and isinstance(right, int):
        _bits_at_most(left.bit_length() + right.bit_length() - 1, "*")
    for many, times in ((left, right), (right, left)):
        if isinstance(many, _SIZED) and isinstance(times, int):
            _at_most(len(many) * times, "*")
    return operator.mul(left, right)


def power(base: Any, exp: Any, mod: Any = None) -> Any:
    """`base ** exp`, `pow(base, exp, mod)`."""
    if isinstance(base, int) and isinstance(exp, int):
        if isinstance(mod, int):
            digits = max(mod.bit_length(), 30) / 30
            steps = max(exp.bit_length(), 64 if exp < 0 else 1) * digits**1.6
            if steps > _MAX_MODULAR or base.bit_length() > MAX_BITS:
                raise TooLarge(int(steps) >> 4, "pow")
        elif exp > 1 and base not in (-1, 0, 1):
            _bits_at_most(base.bit_length() * exp - exp, "**")
    return pow(base, exp, mod)


def lshift(left: Any, right: Any) -> Any:
    """`left << right`."""
    if isinstance(left, int) and isinstance(right, int) and left:
        _bits_at_most(left.bit_length() + right, "<<")
    return operator.lshift(left, right)


def modulo(left: Any, right: Any) -> Any:
    """`left % right`; a format of text, too."""
    if isinstance(left, (str, bytes)):
        template = left if isinstance(left, str) else left.decode("latin-1")
        fields = template.count("%")
        parts = right if isinstance(right, tuple) else (right,)
        longest = max((text_size(p) for p in parts), default=0)
        _at_most(len(template) + fields * (longest + _widest(template)), "%")
    return operator.mod(left, right)


# -- numbers -----------------------------------------------------------------------------------


def product(values: Any, *, start: Any = 1) -> Any:
    """`math.prod(values, start=1)`."""
    if isinstance(values, range):
        _at_most(range_length(values), "math.prod")
        values = list(values)
    known = values if isinstance(values, _CONTAINERS) else ()
    whole = [start, *(v for v in known if isinstance(v, int))]
    _bits_at_most(sum(v.bit_length() for v in whole if isinstance(v, int)), "math.prod")
    return math.prod(values, start=start)


def least_multiple(*values: Any) -> Any:
    """`math.lcm(*values)`."""
    _bits_at_most(sum(v.bit_length() for v in values if isinstance(v, int)), "math.lcm")
    return math.lcm(*values)


def rounded(number: Any, ndigits: Any = None) -> Any:
    """`round(number, ndigits)`, which computes a power of ten for digits before the point."""
    if isinstance(number, int) and isinstance(ndigits, int) and ndigits < 0:
        digits = number.bit_length() // 3 + 1
        if -ndigits > digits + 1:  # a power of ten of which it is less than the half
            return 0
    return round(number) if ndigits is None else round(number, ndigits)


def to_bytes(number: Any, length: Any = 1, byteorder: Any = "big", *, signed: Any = False) -> Any:
    """`number.to_bytes(length, byteorder)`."""
    if isinstance(length, int):
        _at_most(length, "int.to_bytes")
    return int.to_bytes(number, length, byteorder, signed=signed)


def make_bytes(*args: Any, **kwargs: Any) -> Any:
    """`bytes(...)`."""
    if args and isinstance(args[0], int):
        _at_most(args[0], "bytes")
    if args and isinstance(args[0], range):
        _at_most(range_length(args[0]), "bytes")
    return bytes(*args, **kwargs)


def whole(*args: Any, **kwargs: Any) -> int:
    """`int(...)`."""
    if args and isinstance(args[0], (str, bytes)):
        given = args[1] if len(args) > 1 else kwargs.get("base", 10)
        base = given if isinstance(given, int) and 2 <= given <= 36 else 36
        _bits_at_most(len(args[0]) * base.bit_length(), "int")
    return int(*args, **kwargs)


def whole_from_bytes(data: Any, byteorder: Any = "big", *, signed: Any = False) -> int:
    """`int.from_bytes(data, byteorder)`."""
    if isinstance(data, (bytes, *_CONTAINERS)):
        _bits_at_most(8 * len(data), "int.from_bytes")
    return int.from_bytes(data, byteorder, signed=signed)


# -- text --------------------------------------------------------------------------------------


def text_size(value: Any) -> int:
    """Characters that the text of a value has at most, however it is written."""
    if isinstance(value, str):
        return 10 * len(value) + 2  # escapes such as \\U0001f600
    if isinstance(value, bytes):
        return 4 * len(value) + 3
    if isinstance(value, int):
        return value.bit_length() + 4  # in base 2
    if isinstance(value, _CONTAINERS):
        return 192 * (weight(value) + 1)
    return 512  # a float without an exponent


def _widest(spec: str) -> int:
    """The largest number in a format: a width or a precision."""
    return max((int(n) if len(n) < 9 else MAX_CONTAINER for n in _DIGITS.findall(spec)), default=0)


def formatted(value: Any, spec: str, convert: Callable[[Any], str] | None = None) -> str:
    """`format(value, spec)`; of what `convert` makes of the value where it is given."""
    if spec or not isinstance(value, (str, bool, type(None))):
        _at_most(_widest(spec) + text_size(value), "format")
    return format(value if convert is None else convert(value), spec)


def join(separator: Any, parts: Any) -> Any:
    """`separator.join(parts)`."""
    if isinstance(parts, (str, bytes, *_CONTAINERS)):
        inner = len(parts) if isinstance(parts, (str, bytes)) else sum(map(_length, parts))
        _at_most(len(separator) * len(parts) + inner, "join")
    return type_of(separator).join(separator, parts)


def _length(value: Any) -> int:
    return len(value) if isinstance(value, (str, bytes)) else 1


def type_of(text: Any) -> Any:
    """`str` or `bytes`, whichever a text is."""
    return bytes if isinstance(text, bytes) else str


def replace(text: Any, old: Any, new: Any, count: Any = -1) -> Any:
    """`text.replace(old, new, count)`."""
    if all(isinstance(t, (str, bytes)) for t in (old, new)) and len(new) > len(old):
        places = len(text) // len(old) if old else len(text) + 1
        if isinstance(count, int) and 0 <= count < places:
            places = count
        if len(text) + places * len(new) > MAX_CONTAINER:
            places = min(places, text.count(old)) if type(old) is type(text) else places
        _at_most(len(text) + places * (len(new) - len(old)), "replace")
    return type_of(text).replace(text, old, new, count)


def expandtabs(text: Any, tabsize: Any = 8) -> Any:
    """`text.expandtabs(tabsize)`."""
    tab = b"\t" if isinstance(text, bytes) else "\t"
    if isinstance(tabsize, int) and tabsize > 0:
        _at_most(len(text) + text.count(tab) * tabsize, "expandtabs")
    return type_of(text).expandtabs(text, tabsize)


def translate(text: Any, table: Any, **kwargs: Any) -> Any:
    """`text.translate(table)`."""
    if isinstance(table, dict):
        longest = max((len(v) for v in table.values() if isinstance(v, str)), default=1)
        _at_most(len(text) * max(longest, 1), "translate")
    return type_of(text).translate(text, table, **kwargs)


def _padding(name: str) -> Callable[..., Any]:
    def padded(text: Any, width: Any, *fill: Any) -> Any:
        if isinstance(width, int):
            _at_most(width, name)
        return getattr(type_of(text), name)(text, width, *fill)

    return padded


# -- ranges ------------------------------------------------------------------------------------


def range_length(value: range) -> int:
    """`len(value)`, also where Python cannot say it."""
    distance = value.stop - value.start
    return max(0, -(-distance // value.step))


def _as_whole(item: Any) -> int | None:
    """The whole number that a number equals; None where it is none."""
    if isinstance(item, complex) and item.imag == 0:
        item = item.real
    if isinstance(item, float):
        return int(item) if item.is_integer() else None
    # Exactly an int, of which Python computes whether it is in a range: of a class that derives
    # from it, it asks every item.
    return int(item) if isinstance(item, int) else None


def contains(item: Any, container: Any) -> bool:
    """`item in container`."""
    if isinstance(container, range):
        whole = _as_whole(item)
        return whole is not None and whole in container
    return bool(item in container)


def index_in_range(values: range, item: Any) -> int:
    """`range(...).index(item)`."""
    whole = _as_whole(item)
    if whole is None:
        raise ValueError("sequence.index(x): x not in sequence")
    return values.index(whole)


def count_in_range(values: range, item: Any) -> int:
    """`range(...).count(item)`."""
    return int(contains(item, values))


def ordered(values: list[Any], *, reverse: bool = False) -> list[Any]:
    """`sorted(values, reverse=...)`."""
    # A comparison of equal texts goes through all of both.
    longest = max(map(weight, values), default=0)
    steps = len(values) * max(len(values), 1).bit_length() * (longest + 1)
    if steps > 32 * MAX_CONTAINER:
        raise TooLarge(steps, "sorted")
    return sorted(values, reverse=reverse)


def sort(values: list[Any], *, reverse: Any = False) -> None:
    """`values.sort(reverse=...)`."""
    values[:] = ordered(values, reverse=bool(reverse))


RANGE_AWARE = frozenset((contains, count_in_range, index_in_range, len, operator.getitem))
"""Functions that compute with a range and do not go through it."""


def check(fn: Callable[..., Any], args: Iterable[Any]) -> int:
    """The steps that it takes to go through the arguments of a function.

    Args:
        fn: A function of plain data.
        args: What it is given.

    Raises:
        TooLarge: they are more than any of Python's functions may be given.
    """
    steps = 0
    for arg in args:
        if isinstance(arg, range):
            if fn not in RANGE_AWARE:
                _at_most(range_length(arg), "a walk through a range")
        elif isinstance(arg, int):
            bits = int.bit_length(arg)
            if bits > 4 * MAX_BITS:
                raise TooLarge(bits // _BITS_A_STEP, "a whole number")
            steps += bits // _BITS_A_STEP
        elif isinstance(arg, (str, bytes, *_CONTAINERS)):
            steps += weight(arg)
    if steps > MAX_CONTAINER:
        raise TooLarge(steps, "a look through the arguments of a function")
    return steps


_PADDED = {name: _padding(name) for name in ("center", "ljust", "rjust", "zfill")}
_TEXT_METHODS: dict[str, Callable[..., Any]] = {
    **_PADDED,
    "expandtabs": expandtabs,
    "join": join,
    "replace": replace,
    "translate": translate,
}
METHODS: dict[tuple[type, str], Callable[..., Any]] = {
    (int, "from_bytes"): whole_from_bytes,
    (int, "to_bytes"): to_bytes,
    (bool, "to_bytes"): to_bytes,
    (list, "sort"): sort,
    (range, "count"): count_in_range,
    (range, "index"): index_in_range,
    **{(kind, name): fn for kind in (str, bytes) for name, fn in _TEXT_METHODS.items()},
}
"""What stands in for methods of plain types that can make much out of little."""


def is_wide(spec: str) -> bool:
    """Whether a format pads to a width that no name has."""
    return re.search(r"\d{5}", spec) is not None
