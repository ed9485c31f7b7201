"""Configs inside of a config that no class made an object of: plain data of the file so far."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from fibcore.elaborate.python.values import Class
from fibcore.elaborate.transformers.class_tables import ClassTable
from fibcore.elaborate.transformers.config_object import ConfigObject
from fibcore.elaborate.transformers.summaries.summary import ClassSummary

# Nested objects that every reader takes as dicts.
_PLAIN_DICTS = {"quantization_config", "compression_config", "per_layer_config"}


class _Builder(Protocol):
    """What of a `ConfigBuilder` is needed here."""

    @property
    def table(self) -> ClassTable | None:
        """The summaries of transformers' config classes."""

    def class_of(self, model_type: Any, *, top: bool) -> Class | ClassSummary | None:
        """The class of a model type."""

    def automatic(self, given: dict[str, Any], name: str) -> ConfigObject:
        """The config object for the class that `model_type` names."""

    def make(
        self, summary: ClassSummary | None, given: Mapping[str, Any], name: str = "config"
    ) -> ConfigObject:
        """A config object of a class."""


def make_nested(builder: _Builder, config: ConfigObject, *, known: bool) -> None:
    """Make objects of the nested configs of a config that are plain data.

    Args:
        builder: Makes them.
        config: The config around them.
        known: Whether its class is known. Such a class made objects of its own parts, and left
            others as the file has them.
    """
    for key, value in list(config.values.items()):
        if not known and key.endswith("_configs") and isinstance(value, list):
            # Parts of a model, one by one; the class is code of the model's repository.
            config.values[key] = _parts(builder, value, f"{config.name}.{key}")
        if not isinstance(value, dict) or not key.endswith("_config") or key in _PLAIN_DICTS:
            continue
        if not all(isinstance(k, str) for k in value):
            continue
        name = f"{config.name}.{key}"
        part = None if known else _part_of(builder, value.get("model_type"), key)
        if known or (part is not None and key not in value):
            config.values[key] = builder.make(part, value, name)
        else:
            config.values[key] = builder.automatic(value, name)


def _part_of(builder: _Builder, model_type: Any, key: str) -> ClassSummary | None:
    """The class of a part, where a model type is the one of a model that has such a part.

    Files say `"vision_config": {"model_type": "siglip", ...}` for the vision tower alone.
    """
    whole = builder.class_of(model_type, top=False)
    table = builder.table
    if table is None or not isinstance(whole, ClassSummary) or key not in whole.nested:
        return None
    return table.find(whole.nested[key])


def _parts(builder: _Builder, value: Any, name: str) -> Any:
    """Objects in place of all dicts in plain data."""
    if isinstance(value, list):
        return [_parts(builder, v, name) for v in value]
    if not isinstance(value, dict):
        return value
    config = builder.make(None, value, name)
    for key, inner in value.items():
        config.values[key] = _parts(builder, inner, f"{name}.{key}")
    return config
