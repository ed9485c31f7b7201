"""The evaluator: what is known while source is evaluated, and the parts that do the work.

It evaluates source text over the values of `values/`. What it cannot know becomes an `Unknown` with
a reason and a place; it never imports or executes what it reads. Plain source needs nothing else:

    ev = Evaluator(ModuleIndex(folder))
    ev.call("package.module", "function", 1, name="value")
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from fibcore.elaborate.python.assignments import Assignments
from fibcore.elaborate.python.attributes import Attributes
from fibcore.elaborate.python.branches import Branches
from fibcore.elaborate.python.budget import Budget
from fibcore.elaborate.python.builtins import BUILTINS
from fibcore.elaborate.python.calls import Calls
from fibcore.elaborate.python.classes import Classes
from fibcore.elaborate.python.comparisons import Comparisons
from fibcore.elaborate.python.compiled.functions import Functions
from fibcore.elaborate.python.comprehensions import Comprehensions
from fibcore.elaborate.python.construction import Construction
from fibcore.elaborate.python.contexts import Contexts
from fibcore.elaborate.python.definitions import Definitions
from fibcore.elaborate.python.doubts import Doubts
from fibcore.elaborate.python.enums import Enums
from fibcore.elaborate.python.environment import Environment
from fibcore.elaborate.python.exceptions import Exceptions, kinds_of
from fibcore.elaborate.python.expressions import Expressions
from fibcore.elaborate.python.forward import Forward
from fibcore.elaborate.python.generators import Generators
from fibcore.elaborate.python.index import ModuleIndex
from fibcore.elaborate.python.iteration import Iteration
from fibcore.elaborate.python.journal import Writes
from fibcore.elaborate.python.launches import Launches
from fibcore.elaborate.python.layers import Layers
from fibcore.elaborate.python.libraries.lookup import Libraries
from fibcore.elaborate.python.loops import Loops
from fibcore.elaborate.python.matching import Matching
from fibcore.elaborate.python.mode import BUILDING, Mode, following
from fibcore.elaborate.python.modules import Modules
from fibcore.elaborate.python.names import Names
from fibcore.elaborate.python.object_methods import ObjectMethods
from fibcore.elaborate.python.operators import Operators
from fibcore.elaborate.python.ordering import Ordering
from fibcore.elaborate.python.plain import Plain
from fibcore.elaborate.python.records import Records
from fibcore.elaborate.python.refusals import Refusals
from fibcore.elaborate.python.registries import Registries
from fibcore.elaborate.python.special_methods import SpecialMethods
from fibcore.elaborate.python.statements import Statements
from fibcore.elaborate.python.texts import Texts
from fibcore.elaborate.python.unfollowed import Unfollowed
from fibcore.elaborate.python.values import ABSENT
from fibcore.model.tree import SourcePlace, Unknown


class Evaluator:
    """Evaluates the modules of a folder under one set of facts.

    It holds the parts, each with one job, and what all of them share. A part reaches another by way
    of it, and so do the values and the functions that stand in for some of the source.

    Args:
        index: The folder.
        environment: Facts of the machine and of other packages; by default none.

    Attributes:
        mode: How what runs is taken; `within` changes it.
        keep: Objects whose ids are used as keys, so that no other object gets the same id.
        notes: What went wrong without consequences for the result.
        changes: Changes to layers that are no longer distinguished; the result lacks them.
    """

    def __init__(self, index: ModuleIndex, environment: Environment | None = None) -> None:
        self.index = index
        self.environment = environment if environment is not None else Environment()
        self.builtins = BUILTINS
        self.budget = Budget()
        self.mode: Mode = BUILDING
        self.keep: list[Any] = []
        self.notes: list[Unknown] = []
        self.changes: list[Unknown] = []

        self.writes = Writes()
        self.writes.is_caught = lambda error: not self.mode.caught.isdisjoint(kinds_of(error))
        self.layers = Layers(self)
        self.modules = Modules(self)
        self.names = Names(self)
        self.libraries = Libraries(self)
        self.plain = Plain(self)
        self.doubts = Doubts(self)
        self.texts = Texts(self)
        # Expressions
        self.expressions = Expressions(self)
        self.operators = Operators(self)
        self.iteration = Iteration(self)
        self.ordering = Ordering(self)
        self.comparisons = Comparisons(self)
        self.comprehensions = Comprehensions(self)
        self.calls = Calls(self)
        self.unfollowed = Unfollowed(self)
        self.refusals = Refusals(self)
        self.registries = Registries(self)
        self.compiled = Functions(self)
        for part in (
            self.expressions,
            self.operators,
            self.comparisons,
            self.comprehensions,
            self.calls,
        ):
            self.expressions.register(part.handlers())
        # Statements
        self.statements = Statements(self)
        self.assignments = Assignments(self)
        self.branches = Branches(self)
        self.loops = Loops(self)
        self.exceptions = Exceptions(self)
        self.contexts = Contexts(self)
        self.generators = Generators(self)
        self.matching = Matching(self)
        self.definitions = Definitions(self)
        for other in (
            self.statements,
            self.assignments,
            self.branches,
            self.loops,
            self.exceptions,
            self.contexts,
            self.matching,
            self.definitions,
        ):
            self.statements.register(other.handlers())
        # Objects
        self.attributes = Attributes(self)
        self.classes = Classes(self)
        self.enums = Enums(self)
        self.records = Records(self)
        self.object_methods = ObjectMethods(self)
        self.special_methods = SpecialMethods(self)
        self.construction = Construction(self)
        self.forward = Forward(self)
        self.launches = Launches(self)

    # -- how statements are run ----------------------------------------------------------------

    @contextlib.contextmanager
    def within(self, mode: Mode) -> Iterator[None]:
        """Take what runs inside in another mode.

        What is called has to know, however deep: as it is with the frames of a Python thread, the
        mode holds for the extent of a call. Nothing else changes it.
        """
        outer, self.mode = self.mode, mode
        try:
            yield
        finally:
            self.mode = outer

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Run something that belongs to no branch and to no forward pass.

        What is written inside stays, whichever side of a branch asked for it.
        """
        outer, self.mode = self.mode, following(self.mode, forward=False)
        try:
            with self.writes.outside_branches():
                yield
        finally:
            self.mode = outer

    @contextlib.contextmanager
    def apart(self) -> Iterator[None]:
        """Run something aside that belongs to no constructor either."""
        saved, self.construction.building = self.construction.building, []
        outer, self.mode = self.mode, following(self.mode, forward=False)
        try:
            with self.writes.outside_branches():
                yield
        finally:
            self.mode, self.construction.building = outer, saved

    @contextlib.contextmanager
    def noting(self) -> Iterator[list[Unknown]]:
        """Gather the notes of what runs inside apart from all others."""
        outer, self.notes = self.notes, []
        try:
            yield self.notes
        finally:
            self.notes = outer

    # -- for those who want values -------------------------------------------------------------

    def value(self, module: str, name: str) -> Any:
        """The value of a module-level name.

        Args:
            module: The dotted name of a module of the folder.
            name: The name in it.

        Returns:
            Its value; `Unknown` where there is no such module or name.

        Raises:
            Raised: the source raises.
            Exhausted: the source goes on for too long.
        """
        space = self.modules.space(module)
        if space is None:
            return Unknown(f"no module {module}")
        found = self.modules.name_in(space, name)
        return Unknown(f"{module} has no {name}") if found is ABSENT else found

    def call(self, module: str, name: str, *args: Any, **kwargs: Any) -> Any:
        """The result of a call of a function or class of a module; as `value` else."""
        place = SourcePlace(module, 1)
        return self.calls.call(self.value(module, name), list(args), kwargs, place)
