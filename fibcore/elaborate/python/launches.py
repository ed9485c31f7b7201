"""Calls of functions that run on the device, where a forward pass comes to them.

The forward pass of a model stops at building blocks. Here one of them is gone into: what its
methods call is followed down to functions that the environment knows as kernels, which are noted
and not looked into.
"""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from fibcore.elaborate.python.budget import Exhausted
from fibcore.elaborate.python.definitions import shortened
from fibcore.elaborate.python.part import Part
from fibcore.elaborate.python.values import ABSENT, Args, Env, Ext, Func, Kwargs, OnGrid, Raised
from fibcore.model.tree import Condition, SourcePlace, Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator


@attrs.frozen
class Launch:
    """One call of a kernel.

    Attributes:
        function: The kernel's dotted name.
        args: Positional arguments, as values of the evaluator.
        kwargs: Keyword arguments, likewise.
        place: Where the call stands.
        callers: Qualified names of the functions that it goes through, outermost first.
        conditions: The undecided branches around it, outermost first.
        possible: Whether it may not happen at all.
    """

    function: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    place: SourcePlace
    callers: tuple[str, ...]
    conditions: tuple[Condition, ...]
    possible: bool


class Launches(Part):
    """Notes launches.

    Attributes:
        active: Whether building blocks are gone into.
        conditions: The undecided branches that are open, outermost first.
    """

    def __init__(self, evaluator: Evaluator) -> None:
        super().__init__(evaluator)
        self.active = False
        self.conditions: list[Condition] = []
        self._found: list[Launch] = []
        self._depth = 0

    @contextlib.contextmanager
    def following(self, steps: int) -> Iterator[tuple[list[Launch], list[Unknown]]]:
        """Go into building blocks inside, and take back what that writes.

        Args:
            steps: How many steps it may take.

        Gives:
            The launches so far, in the order in which they are met, and why it was left early.
        """
        lost: list[Unknown] = []
        saved = (self.active, self.conditions, self._found, self._depth)
        writes = self.ev.writes
        self.active, self.conditions, self._found = True, [], []
        try:
            with (
                self.ev.budget.at_most(steps),
                self.ev.forward.separate(),
                writes.attempt(keep=False),
            ):
                self._depth = writes.open
                try:
                    yield self._found, lost
                except Raised as error:
                    lost.append(Unknown(f"{error.kind}: {error.message}", error.place))
                except Exhausted as error:
                    lost.append(Unknown(error.what, error.place))
        finally:
            self.active, self.conditions, self._found, self._depth = saved

    @contextlib.contextmanager
    def unseen(self) -> Iterator[None]:
        """Go on as before inside, and note nothing: what is launched while weights are loaded."""
        saved, self._found = self._found, []
        try:
            yield
        finally:
            self._found = saved

    @contextlib.contextmanager
    def under(self, test: ast.expr, env: Env, *, holds: bool) -> Iterator[None]:
        """Take a side of an undecided branch.

        Args:
            test: The condition.
            env: The scope that it stands in.
            holds: Whether it is the side that is taken where the condition is true.
        """
        if not (self.active or self.ev.mode.forward):
            yield
            return
        asked = self._undecided(test, env)
        stage = self.ev.environment.stage(asked, holds=holds)
        by_size = bool(stage) and self.ev.environment.asks_size(asked)
        place = env.module.place(test)
        with self.taken_for(Condition(shortened(test), holds, place, stage, by_size)):
            yield

    def _undecided(self, test: ast.expr, env: Env) -> ast.expr:
        """A condition without the variables that are decided: what it is open for is the rest."""
        if not isinstance(test, ast.BoolOp):
            return test
        rest = [part for part in test.values if not self._is_decided(part, env)]
        if len(rest) == len(test.values) or not rest:
            return test
        return rest[0] if len(rest) == 1 else ast.BoolOp(test.op, rest)

    def _is_decided(self, part: ast.expr, env: Env) -> bool:
        while isinstance(part, ast.UnaryOp) and isinstance(part.op, ast.Not):
            part = part.operand
        if not isinstance(part, ast.Name):
            return False
        scope: Env | None = env
        while scope is not None and part.id not in scope.vars:
            scope = scope.outer
        return scope is not None and self.ev.operators.truth(scope.vars[part.id]) is not None

    @contextlib.contextmanager
    def taken_for(self, condition: Condition) -> Iterator[None]:
        """Take what happens inside for something that a condition asks for."""
        self.conditions.append(condition)
        try:
            yield
        finally:
            self.conditions.pop()

    def stops(self, func: Func, args: Args, kwargs: Kwargs, place: SourcePlace) -> bool:
        """Whether a function of the source is a kernel; its call is noted."""
        if not self.active or not self.ev.environment.is_launch(func.qualname):
            return False
        self.note(func.qualname, args, kwargs, place)
        return True

    def inside(self, name: str, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        """What a function outside of the source gives that is gone into; ABSENT for any other.

        An operator that the source registers with torch is its function of the same name, where
        that stands in the module that calls the operator. A kernel is noted.
        """
        if name.startswith("torch.ops."):
            found = self._operator(name.rpartition(".")[2], place)
            if found is not None:
                return self.ev.calls.call_function(found, args, kwargs, place)
        self.note_external(name, args, kwargs, place)
        return ABSENT

    def _operator(self, name: str, place: SourcePlace) -> Func | None:
        """The function of the module at a place that stands there under an operator's name."""
        space = self.ev.modules.space(place.file.removesuffix(".py").replace("/", "."))
        if space is None or f"def {name}(" not in space.source.text:
            return None
        for statement in space.source.binding(name):
            for node in statement.nodes if statement.defines(name) else ():
                if isinstance(node, ast.FunctionDef):
                    # Without its decorators, which register it.
                    return self.ev.definitions.function(node, space.env, name)
        return None

    def note_external(self, name: str, args: Args, kwargs: Kwargs, place: SourcePlace) -> None:
        """Note a call of a function outside of the source, where that is a kernel."""
        if self.ev.environment.is_launch(name):
            self.note(name, args, kwargs, place)

    def note_unbound(self, func: Any, why: str, place: SourcePlace) -> None:
        """Note a call of a kernel whose arguments are not known."""
        unknown = Unknown(why, place)
        if isinstance(func, OnGrid):
            self.note(func.name, [unknown], {}, place)
        elif isinstance(func, Ext):
            self.note_external(func.name, [unknown], {}, place)
        elif isinstance(func, Func):
            self.stops(func, [unknown], {}, place)

    def note_method(
        self, method: Any, name: str, args: Args, kwargs: Kwargs, place: SourcePlace
    ) -> None:
        """Note a call of a method of a tensor of which nothing else is known."""
        # Of such a tensor every attribute is the tensor itself.
        if isinstance(method, Unknown) and method.is_tensor:
            self.note_external(f"torch.Tensor.{name}", [method, *args], kwargs, place)

    def note(self, function: str, args: Args, kwargs: Kwargs, place: SourcePlace) -> None:
        """Note a call of a kernel."""
        self._found.append(
            Launch(
                function,
                tuple(args),
                dict(kwargs),
                place,
                self.ev.calls.running,
                tuple(self.conditions),
                self.ev.writes.open > self._depth,
            )
        )


def stage_of(conditions: Sequence[Condition]) -> str:
    """The stage that the branches around a call ask for, the innermost first; empty without one."""
    return next((condition.stage for condition in reversed(conditions) if condition.stage), "")


def is_by_size(conditions: Sequence[Condition]) -> bool:
    """Whether that stage is told by how much there is to be computed."""
    return next((c.by_size for c in reversed(conditions) if c.stage), False)
