"""Checks of configs: impossible sizes, and sizes that are missing.

Only keys that are well known are looked at, in the config and in the configs nested in it. What
else a model's class reads, elaboration reports.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from fibcore.configs.quantization import check_quantization
from fibcore.errors import ConfigError

_SIZES = {
    2**20: (
        "d_model",
        "hidden_size",
        "n_embd",
        "moe_intermediate_size",
        "shared_expert_intermediate_size",
        "kv_lora_rank",
        "q_lora_rank",
    ),
    2**22: ("ffn_hidden_size", "intermediate_size", "intermediate_size_mlp"),
    2**24: ("vocab_size",),
    2**16: (
        "head_dim",
        "n_head",
        "n_heads",
        "num_attention_heads",
        "num_heads",
        "num_key_value_heads",
        "kv_n_heads",
        "qk_head_dim",
        "qk_nope_head_dim",
        "qk_rope_head_dim",
        "v_head_dim",
        "n_routed_experts",
        "num_experts",
        "num_experts_per_tok",
        "num_local_experts",
    ),
    2**12: ("n_layer", "n_layers", "num_hidden_layers", "num_layers"),
    2**32: ("max_position_embeddings",),
}
LIMITS = {key: limit for limit, keys in _SIZES.items() for key in keys}
"""The largest value that each size may have; far above any model that exists."""

MAY_BE_ZERO = frozenset(
    {
        "shared_expert_intermediate_size",
        "n_routed_experts",
        "num_experts",
        "num_experts_per_tok",
        "num_local_experts",
        # Heads of a model without a part: no rope part, no query compression.
        "qk_nope_head_dim",
        "qk_rope_head_dim",
        "q_lora_rank",
    }
)

_OBJECT = ((dict,), "an object")
_WHOLE = ((int,), "an integer")
_TYPES: Mapping[str, tuple[tuple[type, ...], str]] = {
    **dict.fromkeys(
        (
            *("text_config", "llm_config", "language_config", "thinker_config", "vision_config"),
            *("audio_config", "rope_scaling", "rope_parameters", "auto_map"),
        ),
        _OBJECT,
    ),
    "model_type": ((str,), "a string"),
    "layer_types": ((list,), "a list with the kind of each layer"),
    "sliding_window": ((int, list, bool), "an integer, or null"),
    **dict.fromkeys(
        (
            *("first_k_dense_replace", "n_shared_experts", "n_group", "topk_group"),
            *("num_nextn_predict_layers", "decoder_sparse_step", "num_kv_shared_layers"),
        ),
        _WHOLE,
    ),
}
"""What a key is besides null, where another type would be read as if it said something else."""

_POSITIVE_NUMBERS = (
    "layer_norm_eps",
    "layer_norm_epsilon",
    "norm_eps",
    "rms_norm_eps",
    "rope_theta",
)

_NEEDED = (
    ("hidden_size", "d_model", "n_embd", "dim", "model_dim"),
    ("num_hidden_layers", "n_layers", "n_layer", "num_layers"),
    ("vocab_size", "padded_vocab_size"),
)
_HEADS = ("num_attention_heads", "n_heads", "n_head", "num_heads", "num_query_heads")
_WITHOUT_ATTENTION = ("mamba", "falcon_mamba", "rwkv")

_DENSE = ("intermediate_size",)
_QWEN_MOE = ("num_experts", "num_experts_per_tok", "moe_intermediate_size")
_MLA = ("kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
_DEEPSEEK = ("moe_intermediate_size", "n_routed_experts", "num_experts_per_tok")
_NEEDED_BY_TYPE: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3", "gemma2", "phi3", "olmo2"), _DENSE),
    "mixtral": (*_DENSE, "num_local_experts", "num_experts_per_tok"),
    "gpt_oss": (*_DENSE, "num_local_experts"),
    **dict.fromkeys(("qwen2_moe", "qwen3_moe", "qwen3_next"), _QWEN_MOE),
    "deepseek": _DEEPSEEK,
    **dict.fromkeys(("deepseek_v2", "deepseek_v3", "deepseek_v32", "kimi_k2"), (*_DEEPSEEK, *_MLA)),
    "glm4_moe": _DEEPSEEK,
    "minimax_m2": (*_DENSE, "num_local_experts", "num_experts_per_tok"),
}
"""Keys that every published config of a `model_type` has. The Transformers classes have defaults
for these too, but a model of default sizes is not the one that was asked for."""


def check_config(data: Mapping[str, Any], where: str) -> None:
    """Check a config as far as that is possible without its model class.

    Args:
        data: The parsed config.json.
        where: The file or Hub id, for errors.

    Raises:
        ConfigError: the key, what was expected, and what was found.
    """
    _check_architectures(data, where)
    check_quantization(data, f"{where}: ")
    _check_types(data, "", where)
    _check_values(data, "", where)
    if not any(key.endswith("_config") and _has_sizes(data[key]) for key in data):
        _check_needed(data, where)
        _check_heads(data, where)


def _check_architectures(data: Mapping[str, Any], where: str) -> None:
    names = data.get("architectures")
    if names is None and isinstance(data.get("model_type"), str) and data["model_type"]:
        return  # the model type decides, as far as it has one class
    if isinstance(names, list) and names and all(isinstance(n, str) and n for n in names):
        return
    raise ConfigError(
        "a needed key is missing" if names is None else "not a list of class names",
        where=f"{where}: architectures",
        expected='a list with the model class, such as ["LlamaForCausalLM"]',
        found="nothing" if names is None else repr(names),
        hint="a model_type will do as well" if names is None else None,
    )


def _check_types(data: Mapping[str, Any], path: str, where: str) -> None:
    for key, value in data.items():
        kinds, words = _TYPES.get(key, ((), ""))
        wrong = not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds)
        if kinds and value is not None and wrong:
            raise ConfigError(
                "not a value that the key can have",
                where=f"{where}: {path}{key}",
                expected=words,
                found=f"{type(value).__name__} {value!r}"[:100],
            )
        if isinstance(value, dict) and _is_config(key):
            _check_types(value, f"{path}{key}.", where)


def _check_values(data: Mapping[str, Any], path: str, where: str) -> None:
    for key, value in data.items():
        place = f"{where}: {path}{key}"
        if key == "v_head_dim" and value == 0 and data.get("use_mla") is False:
            continue  # DeepSeek-OCR has sizes of an attention that it does not use
        if key in LIMITS:
            # Some models give a size per layer.
            for one in value if isinstance(value, list) else [value]:
                if one is not None:
                    _check_size(key, one, place)
        elif key in _POSITIVE_NUMBERS and not all(
            one is None or _is_positive_number(one)
            for one in (value if isinstance(value, list) and key == "rope_theta" else [value])
        ):
            raise ConfigError(
                "not a number that can be",
                where=place,
                expected="a positive number",
                found=repr(value),
            )
        elif isinstance(value, dict) and _is_config(key):
            _check_values(value, f"{path}{key}.", where)


def _is_config(key: str) -> bool:
    """Whether an object holds keys of a model or of RoPE, which mean the same in all models.

    What other objects hold is for the model's code alone (Jet-Nemotron's layers have their
    `norm_eps` as a word).
    """
    if key == "quantization_config":
        return False
    return key.endswith("_config") or key.startswith("rope_")


def _check_size(key: str, value: Any, place: str) -> None:
    least = 0 if key in MAY_BE_ZERO else 1
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or not least <= value <= LIMITS[key]:
        raise ConfigError(
            "not a size that can be",
            where=place,
            expected=f"an integer from {least} to {LIMITS[key]}",
            found=repr(value),
        )


def _is_positive_number(value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and math.isfinite(value) and value > 0


def _has_sizes(nested: Any) -> bool:
    """Whether a nested object is a model's config, such as `text_config`."""
    names = {name for group in (*_NEEDED, _HEADS) for name in group}
    return isinstance(nested, dict) and (bool(names & set(nested)) or "model_type" in nested)


def _check_needed(data: Mapping[str, Any], where: str) -> None:
    kind = str(data.get("model_type") or "")
    if kind and kind not in _NEEDED_BY_TYPE and not kind.startswith(_WITHOUT_ATTENTION):
        return  # its class may have other names for these
    groups = list(_NEEDED)
    if not kind.startswith(_WITHOUT_ATTENTION):
        groups.append(_HEADS)
    groups += [(key,) for key in _NEEDED_BY_TYPE.get(kind, ())]
    for names in groups:
        if not any(data.get(name) is not None for name in names):
            missing = names[0] not in data
            raise ConfigError(
                "a needed key is missing" if missing else "a needed key has no value",
                where=f"{where}: {names[0]}",
                expected=" or ".join(names),
                found="nothing" if missing else "null",
                hint="a config.json as the model's repository has it",
            )


def _check_heads(data: Mapping[str, Any], where: str) -> None:
    heads, kv_heads = data.get("num_attention_heads"), data.get("num_key_value_heads")
    if isinstance(heads, int) and isinstance(kv_heads, int) and heads % kv_heads:
        raise ConfigError(
            "the query heads cannot be shared out among the KV heads",
            where=f"{where}: num_key_value_heads",
            expected=f"a divisor of num_attention_heads = {heads}",
            found=str(kv_heads),
        )
