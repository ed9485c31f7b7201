"""Definitions of functions and classes, and their decorators."""

from __future__ import annotations

import ast
from typing import Any

from fibcore.elaborate.python import lazy_methods
from fibcore.elaborate.python.journal import Status
from fibcore.elaborate.python.libraries import table
from fibcore.elaborate.python.libraries.decorators import TRANSPARENT
from fibcore.elaborate.python.part import Handlers, Part
from fibcore.elaborate.python.values import ABSENT, Class, Env, Ext, Func, Raised
from fibcore.model.tree import Unknown

_METHOD_KINDS = {
    "abstractproperty": "property",
    "lazy_property": "property",
    "cached_property": "cached_property",
}
"""What decorators of other packages make of a method, by the last part of their names."""
_IMPLICIT = {
    "__new__": "staticmethod",
    "__init_subclass__": "classmethod",
    "__class_getitem__": "classmethod",
}


class Definitions(Part):
    """Makes functions, and decorates what is defined."""

    def handlers(self) -> Handlers:
        return {
            ast.FunctionDef: self.define_function,
            ast.AsyncFunctionDef: self.define_function,
            lazy_methods.FunctionDef: self.define_function,
            ast.ClassDef: self.define_class,
        }

    def define_function(self, node: ast.FunctionDef | ast.AsyncFunctionDef, env: Env) -> Status:
        cls = env.owner
        decorators = [self.decorator(d, env) for d in node.decorator_list]
        kind = _IMPLICIT.get(node.name, "function") if cls is not None else "function"
        # A method does not see the names of the class body, but its default values do.
        func = self.function(node, env, node.name, cls, kind)
        if cls is not None:
            func.env = cls.env
        self.ev.names.bind(env, node.name, self.decorated(func, decorators, node, env))
        return None

    def decorator(self, node: ast.expr, env: Env) -> Any:
        """What decorates; ABSENT where it leaves things as they are, by what is known of it."""
        name = self._external(node, env)
        if name is None or name in table.CALLS or _kind(name) is not None:
            return self.ev.expressions.eval(node, env)
        # Its arguments may be anything; nothing depends on them.
        package = name.partition(".")[0]
        if package in TRANSPARENT or package in self.ev.environment.transparent_packages:
            return ABSENT
        return Unknown(f"what {name} decorates", env.module.place(node))

    def _external(self, node: ast.expr, env: Env) -> str | None:
        """The dotted name of a decorator of another package; None for any other."""
        names: list[str] = []
        while not isinstance(node, ast.Name):
            if isinstance(node, ast.Call):
                node = node.func
            elif isinstance(node, ast.Attribute):
                names.append(node.attr)
                node = node.value
            else:
                return None
        root = self.ev.names.lookup(node.id, env, node)
        if not isinstance(root, Ext):
            return None
        return ".".join((root.name, *reversed(names)))

    def decorated(self, value: Any, decorators: list[Any], node: ast.AST, env: Env) -> Any:
        """What decorators make of a function or class, the last one first."""
        for decorator in reversed(decorators):
            if decorator is ABSENT:
                continue
            kind = _kind(decorator.name) if isinstance(decorator, Ext) else None
            if kind is not None and isinstance(value, Func):
                value = value.of_kind(kind)
            elif isinstance(value, Func) and self._is_fact(value):
                continue
            else:
                value = self.ev.calls.call(decorator, [value], {}, env.module.place(node))
        return value

    def _is_fact(self, func: Func) -> bool:
        return self.ev.environment.function(func.qualname, func.env.module.name) is not ABSENT

    def function(
        self,
        node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda,
        env: Env,
        name: str,
        cls: Class | None = None,
        kind: str = "function",
    ) -> Func:
        """A function object; its defaults are evaluated now, as Python does."""
        prefix = f"{cls.qualified}." if cls is not None else f"{env.module.name}."
        func = Func(node, env, prefix + name, cls, kind)
        positional = [*node.args.posonlyargs, *node.args.args]
        given = positional[len(positional) - len(node.args.defaults) :]
        for arg, default in zip(given, node.args.defaults, strict=True):
            func.defaults[arg.arg] = self._default(default, env)
        for arg, kw_default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=False):
            if kw_default is not None:
                func.defaults[arg.arg] = self._default(kw_default, env)
        return func

    def _default(self, node: ast.expr, env: Env) -> Any:
        if isinstance(node, ast.Constant):
            return node.value
        try:
            return self.ev.expressions.eval(node, env)
        except Raised as error:
            if self.ev.mode.caught or (env.func is not None and not self.ev.mode.forward):
                raise
            return Unknown(f"a default that raises {error.kind}", error.place)

    def define_class(self, node: ast.ClassDef, env: Env) -> Status:
        decorators = [self.decorator(d, env) for d in node.decorator_list]
        cls = self.ev.classes.define(node, env)
        if node.decorator_list and isinstance(cls, Class):
            self.ev.records.own(cls)  # raises what a dataclass that Python refuses does
        value = self.decorated(cls, decorators, node, env)
        self.ev.names.bind(env, node.name, value)
        return None


def _kind(name: str) -> str | None:
    return _METHOD_KINDS.get(name.rpartition(".")[2])


def shortened(node: ast.AST, limit: int = 60) -> str:
    """The source of a piece of syntax, cut where it is long; remembered on it."""
    text: str | None = getattr(node, "shown", None)
    if text is None:
        text = ast.unparse(node)
        node.shown = text  # type: ignore[attr-defined]
    return text if len(text) <= limit else text[: limit - 3] + "..."
