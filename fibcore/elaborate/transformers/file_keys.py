"""The keys of a config file before a class takes them: other names, values that cannot be."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from fibcore.elaborate.transformers.rope_keys import classic_keys, default_for_mrope
from fibcore.elaborate.transformers.summaries.summary import ClassSummary
from fibcore.errors import ConfigError
from fibcore.model.tree import origins_of

# Names of a key in one generation of configs that another generation reads under another name.
_OTHER_NAMES = (("layers_block_type", "layer_types"),)
_QUOTED_NUMBER = re.compile(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*")


def under_both_names(
    given: Mapping[str, Any], summary: ClassSummary | None, *, modern: bool
) -> dict[str, Any]:
    """A file's keys, also under the names that a generation of transformers reads.

    Args:
        given: The keys.
        summary: The class that will take them; None where it is not known.
        modern: Whether the classes are those of transformers 5 or later.
    """
    result = dict(given)
    default_for_mrope(result)
    if not modern:
        classic_keys(result)
        if "dtype" in result:
            result.setdefault("torch_dtype", result["dtype"])
    known = set(summary.fields) if summary is not None else set()
    for pair in _OTHER_NAMES:
        for mine, other in (pair, pair[::-1]):
            if mine in known and mine not in result and other in result and other not in known:
                result[mine] = result[other]
    return result


def refuse_quoted_numbers(given: Mapping[str, Any], summary: ClassSummary, label: str) -> None:
    """Check that no number is in quotes where its class has a number.

    Other words are let pass (Exaone 4: `"sliding_window_pattern": "LLLG"`, 4 by default).

    Args:
        given: The file's keys.
        summary: The class that takes them.
        label: The class as errors name it.

    Raises:
        ConfigError: one is.
    """
    for name, value in given.items():
        default = summary.fields.get(name)
        number = isinstance(default, (int, float)) and not isinstance(default, bool)
        if number and isinstance(value, str) and _QUOTED_NUMBER.fullmatch(value):
            keys = sorted(o for o in origins_of(value) if o.startswith("config:"))
            raise ConfigError(
                "not a value that the key can have",
                where=keys[0].partition(":")[2] if keys else name,
                expected=f"a number, such as the default {default} of {label}",
                found=repr(str(value)),
                hint="write it without quotes",
            )
