"""Options of a launch about the model itself: its dtype, keys of its config, its code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from fibcore.elaborate.sglang.launch.words import WHERE
from fibcore.errors import ServingError, UsageError
from fibcore.model.serving import Serving

if TYPE_CHECKING:
    from fibcore.configs.model_config import ModelConfig

_DTYPES: Mapping[str, str] = {"half": "float16", "float": "float32"}
"""Other words of `--dtype` for what configs call a dtype (`_STR_DTYPE_TO_TORCH_DTYPE`)."""
_OWN_CODE = ("auto", "sglang")
_OVERRIDE = "json_model_override_args"


def as_served(config: ModelConfig, serving: Serving) -> ModelConfig:
    """A config with the keys that a launch sets.

    Raises:
        ServingError: the launch takes the model's code from elsewhere than SGLang.
        UsageError: the keys of `--json-model-override-args` are no JSON object.
    """
    code = serving.argument("model_impl", "auto")
    if isinstance(code, str) and code.lower() not in _OWN_CODE:
        raise ServingError(
            "the launch takes the model's code from elsewhere than SGLang",
            where=f"{WHERE} --model-impl",
            expected=" or ".join(_OWN_CODE),
            found=code,
        )
    changed: dict[str, Any] = _overridden(serving.argument(_OVERRIDE))
    dtype = serving.argument("dtype", "auto")
    if isinstance(dtype, str) and dtype != "auto":
        changed["torch_dtype"] = changed["dtype"] = _DTYPES.get(dtype, dtype)
    if not changed:
        return config
    return attrs.evolve(config, data={**config.data, **changed})


def _overridden(given: Any) -> dict[str, Any]:
    if not isinstance(given, str):
        return dict(given) if isinstance(given, Mapping) else {}
    try:
        data = json.loads(given)
    except ValueError as error:
        data, why = None, str(error)
    else:
        why = given
    if not isinstance(data, dict):
        raise UsageError(
            "the keys that replace those of the config cannot be read",
            where=f"{WHERE} --{_OVERRIDE.replace('_', '-')}",
            expected="a JSON object",
            found=why,
        )
    return data
