"""In which order the statements of a module are run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.effects import changes_class, related
from fibcore.elaborate.python.part import Part
from fibcore.elaborate.python.values import (
    ABSENT,
    Class,
    Ext,
    Func,
    LazyImport,
    ModuleSpace,
    Namespace,
    Obj,
    Partial,
    Raised,
)
from fibcore.model.tree import Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.elaborate.python.index import Statement

_CONTAINERS = (list, dict, set)


class ImportOrder(Part):
    """Runs the statements that a name needs.

    Python runs all statements of a module, one by one. Here only those of the wanted names are run,
    and what they read is what it was at their place: a name that is bound twice keeps what it was
    in between. Where statements change what a name holds, all that have to do with it are run.
    """

    def __init__(self, evaluator: Evaluator) -> None:
        super().__init__(evaluator)
        # While related statements are run, so that what classes hold is computed in its turn too.
        self.running = False
        self._parts_of: set[str] = set()
        # What was run for one name, and how many statements were done then: there are as many ways
        # from name to name as there are orders of them.
        self._seen: set[tuple[str, int | None, int]] = set()
        self.depth = 0
        """How many times over names of modules are being settled: 0 when nothing is imported."""

    def run(self, space: ModuleSpace, name: str, at: int | None) -> None:
        """Run the statements that bind or change a name.

        Args:
            space: The module.
            name: The name.
            at: The position of the statement that asks; later ones wait. None for all.
        """
        outer, self._seen = self._seen, set()
        self.depth += 1
        try:
            self._run_for(space, name, at)
        finally:
            self._seen = outer
            self.depth -= 1
        if not self.depth:
            self.ev.registries.fill()

    def settle(self, space: ModuleSpace, statement: Statement) -> None:
        """Run a statement, and what comes with the names that it binds."""
        for name in statement.names or ():
            self.run(space, name, None)
        self._run_all(space, "", (statement,), None)

    def _run_for(self, space: ModuleSpace, name: str, at: int | None) -> None:
        key = (name, at, len(space.done))
        if key in self._seen:
            return
        self._seen.add(key)
        if at is None:
            space.settled.add(name)
        binding = space.source.binding(name)
        for number, statement in enumerate(binding):
            self._run_all(space, name, (statement,), at)
            if number + 1 < len(binding) and self._may_be_changed(space, name):
                break  # what reads it comes before what changes it
        value = space.env.vars.get(name, ABSENT)
        if isinstance(value, (*_CONTAINERS, tuple, Obj, Class, Partial)):
            # What it holds, or derives from, may be changed by its own name.
            self._run_parts(space, name, value, binding, at)
        if self._may_be_changed(space, name):
            statements = self._run_related(space, name, at)
        else:
            self._run_all(space, name, binding, at)
            statements = binding
        if all(s.position in space.done for s in statements) and not space.active.intersection(
            s.position for s in statements
        ):
            space.settled.add(name)  # nothing is left that could change it

    def _run_related(self, space: ModuleSpace, name: str, at: int | None) -> tuple[Statement, ...]:
        outer, self.running = self.running, True
        try:
            statements = related(space.source, name)
            self.ev.budget.spend(len(statements), "the statements that may change a name")
            self._complete(space, statements, at)
            self._run_all(space, name, statements, at)
        finally:
            self.running = outer
        return statements

    def _complete(
        self, space: ModuleSpace, statements: tuple[Statement, ...], at: int | None
    ) -> None:
        """Run the bodies of classes that were made already, before what they read changes."""
        for statement in statements:
            if statement.position in space.done and (at is None or statement.position < at):
                for name in statement.names or ():
                    cls = space.env.vars.get(name)
                    if isinstance(cls, Class) and cls.position == statement.position:
                        self.ev.classes.bodies.complete(cls)

    def _run_parts(
        self,
        space: ModuleSpace,
        name: str,
        value: Any,
        binding: tuple[Statement, ...],
        at: int | None,
    ) -> None:
        if name in self._parts_of:
            return
        self._parts_of.add(name)
        try:
            if isinstance(value, Class):
                parts = {b.name for b in value.bases if isinstance(b, Class) and b.module is space}
            else:
                parts = {n for s in binding if s.position in space.done for n in s.used_at_import}
            self.ev.budget.spend(len(parts), "the names that a name is made of")
            for part in parts - {name}:
                if part not in space.settled and space.source.binding(part):
                    self._run_for(space, part, at)
        finally:
            self._parts_of.discard(name)

    def _run_all(
        self, space: ModuleSpace, name: str, statements: tuple[Statement, ...], at: int | None
    ) -> None:
        pending = [
            s
            for s in statements
            if s.position not in space.done and (at is None or s.position < at)
        ]
        if not pending:
            return
        # What a module does when it is imported belongs to no branch, layer, call or constructor,
        # whoever is first to ask for one of its names.
        with self.ev.apart(), self.ev.layers.tracking(None), self.ev.calls.from_top():
            for statement in pending:
                if statement.position not in space.done:  # one of the others may have led to it
                    self._run(space, statement, name)

    def _may_be_changed(self, space: ModuleSpace, name: str) -> bool:
        """Whether other statements may change what a name holds."""
        if name in space.source.declared_global:
            return True
        value = space.env.vars.get(name, ABSENT)
        if isinstance(value, _CONTAINERS):
            return True
        if isinstance(value, Class):
            return value.module is space and changes_class(space.source, name)
        if isinstance(value, Func):
            # It has a state: variables of the function around it, attributes, default values.
            return (
                value.env.outer is not None
                or any(isinstance(v, _CONTAINERS) for v in value.defaults.values())
                or changes_class(space.source, name)
            )
        return isinstance(value, Namespace) or (
            isinstance(value, Obj) and not isinstance(value.cls, Ext)
        )

    def _run(self, space: ModuleSpace, statement: Statement, name: str) -> None:
        """Run one statement, at its place among those that bind the same names."""
        space.done.add(statement.position)
        with self._placed(space, statement):
            for node in statement.nodes:
                try:
                    self.ev.statements.execute(node, space.env)
                except Raised as error:  # noqa: PERF203 - the next ones go on
                    self._lose(space, statement, error, name)

    @contextlib.contextmanager
    def _placed(self, space: ModuleSpace, statement: Statement) -> Iterator[None]:
        """Let names be what they are at a statement's position while it is run."""
        position, names, latest = statement.position, space.env.vars, space.latest
        newer: dict[str, tuple[int, Any]] = {}
        before: dict[str, tuple[int, Any]] = {}
        for name in statement.bound:
            last = latest.get(name, -1)
            if last < position:
                before[name] = (last, names.get(name, ABSENT))
            if last < 0:
                latest[name] = position
                continue
            former = space.former.setdefault(name, {})
            former[last] = names.get(name, ABSENT)
            if last < position:
                latest[name] = position
                continue
            newer[name] = (last, former[last])
            earlier = [p for p in former if p < position]
            _put(names, name, former[max(earlier)] if earlier else ABSENT)
            latest[name] = position
        outer, space.at = space.at, position
        space.active.add(position)
        try:
            yield
        finally:
            space.at = outer
            space.active.discard(position)
            for name, (last, value) in before.items():
                if names.get(name, ABSENT) is value:  # it has not bound it after all
                    latest[name] = last
            for name, (last, value) in newer.items():
                space.former[name][position] = names.get(name, ABSENT)
                latest[name] = last
                # A later statement that is being run, and asks for it, has not bound it yet.
                if value is not ABSENT or last not in space.active:
                    _put(names, name, value)

    def _lose(self, space: ModuleSpace, statement: Statement, error: Raised, name: str) -> None:
        """Go on behind a statement that raised: what it would have bound is not known."""
        why = Unknown(f"{error.kind} at import: {error.message}", error.place)
        for lost in {name, *statement.bound} - {""}:
            held = space.env.vars.get(lost, ABSENT)
            if held is ABSENT or not isinstance(held, (Ext, ModuleSpace, LazyImport)):
                space.env.vars[lost] = why


def _put(names: dict[str, Any], name: str, value: Any) -> None:
    if value is ABSENT:
        names.pop(name, None)
    else:
        names[name] = value
