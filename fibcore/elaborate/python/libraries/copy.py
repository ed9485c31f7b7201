"""copy: containers and instances are copied; modules and classes stay themselves."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.budget import Exhausted
from fibcore.elaborate.python.libraries.table import imitates
from fibcore.elaborate.python.reach import reached_by
from fibcore.elaborate.python.values import (
    ABSENT,
    Args,
    Class,
    Func,
    Kwargs,
    Namespace,
    Obj,
    Raised,
    Value,
)
from fibcore.elaborate.python.values.generators import Generator
from fibcore.model.tree import Alternatives, Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.model.tree import SourcePlace

_HOOKS = (
    "__reduce__", "__reduce_ex__", "__getstate__", "__setstate__", "__getnewargs__",
    "__getnewargs_ex__", "__getattr__", "__getattribute__",
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
        pending += [one for one in inner if not isinstance(one, str)]
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
        new = _bare(ev, value, place)
        if isinstance(new, Obj):
            new.attrs.update(value.attrs)
        return new
    if isinstance(value, Generator):
        raise Raised("TypeError", "a copy of a generator", place)
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
    if isinstance(value, Generator):
        raise Raised("TypeError", "a copy of a generator", place)
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
        found = _bare(ev, value, place)
        memo[id(value)] = found
        if isinstance(found, Obj):
            found.attrs.update({k: _deep(ev, v, memo, place) for k, v in value.attrs.items()})
    memo[id(value)] = found
    return found


def _hooked(ev: Evaluator, value: Obj, name: str, args: Args, place: SourcePlace) -> Any:
    """A copy that the class of an object makes itself; ABSENT where it does not."""
    found = value.special(ev, name, args, place)
    if found is not ABSENT:
        return found
    hooks = [hook for hook in (ev.classes.attr(value.cls, n) for n in _HOOKS) if hook is not ABSENT]
    if not hooks:
        return ABSENT
    # Which of them are asked, and for what, differs between versions of Python.
    why = Unknown("a copy that a class makes in a way of its own", place)
    ev.doubts.hand_over([value], why)
    for hook in hooks:
        if isinstance(hook, Func):
            ev.doubts.hand_over(reached_by(hook, hook.env), why)
    ev.exceptions.may_raise_anything(place)
    return why


def _bare(ev: Evaluator, value: Obj, place: SourcePlace) -> Any:
    """An instance as its class makes it, without a call of `__init__`."""
    make = ev.classes.attr(value.cls, "__new__")
    if isinstance(make, Func):
        new = ev.calls.call_function(make, [value.cls], {}, place)
        if type(new) is not Obj:
            return Unknown("a copy of what makes something else", place)
    else:
        new = Obj(value.cls, value.place)
    new.args = value.args
    return new
