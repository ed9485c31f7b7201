"""Calls: functions, methods, constructors, and modules in the forward pass."""

from __future__ import annotations

import ast
from typing import Any

from fibcore.elaborate.python.builtins import BUILTINS
from fibcore.elaborate.python.external import Externals
from fibcore.elaborate.python.values import (
    ABSENT,
    ACTIVE,
    Bound,
    Class,
    EnumMember,
    Env,
    Ext,
    Func,
    Mod,
    ModuleSpace,
    Native,
    Obj,
    Param,
    Partial,
    Raised,
    Repeat,
    Tensor,
    depending,
    merge,
)
from fibcore.model.tree import Alternatives, Call, Operation, SourcePlace, Unknown, origins_of

MAX_DEPTH = 48
TENSOR_REASON = "tensor of the forward pass"


class Calls(Externals):
    """Calls whatever can be called."""

    builtins = BUILTINS

    def call(
        self,
        func: Any,
        args: list[Any],
        kwargs: dict[str, Any],
        place: SourcePlace | None,
    ) -> Any:
        """`func(*args, **kwargs)`."""
        at = place or SourcePlace("", 1)
        if isinstance(func, Native):
            return func.fn(self, args, kwargs, at)
        if isinstance(func, Alternatives):
            return self.mapped(func, lambda f: self.call(f, args, kwargs, at))
        if isinstance(func, Unknown):
            self._note_parameters(f"unknown function ({func.reason})", args, kwargs, at)
            return func
        if isinstance(func, Func):
            return self.call_function(func, args, kwargs, at)
        if isinstance(func, Bound):
            return self._call_bound(func, args, kwargs, at)
        if isinstance(func, Class):
            return self.construct(func, args, kwargs, at)
        if isinstance(func, Ext):
            return self.call_external(func, args, kwargs, at)
        if isinstance(func, Partial):
            return self.call(func.func, [*func.args, *args], {**func.kwargs, **kwargs}, at)
        if isinstance(func, (Mod, Repeat)):
            return self.call_module(func, "forward", args, kwargs, at)
        if isinstance(func, Obj):
            method = self.find_attr(func, "__call__", at)
            if method is not ABSENT:
                return self.call(method, args, kwargs, at)
            return Unknown(f"a call of {func.class_name}", at)
        if isinstance(func, EnumMember):
            return Unknown(f"a call of {func!r}", at)
        if callable(func) or func is None or isinstance(func, (int, str, list, dict, tuple)):
            raise Raised("TypeError", f"{type(func).__name__} is not callable", at)
        return Unknown(f"a call of {type(func).__name__}", at)

    def call_unbound(self, func: Any, place: SourcePlace, why: str) -> Any:
        """A call whose arguments are not known; a class still gives an instance of it."""
        if isinstance(func, Class) and self.is_module(func):
            mod = Mod(func, place)
            mod.unbound = Unknown(why, place)
            mod.leaf = True
            return mod
        return Unknown(why, place)

    # -- functions -----------------------------------------------------------------------------

    def call_function(
        self, func: Func, args: list[Any], kwargs: dict[str, Any], place: SourcePlace
    ) -> Any:
        """Call a function of the source tree."""
        fact = self.environment.function(func.qualname, func.env.module.name)
        if fact is not ABSENT:
            if isinstance(fact, Native):
                return fact.fn(self, args, kwargs, place)
            return fact
        if self.depth >= MAX_DEPTH:
            return Unknown(f"calls nested deeper than {MAX_DEPTH}", place)
        if isinstance(func.node, ast.AsyncFunctionDef):
            return Unknown("an async function", place)
        if self.forward and self.environment.is_kernel(func.env.module.name):
            self._note_parameters(func.qualname, args, kwargs, place)
            return Unknown.tensor(f"tensor from {func.qualname}", place)
        if self.forward:
            self._note_parameters(func.qualname, args, kwargs, place)
        env = Env(func.env.module, func.env, func)
        env.vars.update(self.bind_arguments(func, args, kwargs, place))
        self.depth += 1
        try:
            if isinstance(func.node, ast.Lambda):
                return self.eval(func.node.body, env)
            status = self.block(func.node.body, env)
        finally:
            self.depth -= 1
        if func.is_generator:
            return env.yields if env.yields is not None else []
        value = status[1] if status is not None and status[0] == "return" else None
        if env.maybe:
            return merge([*env.maybe, value])
        return value

    def bind_arguments(
        self, func: Func, args: list[Any], kwargs: dict[str, Any], place: SourcePlace
    ) -> dict[str, Any]:
        """Arguments by parameter name, as Python binds them; defaults filled in."""
        spec = func.node.args
        positional = [a.arg for a in (*spec.posonlyargs, *spec.args)]
        bound: dict[str, Any] = {}
        if len(args) > len(positional) and spec.vararg is None:
            raise Raised(
                "TypeError",
                f"{func.name}() takes {len(positional)} positional arguments, {len(args)} given",
                place,
            )
        bound.update(zip(positional, args, strict=False))
        if spec.vararg is not None:
            bound[spec.vararg.arg] = tuple(args[len(positional) :])
        extra: dict[str, Any] = {}
        names = {a.arg for a in (*spec.args, *spec.kwonlyargs)}
        for name, value in kwargs.items():
            if value is ABSENT:
                continue
            if name in names:
                if name in bound:
                    raise Raised("TypeError", f"{func.name}() got {name} twice", place)
                bound[name] = value
            elif spec.kwarg is not None:
                extra[name] = value
            else:
                raise Raised("TypeError", f"{func.name}() has no parameter {name}", place)
        if spec.kwarg is not None:
            bound[spec.kwarg.arg] = extra
        for name in (*positional, *(a.arg for a in spec.kwonlyargs)):
            if name not in bound:
                if name not in func.defaults:
                    raise Raised("TypeError", f"{func.name}() misses the argument {name}", place)
                bound[name] = func.defaults[name]
            elif isinstance(bound[name], Alternatives) and ABSENT in bound[name].values:
                kept = [v for v in bound[name].values if v is not ABSENT]
                kept.append(
                    func.defaults.get(name, Unknown("an argument that may be missing", place))
                )
                bound[name] = merge(kept)
        return bound

    def _call_bound(
        self, bound: Bound, args: list[Any], kwargs: dict[str, Any], place: SourcePlace
    ) -> Any:
        owner, func = bound.self, bound.func
        if isinstance(owner, Repeat) and isinstance(func, Func) and self.forward:
            return self.call_module(owner, func.name, args, kwargs, place, func)
        if isinstance(owner, Mod) and isinstance(func, Func):
            if self.forward and not func.name.startswith("__init"):
                return self.call_module(owner, func.name, args, kwargs, place, func)
            if owner.leaf:
                return self._leaf_method(func, owner, args, kwargs, place)
        if isinstance(func, Func):
            return self.call_function(func, [owner, *args], kwargs, place)
        return self.call(func, [owner, *args], kwargs, place)

    def _leaf_method(
        self,
        func: Func,
        owner: Mod,
        args: list[Any],
        kwargs: dict[str, Any],
        place: SourcePlace,
    ) -> Any:
        """A method of a leaf while the model is built: no loss where it does not work."""
        try:
            return self.call_function(func, [owner, *args], kwargs, place)
        except Raised as error:
            return Unknown(f"{owner.class_name}.{func.name} raised {error.kind}", error.place)

    # -- modules in the forward pass -----------------------------------------------------------

    def call_module(
        self,
        mod: Mod | Repeat,
        method: str,
        args: list[Any],
        kwargs: dict[str, Any],
        place: SourcePlace,
        func: Func | None = None,
    ) -> Any:
        """Call a module: note the call, and look into it where it is no leaf."""
        if not self.forward and (isinstance(mod, Repeat) or mod.leaf):
            return Unknown("the result of a module", place)
        if isinstance(mod, Repeat) and mod.apart:
            mod = mod.made
        template = mod.template if isinstance(mod, Repeat) else mod
        if isinstance(template, Mod) and template.leaf:
            target = mod.force() if isinstance(mod, Repeat) else mod
            self.note_call(target, method, args, kwargs, place)
            return Unknown.tensor(TENSOR_REASON, place)
        number = mod.index if isinstance(mod, Repeat) else _number(mod)
        key = (id(template), method, _abstract(args, number), _abstract(kwargs, number))
        for tracker, result, source in self.memo.get(key, ()):
            if number is None or tracker is None or tracker.holds(number):
                if isinstance(mod, Repeat):
                    mod.like = source
                return result
        target = mod.force() if isinstance(mod, Repeat) else mod
        if not isinstance(target, Mod):
            return Unknown("a call of something that is no module", place)
        self.note_call(target, method, args, kwargs, place)
        if func is None:
            found = self.class_attr(target.cls, method) if isinstance(target.cls, Class) else ABSENT
            if not isinstance(found, Func):
                return self._external_forward(target, args, kwargs, place)
            func = found
        if target in self.running and sum(t is target for t in self.running) > 3:
            return Unknown("a module that calls itself", place)
        self.running.append(target)
        saved = (self.tracker, ACTIVE.tracker)
        if target.tracker is not None:
            # Decisions of the forward pass on the layer index tell layers apart too.
            self.tracker = ACTIVE.tracker = target.tracker
            args = [_relative(a, number) for a in args]
            kwargs = {k: _relative(v, number) for k, v in kwargs.items()}
        try:
            result = self.call_function(func, [target, *args], kwargs, place)
        finally:
            self.running.pop()
            self.tracker, ACTIVE.tracker = saved
        self.memo.setdefault(key, []).append((target.tracker, result, target))
        return result

    def _external_forward(
        self, target: Mod, args: list[Any], kwargs: dict[str, Any], place: SourcePlace
    ) -> Any:
        if (
            target.items is not None
            and isinstance(target.cls, Ext)
            and "Sequential" in target.cls.name
        ):
            value: Any = args[0] if args else Unknown.tensor(TENSOR_REASON, place)
            for item in target.items:
                value = (
                    self.call_module(item, "forward", [value], {}, place)
                    if isinstance(item, (Mod, Repeat))
                    else Unknown.tensor(TENSOR_REASON, place)
                )
            return value
        return Unknown.tensor(TENSOR_REASON, place)

    def note_call(
        self,
        target: Mod,
        method: str,
        args: list[Any],
        kwargs: dict[str, Any],
        place: SourcePlace,
    ) -> None:
        """Record how the forward pass calls a module."""
        record = self.calls.setdefault(id(target), [])
        self.keep.append(target)
        new = Call(method, tuple(args), dict(kwargs), place)
        marks = {(c.method, c.place, _abstract(c.args), _abstract(c.kwargs)) for c in record}
        if (new.method, new.place, _abstract(new.args), _abstract(new.kwargs)) not in marks:
            record.append(new)

    def tensor_operation(
        self, name: str, args: list[Any], kwargs: dict[str, Any], place: SourcePlace
    ) -> Any:
        """A tensor function: noted where a parameter takes part."""
        self._note_parameters(name, args, kwargs, place)
        return Unknown.tensor(f"tensor from {name}", place)

    def _note_parameters(
        self, name: str, args: list[Any], kwargs: dict[str, Any], place: SourcePlace
    ) -> None:
        if not self.forward or not self.running:
            return
        if any(isinstance(a, Param) for a in (*args, *kwargs.values())):
            owner = self.running[-1]
            record = self.operations.setdefault(id(owner), [])
            if not any(o.function == name and o.place == place for o in record):
                record.append(Operation(name, "", tuple(args), dict(kwargs), place))
                self.keep.append(owner)

    # -- construction --------------------------------------------------------------------------

    def construct(
        self, cls: Class, args: list[Any], kwargs: dict[str, Any], place: SourcePlace
    ) -> Any:
        """An instance of a class of the source tree."""
        fact = self.environment.function(cls.qualified, cls.module.name)
        if fact is not ABSENT:
            return fact.fn(self, args, kwargs, place) if isinstance(fact, Native) else fact
        if self.enum_members(cls) is not None:
            return self._enum_by_value(cls, args, place)
        if self.is_module(cls):
            return self.construct_module(cls, args, kwargs, place)
        made = self.environment.construct(cls, args, kwargs)
        if made is not ABSENT:
            return made
        obj = Obj(cls, place)
        init = self.class_attr(cls, "__init__")
        fields = self.record_fields(cls) if not isinstance(init, Func) else None
        if fields is not None:
            self._fill_record(obj, fields, args, kwargs, place)
            return obj
        if isinstance(init, Func):
            obj.args = self._init_arguments(init, obj, args, kwargs, place)
            self.call_function(init, [obj, *args], kwargs, place)
        elif args or kwargs:
            obj.args = {**{f"arg{i}": a for i, a in enumerate(args)}, **kwargs}
            if any(
                isinstance(b, Ext)
                and b.name.rpartition(".")[2] in ("dict", "list", "tuple", "str", "int")
                for b in cls.mro
            ):
                return Unknown(f"an instance of {cls.name}, which is a builtin container", place)
        return obj

    def _init_arguments(
        self,
        init: Func,
        obj: Any,
        args: list[Any],
        kwargs: dict[str, Any],
        place: SourcePlace,
    ) -> dict[str, Any]:
        bound = self.bind_arguments(init, [obj, *args], kwargs, place)
        first = next(iter(bound), None)
        if first is not None:
            del bound[first]
        spec = init.node.args
        if spec.kwarg is not None:
            extra = bound.pop(spec.kwarg.arg, {})
            for name, value in extra.items():
                bound.setdefault(name, value)
        return bound

    def construct_module(
        self, cls: Class, args: list[Any], kwargs: dict[str, Any], place: SourcePlace
    ) -> Mod:
        mod = Mod(cls, place)
        self.keep.append(mod)
        init = self.class_attr(cls, "__init__")
        if not isinstance(init, Func):
            self._external_init(mod, args, kwargs, place)
            return mod
        mod.args = self._init_arguments(init, mod, args, kwargs, place)
        if self.is_leaf(cls):
            mod.leaf = True

            def run() -> None:
                self._lazy_init(init, mod, args, kwargs, place)

            mod.pending = run
            return mod
        if any(
            isinstance(c, Ext) and c.name.rpartition(".")[2] in ("ModuleList", "Sequential")
            for c in cls.mro
        ):
            mod.items = []
        self.building.append(mod)
        try:
            self.call_function(init, [mod, *args], kwargs, place)
        finally:
            self.building.pop()
        return mod

    def _lazy_init(
        self,
        init: Func,
        mod: Mod,
        args: list[Any],
        kwargs: dict[str, Any],
        place: SourcePlace,
    ) -> None:
        """Run a leaf's own `__init__`, because somebody reads one of its attributes."""
        saved = (self.forward, self.depth, self._journals)
        # What it holds does not depend on the branch in which it is first asked.
        self.forward, self._journals = False, []
        try:
            self.call_function(init, [mod, *args], kwargs, place)
        except Raised as error:
            self.notes.append(
                Unknown(
                    f"{mod.class_name}.__init__ raised {error.kind}: {error.message}", error.place
                )
            )
        finally:
            self.forward, self.depth, self._journals = saved

    def is_leaf(self, cls: Class) -> bool:
        """Whether a module class is a building block, by what the environment says of it."""
        if cls.leaf is None:
            cls.leaf = self.environment.is_leaf(self.evaluator, cls)
        return cls.leaf

    def _enum_by_value(self, cls: Class, args: list[Any], place: SourcePlace) -> Any:
        value = args[0] if args else None
        if isinstance(value, (Unknown, Alternatives)):
            return Unknown(f"a member of {cls.name}", place)
        self.pin(value)
        for member in self.enum_members(cls) or ():
            if member == value or member.value == value:
                return member
        missing = self.class_attr(cls, "_missing_")
        if isinstance(missing, Func):
            return self.call(Bound(missing, cls), [value], {}, place)
        raise Raised("ValueError", f"{value!r} is no {cls.name}", place)

    def record_fields(self, cls: Class) -> dict[str, Any] | None:
        """Fields with defaults (ABSENT: none) of a dataclass, NamedTuple or struct."""
        is_record = cls.derives(
            "NamedTuple", "Struct", "BaseModel", *self.environment.record_bases
        ) or any(
            d.rpartition(".")[2] in ("dataclass", "define", "frozen", "attrs")
            for c in cls.mro
            if isinstance(c, Class)
            for d in c.decorators
        )
        if not is_record:
            return None
        fields: dict[str, Any] = {}
        for base in reversed(cls.mro):
            if not isinstance(base, Class):
                continue
            for statement in base.node.body:
                if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                    if "ClassVar" in ast.unparse(statement.annotation):
                        continue
                    name = statement.target.id
                    fields[name] = ABSENT if statement.value is None else (base, statement.value)
        return fields

    def field_default(self, source: Any, place: SourcePlace) -> Any:
        """The default of a record's field."""
        base, node = source
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in (
            "field",
            "Field",
        ):
            for keyword in node.keywords:
                if keyword.arg == "default":
                    return self.eval(keyword.value, base.env)
                if keyword.arg == "default_factory":
                    return self.call(self.eval(keyword.value, base.env), [], {}, place)
            return Unknown("a field without a default", place)
        return self.eval(node, base.env)

    def _fill_record(
        self,
        obj: Obj,
        fields: dict[str, Any],
        args: list[Any],
        kwargs: dict[str, Any],
        place: SourcePlace,
    ) -> None:
        names = list(fields)
        given = dict(zip(names, args, strict=False))
        given.update(kwargs)
        for name, source in fields.items():
            if name in given:
                value = given[name]
            elif source is ABSENT:
                value = Unknown(f"field {name} without a value", place)
            else:
                value = self.field_default(source, place)
            obj.attrs[name] = value
        obj.args = dict(obj.attrs)
        assert isinstance(obj.cls, Class)
        post = self.class_attr(obj.cls, "__post_init__")
        if isinstance(post, Func):
            self.call_function(post, [obj], {}, place)


def _number(mod: Mod) -> int | None:
    return None if mod.tracker is None else mod.tracker.number


def _offset(value: Any, number: int | None) -> int | None:
    """How far an integer argument is from the layer's index, where it is close to it."""
    if number is None or isinstance(value, bool) or not isinstance(value, int):
        return None
    return value - number if -1 <= value - number <= 1 else None


def _relative(value: Any, number: int | None) -> Any:
    """An argument that may be counted from the layer's index, made to depend on it.

    Equal layers that get their own index (or the next one) as an argument go the same way through
    the forward pass, unless a decision depends on it; those are noted like all others.
    """
    offset = _offset(value, number)
    if offset is None:
        return value
    return depending(int(value), lambda i: i + offset, origins_of(value))


def _abstract(value: Any, number: int | None = None) -> Any:
    """A hashable summary of a value: equal summaries mean the same way through a forward pass.

    Integers close to the layer's index `number` are summarised by their distance from it.
    """
    offset = _offset(value, number)
    if offset is not None:
        return ("index", offset)
    if value is None or isinstance(value, (bool, int, float, str)):
        return (type(value).__name__, value)
    if isinstance(value, Unknown):
        return "tensor" if value.is_tensor else "unknown"
    if isinstance(value, Tensor) and not isinstance(value, Param):
        return "tensor"
    if isinstance(value, Alternatives):
        return ("one of", frozenset(_abstract(v, number) for v in value.values))
    if isinstance(value, (list, tuple)):
        return tuple(_abstract(v, number) for v in value)
    if isinstance(value, dict):
        return tuple((str(k), _abstract(v, number)) for k, v in value.items())
    if isinstance(value, Ext):
        return value.name
    if isinstance(value, Bound):
        return (id(value.self), _abstract(value.func))
    if isinstance(value, Func):
        return id(value.node)
    if isinstance(value, ModuleSpace):
        return value.name
    return id(value)
