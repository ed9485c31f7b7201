"""Attributes: of instances, classes, modules, namespaces and plain values."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.calls import TENSOR_REASON
from fibcore.elaborate.python.expressions import MAX_CONTAINER, too_large
from fibcore.elaborate.python.part import Part
from fibcore.elaborate.python.values import (
    ABSENT,
    Bound,
    Class,
    EnumMember,
    Env,
    Ext,
    Func,
    Mod,
    ModuleSpace,
    Namespace,
    Native,
    Obj,
    Param,
    Partial,
    Raised,
    Repeat,
    Super,
    Tensor,
    at_index,
    deep_unknown,
    depending,
    hashable,
    index_fn,
    is_scalar,
    merge,
)
from fibcore.model.tree import Alternatives, SourcePlace, Unknown, origins_of

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator

_ENUM_BASES = ("Enum", "IntEnum", "StrEnum", "Flag", "IntFlag")
_MUTATING = {
    "append", "extend", "insert", "add", "update", "setdefault", "pop", "popitem", "remove",
    "discard", "clear", "sort", "reverse", "appendleft", "popleft",
}  # fmt: skip
_TENSOR_SAME = {
    "float", "to", "contiguous", "cuda", "cpu", "detach", "clone", "bfloat16", "half", "data",
    "type", "requires_grad_",
}  # fmt: skip


class Attributes(Part):
    """Reads and writes attributes."""

    def get_attr(self, value: Any, name: str, place: SourcePlace) -> Any:
        """`value.name`; raises AttributeError as Python would."""
        if isinstance(value, Alternatives):
            return self.mapped(value, lambda v: self.get_attr(v, name, place))
        if isinstance(value, Unknown):
            return value
        found = self.find_attr(value, name, place)
        if found is ABSENT:
            if self.forward and value is None:
                return Unknown.attribute(
                    f"attribute {name} of what is set when weights are loaded", place
                )
            raise Raised("AttributeError", f"{_describe(value)} has no attribute {name!r}", place)
        if isinstance(found, Alternatives) and ABSENT in found.values:
            kept = tuple(v for v in found.values if v is not ABSENT)
            return kept[0] if len(kept) == 1 else Alternatives(kept)
        return found

    def find_attr(self, value: Any, name: str, place: SourcePlace) -> Any:
        """`value.name`, or ABSENT."""
        if isinstance(value, Unknown):
            return value
        if isinstance(value, Repeat):
            return self._repeat_attr(value, name, place)
        if isinstance(value, Obj):
            return self._object_attr(value, name, place)
        if isinstance(value, Class):
            return self._class_attr_value(value, name, place)
        if isinstance(value, ModuleSpace):
            found = self.module_name(value, name)
            if found is ABSENT:
                inner = self.space(f"{value.name}.{name}")
                return inner if inner is not None else ABSENT
            return found
        if isinstance(value, Ext):
            return self.external_attr(value, name)
        if isinstance(value, Namespace):
            if name in value.values:
                return value.values[name]
            if value.fallback is not None:
                return value.fallback(name)
            return ABSENT
        if isinstance(value, Super):
            return self._super_attr(value, name, place)
        if isinstance(value, EnumMember):
            if name in ("name", "value", "_value_", "_name_"):
                return value.name if "name" in name else value.value
            found = self.class_attr(value.cls, name)
            return self.bind_found(found, value, value.cls, place)
        if isinstance(value, Tensor):
            return self._tensor_attr(value, name, place)
        if isinstance(value, (Func, Bound, Native, Partial)):
            if name in ("__name__", "__qualname__") and isinstance(value, Func):
                return value.name
            if isinstance(value, Partial) and name in ("func", "args", "keywords"):
                return {"func": value.func, "args": value.args, "keywords": value.kwargs}[name]
            if isinstance(value, Native):
                return self._native_class_attr(value, name)
            return Unknown.attribute(f"attribute {name} of a function", place)
        return self._plain_attr(value, name, place)

    def _native_class_attr(self, value: Native, name: str) -> Any:
        """`dict.fromkeys` and the like."""
        kind = {"dict": dict, "str": str, "int": int, "float": float}.get(value.name)
        if kind is None or not hasattr(kind, name):
            return ABSENT
        method: Callable[..., Any] = getattr(kind, name)
        return Native(
            f"{value.name}.{name}",
            lambda ev, args, kwargs, place: deep_unknown(args) or ev.native(method, args, place),
        )

    def _repeat_attr(self, layer: Repeat, name: str, place: SourcePlace) -> Any:
        """An attribute of a layer that equals another one but for its index.

        While the model is built, what the other layer holds tells all. In the forward pass the
        layer itself is needed, because calls are noted by object; its methods are bound to it as
        it is.
        """
        template = layer.template
        if layer.made is None and isinstance(template, Mod):
            if not self.forward:
                found = self.find_attr(template, name, place)
                if isinstance(found, (int, float, str, list, tuple)):
                    return at_index(found, layer.index, template.tracker)
                return found
            held = template.attrs.get(name, ABSENT)
            if held is None or isinstance(held, (bool, int, float, str)):
                return at_index(held, layer.index, template.tracker)
            if held is ABSENT and isinstance(template.cls, Class):
                method = self.class_attr(template.cls, name)
                if isinstance(method, Func) and method.kind == "function":
                    return Bound(method, layer)
                if method is ABSENT and self.find_attr(template, name, place) is ABSENT:
                    return ABSENT
        return self.find_attr(layer.force(), name, place)

    # -- instances -----------------------------------------------------------------------------

    def _object_attr(self, obj: Obj, name: str, place: SourcePlace) -> Any:
        attrs = obj.attrs
        if name in attrs:
            return attrs[name]
        if name == "__class__":
            return obj.cls
        if name == "__dict__":
            return attrs
        if isinstance(obj, Mod) and obj.items is not None:
            found = self._list_module_attr(obj, name, place)
            if found is not ABSENT:
                return found
        if isinstance(obj.cls, Class):
            found = self.class_attr(obj.cls, name)
            if found is not ABSENT:
                if isinstance(found, Func) and found.kind in ("property", "cached_property"):
                    self._run_pending(obj)
                    if name in attrs:
                        return attrs[name]
                return self.bind_found(found, obj, obj.cls, place)
        if isinstance(obj, Mod):
            if obj.pending is not None:
                self._run_pending(obj)
                if name in attrs:
                    return attrs[name]
            found = self.external_method(obj, name)
            if found is not ABSENT:
                return found
            if obj.leaf and not name.startswith("__"):
                return Unknown.attribute(
                    f"attribute {name} of {obj.class_name}, which is not descended into", place
                )
        if isinstance(obj.cls, Class) and not name.startswith("__"):
            getter = self.class_attr(obj.cls, "__getattr__")
            if isinstance(getter, Func):
                return self.call(Bound(getter, obj), [name], {}, place)
            if any(isinstance(b, Ext) and not _harmless_base(b) for b in obj.cls.mro):
                return Unknown.attribute(
                    f"attribute {name}, perhaps of a base class of {obj.class_name}", place
                )
        if isinstance(obj.cls, Ext) and not name.startswith("__"):
            return Unknown.attribute(f"attribute {name} of {obj.cls.name}", place)
        return ABSENT

    def _run_pending(self, obj: Obj) -> None:
        if isinstance(obj, Mod) and obj.pending is not None:
            run, obj.pending = obj.pending, None
            run()

    def _list_module_attr(self, obj: Mod, name: str, place: SourcePlace) -> Any:
        items = obj.items
        assert items is not None
        if name in ("append", "extend", "insert"):

            def change(ev: Evaluator, args: list[Any], kwargs: dict[str, Any], at: Any) -> Any:
                ev.changing(items)
                if name == "append":
                    items.append(args[0])
                elif name == "insert" and isinstance(args[0], int):
                    items.insert(args[0], args[1])
                else:
                    more = ev.items_of(args[-1])
                    items.extend(more if more is not None else [Unknown("unknown modules", at)])
                return obj

            return Native(f"ModuleList.{name}", change)
        if name.lstrip("-").isdigit():
            return items[int(name)] if -len(items) <= int(name) < len(items) else ABSENT
        return ABSENT

    def bind_found(self, found: Any, obj: Any, cls: Class, place: SourcePlace) -> Any:
        """What reading a class attribute through an instance gives."""
        if found is ABSENT:
            return ABSENT
        if isinstance(found, Func):
            if found.kind in ("property", "cached_property"):
                return self.call(Bound(found, obj), [], {}, place)
            if found.kind == "staticmethod":
                return found
            if found.kind == "classmethod":
                return Bound(found, cls)
            return Bound(found, obj)
        return found

    # -- classes -------------------------------------------------------------------------------

    def class_attr(self, cls: Class, name: str, after: Class | None = None) -> Any:
        """What the MRO holds under `name` (functions unbound), or ABSENT; starts behind `after`."""
        mro = cls.mro
        start = mro.index(after) + 1 if after is not None and after in mro else 0
        for base in mro[start:]:
            if isinstance(base, Class):
                value = self.own_class_attr(base, name)
                if value is not ABSENT:
                    return value
        return ABSENT

    def own_class_attr(self, cls: Class, name: str) -> Any:
        """What the class body itself binds to `name`, or ABSENT."""
        if name in cls.attrs:
            return cls.attrs[name]
        if name not in cls.names:
            return ABSENT
        cls.attrs[name] = Unknown(f"{cls.name}.{name} refers to itself", cls.place)
        scope = Env(cls.module, _ClassScope(self, cls))
        value: Any = ABSENT
        saved = (self._journals, self.forward)
        self._journals, self.forward = [], False
        try:
            for statement in cls.names[name]:
                if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
                    made = self._method(statement, cls)
                    value = made if made is not None else value
                    continue
                try:
                    self.execute(statement, scope)
                except Raised as error:
                    value = Unknown(f"{error.kind} in a class body: {error.message}", error.place)
                value = scope.vars.get(name, value)
        finally:
            self._journals, self.forward = saved
        if isinstance(value, Func) and value.cls is None and not isinstance(value.node, ast.Lambda):
            value.cls = cls
        cls.attrs[name] = value
        if value is ABSENT:
            del cls.attrs[name]
        elif (
            isinstance(value, Obj)
            and isinstance(value.cls, Class)
            and self.class_attr(value.cls, "__set_name__") is not ABSENT
        ):
            value.attrs.setdefault("name", name)
        return value

    def _method(self, node: ast.FunctionDef | ast.AsyncFunctionDef, cls: Class) -> Func | None:
        kind = "function"
        for decorator in node.decorator_list:
            last = ast.unparse(decorator).partition("(")[0].rpartition(".")[2]
            if last in ("setter", "deleter"):
                return None
            if last in ("property", "cached_property", "staticmethod", "classmethod"):
                kind = last
            elif last in ("abstractproperty", "lazy_property"):
                kind = "property"
        return self.make_function(node, cls.env, node.name, cls, kind)

    def _class_attr_value(self, cls: Class, name: str, place: SourcePlace) -> Any:
        if name in ("__name__", "__qualname__"):
            return cls.name
        if name == "__module__":
            return cls.module.name
        members = self.enum_members(cls)
        if members is not None:
            for member in members:
                if member.name == name:
                    return member
            if name == "__members__":
                return {m.name: m for m in members}
        found = self.class_attr(cls, name)
        if isinstance(found, Func):
            return Bound(found, cls) if found.kind == "classmethod" else found
        if found is ABSENT:
            if name == "__mro__":
                return tuple(cls.mro)
            if name == "__new__":
                return Native(name, _bare)
            if name in ("__doc__", "__annotations__"):
                return Unknown(f"{name} of a class", place)
            if any(isinstance(b, Ext) and not _harmless_base(b) for b in cls.mro):
                return Unknown(f"{cls.name}.{name}, perhaps of a base class", place)
        return found

    def enum_members(self, cls: Class) -> tuple[EnumMember, ...] | None:
        """The members of an enumeration; None for any other class."""
        if not cls.derives(*_ENUM_BASES):
            return None
        if cls.members is not None:
            return tuple(cls.members)
        members: list[EnumMember] = []
        cls.members = members  # first, because a value may refer to members before it
        count = 0
        for name, statements in cls.names.items():
            if name.startswith("_") or not isinstance(statements[-1], (ast.Assign, ast.AnnAssign)):
                continue
            value = self.own_class_attr(cls, name)
            cls.attrs.pop(name, None)
            if isinstance(value, Obj) and value.class_name.endswith("auto"):
                count += 1
                value = name.lower() if cls.derives("StrEnum") else count
            elif isinstance(value, int):
                count = value
            members.append(EnumMember(cls, name, value))
        return tuple(members)

    def make_super(self, env: Env, place: SourcePlace) -> Any:
        """`super()` in the method that `env` belongs to."""
        scope: Env | None = env
        while scope is not None and (scope.func is None or scope.func.cls is None):
            scope = scope.outer
        if scope is None or scope.func is None or isinstance(scope.func.node, ast.Lambda):
            return Unknown("super() outside of a method", place)
        args = scope.func.node.args
        first = [*args.posonlyargs, *args.args][0].arg
        cls = scope.func.cls
        assert cls is not None
        return Super(scope.vars.get(first), cls)

    def _super_attr(self, value: Super, name: str, place: SourcePlace) -> Any:
        owner = value.self
        cls = getattr(owner, "cls", None) if isinstance(owner, (Obj, Namespace)) else owner
        if not isinstance(cls, Class):
            return Unknown("super() of something unknown", place)
        found = self.class_attr(cls, name, after=value.after)
        if found is ABSENT:
            if isinstance(owner, Mod):
                method = self.external_method(owner, name)
                if method is not ABSENT:
                    return method
            method = self.environment.super_method(owner, name)
            if method is not ABSENT:
                return method
            if name == "__init__" and isinstance(owner, Obj):
                return Native(
                    "super().__init__", lambda ev, args, kwargs, at: keep_keywords(owner, kwargs)
                )
            if name == "forward" and isinstance(owner, Mod):
                return Native("super().forward", lambda *_: Unknown.tensor(TENSOR_REASON, place))
            return Native(f"super().{name}", lambda *_: None)
        return self.bind_found(found, owner, cls, place)

    # -- tensors and plain values --------------------------------------------------------------

    def _tensor_attr(self, value: Tensor, name: str, place: SourcePlace) -> Any:
        shape = value.shape
        if name == "shape":
            return shape if shape is not None else Unknown("the shape of a tensor", place)
        if name == "dtype":
            return value.dtype if value.dtype is not None else Unknown("a default dtype", place)
        if name in ("ndim", "dim"):
            rank = len(shape) if shape is not None else Unknown("the rank of a tensor", place)
            return rank if name == "ndim" else Native("dim", lambda *_: rank)
        if name == "size":
            return Native(
                "size",
                lambda ev, args, kwargs, at: (
                    ev.subscript(shape, args[0], at)
                    if args and shape is not None and args[0] in range(-len(shape), len(shape))
                    else shape
                    if shape is not None
                    else Unknown("the size of a tensor", at)
                ),
            )
        if name in ("T", "mT"):
            return _turned(value)
        if name in ("t", "transpose", "permute"):
            return Native(name, lambda *_: _turned(value))
        if name == "data":
            return value
        if name in _TENSOR_SAME:
            return Native(name, lambda *_: value)
        if name == "device":
            return Unknown("a device", place)
        if name[0] == "_" or self.environment.is_weight_attribute(name):
            return Unknown.attribute(f"attribute {name} of a tensor", place)
        kept = value

        def method(ev: Evaluator, args: list[Any], kwargs: dict[str, Any], at: SourcePlace) -> Any:
            if isinstance(kept, Param):
                return ev.tensor_operation(f"torch.Tensor.{name}", [kept, *args], kwargs, at)
            return Tensor(None, kept.dtype)

        return Native(name, method)

    def _plain_attr(self, value: Any, name: str, place: SourcePlace) -> Any:
        if value is None:
            return ABSENT
        if not hasattr(value, name):
            return ABSENT
        attribute = getattr(value, name)
        if not callable(attribute):
            return attribute
        return Native(
            f"{type(value).__name__}.{name}",
            lambda ev, args, kwargs, at: ev.plain_method(value, name, args, kwargs, at),
        )

    def plain_method(
        self,
        value: Any,
        name: str,
        args: list[Any],
        kwargs: dict[str, Any],
        place: SourcePlace,
    ) -> Any:
        """Call a method of a string, number or container."""
        if name in _MUTATING and isinstance(value, (list, dict, set)):
            return self._mutate(value, name, args, kwargs, place)
        if isinstance(value, dict) and name in ("get", "items", "keys", "values", "copy"):
            if name == "get":
                key = args[0]
                if isinstance(key, (Unknown, Alternatives)):
                    return Unknown("a look-up of something unknown", place)
                default = args[1] if len(args) > 1 else kwargs.get("default")
                if not hashable(key):
                    return Unknown("a look-up of something unhashable", place)
                return self.native_lookup(value, key, default)
            if name == "copy":
                return dict(value)
            return (
                [tuple(i) for i in value.items()]
                if name == "items"
                else list(getattr(value, name)())
            )
        if isinstance(value, list) and name in ("copy",):
            return list(value)
        inner = deep_unknown(args) or deep_unknown(kwargs)
        if inner is not None:
            return inner
        if isinstance(value, (str, bytes)) and any(
            isinstance(a, int) and a > MAX_CONTAINER for a in args
        ):
            return Unknown("text that is too long", place)
        if name == "format" and isinstance(value, str):
            if too_large(ast.Mod, value, None):
                return Unknown("text that is too long", place)
            args = [a if isinstance(a, (int, float, str)) else str(a) for a in args]
        names = list(kwargs)

        if not names:
            return self.native(lambda t, *rest: getattr(t, name)(*rest), [value, *args], place)

        def apply(this: Any, *rest: Any) -> Any:
            positional = rest[: len(rest) - len(names)] if names else rest
            return getattr(this, name)(
                *positional, **dict(zip(names, rest[len(positional) :], strict=False))
            )

        return self.native(apply, [value, *args, *kwargs.values()], place)

    def native_lookup(self, value: dict[Any, Any], key: Any, default: Any) -> Any:
        """`value.get(key, default)`."""
        found = value.get(key, default)
        fn = index_fn(key)
        if fn is not None:
            if is_scalar(found):
                kind = str if isinstance(found, str) else (int, float)
                self.guard(lambda i: isinstance(value.get(fn(i), default), kind), True)
                return depending(found, lambda i: value.get(fn(i), default), origins_of(found))
            self.guard(lambda i: value.get(fn(i), default) is found, True)
        if isinstance(found, Alternatives) and ABSENT in found.values:
            return merge(default if v is ABSENT else v for v in found.values)
        return found

    def _mutate(
        self,
        value: Any,
        name: str,
        args: list[Any],
        kwargs: dict[str, Any],
        place: SourcePlace,
    ) -> Any:
        if isinstance(value, dict):
            if name == "update":
                for other in args:
                    if isinstance(other, Namespace):
                        other = other.values
                    if isinstance(other, dict):
                        for key, item in other.items():
                            self.put(value, key, item)
                for key, item in kwargs.items():
                    self.put(value, key, item)
                return None
            if isinstance(args[0] if args else None, (Unknown, Alternatives)):
                return Unknown("a dict changed under an unknown key", place)
            if name == "setdefault":
                self.pin(args[0])
                if args[0] not in value:
                    self.put(value, args[0], args[1] if len(args) > 1 else None)
                return value[args[0]]
        if name in ("extend", "update"):
            items = self.items_of(args[0])
            args = [items if items is not None else [Unknown("unknown items", place)]]
        if name not in ("append", "extend"):
            for arg in args:  # keys and positions
                self.pin(arg)
        self.changing(value)
        if isinstance(value, set) and deep_unknown(args) is not None:
            return Unknown("a set changed by something unknown", place)
        if name == "sort":
            kwargs = {k: v for k, v in kwargs.items() if k == "reverse"}
            if deep_unknown(value) is not None:
                return None
        try:
            return getattr(value, name)(*args, **kwargs)
        except (LookupError, TypeError, ValueError) as error:
            raise Raised(type(error).__name__, str(error), place) from None

    # -- writing -------------------------------------------------------------------------------

    def set_attr(self, owner: Any, name: str, value: Any, place: SourcePlace) -> None:
        """`owner.name = value`."""
        if isinstance(owner, Alternatives):
            for part in owner.values:
                self.set_attr(part, name, value, place)
            return
        if isinstance(owner, Repeat):
            owner = owner.force() if self.forward else owner.part()
        if isinstance(owner, Mod) and owner.repeats and not self.forward:
            for layer in owner.repeats:
                layer.part()  # they equal what it was until now
            owner.repeats = []
        if isinstance(owner, Mod) and owner.pending is not None:
            self._run_pending(owner)
        if isinstance(owner, Mod) and not self.forward and owner.born is not None:
            self._note_change(owner, name, value, place)
        if isinstance(owner, Obj):
            if isinstance(owner.cls, Class):
                found = self.class_attr(owner.cls, name)
                if isinstance(found, Func) and found.kind == "property":
                    return  # a setter's effect shows in the getter, where it is known at all
            self.put(owner.attrs, name, value)
        elif isinstance(owner, Namespace):
            self.put(owner.values, owner.key(name), value)
        elif isinstance(owner, Tensor) and name == "data":
            owner.shape = value.shape if isinstance(value, Tensor) else None
        elif isinstance(owner, Class):
            self.put(owner.attrs, name, value)
        elif isinstance(owner, ModuleSpace):
            self.put(owner.env.vars, name, value)

    def _note_change(self, owner: Mod, name: str, value: Any, place: SourcePlace) -> None:
        """Note that a module inside of a repeated layer gets or loses a module afterwards.

        Which of the equal layers it belongs to is not known any more.
        """
        if owner.born is None or not owner.born.repeated or owner.tracker is owner.born:
            return
        if owner.born is not self.tracker and any(
            isinstance(v, (Mod, Repeat)) for v in (value, owner.attrs.get(name))
        ):
            why = f"{owner.class_name}.{name} is changed in some of the layers that are alike"
            self.changes.append(Unknown(why, place))


class _ClassScope(Env):
    """The scope of a class body: names of the class itself, then those around it."""

    __slots__ = ("cls", "evaluator")

    def __init__(self, evaluator: Attributes, cls: Class) -> None:
        super().__init__(cls.module, cls.env)
        self.vars = _ClassVars(evaluator, cls)


class _ClassVars(dict[str, Any]):
    """Looks a name up in the class body when it is first asked for."""

    def __init__(self, evaluator: Attributes, cls: Class) -> None:
        super().__init__()
        self._evaluator = evaluator
        self._cls = cls

    def get(self, key: str, default: Any = None) -> Any:
        """The class attribute, evaluated on demand."""
        value = self._evaluator.own_class_attr(self._cls, key)
        return default if value is ABSENT else value

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self.get(key, ABSENT) is not ABSENT


def _bare(ev: Evaluator, args: list[Any], kwargs: dict[str, Any], place: SourcePlace) -> Any:
    """`cls.__new__(cls)`: an instance whose constructor has not been run."""
    cls = args[0] if args else None
    if not isinstance(cls, Class):
        return Unknown("an instance of something that is no class", place)
    made = Mod(cls, place) if ev.is_module(cls) else Obj(cls, place)
    ev.keep.append(made)
    return made


def keep_keywords(owner: Obj, given: dict[str, Any]) -> None:
    """Keep keyword arguments as attributes, as a base class outside of the tree may do."""
    for name, value in given.items():
        owner.attrs.setdefault(name, value)


def _turned(value: Tensor) -> Tensor:
    shape = value.shape
    turned = None if shape is None or len(shape) != 2 else (shape[1], shape[0])
    if isinstance(value, Param):
        return Param(turned, value.dtype, value.base or value)
    return Tensor(turned, value.dtype)


def _harmless_base(base: Ext) -> bool:
    """Whether a base class outside the tree adds no attributes that matter."""
    return base.name.rpartition(".")[2] in (
        "object", "ABC", "Generic", "Module", "Protocol", "NamedTuple", "Struct", "Enum", "IntEnum",
        "StrEnum", "ModuleList", "Sequential", "ModuleDict", "ABCMeta",
    )  # fmt: skip


def _describe(value: Any) -> str:
    if isinstance(value, (Class, Ext, Namespace)):
        return value.name
    if isinstance(value, Obj):
        return value.class_name
    return type(value).__name__
