"""The partial evaluator: what it knows while it elaborates, and how it finds names.

`Evaluator` is put together from one class per concern: `Journalled` (writes), `Part` (state),
`Expressions`, `Statements`, `Attributes` and `Calls`. It evaluates the source text of a model's
constructor, and of its forward pass, over the values of `values.py`. What it cannot know becomes
an `Unknown` with a reason and a place; it never imports or executes what it reads.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

from fibcore.elaborate.python.attributes import Attributes
from fibcore.elaborate.python.calls import Calls
from fibcore.elaborate.python.expressions import Expressions
from fibcore.elaborate.python.statements import Statements
from fibcore.elaborate.python.values import (
    ABSENT,
    ACTIVE,
    Class,
    Env,
    Ext,
    IndexFn,
    Mod,
    ModuleSpace,
    Native,
    Raised,
    Tracker,
    at_index,
    index_fn,
    merge,
)
from fibcore.model.tree import Alternatives, SourcePlace, Unknown


class LazyImport:
    """A name that an import binds, looked up when it is first read."""

    __slots__ = ("module", "name")

    def __init__(self, module: str, name: str | None) -> None:
        self.module = module
        self.name = name


class Exhausted(Exception):
    """The step budget is used up."""


class Evaluator(Expressions, Statements, Attributes, Calls):
    """Elaborates one model from one source tree under one set of environment facts.

    Args:
        index: The source tree.
        environment: Facts of the machine and the server that the source asks for.
    """

    # -- modules and names ---------------------------------------------------------------------

    def space(self, name: str) -> ModuleSpace | None:
        """The module of this name, or None where the tree has no such file."""
        if name not in self.spaces:
            source = self.index.module(name)
            self.spaces[name] = None if source is None else ModuleSpace(source)
        return self.spaces[name]

    def inside(self, module: str) -> bool:
        """Whether a module name belongs to the source tree."""
        return self.index.holds(module)

    def module_name(self, space: ModuleSpace, name: str) -> Any:
        """A module-level name of the source tree; ABSENT where it binds no such name."""
        names = space.env.vars
        if name not in names or name not in space.settled:
            self._run_bindings(space, name)
        value = names.get(name, ABSENT)
        if isinstance(value, LazyImport):
            value = self.imported(value.module, value.name, space)
            names[name] = value
        if value is ABSENT:
            for star in space.source.exports_star:
                origin = self._import_source(space, star)
                if self.inside(origin):
                    target = self.space(origin)
                    if target is not None and target is not space:
                        value = self.module_name(target, name)
                        if value is not ABSENT:
                            names[name] = value
                            break
        return value

    def _run_bindings(self, space: ModuleSpace, name: str) -> None:
        space.settled.add(name)
        pending = [s for s in space.source.binding(name) if id(s) not in space.done]
        if not pending:
            return
        saved = (self._journals, self.tracker, self.building, self.depth, self.forward)
        active = ACTIVE.tracker
        # What a module does when it is imported belongs to no branch and no layer.
        self._journals, self.tracker, self.building, self.depth, self.forward = (
            [],
            None,
            [],
            0,
            False,
        )
        ACTIVE.tracker = None
        try:
            for statement in pending:
                if id(statement) in space.done:
                    continue  # one of the others has led here
                space.done.add(id(statement))
                for node in statement.nodes:
                    try:
                        self.execute(node, space.env)
                    except Raised as error:  # noqa: PERF203 - the next ones go on
                        space.env.vars.setdefault(
                            name, Unknown(f"{error.kind} at import: {error.message}", error.place)
                        )
        finally:
            self._journals, self.tracker, self.building, self.depth, self.forward = saved
            ACTIVE.tracker = active

    def _import_source(self, space: ModuleSpace, node: ast.ImportFrom) -> str:
        if node.level:
            return self.index.resolve_relative(space.source, node.level, node.module)
        return node.module or ""

    def do_import(self, node: ast.Import | ast.ImportFrom, env: Env) -> None:
        """Bind the names of an import statement, raising ImportError where the module is absent."""
        place = env.module.place(node)
        if isinstance(node, ast.Import):
            for alias in node.names:
                self._importable(alias.name, place)
                full = alias.name if alias.asname else alias.name.split(".")[0]
                self.bind(env, alias.asname or full, LazyImport(full, None))
            return
        source = self._import_source(env.module, node)
        self._importable(source, place)
        for alias in node.names:
            if alias.name != "*":
                self.bind(env, alias.asname or alias.name, LazyImport(source, alias.name))

    def _importable(self, module: str, place: SourcePlace) -> None:
        if self.inside(module):
            if self.index.module(module) is None and not self.index.is_package_folder(module):
                raise Raised("ModuleNotFoundError", f"no module named {module!r}", place)
        elif module.split(".")[0] in self.environment.absent_packages:
            raise Raised("ModuleNotFoundError", f"no module named {module!r}", place)

    def imported(self, module: str, name: str | None, asking: ModuleSpace | None = None) -> Any:
        """The value of `from module import name`, or of `import module` where name is None."""
        if not self.inside(module):
            return self.external(module if name is None else f"{module}.{name}")
        if name is not None and f"{module}.{name}" in self.environment.constants:
            constant = self.environment.constants[f"{module}.{name}"]
            return constant.fn(self, [], {}, None) if isinstance(constant, Native) else constant
        if name is None:
            space = self.space(module)
            return space if space is not None else Ext(module)
        space = self.space(module)
        if space is not None:
            value = self.module_name(space, name)
            if value is not ABSENT:
                return value
        inner = self.space(f"{module}.{name}")
        if inner is not None:
            return inner
        if self.index.is_package_folder(f"{module}.{name}"):
            return Ext(f"{module}.{name}")
        return Unknown(
            f"{module} has no {name}",
            SourcePlace(asking.source.file, 1) if asking is not None else None,
        )

    def lookup(self, name: str, env: Env, node: ast.AST) -> Any:
        """The value of a name in a scope."""
        scope: Env | None = env
        while scope is not None:
            if scope.outer is None:
                value = self.module_name(scope.module, name)
            else:
                value = scope.vars.get(name, ABSENT)
                if isinstance(value, LazyImport):
                    value = self.imported(value.module, value.name, scope.module)
                    scope.vars[name] = value
            if value is not ABSENT:
                if isinstance(value, Alternatives) and ABSENT in value.values:
                    # Python would raise where it is unbound; going on means it is bound.
                    return merge(v for v in value.values if v is not ABSENT)
                return value
            scope = scope.outer
        if name in self.builtins:
            return self.builtins[name]
        space = env.module
        if name == "__name__":
            return space.name
        if name == "__file__":
            return space.source.file
        return Unknown(f"the name {name} is not bound", space.place(node))

    def bind(self, env: Env, name: str, value: Any) -> None:
        """Assign a variable in the scope that Python would use."""
        if env.globals_ is not None and name in env.globals_:
            self.put(env.module.env.vars, name, value)
            return
        self.put(env.nonlocals.get(name, env.vars), name, value)

    def is_module(self, cls: Class) -> bool:
        """Whether instances of a class are `torch.nn.Module`s."""
        bases = self.environment.module_bases
        return any(
            isinstance(c, Ext)
            and (c.name.startswith("torch.nn.") or c.name.rpartition(".")[2] in bases)
            for c in cls.mro
        )

    # -- helpers -------------------------------------------------------------------------------

    def step(self) -> None:
        """Count a statement against the budget."""
        self.steps += 1
        if self.steps > self.max_steps:
            raise Exhausted

    def guard(self, fn: IndexFn | None, result: Any) -> None:
        """Note that a decision on the layer index was taken."""
        if fn is not None and self.tracker is not None:
            self.tracker.guards.append((fn, result))

    def pin(self, value: Any) -> None:
        """Note that a scalar is used as it is, so that only layers with the same one are equal.

        For uses that are not followed: as a key, as the name of an attribute.
        """
        fn = index_fn(value)
        if fn is not None:
            self.guard(fn, value)

    def tracked(self, make: Callable[[], Any], number: int) -> Any:
        """Evaluate layer `number` while its decisions on the index are noted."""
        outer = (self.tracker, ACTIVE.tracker)
        self.tracker = ACTIVE.tracker = tracker = Tracker(number)
        try:
            value = make()
        finally:
            self.tracker, ACTIVE.tracker = outer
        if isinstance(value, Mod):
            if value.tracker is None:
                value.tracker = tracker
            return value
        return at_index(value, number, tracker)

    def mapped(self, value: Any, each: Callable[[Any], Any]) -> Any:
        """Apply an operation to every alternative; alternatives on which it raises fall away."""
        if not isinstance(value, Alternatives):
            return each(value)
        results = []
        failure: Raised | None = None
        for part in value.values:
            if part is ABSENT:
                continue
            try:
                results.append(each(part))
            except Raised as error:
                failure = failure or error
        if not results:
            if failure is None:
                return Unknown("none of the alternatives is a value")
            raise failure
        return merge(results)
