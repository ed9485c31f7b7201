"""The keys of a config file before a class takes them: other names, values that cannot be."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from fibcore.elaborate.transformers.rope_keys import classic_keys, default_for_mrope
from fibcore.elaborate.transformers.summaries.summary import ClassSummary
from fibcore.errors import ConfigError
from fibcore.model.tree import origins_of, with_origins

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


def mamba_keys(given: dict[str, Any]) -> None:
    """Rename the keys of an original Mamba checkpoint as SGLang's loader does.

    (`_try_load_raw_mamba_config`; the vocabulary is padded to a multiple.)
    """
    given["hidden_size"] = given["d_model"]
    given["num_hidden_layers"] = given["n_layer"]
    given.setdefault("state_size", (given.get("ssm_cfg") or {}).get("d_state", 16))
    multiple = given.get("pad_vocab_size_multiple") or 1
    words = given.get("vocab_size", 50280)
    padded = -(-int(words) // int(multiple)) * int(multiple)
    given["vocab_size"] = with_origins(padded, origins_of(words) | origins_of(multiple))


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
