"""`CONFIG_MAPPING` and `AutoConfig`, as the source imports them from transformers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fibcore.elaborate.python.values import Class, Ext, Namespace, Native, Raised
from fibcore.elaborate.transformers.summaries.summary import ClassSummary
from fibcore.model.tree import SourcePlace

MAPPINGS = (
    "transformers.CONFIG_MAPPING",
    "transformers.models.auto.CONFIG_MAPPING",
    "transformers.models.auto.configuration_auto.CONFIG_MAPPING",
)
"""The names under which the source imports the mapping of model types to classes."""

_HERE = SourcePlace("config.json", 1)


def config_mapping(class_of: Callable[[Any], Class | ClassSummary | None]) -> Namespace:
    """The mapping of model types to config classes.

    Args:
        class_of: Gives the class of a model type; None where there is none.
    """
    mapping = _ConfigMapping(class_of)
    return Namespace("model types", mapping, mapping.attribute)


class _ConfigMapping(dict[str, Any]):
    """Looks a model type up when it is asked for: most are never asked for."""

    def __init__(self, class_of: Callable[[Any], Class | ClassSummary | None]) -> None:
        super().__init__()
        self._class_of = class_of

    def _class(self, kind: Any) -> Any:
        found = self._class_of(kind)
        return Ext(f"transformers.{found.name}") if isinstance(found, ClassSummary) else found

    def __contains__(self, kind: object) -> bool:
        return self._class(kind) is not None

    def __getitem__(self, kind: str) -> Any:
        found = self._class(kind)
        if found is None:
            raise KeyError(kind)
        return found

    def attribute(self, name: str) -> Any:
        """A method of the mapping.

        Raises:
            Raised: a model type that has no class, for which Python raises KeyError.
        """
        if name == "get":
            return Native(
                name,
                lambda ev, args, kwargs, place: (
                    found
                    if (found := self._class(args[0])) is not None
                    else (args[1] if len(args) > 1 else kwargs.get("default"))
                ),
            )
        if name == "register":
            return Native(name, lambda *_: None)
        if name == "_extra_content":
            return {}
        raise Raised("KeyError", name, _HERE)


def called_class(name: str, args: list[Any], kwargs: dict[str, Any]) -> tuple[str, Any]:
    """The class that a call of a dotted name makes an object of, and the keys that it gives it.

    `LlamaConfig(**keys)` and `LlamaConfig.from_dict(keys)` are the same. The keys are None where
    they are not known by name.
    """
    owner, _, short = name.rpartition(".")
    if short == "from_dict":
        given = args[0] if args else kwargs.get("config_dict")
        more = {k: v for k, v in kwargs.items() if k != "config_dict"}
        keys = {**given, **more} if isinstance(given, dict) else None
        return owner.rpartition(".")[2], keys
    return short, None if args else kwargs
