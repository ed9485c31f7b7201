"""What a source finds around it: the interface by which others say what the evaluator cannot.

The evaluator follows Python and imitates libraries. What the machine is, which functions have an
answer that is a fact, which classes are building blocks: all of that is asked here. This base class
knows of nothing, so that plain source is evaluated as it stands.
"""

from __future__ import annotations

import ast
import sys
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.values import ABSENT

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.elaborate.python.values import Class
    from fibcore.model.tree import SourcePlace


class Environment:
    """Answers what a source asks of its surroundings.

    Every answer may be ABSENT, or false, which leaves the evaluator to itself.

    Attributes:
        constants: Values of dotted names, of the tree or of other packages; a `Native` is called
            each time.
        absent_packages: Packages that are not installed: an import of them raises.
        lacking: Names that packages do not have, by package.
        careful_packages: Packages whose functions leave the lists, dicts and objects that they are
            handed as they are.
        record_bases: Names of classes outside of the tree whose subclasses are records, as
            dataclasses are: their annotated names are the parameters of `__init__`.
        transparent_packages: Packages whose decorators leave functions and classes as they are,
            beside those of `libraries/decorators.py`.
        module_bases: Names of classes outside of the tree, beside those of `torch.nn`, whose
            subclasses are modules.
    """

    careful_packages: frozenset[str] = frozenset((
        *sys.stdlib_module_names, "numpy", "regex", "torch", "typing_extensions",
    ))  # fmt: skip
    record_bases: tuple[str, ...] = ()
    module_bases: tuple[str, ...] = ()
    transparent_packages: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.constants: dict[str, Any] = {}
        self.absent_packages: set[str] = set()
        self.lacking: dict[str, set[str]] = {}

    def function(self, qualname: str, module: str) -> Any:
        """The fact that stands for a function or class of the tree: its result, or a `Native`."""
        return ABSENT

    def external_call(
        self,
        ev: Evaluator,
        name: str,
        args: list[Any],
        kwargs: dict[str, Any],
        place: SourcePlace,
    ) -> Any:
        """The result of a call of a dotted name outside of the tree."""
        return ABSENT

    def construct(self, cls: Class, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """An instance of a class of the tree that is no module, made in a way of its own."""
        return ABSENT

    def process_variable(self, ev: Evaluator, name: str) -> Any:
        """An environment variable of the process; ABSENT where it is not set."""
        return ABSENT

    def super_method(self, owner: Any, name: str) -> Any:
        """`super().name` of an instance, where no class of the tree has it."""
        return ABSENT

    def carried(self) -> Any:
        """What a forward pass hands from call to call beside arguments and results."""
        return None

    def carry(self, ev: Evaluator, carried: Any) -> None:
        """Go on with what a call of a module came to carry, where that is not followed again."""

    def is_leaf(self, ev: Evaluator, cls: Class) -> bool:
        """Whether modules of a class are building blocks, which are not descended into."""
        return False

    def is_kernel(self, module: str) -> bool:
        """Whether a module of the tree holds kernels: a forward pass does not look into those."""
        return False

    def is_launch(self, name: str) -> bool:
        """Whether a function runs on the device: what is inside of it is not looked into.

        Args:
            name: Its dotted name, of the tree or of another package.
        """
        return False

    def stage(self, test: ast.expr, *, holds: bool) -> str:
        """The stage of a program in which a side of a branch is taken; empty where it is any.

        Args:
            test: The condition.
            holds: Whether it is the side that is taken where the condition is true.
        """
        return ""

    def asks_size(self, test: ast.expr) -> bool:
        """Whether a condition that tells stages apart asks how much there is to be computed."""
        return False

    def is_noted(self, name: str) -> bool:
        """Whether a function of the tree is noted as one that runs on the device, in a model too.

        Of a model's own forward pass, which calls much else that does, no more is noted.

        Args:
            name: Its dotted name.
        """
        return False

    def is_foreign_module(self, name: str) -> bool:
        """Whether a class outside of the tree is known to be one of modules."""
        return False

    def may_have(self, base: str, name: str) -> bool:
        """Whether a class outside of the source, or its instances, may have an attribute."""
        return True

    def is_mark(self, name: str) -> bool:
        """Whether a tensor has an attribute of this name only where the program has set it."""
        return False

    def is_weight_attribute(self, name: str) -> bool:
        """Whether a program keeps an attribute of this name on its tensors."""
        return False
