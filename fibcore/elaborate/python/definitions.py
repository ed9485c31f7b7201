"""Definitions of functions and classes."""

from __future__ import annotations

import ast
from typing import Any

from fibcore.elaborate.python.index import bound_names
from fibcore.elaborate.python.journal import Status
from fibcore.elaborate.python.part import Handlers, Part
from fibcore.elaborate.python.values import Class, Env, Ext, Func, Raised
from fibcore.model.tree import Alternatives, Unknown

_METHOD_KINDS = {
    "property": "property",
    "cached_property": "cached_property",
    "staticmethod": "staticmethod",
    "classmethod": "classmethod",
    "abstractproperty": "property",
    "lazy_property": "property",
}


class Definitions(Part):
    """Makes functions and classes."""

    def handlers(self) -> Handlers:
        return {
            ast.FunctionDef: self.define_function,
            ast.AsyncFunctionDef: self.define_function,
            ast.ClassDef: self.define_class,
        }

    def define_function(self, node: ast.FunctionDef | ast.AsyncFunctionDef, env: Env) -> Status:
        kind = method_kind(node)
        if kind is not None:
            self.ev.names.bind(env, node.name, self.function(node, env, node.name, kind=kind))
        return None

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
        for arg, default in zip(positional[::-1], node.args.defaults[::-1], strict=False):
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
        bases = []
        for base in node.bases:
            value = self.ev.expressions.eval(base, env)
            if isinstance(value, Alternatives):
                value = value.values[0]
            bases.append(
                value if isinstance(value, (Class, Ext)) else Ext("unknown." + shortened(base))
            )
        cls = Class(node, env.module, env, bases)
        cls.decorators = [ast.unparse(d).partition("(")[0] for d in node.decorator_list]
        for statement in node.body:
            for name in bound_names([statement]):
                cls.names.setdefault(name, []).append(statement)
        self.ev.names.bind(env, node.name, cls)
        return None


def method_kind(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str | None:
    """What decorators make of a function: "property", "staticmethod" and the like.

    Other decorators are taken to leave it as it is. None for a setter or deleter, which does not
    bind its name anew.
    """
    kind = "function"
    for decorator in node.decorator_list:
        last = ast.unparse(decorator).partition("(")[0].rpartition(".")[2]
        if last in ("setter", "deleter"):
            return None
        kind = _METHOD_KINDS.get(last, kind)
    return kind


def shortened(node: ast.AST, limit: int = 60) -> str:
    """The source of a piece of syntax, cut where it is long."""
    text = ast.unparse(node)
    return text if len(text) <= limit else text[: limit - 3] + "..."
