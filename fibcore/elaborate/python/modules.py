"""Modules of the source, and imports."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.import_order import ImportOrder
from fibcore.elaborate.python.index import SourceModule, imported_from
from fibcore.elaborate.python.part import Part
from fibcore.elaborate.python.registrars import registries_of
from fibcore.elaborate.python.values import ABSENT, Env, Ext, LazyImport, ModuleSpace, Raised
from fibcore.model.tree import SourcePlace, Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator


class Modules(Part):
    """Finds modules and the names in them.

    Statements of a module are run when one of the names that they bind is first asked for: model
    files import half of the source, and need little of it. In which order, `order` knows.
    """

    def __init__(self, evaluator: Evaluator) -> None:
        super().__init__(evaluator)
        self._spaces: dict[str, ModuleSpace | None] = {}
        self.order = ImportOrder(evaluator)

    def space(self, name: str) -> ModuleSpace | None:
        """The module of this name, or None where the tree has no such file."""
        if name not in self._spaces:
            source = self.ev.index.module(name)
            self._spaces[name] = space = None if source is None else ModuleSpace(source)
            if space is not None:
                space.registries.update(registries_of(space.source))
        return self._spaces[name]

    def read(self) -> list[ModuleSpace]:
        """The modules that were asked for something."""
        return [space for space in self._spaces.values() if space is not None and space.done]

    def evaluated(self) -> list[str]:
        """The names of the modules of which something was evaluated."""
        return [name for name, space in self._spaces.items() if space is not None]

    def is_read(self, name: str) -> bool:
        """Whether a module was asked for something before."""
        return self._spaces.get(name) is not None

    def inside(self, module: str) -> bool:
        """Whether a module name belongs to the source tree."""
        return self.ev.index.holds(module)

    def generated(self, module: str, text: str, bound: dict[str, Any], name: str) -> Any:
        """A name of source that stands for what a library generates.

        Args:
            module: The library.
            text: The source.
            bound: Names that it finds bound.
            name: The name.
        """
        source = SourceModule(module, Path(module), f"{module}.py", False)
        source.__dict__["text"] = text
        space = ModuleSpace(source)
        space.env.vars.update(bound)
        space.settled.update(bound)
        return self.name_in(space, name)

    def name_in(self, space: ModuleSpace, name: str, at: int | None = None) -> Any:
        """A module-level name of the source tree; ABSENT where it binds no such name.

        Args:
            space: The module.
            name: The name.
            at: The position of the statement that asks, where it is one of the module itself while
                that is imported: later statements have not been run then.
        """
        names = space.env.vars
        if name not in names or name not in space.settled or at is not None:
            fact = f"{space.name}.{name}"
            if fact in self.ev.environment.constants:
                space.settled.add(name)
                names[name] = self.ev.libraries.constant(fact)
            else:
                if name not in space.settled and (at is None or space.asked.get(name) != at):
                    self.order.run(space, name, at)
                    if at is not None:
                        space.asked[name] = at
                if at is not None and space.latest.get(name, -1) > at:
                    return self._former(space, name, at)
        value = names.get(name, ABSENT)
        if isinstance(value, LazyImport):
            value = self._import_lazily(value, space, name)
        if value is ABSENT:
            value = self._by_star(space, name)
            if value is not ABSENT:
                names[name] = value
        if space.registries and name in space.registries:
            self.ev.registries.read(space, name)
        return value

    def _former(self, space: ModuleSpace, name: str, at: int) -> Any:
        """What a name was bound to when a statement was run that stands before the last one."""
        former = space.former.get(name, {})
        positions = [p for p in former if p <= at]
        if not positions:
            return ABSENT
        value = former[max(positions)]
        if isinstance(value, LazyImport):
            value = self.imported(value.module, value.name, space)
        return value

    def _import_lazily(self, wanted: LazyImport, space: ModuleSpace, name: str) -> Any:
        """Import what a name stands for, and bind the name to it."""
        names = space.env.vars
        # Not bound meanwhile: a package may import all names of the module that asks it for its
        # own inner module, which is then what is meant.
        del names[name]
        value: Any = wanted
        try:
            value = self.imported(wanted.module, wanted.name, space)
        finally:
            names[name] = value
        return value

    def _by_star(self, space: ModuleSpace, name: str) -> Any:
        """A name that `from x import *` may have bound, or ABSENT."""
        for star in space.source.exports_star:
            origin = imported_from(space.source, star)
            target = self.space(origin) if self.inside(origin) else None
            if target is not None and target is not space:
                value = self.name_in(target, name)
                if value is not ABSENT:
                    return value
        return ABSENT

    def bind_import(self, node: ast.Import | ast.ImportFrom, env: Env) -> None:
        """Bind the names of an import statement, raising ImportError where the module is absent."""
        place = env.module.place(node)
        if isinstance(node, ast.Import):
            for alias in node.names:
                self._importable(alias.name, place)
                self.ev.registries.imported([alias.name])
                full = alias.name if alias.asname else alias.name.split(".")[0]
                self.ev.names.bind(env, alias.asname or full, LazyImport(full, None))
            return
        source = imported_from(env.module.source, node)
        self._importable(source, place)
        self.ev.registries.imported([source, *(f"{source}.{alias.name}" for alias in node.names)])
        for alias in node.names:
            if alias.name != "*":
                self.ev.names.bind(env, alias.asname or alias.name, LazyImport(source, alias.name))

    def _importable(self, module: str, place: SourcePlace) -> None:
        if self.inside(module):
            if self.ev.index.module(module) is None and not self.ev.index.is_package_folder(module):
                raise Raised("ModuleNotFoundError", f"no module named {module!r}", place)
        elif module.split(".")[0] in self.ev.environment.absent_packages:
            raise Raised("ModuleNotFoundError", f"no module named {module!r}", place)

    def by_name(self, module: str, place: SourcePlace) -> Any:
        """The module of a dotted name, imported where it is not yet.

        Raises:
            Raised: there is no such module.
        """
        self._importable(module, place)
        return self.imported(module, None)

    def _is_launch(self, space: ModuleSpace, name: str) -> bool:
        """Whether a module defines a kernel of a name."""
        return (
            self.ev.environment.is_launch(f"{space.name}.{name}")
            and f"def {name}(" in space.source.text
        )

    def imported(self, module: str, name: str | None, asking: ModuleSpace | None = None) -> Any:
        """The value of `from module import name`, or of `import module` where name is None."""
        if not self.inside(module):
            home = None if name is None else self.ev.index.home(module, name)
            if home is None:
                return self.ev.libraries.value(module if name is None else f"{module}.{name}")
            module = home
        if name is not None and f"{module}.{name}" in self.ev.environment.constants:
            return self.ev.libraries.constant(f"{module}.{name}")
        if name is None:
            space = self.space(module)
            return space if space is not None else Ext(module)
        space = self.space(module)
        if space is not None:
            if self.ev.launches.active and self._is_launch(space, name):
                return Ext(f"{module}.{name}")  # its name is all that is asked for
            value = self.name_in(space, name)
            if value is not ABSENT:
                return value
        inner = self.space(f"{module}.{name}")
        if inner is not None:
            return inner
        if self.ev.index.is_package_folder(f"{module}.{name}"):
            return Ext(f"{module}.{name}")
        return Unknown(
            f"{module} has no {name}",
            SourcePlace(asking.source.file, 1) if asking is not None else None,
        )
