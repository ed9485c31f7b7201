"""Numbers and texts that depend on the index of the layer that is being built.

Only `Operators.apply` and a few look-ups pass the dependence on. Whatever else is done with such a
value, by whichever function, is a decision: its class overrides every operation of Python's own
with one that notes the value as it is. What C code reads without any of them (a number as the
index of a list or the end of a range, the characters of a text) has to be pinned where it is used.
"""

from __future__ import annotations

from collections.abc import Callable
from types import BuiltinFunctionType
from typing import Any

from fibcore.elaborate.python.values.tracking import ACTIVE, IndexFn, Tracker
from fibcore.model.tree import OriginFloat, OriginInt, OriginStr, with_origins


class _Remembered:
    """A function of the layer index that computes each value once."""

    __slots__ = ("fn", "known")

    def __init__(self, fn: IndexFn) -> None:
        self.fn = fn
        self.known: dict[int, Any] = {}

    def __call__(self, index: int) -> Any:
        if index not in self.known:
            self.known[index] = self.fn(index)
        return self.known[index]


def is_scalar(value: Any) -> bool:
    """Whether a value is a number or a string, which can carry origins and depend on the index."""
    return isinstance(value, (int, float, str)) and not isinstance(value, bool)


def index_fn(value: Any) -> IndexFn | None:
    """How a value depends on the index of the layer that is being built; None if it does not.

    A value that was computed from the index of another layer is a constant here.
    """
    if not isinstance(value, Dependent) or value.tracker is not ACTIVE.tracker:
        return None
    return value.fn


def depends(value: Any) -> bool:
    """Whether a scalar, or one inside of plain containers, depends on the layer index."""
    if ACTIVE.tracker is None:
        return False  # no layer is being built
    if isinstance(value, (list, tuple, set, frozenset)):
        return any(depends(v) for v in value)
    if isinstance(value, dict):
        return any(depends(k) or depends(v) for k, v in value.items())
    return index_fn(value) is not None


class Dependent:
    """A number or text of the layer that is being built, with how it depends on the index."""

    fn: IndexFn
    tracker: Tracker
    origins: frozenset[str]
    _noted: Any = None


class _DependentInt(Dependent, OriginInt):
    pass


class _DependentFloat(Dependent, OriginFloat):
    pass


class _DependentStr(Dependent, OriginStr):
    pass


_KINDS: dict[type, Any] = {int: _DependentInt, float: _DependentFloat, str: _DependentStr}
_EXACT: dict[type, Callable[[Any], Any]] = {
    _DependentInt: int.__int__,
    _DependentFloat: float.__pos__,
    _DependentStr: str.__str__,
}
_NO_OPERATIONS = frozenset((
    "__class__", "__new__", "__init__", "__init_subclass__", "__subclasshook__", "__doc__",
    "__getattribute__", "__setattr__", "__delattr__", "__dir__", "__sizeof__", "__getstate__",
    "__reduce__", "__reduce_ex__", "__getnewargs__",
))  # fmt: skip


def _decide(value: Any) -> None:
    """Note that only layers with the same value go the same way."""
    tracker = ACTIVE.tracker
    # Once is enough for each list of decisions (`Layers.asking` begins one of its own).
    if tracker is not None and value.tracker is tracker and value._noted is not tracker.guards:
        value._noted = tracker.guards
        tracker.guards.append((value.fn, bare(value)))


def _deciding(operation: Callable[..., Any], compares: bool) -> Callable[..., Any]:
    def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        if compares and not isinstance(args[0], (int, float, complex, str)):
            return NotImplemented  # no number equals it, in whichever layer
        _decide(self)
        return operation(self, *args, **kwargs)

    return run


def _read_deciding(name: str, kind: type) -> property:
    def read(self: Any) -> Any:
        _decide(self)
        return getattr(kind, name).__get__(self)

    return property(read)


def _override() -> None:
    for kind, dependent in _KINDS.items():
        for name in dir(kind):
            operation = getattr(kind, name)
            if name in _NO_OPERATIONS or isinstance(operation, BuiltinFunctionType):
                continue  # the last are called on the type alone
            if callable(operation):
                made: Any = _deciding(operation, name in ("__eq__", "__ne__"))
            else:
                made = _read_deciding(name, kind)
            setattr(dependent, name, made)


_override()


def bare(value: Any) -> Any:
    """A value without its dependence on the layer index, and plain containers of such values."""
    exact = _EXACT.get(type(value))
    if exact is not None:
        return exact(value)
    if isinstance(value, (list, tuple)) and type(value) in (list, tuple):
        return type(value)(map(bare, value))
    if type(value) is dict:
        return {bare(k): bare(v) for k, v in value.items()}
    if type(value) in (set, frozenset):
        return type(value)(map(bare, value))
    return value


def snapshot(value: Any) -> Any:
    """A copy of plain containers, as they are now, whatever becomes of them."""
    if type(value) is list:
        return [snapshot(v) for v in value]
    if type(value) is tuple:
        return tuple(snapshot(v) for v in value)
    if type(value) is dict:
        return {k: snapshot(v) for k, v in value.items()}
    return value.copy() if type(value) is set else value


def kind_of(value: Any) -> type:
    """The type of a value, whatever it carries."""
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind
    return type(value)


def depending(value: Any, fn: IndexFn | None, origins: frozenset[str] = frozenset()) -> Any:
    """`value` with its origins and its dependence on the layer index attached."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return value
    if fn is None or ACTIVE.tracker is None:
        return with_origins(value, origins) if origins else value
    kind = _KINDS[int if isinstance(value, int) else float if isinstance(value, float) else str]
    dependent = kind(bare(value))
    dependent.origins = origins
    dependent.fn = _Remembered(fn)
    dependent.tracker = ACTIVE.tracker
    return dependent
