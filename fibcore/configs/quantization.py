"""Checks of a config's quantisation: that what it says of its weights has the types it should have.

SGLang and the libraries of the formats read these keys without a check. A section that is no object
is no section for them, and a model whose weights are stored in 4 bits is not one of bfloat16.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from fibcore.errors import ConfigError

SECTIONS = ("quantization_config", "compression_config")
"""Keys under which a config says how its weights are stored."""


@attrs.frozen
class _Type:
    """What a value may be, besides null."""

    words: str
    holds: Callable[[Any], bool]


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _list_of(item: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(item, value))


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


_TEXT = _Type("a string", _is_text)
_WHOLE = _Type("an integer", _is_number)
_OBJECT = _Type("an object", _is_object)
_OBJECTS = _Type(
    "an object of objects",
    lambda value: isinstance(value, dict) and all(map(_is_object, value.values())),
)
_NAMES = _Type("a list of strings", _list_of(_is_text))
_PAIR = _Type(
    "a list of two positive integers",
    lambda value: (
        isinstance(value, list) and len(value) == 2 and all(_is_number(v) and v > 0 for v in value)
    ),
)

_TYPES: Mapping[str, _Type] = {
    **dict.fromkeys(
        (
            *(
                "quant_method",
                "quant_algo",
                "fmt",
                "format",
                "kv_cache_quant_algo",
                "activation_scheme",
            ),
            *(
                "checkpoint_format",
                "bnb_4bit_quant_type",
                "data_type",
                "type",
                "strategy",
                "qscheme",
            ),
        ),
        _TEXT,
    ),
    **dict.fromkeys(("bits", "w_bit", "num_bits", "group_size", "q_group_size"), _WHOLE),
    **dict.fromkeys(
        (
            *("ignore", "ignored_layers", "modules_to_not_convert", "exclude_modules", "exclude"),
            *("llm_int8_skip_modules", "targets"),
        ),
        _NAMES,
    ),
    "weight_block_size": _PAIR,
    **dict.fromkeys(
        ("config_groups", "quantized_layers", "dynamic", "extra_config", "layer_quant_config"),
        _OBJECTS,
    ),
    **dict.fromkeys(
        (
            *(
                "quantization",
                "global_quant_config",
                "sparsity_config",
                "weights",
                "input_activations",
            ),
            *("output_activations",),
        ),
        _OBJECT,
    ),
}
"""What the formats' documentation has under these keys, wherever in the section they are."""

# GPTQModel's rules for layers have the name by which compressed-tensors says how activations are.
_ONLY_AT_THE_TOP = ("dynamic",)
# How ModelOpt itself was called: its own notation, where num_bits may be [2, 1] for float4_e2m1.
_OF_THE_LIBRARY = ("modelopt_quant_config",)
_LAYER_RULES = ("quantized_layers", "dynamic", "extra_config", "layer_quant_config")
"""Objects whose keys are names of layers, and not keys of a format."""


def check_quantization(data: Mapping[str, Any], where: str) -> None:
    """Check the quantisation sections of a config and of the configs nested in it.

    Args:
        data: The parsed config.json.
        where: The file, for errors, with the path of `data` in it.

    Raises:
        ConfigError: the key, what was expected, and what was found.
    """
    for key in SECTIONS:
        section = data.get(key)
        if section is None:
            continue
        if not isinstance(section, dict) or not section:
            raise _wrong(
                f"{where}{key}",
                'an object such as {"quant_method": "fp8"}; null or no such key where weights are '
                "not quantised",
                section,
            )
        _check_section(section, f"{where}{key}", top=True)
        _check_algorithm(section, f"{where}{key}.quant_algo")
    for key, value in data.items():
        if key not in SECTIONS and key.endswith("_config") and isinstance(value, dict):
            check_quantization(value, f"{where}{key}.")


def _check_section(section: Mapping[str, Any], place: str, *, top: bool = False) -> None:
    for key, value in section.items():
        if key in _OF_THE_LIBRARY:
            continue
        kind = None if key in _ONLY_AT_THE_TOP and not top else _TYPES.get(key)
        if value is not None and kind is not None and not kind.holds(value):
            raise _wrong(f"{place}.{key}", kind.words, value)
        if isinstance(value, dict):
            here = f"{place}.{key}"
            _check_rules(value, here) if key in _LAYER_RULES else _check_section(value, here)


def _check_algorithm(section: Mapping[str, Any], where: str) -> None:
    """ModelOpt's method says only whose it is; the algorithm is under another key."""
    inner = section.get("quantization") or section
    method = section.get("quant_method") or ("modelopt" if inner is not section else "")
    if method.lower() == "modelopt" and not inner.get("quant_algo"):
        raise ConfigError(
            "a needed key is missing",
            where=where,
            expected='the algorithm, such as "NVFP4"',
            found=repr(inner.get("quant_algo")),
        )


def _check_rules(rules: Mapping[str, Any], place: str) -> None:
    """Check what is said of single layers, which may have any name."""
    for name, rule in rules.items():
        if isinstance(rule, dict):
            _check_section(rule, f"{place}.{name}")


def _wrong(where: str, expected: str, found: object) -> ConfigError:
    shown = repr(found)
    return ConfigError(
        "not what a quantisation config can have",
        where=where,
        expected=expected,
        found=f"{type(found).__name__} {shown[:80]}" + ("..." if len(shown) > 80 else ""),
    )
