"""Functions and methods, of the source and of fibcore."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.values.base import ABSENT, Args, Kwargs, Raised, Value
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

    Attributes:
        cls: The class whose body it stands in.
        kind: What decorators made of it: "property", "staticmethod" and the like.
        cache: What it gave so far, where it remembers that; else None.
        only: What it gave without arguments, likewise, under a key.
        setter: What a property is set by; None where it cannot be set.
        deleter: What a property is deleted by.
        attrs: Attributes that it was given.
        managed: Whether it is a generator function that `contextlib.contextmanager` wraps.
    """

    __slots__ = (
        "attrs", "cache", "cls", "defaults", "deleter", "env", "is_generator", "kind",
        "managed", "node", "only", "qualname", "setter",
    )  # fmt: skip

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
        self.cache: list[tuple[Args, Kwargs, Any]] | None = None
        self.only: dict[str, Any] | None = None
        self.setter: Any = None
        self.deleter: Any = None
        self.attrs: dict[str, Any] = {}
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

    def is_of_external(self, name: str) -> bool | None:
        if name in ("types.FunctionType", "types.LambdaType"):
            # One that remembers results is an object of functools, a property one of its own class.
            return True if self.kind == "function" and self.cache is None else None
        return super().is_of_external(name)

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

    def of_kind(self, kind: str) -> Func:
        """The same function as a property, static method and the like."""
        made = Func(self.node, self.env, self.qualname, self.cls, kind)
        made.defaults, made.attrs = self.defaults, self.attrs
        made.setter, made.deleter = self.setter, self.deleter
        made.cache, made.only, made.managed = self.cache, self.only, self.managed
        return made

    def find_attr(self, ev: Evaluator, name: str, place: SourcePlace) -> Any:
        if name in self.attrs:
            return self.attrs[name]
        if self.kind == "property":
            return self._of_property(name, place)
        if name == "__name__":
            return self.name
        if self.cache is not None and name.startswith("cache_"):
            return self._of_cache(name, place)
        if name in ("__func__", "__wrapped__") and self.kind in ("staticmethod", "classmethod"):
            return self.of_kind("function")
        if name == "__qualname__":
            return self.full_name()
        if name == "__module__":
            return self.env.module.name
        if name == "__doc__":
            return (
                None if isinstance(self.node, ast.Lambda) else ast.get_docstring(self.node, False)
            )
        if name.startswith("__"):
            return super().find_attr(ev, name, place)
        return ABSENT

    def get_item(self, ev: Evaluator, key: Any, place: SourcePlace) -> Any:
        """`kernel[grid]`: a kernel that is compiled from its source (Triton's) on a grid."""
        if not ev.launches.active:
            return super().get_item(ev, key, place)

        def launch(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
            ev.launches.note(self.qualname, args, kwargs, place)

        return OnGrid(self.qualname, launch)

    def full_name(self) -> str:
        """The name with the functions and classes around it, as Python has it."""
        if self.cls is None:
            return qualified_name(self.env, self.name)
        return f"{self.cls.qualname}.{self.name}"

    def _of_cache(self, name: str, place: SourcePlace) -> Any:
        if name != "cache_clear":
            return Unknown(f"{name} of a cache", place)

        def clear(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
            if self.cache is not None:
                ev.writes.refill(self.cache, [])
            only = self.only or {}
            for key in list(only):
                ev.writes.put(only, key, ABSENT)

        return Native(name, clear)

    def _of_property(self, name: str, place: SourcePlace) -> Any:
        """`prop.setter` and the like."""
        if name in ("fget", "fset", "fdel"):
            parts = {"fget": self.of_kind("function"), "fset": self.setter, "fdel": self.deleter}
            return parts[name]
        if name not in ("setter", "deleter", "getter"):
            return Unknown.attribute(f"attribute {name} of a property", place)

        def change(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
            if len(args) != 1 or kwargs or not isinstance(args[0], Value):
                return Unknown(f"property.{name} of something unknown", place)
            if name == "getter":
                made = args[0].of_kind("property") if isinstance(args[0], Func) else None
                if made is None:
                    return Unknown("a property of something unknown", place)
                made.setter, made.deleter = self.setter, self.deleter
                return made
            made = self.of_kind("property")
            setattr(made, name, args[0])
            return made

        return Native(f"property.{name}", change)

    def set_attr(self, ev: Evaluator, name: str, value: Any, place: SourcePlace) -> None:
        ev.writes.put(self.attrs, name, value)

    def call(self, ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        if self.kind in PROPERTIES:
            raise Raised("TypeError", f"a {self.kind} is not callable", place)
        return ev.calls.call_function(self, args, kwargs, place)


def _generates(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether a function is a generator."""
    if getattr(node, "has_no_yield", False):  # a method whose body nobody has looked at yet
        return False
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

    def equals(self, ev: Evaluator, other: Any, place: SourcePlace) -> Any:
        if not isinstance(other, Bound):
            return ABSENT
        return self.self is other.self and self.func is other.func

    def identical(self, other: Any) -> bool | None:
        return True if self is other else False if not isinstance(other, Bound) else None

    def find_attr(self, ev: Evaluator, name: str, place: SourcePlace) -> Any:
        if name in ("__self__", "__func__"):
            if name == "__func__" and isinstance(self.func, Func) and self.func.kind != "function":
                return self.func.of_kind("function")
            return self.self if name == "__self__" else self.func
        return ev.attributes.find(self.func, name, place)

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


def qualified_name(env: Env, name: str) -> str:
    """The name of a class or function of a scope, with the classes and functions around it."""
    scope: Any = env
    while scope.owner is None and scope.func is None and scope.outer is not None:
        scope = scope.outer  # of a comprehension
    if scope.globals_ and name in scope.globals_:
        return name
    if scope.owner is not None:
        return f"{scope.owner.qualname}.{name}"
    return name if scope.func is None else f"{scope.func.full_name()}.<locals>.{name}"


class Receiver(Value):
    """A value whose methods are called in a way of their own: a module."""

    __slots__ = ()

    def call_method(
        self, ev: Evaluator, func: Func, args: Args, kwargs: Kwargs, place: SourcePlace
    ) -> Any:
        """`value.func(*args, **kwargs)` for a method that is a function of the source."""
        return ev.calls.call_function(func, [self, *args], kwargs, place)


_FUNCTION_NAMES = ("__name__", "__qualname__", "__module__", "__wrapped__")


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
            if value.is_truth:
                return issubclass(bool, kind)
            return False if value.is_tensor else None  # a tensor is no plain value of Python
        if isinstance(value, Value):
            return value.is_python(self.name, kind)
        return isinstance(value, kind)

    def find_attr(self, ev: Evaluator, name: str, place: SourcePlace) -> Any:
        """`dict.fromkeys` and the like."""
        if self.name == "type" and name.startswith("__"):
            return ev.classes.metaclasses.method_of_type(name)
        found = ev.plain.of_type(self.name, name, place)
        if found is ABSENT and name in _FUNCTION_NAMES:
            return Unknown.attribute(f"{name} of {self.name}", place)
        return found

    def call(self, ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        if not ev.mode.caught:
            return self.fn(ev, args, kwargs, place)
        ev.refusals.note(self.name, args, kwargs, place)
        found = self.fn(ev, args, kwargs, place)
        ev.refusals.note_unknown(args, kwargs, found, place)
        return found


class OnGrid(Native):
    """A kernel of the source on a grid, which launches it when it is called."""

    __slots__ = ()


class Method(Native):
    """A function of fibcore that a class of the source holds as a method."""

    __slots__ = ()


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

    def is_of_external(self, name: str) -> bool | None:
        return name == "functools.partial" or super().is_of_external(name)

    def find_attr(self, ev: Evaluator, name: str, place: SourcePlace) -> Any:
        known = {"func": self.func, "args": self.args, "keywords": self.kwargs}
        return known[name] if name in known else super().find_attr(ev, name, place)

    def call(self, ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        given = {**self.kwargs, **kwargs}
        return ev.calls.call(self.func, [*self.args, *args], given, place)


def _dotted(func: Any) -> str:
    return func.dotted_name if isinstance(func, Value) else type(func).__name__
