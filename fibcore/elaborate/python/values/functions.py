"""Functions and methods, of the source and of fibcore."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.values.base import Args, Kwargs, Value
from fibcore.elaborate.python.values.merging import same
from fibcore.model.tree import Unknown
from fibcore.syntax import children

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.elaborate.python.values.classes import Class
    from fibcore.elaborate.python.values.scopes import Env
    from fibcore.model.tree import SourcePlace

_PYTHON_TYPES: dict[str, type] = {
    kind.__name__: kind
    for kind in (
        int, float, str, bool, list, tuple, dict, set, frozenset, bytes, range, slice, complex,
        type(None),
    )
}  # fmt: skip
PROPERTIES = ("property", "cached_property")


class _Function(Value):
    """What all functions have in common."""

    __slots__ = ()

    def find_attr(self, ev: Evaluator, name: str, place: SourcePlace) -> Any:
        return Unknown.attribute(f"attribute {name} of a function", place)

    def is_callable(self, ev: Evaluator, place: SourcePlace) -> bool:
        return True

    def is_of_external(self, name: str) -> bool | None:
        return name.rpartition(".")[2] == "Callable"


class Func(_Function):
    """A function of the source with the scope it was made in.

    `managed` says that it is a generator function which `contextlib.contextmanager` wraps.
    """

    __slots__ = ("cls", "defaults", "env", "is_generator", "kind", "managed", "node", "qualname")

    def __init__(
        self,
        node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda,
        env: Env,
        qualname: str,
        cls: Class | None = None,
        kind: str = "function",
    ) -> None:
        self.node = node
        self.env = env
        self.qualname = qualname
        self.cls = cls
        self.kind = kind
        self.defaults: dict[str, Any] = {}
        self.is_generator = (
            env.module.source.yields and not isinstance(node, ast.Lambda) and _generates(node)
        )
        self.managed = self.is_generator and _is_managed(node)

    @property
    def name(self) -> str:
        """The name without the module and the class."""
        return self.qualname.rpartition(".")[2]

    @property
    def place(self) -> SourcePlace:
        """Where it is defined."""
        return self.env.module.place(self.node)

    @property
    def dotted_name(self) -> str:
        return self.qualname

    def same_as(self, other: Any) -> bool:
        return (
            self.node is other.node
            and self.env is other.env
            and self.cls is other.cls
            and self.defaults.keys() == other.defaults.keys()
            and all(same(v, other.defaults[k]) for k, v in self.defaults.items())
        )

    def summary(self, number: int | None) -> Any:
        return id(self.node)

    def find_attr(self, ev: Evaluator, name: str, place: SourcePlace) -> Any:
        if name in ("__name__", "__qualname__"):
            return self.name
        return super().find_attr(ev, name, place)

    def call(self, ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        return ev.calls.call_function(self, args, kwargs, place)


def _generates(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether a function is a generator."""
    return any(map(yields, node.body))


def yields(node: ast.AST) -> bool:
    """Whether syntax holds a yield of the function that it stands in; remembered on it."""
    known: bool | None = getattr(node, "yields", None)
    if known is None:
        if isinstance(node, (ast.Yield, ast.YieldFrom)):
            known = True
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            known = False
        else:
            known = any(map(yields, children(node)))
        node.yields = known  # type: ignore[attr-defined]
    return known


def _is_managed(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> bool:
    """Whether a generator function is one of context managers."""
    return not isinstance(node, ast.Lambda) and any(
        isinstance(d, (ast.Name, ast.Attribute))
        and ast.unparse(d).rpartition(".")[2] == "contextmanager"
        for d in node.decorator_list
    )


class Bound(_Function):
    """A method with its instance (or class)."""

    __slots__ = ("func", "self")

    def __init__(self, func: Any, self_: Any) -> None:
        self.func = func
        self.self = self_

    @property
    def dotted_name(self) -> str:
        return _dotted(self.func)

    def same_as(self, other: Any) -> bool:
        return self.self is other.self and same(self.func, other.func)

    def summary(self, number: int | None) -> Any:
        func = self.func
        return (id(self.self), func.summary(None) if isinstance(func, Value) else id(func))

    def call(self, ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        if isinstance(self.func, Func):
            owner = self.self
            if isinstance(owner, Receiver):
                return owner.call_method(ev, self.func, args, kwargs, place)
            return ev.calls.call_function(self.func, [owner, *args], kwargs, place)
        return ev.calls.call(self.func, [self.self, *args], kwargs, place)


class Receiver(Value):
    """A value whose methods are called in a way of their own: a module."""

    __slots__ = ()

    def call_method(
        self, ev: Evaluator, func: Func, args: Args, kwargs: Kwargs, place: SourcePlace
    ) -> Any:
        """`value.func(*args, **kwargs)` for a method that is a function of the source."""
        return ev.calls.call_function(func, [self, *args], kwargs, place)


class Native(_Function):
    """A function of fibcore that stands in for one of the source: a builtin or a shim.

    `fn(evaluator, args, kwargs, place)`.
    """

    __slots__ = ("fn", "name", "owner")

    def __init__(self, name: str, fn: Callable[..., Any], owner: Any = None) -> None:
        self.name = name
        self.fn = fn
        self.owner = owner

    def __repr__(self) -> str:
        return f"Native({self.name})"

    @property
    def dotted_name(self) -> str:
        return self.name

    def has_instance(self, value: Any) -> bool | None:
        kind = _PYTHON_TYPES.get(self.name)
        if kind is None:
            return None
        if isinstance(value, Unknown):
            return False if value.is_tensor else None  # a tensor is no plain value of Python
        if isinstance(value, Value):
            return value.is_python(self.name, kind)
        return isinstance(value, kind)

    def find_attr(self, ev: Evaluator, name: str, place: SourcePlace) -> Any:
        """`dict.fromkeys` and the like."""
        return ev.plain.of_type(self.name, name, place)

    def call(self, ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        return self.fn(ev, args, kwargs, place)


class Partial(_Function):
    """`functools.partial`."""

    __slots__ = ("args", "func", "kwargs")

    def __init__(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.func = func
        self.args = args
        self.kwargs = kwargs

    @property
    def dotted_name(self) -> str:
        return _dotted(self.func)

    def find_attr(self, ev: Evaluator, name: str, place: SourcePlace) -> Any:
        known = {"func": self.func, "args": self.args, "keywords": self.kwargs}
        return known[name] if name in known else super().find_attr(ev, name, place)

    def call(self, ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        given = {**self.kwargs, **kwargs}
        return ev.calls.call(self.func, [*self.args, *args], given, place)


def _dotted(func: Any) -> str:
    return func.dotted_name if isinstance(func, Value) else type(func).__name__
