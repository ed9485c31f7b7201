"""What a config class of transformers does with a file's keys, read off its source as data.

A class is a record: the keys that it takes with their defaults, and in order what it derives from
them, each as one expression over the names of its attributes (`head_dim` is
`hidden_size // num_attention_heads` where the file has none). Records can be shipped, so that
defaults need no source at hand, and they are made the same way from any release's source text.
Nothing of it is imported or executed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

BASE_NAMES = ("PreTrainedConfig", "PretrainedConfig")
KEEPS_ROPE = "keeps_rope"
"""The constant of a class that takes its RoPE settings as they are."""
UNCLEAR = "?"
"""The expression of a nested config that is made in a way that a record cannot say."""
GIVEN = "given"
"""The name that stands in expressions for the keys of the file that the class does not take."""
OWN = "self_"
"""The name that stands in expressions for all attributes."""


class UnclearError(Exception):
    """Something that a record cannot say."""


def _tuple(values: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(values)


@attrs.frozen
class ClassFacts:
    """A config class as data.

    Attributes:
        name: Its name.
        model_type: Its own `model_type`; "" where it has none.
        bases: The config classes that it derives from, nearest first.
        renamed: Other names of attributes (`attribute_map`).
        nested: Attributes that are configs, and their classes (`sub_configs`).
        constants: Class attributes that are plain data.
        fields: The keys that it takes and their defaults: plain data, or `{"=": expression}`.
        steps: What it derives, in order: attribute, expression, and the condition under which
            (None for always). The attribute "" stands for the base class's own work.
        properties: Attributes that are computed when they are read.
        dropped: Keys of the file that it takes without keeping them.
        unclear: Attributes that come about in a way that a record cannot say.
    """

    name: str
    model_type: str = ""
    bases: Sequence[str] = attrs.field(default=(), converter=_tuple)
    renamed: dict[str, str] = attrs.field(factory=dict)
    nested: dict[str, str] = attrs.field(factory=dict)
    constants: dict[str, Any] = attrs.field(factory=dict)
    fields: dict[str, Any] = attrs.field(factory=dict)
    steps: Sequence[tuple[str, str, str | None]] = attrs.field(default=(), converter=_tuple)
    properties: dict[str, str] = attrs.field(factory=dict)
    dropped: Sequence[str] = attrs.field(default=(), converter=_tuple)
    unclear: Sequence[str] = attrs.field(default=(), converter=_tuple)

    def to_dict(self) -> dict[str, Any]:
        """The record as JSON data, without what is empty."""
        data = attrs.asdict(self)
        return {k: v for k, v in data.items() if v}
