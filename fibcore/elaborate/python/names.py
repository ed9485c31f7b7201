"""Names and the scopes that they are looked up in."""

from __future__ import annotations

import ast
import builtins
from typing import Any

from fibcore.elaborate.python.local_names import local_names
from fibcore.elaborate.python.part import Part
from fibcore.elaborate.python.values import (
    ABSENT,
    Env,
    Ext,
    LazyImport,
    Raised,
    bound,
    may_be_absent,
)
from fibcore.model.tree import Alternatives, Unknown


class Names(Part):
    """Looks names up and binds them."""

    def lookup(self, name: str, env: Env, node: ast.AST) -> Any:
        """The value of a name in a scope, those around it, or among the builtins."""
        scope: Env | None = env
        while scope is not None:
            if scope.outer is None:  # a module's names are evaluated when they are asked for
                space = scope.module
                value = self.ev.modules.name_in(space, name, space.at)
            elif scope.is_class and scope is not env:
                scope = scope.outer  # names of a class body are seen by itself alone
                continue
            else:
                value = scope.vars.get(name, ABSENT)
                if isinstance(value, LazyImport):
                    value = self.ev.modules.imported(value.module, value.name, scope.module)
                    scope.vars[name] = value
            if value is not ABSENT:
                if type(value) is not Alternatives:
                    return value
                if may_be_absent(value):
                    mine = scope is env and env.func is not None
                    kind = "UnboundLocalError" if mine else "NameError"
                    self.ev.exceptions.may_raise(env.module.place(node), kind)
                return bound(value)
            if scope.is_class and scope.owner is not None and name in scope.owner.names:
                # A name that the body binds later is looked up in the module, and nowhere between.
                scope = env.module.env
                continue
            if scope.func is not None and name in local_names(scope.func.node, scope.module.source):
                return self._not_bound(name, scope, env, node)
            scope = scope.outer
        if name in self.ev.builtins:
            return self.ev.builtins[name]
        space = env.module
        if name == "__name__":
            return space.name
        if name == "__file__":
            return space.source.file
        found = getattr(builtins, name, None)
        if isinstance(found, type) and issubclass(found, BaseException):
            return Ext(name)
        if found is not None:
            return Unknown(f"the builtin {name}", space.place(node))
        why = f"name {name!r} is not defined"
        if space.source.is_open or self.ev.mode.forward or name.startswith("__"):
            return Unknown(why, space.place(node))
        raise Raised("NameError", why, space.place(node))

    def _not_bound(self, name: str, scope: Env, env: Env, node: ast.AST) -> Any:
        """A variable of a function that its body binds, and has not bound yet."""
        place = env.module.place(node)
        mine = scope is env
        why = f"cannot access {'local' if mine else 'free'} variable {name!r}: it has no value"
        if self.ev.mode.forward or any(e.tolerant for e in (scope, env)):
            return Unknown(why, place)  # a statement that was lost may have bound it
        raise Raised("UnboundLocalError" if mine else "NameError", why, place)

    def bind(self, env: Env, name: str, value: Any) -> None:
        """Assign a variable in the scope that Python would use."""
        if env.globals_ is not None and name in env.globals_:
            self.ev.writes.put(env.module.env.vars, name, value)
            return
        self.ev.writes.put(env.nonlocals.get(name, env.vars), name, value)

    def unbind(self, env: Env, name: str) -> bool:
        """Delete a variable of the scope that Python would use; false where it is not bound."""
        declared = env.globals_ is not None and name in env.globals_
        holder = env.module.env.vars if declared else env.nonlocals.get(name, env.vars)
        if holder is env.module.env.vars:
            self.ev.modules.name_in(env.module, name, env.module.at)
        if name not in holder:
            return False
        self.ev.writes.put(holder, name, ABSENT)
        return True
