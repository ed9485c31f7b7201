"""Names and the scopes that they are looked up in."""

from __future__ import annotations

import ast
from typing import Any

from fibcore.elaborate.python.part import Part
from fibcore.elaborate.python.values import ABSENT, Env, LazyImport, bound, may_be_absent
from fibcore.model.tree import Unknown


class Names(Part):
    """Looks names up and binds them."""

    def lookup(self, name: str, env: Env, node: ast.AST) -> Any:
        """The value of a name in a scope, those around it, or among the builtins."""
        scope: Env | None = env
        while scope is not None:
            if scope.outer is None:  # a module's names are evaluated when they are asked for
                value = self.ev.modules.name_in(scope.module, name)
            else:
                value = scope.vars.get(name, ABSENT)
                if isinstance(value, LazyImport):
                    value = self.ev.modules.imported(value.module, value.name, scope.module)
                    scope.vars[name] = value
            if value is not ABSENT:
                if may_be_absent(value):
                    self.ev.exceptions.may_raise(env.module.place(node), "NameError")
                return bound(value)
            scope = scope.outer
        if name in self.ev.builtins:
            return self.ev.builtins[name]
        space = env.module
        if name == "__name__":
            return space.name
        if name == "__file__":
            return space.source.file
        return Unknown(f"the name {name} is not bound", space.place(node))

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
        if name not in holder:
            return False
        self.ev.writes.put(holder, name, ABSENT)
        return True
