"""What a config builder asks of the source tree's own loader; `elaborate.sglang` answers it.

SGLang stands above transformers here, so its answers are handed in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from fibcore.elaborate.python.values import Class
    from fibcore.elaborate.transformers.config_object import ConfigObject


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


class Loader(Protocol):
    """What the source's loader does before and after a class makes a config of the file."""

    def loaded_type(self, data: Mapping[str, Any]) -> str | None:
        """The model type that it takes for a file that says another; None for the same."""

    def finish(self, config: ConfigObject, *, registered: bool, modern: bool) -> None:
        """Change the whole model's config.

        `registered` says whether an `OwnClass` that is registered made it, `modern` whether
        transformers is of release 5 or later.
        """
