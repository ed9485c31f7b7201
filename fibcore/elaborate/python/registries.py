"""Containers that other modules fill when they are imported.

`@register("name")` above a function of another module writes into a dict of this one, and a server
has imported that module by the time that it reads the dict. Statements are run here when one of
their names is wanted, not module by module; so those that register something are run when the
container is wanted.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.areas import Registry, words_in
from fibcore.elaborate.python.part import Part
from fibcore.elaborate.python.registrars import imports_of, registries_of, uses
from fibcore.elaborate.python.values import ABSENT, OTHER_KEYS, Class, merge
from fibcore.model.tree import SourcePlace, Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.elaborate.python.values import ModuleSpace

_CONTAINERS = (dict, list, set)


class Registries(Part):
    """Runs what other modules register in a container, once that is read.

    Where nothing shows that such a module has been imported, what it registers may be there or not;
    until an import of it is evaluated.
    """

    def __init__(self, evaluator: Evaluator) -> None:
        super().__init__(evaluator)
        self.registering = 0
        """How many functions that register something are running: what they read, they change."""
        self._pending: list[tuple[ModuleSpace, Registry]] = []
        # What modules that may not have been imported would register: the dict, the key, the value.
        self._waiting: dict[str, list[tuple[dict[Any, Any], Any, Any]]] = {}

    def read(self, space: ModuleSpace, name: str) -> None:
        """Note that a container of a module is read."""
        if not self.registering:
            space.registries.discard(name)
            self._want(space, registries_of(space.source)[name])

    def read_of(self, cls: Class) -> None:
        """Note that a container of a class is read."""
        registry = cls.registry
        if registry is not None and not self.registering:
            cls.registry = None
            self._want(cls.module, registry)

    def _want(self, space: ModuleSpace, registry: Registry) -> None:
        self._pending.append((space, registry))
        if not self.ev.modules.order.depth:
            self.fill()

    def fill(self) -> None:
        """Run what is registered in the containers that were read.

        Not while a module is imported: Python has not imported all of the others by then.
        """
        while self._pending:
            with self.ev.apart():
                self._fill(*self._pending.pop())

    def _fill(self, space: ModuleSpace, registry: Registry) -> None:
        callers = self._callers(space, registry)
        containers = self._containers(space, registry) if callers else []
        if not containers:
            return
        imported = self._imported()
        for caller in sorted(callers, key=lambda other: (other.name not in imported, other.name)):
            before = [type(container)(container) for container in containers]
            for statement in caller.source.statements:
                if uses(statement, registry):
                    self.ev.modules.order.settle(caller, statement)
            if caller.name not in imported:
                place = SourcePlace(caller.source.file, 1)
                why = Unknown(f"what {caller.name} registers, where it was imported", place)
                for container, former in zip(containers, before, strict=True):
                    self._doubt(caller.name, container, former, why)

    def _containers(self, space: ModuleSpace, registry: Registry) -> list[Any]:
        found = [self.ev.modules.name_in(space, registry.name)]
        if registry.tables:
            cls = found[0]
            tables = sorted(registry.tables) if isinstance(cls, Class) else ()
            found = [self.ev.classes.own_attr(cls, table) for table in tables]
        return [container for container in found if type(container) in _CONTAINERS]

    def _callers(self, space: ModuleSpace, registry: Registry) -> list[ModuleSpace]:
        """The other modules that register something in a container when they are imported."""
        area = self.ev.index.area(space.name)
        names = area.callers(registry) if area is not None else set()
        for other in self.ev.modules.read():
            if words_in(other.source.text) & (registry.functions | registry.methods):
                names.add(other.name)
        spaces = [self.ev.modules.space(name) for name in sorted(names - {space.name})]
        return [
            caller
            for caller in spaces
            if caller is not None and any(uses(s, registry) for s in caller.source.statements)
        ]

    def _imported(self) -> frozenset[str]:
        """The modules that are imported for sure: those that were read, and what they import."""
        found: set[str] = set()
        for space in self.ev.modules.read():
            for name in (space.name, *imports_of(space.source)):
                found.update(_with_packages(name))
        return frozenset(found)

    def _doubt(self, module: str, container: Any, former: Any, why: Unknown) -> None:
        """Let what was put into a container be there or not."""
        if isinstance(container, dict):
            for key, value in list(container.items()):
                held = former.get(key, ABSENT)
                if key is not OTHER_KEYS and held is not value:
                    self.ev.writes.put(container, key, merge([value, held]))
                    self._waiting.setdefault(module, []).append((container, key, value))
        elif len(container) != len(former):
            entry = self.ev.doubts.entry(why)
            self.ev.writes.refill(
                container, [*former, entry] if isinstance(container, list) else {*former, entry}
            )

    def imported(self, names: Iterable[str]) -> None:
        """Say that modules are imported now, where what is evaluated leads to it."""
        for name in names if self._waiting else ():
            for container, key, value in self._waiting.get(name, ()):
                self.ev.writes.put(container, key, value)


def _with_packages(name: str) -> list[str]:
    """A dotted name and those of the packages that it is in, which are imported before it."""
    parts = name.split(".")
    return [".".join(parts[:n]) for n in range(1, len(parts) + 1)]
