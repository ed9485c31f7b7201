"""copy: containers and instances are copied; modules and classes stay themselves."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.budget import Exhausted
from fibcore.elaborate.python.libraries.table import imitates
from fibcore.elaborate.python.values import ABSENT, Args, Class, Kwargs, Namespace, Obj, Value
from fibcore.model.tree import Alternatives, Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.model.tree import SourcePlace

_HOOKS = (
    "__reduce__", "__reduce_ex__", "__getstate__", "__setstate__", "__getnewargs__",
    "__getnewargs_ex__",
)  # fmt: skip
_CONTAINERS = (list, tuple, dict, set, frozenset)

MAX_COPIED = 1 << 18


def _size(value: Any) -> int:
    """The parts that a copy goes through, those that are held twice counted twice.

    Raises:
        Exhausted: there are too many.
    """
    count = 0
    pending = [value]
    while pending:
        part = pending.pop()
        if isinstance(part, dict):
            inner: Collection[Any] = part.values()
        elif isinstance(part, (list, tuple)):
            inner = part
        elif isinstance(part, Namespace):
            inner = part.values.values()
        elif type(part) is Obj:
            inner = part.attrs.values()
        else:
            continue
        count += len(inner) + 1
        if count > MAX_COPIED:
            raise Exhausted(f"a copy of more than {MAX_COPIED:,} parts")
        pending.extend(inner)
    return count


@imitates("copy.copy")
def _copy(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    value = args[0]
    ev.budget.spend(_size(value), "a copy")
    if isinstance(value, (list, dict, set)):
        return type(value)(value)
    if type(value) is Obj and isinstance(value.cls, Class):
        found = _hooked(ev, value, "__copy__", [], place)
        if found is not ABSENT:
            return found
        new = Obj(value.cls, value.place)
        new.attrs.update(value.attrs)
        new.args = value.args
        return new
    if isinstance(value, Namespace):
        return value.copy(dict(value.values))
    return value.copied() if isinstance(value, Value) else value


@imitates("copy.deepcopy")
def _deep_copy(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    ev.budget.spend(_size(args[0]), "a copy")
    return _deep(ev, args[0], {}, place)


def _deep(ev: Evaluator, value: Any, memo: dict[int, Any], place: SourcePlace) -> Any:
    """A deep copy; what is in several places is copied once."""
    if id(value) in memo:
        return memo[id(value)]
    if isinstance(value, Alternatives):
        return Alternatives(tuple(_deep(ev, v, memo, place) for v in value.values))
    if isinstance(value, _CONTAINERS):
        return _deep_container(ev, value, memo, place)
    if type(value) is Obj and isinstance(value.cls, Class):
        return _deep_object(ev, value, memo, place)
    new = value.copied() if isinstance(value, Value) else value
    memo[id(value)] = new
    return new


def _deep_container(ev: Evaluator, value: Any, memo: dict[int, Any], place: SourcePlace) -> Any:
    if isinstance(value, (tuple, frozenset)):
        items = [_deep(ev, v, memo, place) for v in value]
        same = all(a is b for a, b in zip(items, value, strict=True))
        new: Any = value if same else type(value)(items)
        memo[id(value)] = new
        return new
    new = type(value)()
    memo[id(value)] = new
    if isinstance(value, dict):
        new.update({_deep(ev, k, memo, place): _deep(ev, v, memo, place) for k, v in value.items()})
    elif isinstance(value, list):
        new.extend(_deep(ev, v, memo, place) for v in value)
    else:
        new.update(_deep(ev, v, memo, place) for v in value)
    return new


def _deep_object(ev: Evaluator, value: Obj, memo: dict[int, Any], place: SourcePlace) -> Any:
    found = _hooked(ev, value, "__deepcopy__", [Unknown("the memo of deepcopy", place)], place)
    if found is ABSENT:
        found = Obj(value.cls, value.place)
        memo[id(value)] = found
        found.attrs.update({k: _deep(ev, v, memo, place) for k, v in value.attrs.items()})
        found.args = value.args
    memo[id(value)] = found
    return found


def _hooked(ev: Evaluator, value: Obj, name: str, args: Args, place: SourcePlace) -> Any:
    """A copy that the class of an object makes itself; ABSENT where it does not."""
    found = value.special(ev, name, args, place)
    if found is ABSENT and any(ev.classes.attr(value.cls, n) is not ABSENT for n in _HOOKS):
        return Unknown("a copy that a class makes in a way of its own", place)
    return found
