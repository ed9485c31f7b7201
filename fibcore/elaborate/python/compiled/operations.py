"""What compiled functions can do: an allow-list of operations on exact types.

Each takes and gives values of Python's own types and of no class derived from them, so that
what a value remembers beside itself (where it is from, how it depends on a layer's index) is never
lost here, and nothing of the source can say what an operation means.
"""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable, Iterator
from typing import Any

from fibcore.elaborate.python.budget import Budget
from fibcore.elaborate.python.compiled.globs import Glob, Matched
from fibcore.elaborate.python.values import OTHER_KEYS

MAX_TEXT = 1 << 14
"""Characters of a text that is made; longer ones are not what names are made of."""


_FREE_ITEMS = 64
"""Items that are gone through without a charge of their own: rounds of loops are charged."""
_FREE_TEXT = 128
_MAX_NUMBER = 1 << 512


class _Meter(threading.local):
    """What is charged for operations.

    Attributes:
        budget: That of the evaluation whose function runs.
    """

    budget: Budget | None = None


METER = _Meter()


def charge(size: int) -> None:
    """Count the steps of what takes time and memory by its size, before it is done."""
    if METER.budget is not None:
        METER.budget.spend(size, "an operation of a compiled function")


def _charge_text(text: str) -> None:
    """Charge for a look through a text."""
    if len(text) > _FREE_TEXT:
        charge(len(text) >> 8)


def _charge_copy(text: str) -> None:
    if len(text) > _FREE_TEXT:
        charge(len(text) >> 4)


def _charge_items(holder: Any) -> None:
    if len(holder) > _FREE_ITEMS:
        charge(len(holder) >> 4)


class NotPlain(Exception):
    """Something is not plain, known data, or not done here."""


class Made(list[Any]):
    """A list that a compiled function has made itself, and may change."""


class MadeSet(set[Any]):
    """A set that a compiled function has made itself, and may change."""


SCALARS = frozenset((str, int, float, bool, type(None)))
PLAIN = SCALARS | {list, tuple, dict, set, frozenset, Made, MadeSet, Glob, Matched}
"""Types of data whose parts may be anything: they are looked at when they are read."""
SEQUENCES = frozenset((list, tuple, Made))


def plain(value: Any) -> Any:
    """A value that was read out of another one."""
    if type(value) not in PLAIN:
        raise NotPlain
    return value


def certain(holder: Any) -> Any:
    """A container of which it is known what it holds, and how much."""
    kind = type(holder)
    if kind is dict:
        if OTHER_KEYS in holder:
            raise NotPlain
        inside: Any = holder.values()
    else:
        inside = holder
    if kind in (list, set, frozenset, dict) and len(holder) > _FREE_ITEMS:
        charge(len(holder) >> 4)
    for value in inside if kind in (list, set, frozenset, dict) else ():
        if type(value) not in PLAIN:
            raise NotPlain
    return holder


def holds_made(value: Any) -> bool:
    """Whether a value is, or is a tuple that holds, a list or set that was made here."""
    kind = type(value)
    return kind is Made or kind is MadeSet or (kind is tuple and any(map(holds_made, value)))


def result(value: Any) -> Any:
    """A value as the evaluator gets it."""
    kind = type(value)
    if kind is Made:
        return [result(item) for item in value]
    if kind is MadeSet:
        return set(value)
    if kind is tuple:
        return tuple(result(item) for item in value) if holds_made(value) else value
    if kind in PLAIN and kind is not Glob and kind is not Matched:
        return value
    raise NotPlain


def truth(value: Any) -> bool:
    """`bool(value)`."""
    kind = type(value)
    if kind in (list, set, frozenset, dict):
        certain(value)
    elif kind not in PLAIN:
        raise NotPlain
    return bool(value)


def items(value: Any) -> Any:
    """What iteration over a value gives; the items are not looked at yet."""
    kind = type(value)
    if kind in SEQUENCES or kind is str or kind is Items:
        return value
    if kind is dict:
        return _keys(value)
    raise NotPlain  # a set among them: its order is another in each process


class Items:
    """The pairs, keys or values of a dict.

    Attributes:
        source: The dict.
    """

    __slots__ = ("_view", "source")

    def __init__(self, source: dict[Any, Any], view: Any) -> None:
        self.source = source
        self._view = view

    def __len__(self) -> int:
        return len(self.source)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._view)


def equal(left: Any, right: Any) -> bool:
    """`left == right`."""
    if type(left) in SCALARS and type(right) in SCALARS:
        if type(left) is str:
            _charge_text(left)
        return bool(left == right)
    raise NotPlain


def contains(item: Any, holder: Any) -> bool:
    """`item in holder`."""
    kind = type(holder)
    if kind is str:
        if type(item) is str:
            _charge_text(holder)
            return item in holder
    elif type(item) in SCALARS:
        if kind is dict:
            if item not in holder:
                if OTHER_KEYS in holder:
                    raise NotPlain
                return False
            plain(holder[item])  # a key that may be there has a value that is not plain
            return True
        if kind in (*SEQUENCES, set, frozenset, MadeSet):
            _charge_items(holder)
            if all(type(one) in SCALARS for one in holder):
                return item in holder
    raise NotPlain


def is_(left: Any, right: Any) -> bool:
    """`left is right`, for the constants that there is one of."""
    if (right is None or right is True or right is False) and type(left) in PLAIN:
        return left is right
    raise NotPlain


def _ordered(fn: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def compare(left: Any, right: Any) -> bool:
        kinds = (type(left), type(right))
        if kinds in ((int, int), (str, str), (float, float), (int, float), (float, int)):
            if isinstance(left, str):
                _charge_text(left)
            return fn(left, right)
        raise NotPlain

    return compare


def add(left: Any, right: Any) -> Any:
    """`left + right`."""
    if type(left) is str and type(right) is str and len(left) + len(right) < MAX_TEXT:
        return left + right
    if type(left) is int and type(right) is int:
        return _small(left + right)
    raise NotPlain


def subtract(left: Any, right: Any) -> Any:
    """`left - right`."""
    if type(left) is int and type(right) is int:
        return _small(left - right)
    raise NotPlain


def _small(number: int) -> int:
    if -_MAX_NUMBER < number < _MAX_NUMBER:
        return number
    raise NotPlain


def text_of(value: Any) -> str:
    """What a value is in an f-string."""
    if type(value) is str:
        return value
    if type(value) is int:
        return str(value)
    raise NotPlain


def item(holder: Any, key: Any) -> Any:
    """`holder[key]`."""
    kind = type(holder)
    if kind is dict and type(key) in SCALARS and key in holder:
        return plain(holder[key])
    if kind not in SEQUENCES and kind is not str:
        raise NotPlain
    if type(key) is int and -len(holder) <= key < len(holder):
        if kind is str:
            return holder[key]
        if kind in SEQUENCES:
            return plain(certain(holder)[key])
    raise NotPlain


def part(holder: Any, start: Any, stop: Any, step: Any) -> Any:
    """`holder[start:stop:step]`."""
    if all(v is None or type(v) is int for v in (start, stop, step)) and step != 0:
        if type(holder) is str:
            _charge_copy(holder)
        elif type(holder) in SEQUENCES:
            _charge_items(holder)
        if type(holder) in (str, tuple):
            return holder[start:stop:step]
        if type(holder) in SEQUENCES:
            return Made(certain(holder)[start:stop:step])
    raise NotPlain


COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "Eq": equal,
    "NotEq": lambda left, right: not equal(left, right),
    "In": contains,
    "NotIn": lambda left, right: not contains(left, right),
    "Is": is_,
    "IsNot": lambda left, right: not is_(left, right),
    "Lt": _ordered(operator.lt),
    "LtE": _ordered(operator.le),
    "Gt": _ordered(operator.gt),
    "GtE": _ordered(operator.ge),
}
BINARY: dict[str, Callable[[Any, Any], Any]] = {"Add": add, "Sub": subtract}


# -- methods ---------------------------------------------------------------------------------------


def _replace(text: str, old: Any, new: Any, count: Any = -1) -> str:
    if type(old) is not str or type(new) is not str or type(count) is not int:
        raise NotPlain
    _charge_text(text)
    if not old or len(text) * (len(new) + 1) > MAX_TEXT:
        raise NotPlain
    return text.replace(old, new, count)


def _join(text: str, parts: Any) -> str:
    if type(parts) not in SEQUENCES:
        raise NotPlain
    _charge_items(parts)
    if not all(type(p) is str for p in parts):
        raise NotPlain
    if sum(map(len, parts)) + len(parts) * len(text) > MAX_TEXT:
        raise NotPlain
    return text.join(parts)


def _split(fn: Callable[..., list[str]]) -> Callable[..., Any]:
    def run(text: str, sep: Any = None, maxsplit: Any = -1) -> Any:
        if (sep is None or (type(sep) is str and sep)) and type(maxsplit) is int:
            if len(text) > _FREE_ITEMS:
                charge(len(text) >> 2)  # each part is a text of its own
            return Made(fn(text, sep, maxsplit))
        raise NotPlain

    return run


def _of_texts(name: str, least: int = 0, most: int = 1) -> Callable[..., Any]:
    """A method of str that takes texts and makes nothing longer."""
    fn = getattr(str, name)

    def run(text: str, *args: Any) -> Any:
        if not least <= len(args) <= most:
            raise NotPlain
        for arg in args:
            if type(arg) is not str:
                raise NotPlain
        _charge_copy(text)
        return fn(text, *args)

    return run


def _of_ends(name: str) -> Callable[..., bool]:
    """`startswith` and `endswith`."""
    fn = getattr(str, name)

    def run(text: str, end: Any) -> Any:
        if type(end) is str or (type(end) is tuple and all(type(e) is str for e in end)):
            return fn(text, end)
        raise NotPlain

    return run


def _get(holder: dict[Any, Any], key: Any, default: Any = None) -> Any:
    if type(key) not in SCALARS:
        raise NotPlain
    if key not in holder and OTHER_KEYS in holder:
        raise NotPlain
    return plain(holder[key]) if key in holder else default


def _pairs(holder: dict[Any, Any]) -> Any:
    return Items(holder, holder.items())


def _keys(holder: dict[Any, Any]) -> Any:
    certain(holder)
    return Items(holder, holder.keys())


def _append(holder: Any, value: Any) -> None:
    holder.append(value)


def _add(holder: MadeSet, value: Any) -> None:
    if type(value) not in SCALARS:
        raise NotPlain
    holder.add(value)


def _only(holder: MadeSet) -> Any:
    if len(holder) != 1:
        raise NotPlain  # which one it is differs by process
    return holder.pop()


def fullmatch(pattern: Glob, text: Any) -> Matched | None:
    """`pattern.fullmatch(text)`."""
    if type(text) is str and "\n" not in text:
        _charge_text(text)
        return Matched() if pattern.fullmatch(text) else None
    raise NotPlain


METHODS: dict[type, dict[str, Callable[..., Any]]] = {
    str: {
        "startswith": _of_ends("startswith"),
        "endswith": _of_ends("endswith"),
        "replace": _replace,
        "join": _join,
        "split": _split(str.split),
        "rsplit": _split(str.rsplit),
        **{name: _of_texts(name) for name in ("strip", "lstrip", "rstrip")},
        **{
            name: _of_texts(name, 1)
            for name in ("removeprefix", "removesuffix", "partition", "rpartition", "find", "count")
        },
        **{name: _of_texts(name, 0, 0) for name in ("lower", "upper", "isdigit", "isnumeric")},
    },
    dict: {
        "get": _get,
        "items": _pairs,
        "keys": _keys,
        "values": lambda holder: Items(holder, holder.values()),
    },
    Made: {"append": _append},
    MadeSet: {"add": _add, "pop": _only},
    Glob: {"fullmatch": fullmatch},
}
"""Methods that can be called, by the exact type of what has them."""


# -- builtins --------------------------------------------------------------------------------------


def _len(value: Any) -> int:
    if type(value) in (str, list, tuple, Made, MadeSet):
        return len(certain(value))
    raise NotPlain


def _charged(value: Any) -> Any:
    """The items of a value, all of which are gone through."""
    found = items(value)
    _charge_items(found)
    return found


def _list(value: Any) -> Any:
    return Made(plain(one) for one in _charged(value))


def _tuple(value: Any) -> Any:
    return tuple(plain(one) for one in _charged(value))


def _bool(value: Any) -> bool:
    return truth(value)


def _fromkeys(value: Any) -> dict[Any, Any]:
    found = list(_charged(value))
    if not all(type(one) in SCALARS for one in found):
        raise NotPlain
    return dict.fromkeys(found)


def _made_set(value: Any = ()) -> Any:
    found = MadeSet()
    for one in _charged(value):
        _add(found, one)
    return found


def _int(value: Any) -> int:
    if type(value) is int or (type(value) is str and value.isdecimal() and len(value) < 19):
        return int(value)
    raise NotPlain


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "len": _len,
    "list": _list,
    "tuple": _tuple,
    "set": _made_set,
    "bool": _bool,
    "int": _int,
    "str": text_of,
}
"""Builtins that can be called."""
CLASS_METHODS: dict[tuple[str, str], Callable[..., Any]] = {("dict", "fromkeys"): _fromkeys}
"""Methods of builtin types."""
