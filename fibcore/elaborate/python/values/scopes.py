"""Scopes: the variables of functions, comprehensions and modules."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.values.base import ABSENT, Value
from fibcore.elaborate.python.values.tracking import born
from fibcore.model.tree import SourcePlace

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.elaborate.python.index import SourceModule
    from fibcore.elaborate.python.values.functions import Func


class Variables(dict[str, Any]):
    """The variables of a scope: their order means nothing."""

    __slots__ = ()


class Env:
    """A scope: its variables and the scope around it.

    Attributes:
        func: The function whose body runs in it; None for comprehensions, classes and modules.
        tolerant: Whether a statement that raises is lost alone, and the next ones go on.
        nonlocals: The variables of scopes around this one, by the names declared nonlocal.
        maybe: Values of returns on one side of an undecided branch.
        guards: Names of the exceptions that a generator handles where its frame stands.
    """

    is_class = False
    """Whether it is the scope of a class body, which functions inside do not see."""

    __slots__ = (
        "func", "globals_", "guards", "maybe", "module", "nonlocals", "outer", "tolerant", "vars",
    )  # fmt: skip

    @property
    def owner(self) -> Any:
        """The class whose body runs in it; None for any other scope."""
        return None

    def __init__(
        self,
        module: ModuleSpace,
        outer: Env | None,
        func: Func | None = None,
        *,
        tolerant: bool = False,
    ) -> None:
        self.vars: dict[str, Any] = born(Variables())
        self.outer = outer
        self.module = module
        self.func = func
        self.tolerant = tolerant
        self.globals_: set[str] | None = None
        self.nonlocals: dict[str, dict[str, Any]] = {}
        self.maybe: list[Any] = []
        self.guards: frozenset[str] = frozenset()


class LazyImport:
    """A name that an import binds, looked up when it is first read.

    Model files import more than any one model needs, and each other in circles.
    """

    __slots__ = ("module", "name")

    def __init__(self, module: str, name: str | None) -> None:
        self.module = module
        self.name = name


class ModuleSpace(Value):
    """A module of the source while it is evaluated: the names that were needed so far.

    Attributes:
        settled: The names whose statements were all run, or are being run. An import may have
            bound others beside the one that was asked for, which a later statement binds anew.
        at: The position of the statement that is being run; None when none is, so that the module
            has been imported.
        latest: The position of the last statement that was run of those that bind a name.
        active: The positions of the statements that are being run.
        asked: For names that are not settled, the position of the statement that asked last: all
            that it may see has been run.
        former: What a name was bound to by earlier ones, by their positions, where it was bound
            more than once: a statement before the last one reads those.
        registries: The names of containers in which other modules register something, until one is
            read.
    """

    __slots__ = (
        "_places", "active", "asked", "at", "done", "env", "former", "latest", "registries",
        "settled", "source",
    )  # fmt: skip

    def __init__(self, source: SourceModule) -> None:
        self.source = source
        self.env = Env(self, None)
        self.done: set[int] = set()
        self.settled: set[str] = set()
        self.at: int | None = None
        self.active: set[int] = set()
        self.asked: dict[str, int] = {}
        self.latest: dict[str, int] = {}
        self.former: dict[str, dict[int, Any]] = {}
        self.registries: set[str] = set()
        self._places: dict[int, SourcePlace] = {}

    @property
    def name(self) -> str:
        """Its dotted name."""
        return self.source.name

    def place(self, node: ast.AST) -> SourcePlace:
        """Where a piece of the module's syntax stands."""
        try:  # asked for at every expression, and the same for all of a line
            return self._places[node.lineno]  # type: ignore[attr-defined]
        except (AttributeError, KeyError):
            line = getattr(node, "lineno", 1)
            return self._places.setdefault(line, SourcePlace(self.source.file, line))

    @property
    def dotted_name(self) -> str:
        return self.name

    def summary(self, number: int | None) -> Any:
        return self.name

    def find_attr(self, ev: Evaluator, name: str, place: SourcePlace) -> Any:
        found = ev.modules.name_in(self, name)
        if found is ABSENT:
            inner = ev.modules.space(f"{self.name}.{name}")
            return inner if inner is not None else ABSENT
        return found

    def set_attr(self, ev: Evaluator, name: str, value: Any, place: SourcePlace) -> None:
        ev.writes.put(self.env.vars, name, value)
