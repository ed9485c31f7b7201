"""Config classes that a source tree defines itself, as a config builder asks for them.

`elaborate.sglang` finds SGLang's; it stands above this package, so its answers are handed in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from fibcore.elaborate.python.values import Class


class OwnClass(Protocol):
    """A config class of the source tree that stands for a model type."""

    @property
    def registered(self) -> bool:
        """Whether the loader takes it for the whole file, before transformers' class."""

    @property
    def forced(self) -> bool:
        """Whether it also replaces transformers' class inside of other configs."""


class OwnClasses(Protocol):
    """The config classes of the source tree, by model type."""

    def find(self, model_type: str) -> OwnClass | None:
        """The class of a model type; None where the tree defines none."""

    def load(self, own: Any) -> Class | None:
        """The class itself, of what `find` gave."""
