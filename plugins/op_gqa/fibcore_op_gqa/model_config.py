"""What the model's config says of its attention, and no layer of the tree does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fibcore.plugin import ModelTree, with_origins


def window_of_config(tree: ModelTree) -> int | None:
    """The window that the model's config asks for; None where it asks for none."""
    window = config_value(tree, "sliding_window")
    used = config_value(tree, "use_sliding_window")
    is_size = isinstance(window, int) and not isinstance(window, bool) and window > 0
    return int(window) if is_size and used is not False else None


def _configs(tree: ModelTree) -> list[Mapping[str, Any]]:
    """The model's config and, for multimodal models, that of its language model first."""
    nested = tree.config.get("text_config")
    return [nested, tree.config] if isinstance(nested, Mapping) else [tree.config]


def config_value(tree: ModelTree, key: str) -> Any:
    """A key of the model's config; for multimodal models that of its language model first."""
    return next((config[key] for config in _configs(tree) if config.get(key) is not None), None)


def chunk_size(tree: ModelTree) -> int | str | None:
    """Size of the chunks of Llama 4's local layers, with its origin.

    What else stands there where it is no size, "" where the config does not tell; None where it
    says that there are none: then SGLang runs these layers as plain ones.
    """
    nested = tree.config.get("text_config")
    for config in _configs(tree):
        if "attention_chunk_size" in config:
            size = config["attention_chunk_size"]
            if isinstance(size, bool) or not isinstance(size, int) or size < 1:
                return None if size is None else str(size)
            key = "attention_chunk_size"
            origin = f"config:text_config.{key}" if config is nested else f"config:{key}"
            known: int = with_origins(size, frozenset({origin}))
            return known
    return ""
