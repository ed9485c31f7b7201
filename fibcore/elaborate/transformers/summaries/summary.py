"""The summary of a config class: the keys it takes, and what it derives from them, as data.

A derived attribute is one expression over the names of other attributes (`head_dim` is
`hidden_size // num_attention_heads` where the file gives none).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

BASE_NAMES = ("PreTrainedConfig", "PretrainedConfig")
KEEPS_ROPE = "keeps_rope"
"""The constant of a class that takes its RoPE settings as they are."""
GIVEN = "given"
"""The name that stands in expressions for the keys of the file that the class does not take."""
OWN = "self_"
"""The name that stands in expressions for all attributes."""

# The JSON of tables, which earlier tables share: an expression in place of a default, the target
# of the base class's own work, the expression that stands for none, and the two kinds of
# temporary: the truth of a condition, and what an attribute was before it was assigned anew.
_EXPRESSION = "="
_BASE = ""
_NONE = "?"
_CONDITION = "_if"
_BEFORE = "_was_"


class NotExpressibleError(Exception):
    """Something in a class that a summary cannot say."""


@attrs.frozen
class Expression:
    """A default that is computed: source text over names of attributes."""

    text: str


@attrs.frozen
class Step:
    """One thing that a constructor does.

    Attributes:
        target: The attribute that gets a value, `inner.attribute` for one of a nested config, or
            the name of a temporary.
        expression: Its value, over names of attributes and temporaries.
        condition: The expression under which the step is done; None for always.
    """

    target: str
    expression: str
    condition: str | None = None

    @classmethod
    def base(cls, condition: str | None) -> Step:
        """The base class's own constructor."""
        return cls(_BASE, "", condition)

    @classmethod
    def nested(cls, target: str) -> Step:
        """A nested config that is made in a way that a summary cannot say."""
        return cls(target, _NONE)

    @classmethod
    def truth(cls, number: int, expression: str, condition: str | None) -> Step:
        """The truth of a condition, kept under a name of its own."""
        return cls(f"{_CONDITION}{number}", expression, condition)

    @classmethod
    def before(cls, attribute: str, condition: str | None) -> Step:
        """The value of an attribute, kept before it changes."""
        return cls(f"{_BEFORE}{attribute}", attribute, condition)

    @property
    def is_base(self) -> bool:
        """Whether it is the base class's own constructor."""
        return self.target == _BASE

    @property
    def is_nested(self) -> bool:
        """Whether it makes a nested config in a way that a summary cannot say."""
        return self.expression == _NONE

    @property
    def is_temporary(self) -> bool:
        """Whether its value is for later expressions alone, and no attribute."""
        return self.target.startswith((_CONDITION, _BEFORE))


def _tuple(values: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(values)


@attrs.frozen
class ClassSummary:
    """A config class as data.

    Attributes:
        name: Its name.
        model_type: Its own `model_type`; "" where it has none.
        bases: The config classes that it derives from, nearest first.
        renamed: Other names of attributes (`attribute_map`).
        nested: Attributes that are configs, and their classes (`sub_configs`).
        constants: Class attributes that are plain data.
        fields: The keys that it takes and their defaults: plain data or an `Expression`.
        steps: What it derives, in order.
        properties: Attributes that are computed when they are read, as expressions.
        dropped: Keys of the file that it takes without keeping them.
        unclear: Attributes that come about in a way that a summary cannot say.
    """

    name: str
    model_type: str = ""
    bases: Sequence[str] = attrs.field(default=(), converter=_tuple)
    renamed: dict[str, str] = attrs.field(factory=dict)
    nested: dict[str, str] = attrs.field(factory=dict)
    constants: dict[str, Any] = attrs.field(factory=dict)
    fields: dict[str, Any] = attrs.field(factory=dict)
    steps: Sequence[Step] = attrs.field(default=(), converter=_tuple)
    properties: dict[str, str] = attrs.field(factory=dict)
    dropped: Sequence[str] = attrs.field(default=(), converter=_tuple)
    unclear: Sequence[str] = attrs.field(default=(), converter=_tuple)

    def to_dict(self) -> dict[str, Any]:
        """The summary as JSON data, without what is empty."""
        data = {a.name: getattr(self, a.name) for a in attrs.fields(type(self))}
        data["fields"] = {
            k: {_EXPRESSION: v.text} if isinstance(v, Expression) else v
            for k, v in self.fields.items()
        }
        data["steps"] = [[s.target, s.expression, s.condition] for s in self.steps]
        return {k: v for k, v in data.items() if v}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ClassSummary:
        """The summary of JSON data that `to_dict` gave."""
        return cls(
            **{
                **data,
                "fields": {k: _default(v) for k, v in data.get("fields", {}).items()},
                "steps": [Step(*step) for step in data.get("steps", ())],
            }
        )


def _default(value: Any) -> Any:
    if isinstance(value, dict) and set(value) == {_EXPRESSION}:
        return Expression(value[_EXPRESSION])
    return value
