"""The table of plain types: what the source may read and call on plain data.

It is an allow-list. Whatever stands in the source, no other attribute of a Python object is looked
up: a name that is not here is unknown, above all every name with two underscores, from which all of
this interpreter can be reached.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from fibcore.elaborate.python import limits, patterns


@attrs.frozen
class PlainType:
    """What the source may do with plain data of a type.

    Attributes:
        name: The type's name.
        data: Functions that read an attribute, by its name.
        methods: Functions that methods stand for, called with the value first.
        makers: Class methods and static methods, which are called on the type alone.
        has: All names that values of the type have in Python.
    """

    name: str
    data: Mapping[str, Callable[[Any], Any]]
    methods: Mapping[str, Callable[..., Any]]
    makers: Mapping[str, Callable[..., Any]]
    has: frozenset[str]


def _plain(kind: type, methods: str = "", data: str = "", makers: str = "") -> PlainType:
    # Some names are of newer versions of Python than the one that runs.
    has = frozenset(dir(kind))
    return PlainType(
        kind.__name__,
        {name: operator.attrgetter(name) for name in data.split() if name in has},
        {name: _method(kind, name) for name in methods.split() if name in has},
        {name: _method(kind, name) for name in makers.split() if name in has},
        has,
    )


def _method(kind: type, name: str) -> Callable[..., Any]:
    if kind is re.Pattern:
        return patterns.METHODS[name]
    bounded = limits.METHODS.get((kind, name))
    return getattr(kind, name) if bounded is None else bounded


_INT = "as_integer_ratio bit_count bit_length conjugate is_integer to_bytes"
_NUMBER = "real imag"
_TEXT = (
    "capitalize center count endswith expandtabs find index isalnum isalpha isascii isdigit "
    "islower isspace istitle isupper join ljust lower lstrip partition removeprefix removesuffix "
    "replace rfind rindex rjust rpartition rsplit rstrip split splitlines startswith strip "
    "swapcase title translate upper zfill "
)
_SET = "copy difference intersection isdisjoint issubset issuperset symmetric_difference union "
_LIST = "append clear copy count extend index insert pop remove reverse sort"
_DICT = "clear copy get items keys pop popitem setdefault update values"
_SET_CHANGES = (
    "add clear difference_update discard intersection_update pop remove "
    "symmetric_difference_update update"
)

PLAIN_TYPES: dict[type, PlainType] = {
    int: _plain(int, _INT, _NUMBER + " numerator denominator", "from_bytes"),
    bool: _plain(bool, _INT, _NUMBER + " numerator denominator"),
    float: _plain(float, "as_integer_ratio conjugate hex is_integer", _NUMBER, "fromhex"),
    complex: _plain(complex, "conjugate", _NUMBER),
    str: _plain(
        str,
        _TEXT + "casefold encode format format_map isdecimal isidentifier isnumeric isprintable",
        makers="maketrans",
    ),
    bytes: _plain(bytes, _TEXT + "decode hex", makers="fromhex maketrans"),
    list: _plain(list, _LIST),
    tuple: _plain(tuple, "count index"),
    dict: _plain(dict, _DICT, makers="fromkeys"),
    set: _plain(set, _SET + _SET_CHANGES),
    frozenset: _plain(frozenset, _SET),
    range: _plain(range, "count index", "start stop step"),
    slice: _plain(slice, "indices", "start stop step"),
    type(None): _plain(type(None)),
    type(Ellipsis): _plain(type(Ellipsis)),
    re.Pattern: _plain(
        re.Pattern, "findall fullmatch match search split sub", "flags groups pattern"
    ),
    re.Match: _plain(
        re.Match,
        "end group groupdict groups span start",
        "endpos lastgroup lastindex pos string",
    ),
}
BY_NAME: dict[str, PlainType] = {kind.name: kind for kind in PLAIN_TYPES.values()}
MUTATING = frozenset((*_LIST.split(), *_DICT.split(), *_SET_CHANGES.split())) - {
    "copy", "count", "get", "index", "items", "keys", "values",
}  # fmt: skip
"""Methods that change a container."""
ENCODINGS = frozenset(("ascii", "latin-1", "latin1", "utf-8", "utf8", "utf-16", "utf-32"))
"""Encodings of which Python imports no module by a name that stands in the source."""


def plain_type(value: Any) -> PlainType | None:
    """The entry of a value's type, or of the type that it derives from; None without one."""
    known = PLAIN_TYPES.get(type(value))
    if known is not None:
        return known
    return next((PLAIN_TYPES[c] for c in type(value).__mro__ if c in PLAIN_TYPES), None)


_SCALARS = (int, float, complex, str, bytes, range, type(None), type(Ellipsis))


def is_plain(value: Any) -> bool:
    """Whether a value is plain data throughout, so that a function of Python may be given it."""
    if isinstance(value, _SCALARS):
        return True
    limits.bounded(value)
    return _is_plain(value, 16)


def _is_plain(value: Any, depth: int) -> bool:
    if isinstance(value, _SCALARS):
        return True
    if depth == 0:
        return False
    if isinstance(value, (list, tuple, set, frozenset)):
        return all(_is_plain(item, depth - 1) for item in value)
    if isinstance(value, dict):
        return all(_is_plain(k, depth - 1) and _is_plain(v, depth - 1) for k, v in value.items())
    if isinstance(value, slice):
        return all(_is_plain(v, 1) for v in (value.start, value.stop, value.step))
    return False


def has_order_of_hashes(value: Any) -> bool:
    """Whether the text of plain data depends on the order of a set, another in each process."""
    if isinstance(value, (set, frozenset)):
        return len(value) > 1
    if isinstance(value, (list, tuple)):
        return any(has_order_of_hashes(item) for item in value)
    if isinstance(value, dict):
        return any(has_order_of_hashes(item) for pair in value.items() for item in pair)
    return False
