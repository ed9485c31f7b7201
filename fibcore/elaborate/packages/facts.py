"""What is known of packages whose source is at hand, for the environment that models see."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.packages import auto_models, timm_models
from fibcore.elaborate.packages.attention import Attention
from fibcore.elaborate.packages.timm_models import TimmIndex
from fibcore.elaborate.packages.transformers_index import TransformersIndex
from fibcore.elaborate.python.values import ABSENT, Native

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.elaborate.python.index import ModuleIndex
    from fibcore.elaborate.python.values import Obj
    from fibcore.elaborate.transformers.config_object import ConfigObject
    from fibcore.model.tree import SourcePlace

_ASKED = ("transformers", "transformers.utils", "transformers.utils.import_utils")
"""Modules that have transformers' functions which ask for other packages."""


class PackageFacts:
    """Answers about packages whose source is at hand.

    Args:
        indexes: Their modules.
        required: Packages that SGLang requires, so that they are there, with their source or not.
        model_types: Model types to config classes, as AutoConfig maps them.
    """

    def __init__(
        self,
        indexes: Sequence[ModuleIndex],
        required: Iterable[str],
        model_types: Mapping[str, str],
    ) -> None:
        self._model_types = model_types
        self._there = {*required, *(index.package for index in indexes)}
        self._transformers = next((i for i in indexes if isinstance(i, TransformersIndex)), None)
        self._attention = Attention()
        self._timm = next((i for i in indexes if isinstance(i, TimmIndex)), None)

    def initialised(self, ev: Evaluator, model: Obj, config: ConfigObject) -> None:
        """Do what transformers' base class of models does to a config when a model is made."""
        if self._transformers is not None:
            self._attention.settle(ev, model, config)

    def functions(self) -> dict[str, tuple[str, Native]]:
        """Functions that stand in for some of the packages' own: names, modules and answers."""
        return {} if self._timm is None else timm_models.functions(self._timm)

    def external_calls(self) -> dict[str, Native]:
        """Answers of functions of packages that ask which others are there."""
        return {
            f"{module}.is_{name}_available": Native("is_available", lambda *_: True)
            for module in _ASKED
            for name in ("torch", *self._there)
        }

    def call(
        self,
        ev: Evaluator,
        name: str,
        args: list[Any],
        kwargs: dict[str, Any],
        place: SourcePlace,
    ) -> Any:
        """The result of a call of a name of a package that is not followed; ABSENT if not known."""
        if self._transformers is None:
            return ABSENT
        found = self._attention.call(ev, name, args, kwargs, place)
        if found is not ABSENT:
            return found
        return auto_models.from_config(
            ev, self._transformers, self._model_types, name, args, kwargs, place
        )
