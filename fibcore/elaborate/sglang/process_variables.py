"""Environment variables of the server's process: those before the launch line, and its own.

Releases read them in three ways: `os.environ` and `os.getenv`, `get_bool_env_var(NAME)`, and the
fields of `environ.py` (`envs.NAME.get()`). All end at `os.environ`, for which `_Environ` stands.
The server's handlers set some (`envs.NAME.set(True)`), which the model's code then finds; older
releases hand some arguments to the processes of the model as variables, which their code requires:
`os.environ["SGLANG_MAMBA_SSM_DTYPE"] = self.mamba_ssm_dtype`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeGuard

from fibcore.elaborate.python.values import (
    ABSENT,
    Args,
    Class,
    Env,
    Func,
    Kwargs,
    Namespace,
    Native,
    Raised,
)
from fibcore.model.tree import Alternatives, SourcePlace, Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.elaborate.sglang.server_arguments import ServerArguments

_OVERRIDES = "srt.arg_groups.model_overrides"
_ALL_OVERRIDES = "srt.arg_groups.overrides"
"""Where releases keep what they do for single architectures: a file for each, or one for all."""
_SETTER = "_handle_environment_variables"
"""The method of `ServerArgs` that sets them."""


class ProcessVariables:
    """The variables of one elaboration; each is evaluated when it is asked for.

    Args:
        server: The server's arguments.
        given: Variables that are set before the model's code runs, by name.

    Attributes:
        asked: Those of `given` that the source read.
        values: Variables that are set, by name; ABSENT for one that was removed, Alternatives
            where it depends on what is not known.
        environ: What stands for `os.environ`.
    """

    def __init__(self, server: ServerArguments, given: Mapping[str, Any] | None = None) -> None:
        self._server = server
        self._given = dict(given or {})
        self._known: dict[str, Any] = {}
        self.asked: set[str] = set()
        self.values: dict[str, Any] = dict(self._given)
        self.environ = _Environ(self)

    def changed(self) -> dict[str, Any]:
        """Variables that the source set, or set otherwise, since the elaboration began."""
        return {
            name: _decided(name, value)
            for name, value in self.values.items()
            if value is not self._given.get(name, ABSENT)
        }

    def value(self, ev: Evaluator, name: Any) -> Any:
        """The value of a variable; ABSENT where it is not set."""
        if not isinstance(name, str):
            return ABSENT
        if name in self._given:
            self.asked.add(name)
        if name in self.values:
            return _decided(name, self.values[name])
        if name not in self._known:
            self._known[name] = ABSENT  # for a value that asks for itself
            self._known[name] = self._evaluate(ev, name)
        return self._known[name]

    def _evaluate(self, ev: Evaluator, name: str) -> Any:
        module = ev.index.module(f"{ev.index.package}.srt.server_args")
        if module is None or f'os.environ["{name}"] = ' not in module.text:
            return self._set_for_model(ev, name)
        cls = ev.modules.imported(module.name, "ServerArgs")
        setter = ev.classes.attr(cls, _SETTER) if isinstance(cls, Class) else ABSENT
        if not isinstance(setter, Func) or isinstance(setter.node, ast.Lambda):
            return ABSENT
        place = setter.place
        for statement in setter.node.body:
            if isinstance(statement, ast.Assign) and _variable(statement) == name:
                env = Env(setter.env.module, setter.env)
                env.vars["self"] = self._server.server_args(ev, [], {}, place)
                try:
                    return ev.expressions.eval(statement.value, env)
                except Raised as error:
                    return Unknown(f"environment variable {name}: {error.message}", place)
        return ABSENT

    def _set_for_model(self, ev: Evaluator, name: str) -> Any:
        """What the overrides of the model's architecture set a variable to, whatever else holds.

        `@_register_for("InklingForConditionalGeneration")` before a function whose body has
        `envs.NAME.set(True)`. One that stands inside of a branch is not known.
        """
        config = self._server.passes.config
        names = config.values.get("architectures") if isinstance(config, Namespace) else None
        if not isinstance(names, list):
            return ABSENT
        for function, call in _settings(ev, name, {str(n) for n in names}):
            plain = isinstance(call.args[0], ast.Constant) if len(call.args) == 1 else False
            if not plain or not any(getattr(s, "value", None) is call for s in function.body):
                return Unknown(f"environment variable {name}, which {function.name} may set")
            return str(ast.literal_eval(call.args[0]))
        return ABSENT


def _settings(
    ev: Evaluator, name: str, architectures: set[str]
) -> Iterator[tuple[ast.FunctionDef, ast.Call]]:
    """The calls `envs.NAME.set(...)` in functions that are registered for an architecture."""
    folder = ev.index.root.joinpath(*_OVERRIDES.split("."))
    modules = [_ALL_OVERRIDES, *(f"{_OVERRIDES}.{p.stem}" for p in sorted(folder.glob("*.py")))]
    for path in modules:
        module = ev.index.module(f"{ev.index.package}.{path}")
        if module is None or f"envs.{name}.set(" not in module.text:
            continue
        for function in module.whole:
            if isinstance(function, ast.FunctionDef) and architectures & _registered(function):
                yield from ((function, c) for c in ast.walk(function) if _sets(c, name))


def _registered(function: ast.FunctionDef) -> set[str]:
    """The texts that a function's decorators are given: names of architectures."""
    calls = [d for d in function.decorator_list if isinstance(d, ast.Call)]
    given = [a.value for d in calls for a in d.args if isinstance(a, ast.Constant)]
    return {value for value in given if isinstance(value, str)}


def _sets(node: ast.AST, name: str) -> TypeGuard[ast.Call]:
    """Whether a node is `envs.NAME.set(...)`."""
    function = node.func if isinstance(node, ast.Call) else None
    return (
        isinstance(function, ast.Attribute)
        and function.attr == "set"
        and ast.unparse(function.value) == f"envs.{name}"
    )


class _Environ(Namespace):
    """`os.environ`: a mapping whose keys are read one by one."""

    __slots__ = ("_process",)
    is_mapping = True

    def __init__(self, process: ProcessVariables) -> None:
        super().__init__("os.environ", process.values)
        self._process = process

    def find_attr(self, ev: Evaluator, name: str, place: SourcePlace) -> Any:
        method = {
            "get": self._get,
            "setdefault": self._set_default,
            "pop": self._pop,
            "items": self._items,
            "keys": lambda ev, args, kwargs, at: self.items(ev),
            "copy": lambda ev, args, kwargs, at: dict(self._items(ev, args, kwargs, at)),
        }.get(name)
        return Unknown(f"os.environ.{name}", place) if method is None else Native(name, method)

    def get_item(self, ev: Evaluator, key: Any, place: SourcePlace) -> Any:
        found = self._process.value(ev, key)
        if found is ABSENT:
            raise Raised("KeyError", f"environment variable {key}", place)
        return found

    def set_item(self, ev: Evaluator, key: Any, value: Any, place: SourcePlace) -> None:
        if isinstance(key, str):
            ev.writes.put(self.values, key, value)

    def contains(self, ev: Evaluator, item: Any, place: SourcePlace) -> Any:
        found = self._process.value(ev, item)
        maybe = isinstance(self.values.get(item), Alternatives) and isinstance(found, Unknown)
        return found if maybe else found is not ABSENT

    def items(self, ev: Evaluator) -> list[Any] | None:
        return [name for name, value in self.values.items() if value is not ABSENT]

    def _get(self, ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        found = self._process.value(ev, args[0]) if args else ABSENT
        if found is not ABSENT:
            return found
        return args[1] if len(args) > 1 else kwargs.get("default")

    def _set_default(self, ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        found = self._get(ev, args[:1], {}, place)
        if found is None and len(args) > 1:
            self.set_item(ev, args[0], args[1], place)
            return args[1]
        return found

    def _pop(self, ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        found = self._get(ev, args, kwargs, place)
        if args and isinstance(args[0], str):
            ev.writes.put(self.values, args[0], ABSENT)
        return found

    def _items(self, ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        return [
            (name, _decided(name, value))
            for name, value in self.values.items()
            if value is not ABSENT
        ]


def _decided(name: str, value: Any) -> Any:
    """A variable's value; Unknown where it may be set or not."""
    if isinstance(value, Alternatives) and ABSENT in value.values:
        return Unknown(f"environment variable {name}, which the server may have set")
    return value


def _variable(statement: ast.Assign) -> str | None:
    """The variable that an assignment to `os.environ["NAME"]` sets."""
    target = statement.targets[0]
    if isinstance(target, ast.Subscript) and ast.unparse(target.value) == "os.environ":
        return str(target.slice.value) if isinstance(target.slice, ast.Constant) else None
    return None
