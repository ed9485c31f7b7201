"""Python's builtins over elaborated values."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.expressions import MAX_CONTAINER, too_large
from fibcore.elaborate.python.values import (
    ABSENT,
    Bound,
    Class,
    EnumMember,
    Ext,
    Func,
    Mod,
    ModuleSpace,
    Namespace,
    Native,
    Obj,
    Partial,
    Raised,
    Repeat,
    Tensor,
    deep_unknown,
    merge,
)
from fibcore.model.tree import Alternatives, SourcePlace, Unknown, UnknownKind

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator

Args = list[Any]
Kwargs = dict[str, Any]
BUILTINS: dict[str, Any] = {}

_PYTHON_TYPES: dict[str, Any] = {
    "int": int, "float": float, "str": str, "bool": bool, "list": list, "tuple": tuple,
    "dict": dict, "set": set, "frozenset": frozenset, "bytes": bytes, "range": range,
    "slice": slice,
}  # fmt: skip


def _builtin(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def register(fn: Callable[..., Any]) -> Callable[..., Any]:
        BUILTINS[name] = Native(name, fn)
        return fn

    return register


def _pure(name: str, fn: Callable[..., Any]) -> None:
    def run(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        if any(isinstance(a, Alternatives) for a in args):
            position = next(i for i, a in enumerate(args) if isinstance(a, Alternatives))
            return ev.mapped(
                args[position],
                lambda v: run(ev, [*args[:position], v, *args[position + 1 :]], kwargs, place),
            )
        inner = deep_unknown(args) or deep_unknown(kwargs)
        if inner is not None:
            return inner
        args = [list(ev.items_of(a) or ()) if isinstance(a, (Mod, Class)) else a for a in args]
        if any(isinstance(a, (Tensor, Namespace, Obj, Ext, Repeat)) for a in args):
            return Unknown(f"{name} of an object", place)
        first = args[0] if args else None
        huge = name == "bytes" and isinstance(first, int) and first > MAX_CONTAINER
        if huge or (name == "pow" and len(args) == 2 and too_large(ast.Pow, *args)):
            return Unknown("a value that is too large", place)
        if kwargs:
            return ev.native(lambda *a: fn(*a, **kwargs), args, place)
        return ev.native(fn, args, place)

    BUILTINS[name] = Native(name, run)


_PURE: dict[str, Callable[..., Any]] = {
    "abs": abs, "round": round, "float": float, "bytes": bytes, "divmod": divmod,
    "pow": pow, "ord": ord, "chr": chr, "hex": hex, "bin": bin, "repr": repr, "format": format,
    "slice": slice, "hash": hash,
}  # fmt: skip
for _name, _fn in _PURE.items():
    _pure(_name, _fn)


@_builtin("int")
def _int(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    if args and isinstance(args[0], EnumMember):
        return args[0].value
    return ev.call(_INT, args, kwargs, place)


_pure("int", int)
_INT = BUILTINS["int"]
BUILTINS["int"] = Native("int", _int)


def _extreme(name: str, fn: Callable[..., Any]) -> None:
    def run(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        values = args
        if len(args) == 1:
            items = ev.items_of(args[0])
            if items is None:
                return Unknown(f"{name} of something unknown", place)
            values = items
        inner = deep_unknown(values)
        if inner is not None:
            return inner
        if "key" in kwargs or not all(isinstance(v, (int, float, str)) for v in values):
            return Unknown(f"{name} of objects", place)
        if not values:
            if "default" in kwargs:
                return kwargs["default"]
            raise Raised("ValueError", f"{name} of nothing", place)
        return ev.native(lambda *v: fn(v), list(values), place)

    BUILTINS[name] = Native(name, run)


_extreme("max", max)
_extreme("min", min)
_extreme("sum", sum)


@_builtin("str")
def _str(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    if not args:
        return ""
    value = args[0]
    if isinstance(value, (Unknown, Alternatives)):
        return Unknown("text of something unknown", place)
    if isinstance(value, EnumMember):
        return str(value.value)
    if isinstance(value, Ext):
        return value.name
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        return ev.native(str, [value], place)
    return str(value)


@_builtin("bool")
def _bool(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    if not args:
        return False
    truth = ev.truth(args[0])
    return Unknown("the truth of something unknown", place) if truth is None else truth


@_builtin("len")
def _len(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    def each(value: Any) -> Any:
        if isinstance(value, Unknown):
            return value
        if isinstance(value, Mod) and value.items is not None:
            return len(value.items)
        if isinstance(value, Obj):
            method = ev.find_attr(value, "__len__", place)
            return (
                Unknown("a length", place) if method is ABSENT else ev.call(method, [], {}, place)
            )
        if isinstance(value, Namespace):
            return len(value.values)
        if value is None or isinstance(value, (int, float)):
            kind = "NoneType" if value is None else "int" if isinstance(value, int) else "float"
            raise Raised("TypeError", f"object of type '{kind}' has no len()", place)
        items = ev.items_of(value)
        if items is None:
            return len(value) if isinstance(value, bytes) else Unknown("a length", place)
        doubtful = next(
            (i for i in items if isinstance(i, Unknown) and i.kind is UnknownKind.ENTRY), None
        )
        return len(items) if doubtful is None else doubtful

    return ev.mapped(args[0], each)


@_builtin("range")
def _range(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    position = next((i for i, a in enumerate(args) if isinstance(a, Alternatives)), None)
    if position is not None:
        return ev.mapped(
            args[position],
            lambda v: _range(ev, [*args[:position], v, *args[position + 1 :]], kwargs, place),
        )
    inner = deep_unknown(args)
    if inner is not None:
        return inner
    return ev.native(range, args, place)


def _container(name: str, kind: Any) -> None:
    def run(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        if not args:
            return kind()
        if isinstance(args[0], Unknown):
            return args[0]
        items = ev.items_of(args[0])
        if items is None:
            return Unknown(f"{name} of something unknown", place)
        if kind in (set, frozenset):
            made = ev.make_set(items, place)
            return made if isinstance(made, Unknown) else kind(made)
        return kind(items)

    BUILTINS[name] = Native(name, run)


for _name, _kind in {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}.items():
    _container(_name, _kind)
BUILTINS["iter"] = BUILTINS["list"]


@_builtin("dict")
def _dict(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    result: dict[Any, Any] = {}
    if args:
        source = args[0]
        if isinstance(source, Namespace):
            result.update(source.values)
        elif isinstance(source, dict):
            result.update(source)
        else:
            items = ev.items_of(source)
            if items is None or not all(
                isinstance(i, (list, tuple)) and len(i) == 2 for i in items
            ):
                return Unknown("a dict of something unknown", place)
            result.update(dict(items))
    result.update(kwargs)
    return result


@_builtin("enumerate")
def _enumerate(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    items = ev.items_of(args[0])
    start = args[1] if len(args) > 1 else kwargs.get("start", 0)
    if items is None or not isinstance(start, int):
        return Unknown("an enumeration of something unknown", place)
    return [(start + i, item) for i, item in enumerate(items)]


@_builtin("zip")
def _zip(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    columns = [ev.items_of(a) for a in args]
    if any(c is None for c in columns):
        return Unknown("a zip of something unknown", place)
    return [tuple(row) for row in zip(*(c for c in columns if c is not None), strict=False)]


@_builtin("reversed")
def _reversed(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    items = ev.items_of(args[0])
    return Unknown("something unknown reversed", place) if items is None else items[::-1]


@_builtin("sorted")
def _sorted(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    items = ev.items_of(args[0])
    inner = None if items is None else deep_unknown(items)
    if items is None or inner is not None or kwargs.get("key") is not None:
        return Unknown("something unknown sorted", place)
    if not all(isinstance(i, (int, float, str, tuple)) for i in items):
        return Unknown("objects sorted", place)
    return ev.native(lambda *v: sorted(v, reverse=bool(kwargs.get("reverse"))), items, place)


@_builtin("map")
def _map(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    columns = [ev.items_of(a) for a in args[1:]]
    if any(c is None for c in columns):
        return Unknown("a map over something unknown", place)
    rows = zip(*(c for c in columns if c is not None), strict=False)
    return [ev.call(args[0], list(row), {}, place) for row in rows]


@_builtin("filter")
def _filter(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    items = ev.items_of(args[1])
    if items is None:
        return Unknown("a filter over something unknown", place)
    kept = []
    for item in items:
        truth = ev.truth(item if args[0] is None else ev.call(args[0], [item], {}, place))
        if truth is None:
            return Unknown("a filter that cannot be decided", place)
        if truth:
            kept.append(item)
    return kept


def _quantifier(name: str, stop: bool) -> None:
    def run(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        items = ev.items_of(args[0])
        if items is None:
            return Unknown(f"{name} of something unknown", place)
        undecided = False
        for item in items:
            truth = ev.truth(item)
            if truth is stop:
                return stop
            undecided = undecided or truth is None
        return Unknown(f"{name} of something unknown", place) if undecided else not stop

    BUILTINS[name] = Native(name, run)


_quantifier("any", True)
_quantifier("all", False)


@_builtin("next")
def _next(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    items = ev.items_of(args[0])
    if items is None:
        return Unknown("the next of something unknown", place)
    if items:
        return items[0]
    if len(args) > 1:
        return args[1]
    raise Raised("StopIteration", "", place)


@_builtin("print")
def _print(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    return None


@_builtin("getattr")
def _getattr(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    owner, name = args[0], args[1]
    if not isinstance(name, str):
        return Unknown("an attribute of an unknown name", place)
    ev.pin(name)
    if len(args) == 2:
        return ev.get_attr(owner, name, place)

    def each(value: Any) -> Any:
        found = ev.find_attr(value, name, place)
        return args[2] if found is ABSENT else found

    try:
        found = ev.mapped(owner, each)
    except Raised as error:
        if error.kind != "AttributeError":
            raise
        return args[2]
    if isinstance(found, Alternatives) and ABSENT in found.values:
        return merge([*(v for v in found.values if v is not ABSENT), args[2]])
    return found


@_builtin("hasattr")
def _hasattr(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    name = args[1]
    if not isinstance(name, str):
        return Unknown("an attribute of an unknown name", place)
    ev.pin(name)

    def each(value: Any) -> Any:
        try:
            found = ev.find_attr(value, name, place)
        except Raised as error:
            if error.kind != "AttributeError":
                raise
            return False
        if isinstance(found, Unknown):
            if isinstance(value, (Obj, Namespace)) and found.kind is UnknownKind.ATTRIBUTE:
                return Unknown(f"whether there is an attribute {name}", place)
            if isinstance(value, Unknown):
                return found
        if isinstance(found, Alternatives) and ABSENT in found.values:
            return Unknown(f"whether there is an attribute {name}", place)
        return found is not ABSENT

    return ev.mapped(args[0], each)


@_builtin("setattr")
def _setattr(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    if isinstance(args[1], str):
        ev.pin(args[1])
        ev.set_attr(args[0], args[1], args[2], place)
    return None


@_builtin("delattr")
def _delattr(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    if isinstance(args[0], Obj) and isinstance(args[1], str):
        ev.put(args[0].attrs, args[1], ABSENT)
    return None


@_builtin("isinstance")
def _isinstance(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    kinds = args[1] if isinstance(args[1], tuple) else (args[1],)

    def each(value: Any) -> Any:
        answers = [is_instance(value, kind) for kind in kinds]
        if True in answers:
            return True
        if None in answers:
            return Unknown("whether something unknown is an instance of a class", place)
        return False

    return ev.mapped(args[0], each)


def is_instance(value: Any, kind: Any) -> bool | None:
    """Whether a value is an instance of a class; None where that is not known."""
    if isinstance(value, Repeat):
        value = value.template
    if isinstance(kind, (Unknown, Alternatives)):
        return None
    if isinstance(kind, Native):
        python_type = _PYTHON_TYPES.get(kind.name)
        if python_type is None:
            return None
        if isinstance(value, Unknown):
            # Tensors are no plain Python values.
            return False if value.is_tensor else None
        if isinstance(value, EnumMember):
            return value.cls.derives(kind.name, "IntEnum" if kind.name == "int" else "StrEnum")
        return isinstance(value, python_type)
    if isinstance(value, Unknown):
        if value.is_tensor:
            return isinstance(kind, Ext) and kind.name.rpartition(".")[2] == "Tensor"
        return None
    if isinstance(kind, Class):
        if isinstance(value, Obj) and isinstance(value.cls, Class):
            return kind in value.cls.mro
        if isinstance(value, EnumMember):
            return kind in value.cls.mro
        if isinstance(value, Namespace):
            names = value.classes
            return None if names is None else kind.name.lower() in names
        return False
    if isinstance(kind, Ext):
        short = kind.name.rpartition(".")[2]
        if isinstance(value, Tensor):
            return short in ("Tensor", "Parameter") if kind.name.startswith("torch") else False
        if isinstance(value, Namespace):
            names = value.classes
            return None if names is None else short.lower() in names
        if isinstance(value, Obj):
            if isinstance(value.cls, Class):
                return value.cls.derives(kind.name) or (
                    None if any(_foreign(b) for b in value.cls.mro) else False
                )
            if isinstance(value.cls, Ext):
                return value.cls.name == kind.name or (
                    kind.name in ("torch.nn.Module", "torch.nn.modules.module.Module")
                )
        if short in ("Callable",):
            return isinstance(value, (Func, Bound, Native, Partial, Class))
        if short in ("Mapping", "MutableMapping", "OrderedDict", "defaultdict", "Dict"):
            return isinstance(value, dict)
        if short in ("Sequence", "List"):
            return isinstance(value, (list, tuple, str))
        if short in ("Iterable",):
            return isinstance(value, (list, tuple, str, dict, set, range))
        return False
    return None


def _foreign(base: Any) -> bool:
    return isinstance(base, Ext) and base.name.rpartition(".")[2] not in (
        "object", "ABC", "Generic", "Module", "Protocol", "Enum", "Struct", "NamedTuple",
    )  # fmt: skip


@_builtin("issubclass")
def _issubclass(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    kinds = args[1] if isinstance(args[1], tuple) else (args[1],)
    if not isinstance(args[0], Class):
        return Unknown("a subclass test of something unknown", place)
    return any(k in args[0].mro or (isinstance(k, Ext) and args[0].derives(k.name)) for k in kinds)


@_builtin("type")
def _type(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    def each(value: Any) -> Any:
        if isinstance(value, Repeat):
            return each(value.template)
        if isinstance(value, (Obj, EnumMember)):
            return value.cls
        if isinstance(value, Unknown):
            return value
        if isinstance(value, Namespace):
            return getattr(value, "cls", None) or Unknown(f"the class of {value.name}", place)
        if isinstance(value, Tensor):
            return Ext("torch.Tensor")
        return BUILTINS.get(type(value).__name__, Unknown("a type", place))

    if len(args) == 3:
        return Unknown("a class made by type()", place)
    return ev.mapped(args[0], each)


@_builtin("callable")
def _callable(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    value = args[0]
    if isinstance(value, (Unknown, Alternatives)):
        return Unknown("whether something unknown can be called", place)
    if isinstance(value, Obj) and not isinstance(value, Mod):
        return ev.find_attr(value, "__call__", place) is not ABSENT
    return isinstance(value, (Func, Bound, Native, Partial, Class, Mod, Ext))


@_builtin("id")
def _id(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    return id(args[0])


@_builtin("vars")
def _vars(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    if args and isinstance(args[0], Obj):
        return dict(args[0].attrs)
    if args and isinstance(args[0], Namespace):
        return dict(args[0].values)
    if args and isinstance(args[0], ModuleSpace):
        return Unknown("the names of a module", place)
    return Unknown("vars()", place)


@_builtin("super")
def _super(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    from fibcore.elaborate.python.values import Super

    if len(args) == 2 and isinstance(args[0], Class):
        return Super(args[1], args[0])
    return Unknown("super() with other arguments", place)


def _unknowable(name: str) -> None:
    BUILTINS[name] = Native(name, lambda ev, args, kwargs, place: Unknown(name, place))


for _name in (
    "open",
    "input",
    "eval",
    "exec",
    "compile",
    "__import__",
    "globals",
    "locals",
    "dir",
    "memoryview",
):
    _unknowable(_name)


def _method_kind(kind: str) -> None:
    """`stage = staticmethod(function)` and the like, outside of decorator syntax."""

    def run(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        func = args[0] if args else None
        if not isinstance(func, Func):
            return func
        made = Func(func.node, func.env, func.qualname, func.cls, kind)
        made.defaults = func.defaults
        return made

    BUILTINS[kind] = Native(kind, run)


for _name in ("property", "staticmethod", "classmethod"):
    _method_kind(_name)
for _name in (
    "object", "BaseException", "Exception", "ValueError", "TypeError", "KeyError", "IndexError",
    "AttributeError", "RuntimeError", "NotImplementedError", "ImportError", "ModuleNotFoundError",
    "AssertionError", "StopIteration", "OSError", "FileNotFoundError", "LookupError",
    "ArithmeticError", "ZeroDivisionError", "UserWarning", "DeprecationWarning", "Warning",
    "FutureWarning", "RuntimeWarning", "PermissionError", "TimeoutError", "UnicodeDecodeError",
):  # fmt: skip
    BUILTINS[_name] = Ext(_name)
BUILTINS["NotImplemented"] = Ext("NotImplemented")
BUILTINS["Ellipsis"] = Ellipsis
BUILTINS["__debug__"] = True
