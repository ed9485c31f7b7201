"""What SGLang's loader changes in a config after its class has made it.

Each change names the function of SGLang that makes it; they are the same in all releases that
make them, and which release makes which is told by the generation of transformers it is for.
"""

from __future__ import annotations

from typing import Any

from fibcore.elaborate.config_object import TEXT_CONFIGS, ConfigObject, text_config
from fibcore.tree import Unknown, origins_of, with_origins

_MODERN_ORDER = ("thinker_config", "llm_config", "language_config", "text_config")
_SHARED = ("pad_token_id", "bos_token_id", "eos_token_id", "tie_word_embeddings")
_SERVER = {"encoder_only": False, "language_only": False}
_MODERN_SERVER = {"language_model_only": False}
_CONTEXT_KEYS = (
    "max_sequence_length",
    "seq_length",
    "max_seq_len",
    "model_max_length",
    "max_position_embeddings",
)


def finish(config: ConfigObject, *, registered: bool, modern: bool) -> None:
    """Change a whole model's config as the loader does.

    Args:
        config: The config.
        registered: Whether its class is one of SGLang's registry: such a config is loaded anew
            after the language model's keys were given to the whole (`get_config`).
        modern: Whether the release is for transformers 5.
    """
    text = text_config(config, _MODERN_ORDER if modern else TEXT_CONFIGS)
    if text is not None and not _llava(config):
        if not registered or config.values.get("model_type") == "internvl_chat":
            for key, value in text.values.items():
                if value is not None:
                    config.values.setdefault(key, value)
        if modern:
            for one, other in ((config, text), (text, config)):
                for key in _SHARED:
                    if key in one.values:
                        other.values.setdefault(key, one.values[key])
    inner = config if text is None or _llava(config) else text
    _gemma4(config)
    _topk_group(config)
    # ModelConfig.__init__ and _derive_context_length.
    for key, value in {**_SERVER, **(_MODERN_SERVER if modern else {})}.items():
        config.values.setdefault(key, value)
    longest = next((v for k in _CONTEXT_KEYS if (v := inner.values.get(k)) is not None), None)
    if longest is not None:
        config.values.setdefault("context_len", longest)
    if modern:
        _head_sizes(inner)


def _llava(config: ConfigObject) -> bool:
    """Whether the file's text config is not used (`get_hf_text_config`)."""
    names = config.values.get("architectures")
    first = names[0] if isinstance(names, list) and names else ""
    return str(first).startswith("Llava") and str(first).endswith("ForCausalLM")


def _head_sizes(text: ConfigObject) -> None:
    """`_derive_model_shapes`: head sizes that the config has not got follow from the others."""
    values = text.values
    head = values.get("head_dim")
    if head is None:
        hidden, heads = values.get("hidden_size"), values.get("num_attention_heads")
        if not isinstance(hidden, int) or not isinstance(heads, int) or not heads:
            return
        head = _quotient(hidden, heads)
        values["head_dim"] = head
    if not values.get("v_head_dim"):
        values["v_head_dim"] = head
    if values.get("swa_head_dim") is None:
        values["swa_head_dim"] = head
    if values.get("swa_v_head_dim") is None:
        values["swa_v_head_dim"] = values["swa_head_dim"]


def _quotient(one: Any, other: Any) -> Any:
    return with_origins(int(one) // int(other), origins_of(one) | origins_of(other))


def _gemma4(config: ConfigObject) -> None:
    """`_apply_gemma4_attention_overrides`: one head shape for each kind of layer.

    transformers keeps the shape of full attention in `per_layer_config`, beside the shape of
    sliding windows; SGLang reads the former as the model's own and the latter as `swa_...`.
    """
    if not str(config.values.get("model_type", "")).startswith(
        ("gemma4", "diffusion_gemma", "embedding_gemma2")
    ):
        return
    text = text_config(config) or config
    values = text.values
    layers = values.get("per_layer_config")
    changed = (
        [v for v in layers.values() if isinstance(v, dict)] if isinstance(layers, dict) else []
    )
    for key in ("head_dim", "num_key_value_heads"):
        window = values.get(key)
        full = [layer.get(key, window) for layer in changed] or [window]
        same = all(f == full[0] for f in full)
        swa = f"swa_{key}"
        values[swa] = window
        values[key] = full[0] if same else Unknown(f"{key}, which differs from layer to layer")
    values["per_layer_config"] = None
    values["swa_v_head_dim"] = values["swa_head_dim"]
    values.setdefault("v_head_dim", values["head_dim"])


def _topk_group(config: ConfigObject) -> None:
    """ModelConfig: DeepSeek V4 has no limit on groups, whatever its file says."""
    names = config.values.get("architectures")
    first = names[0] if isinstance(names, list) and names else ""
    if str(first).startswith("DeepseekV4") and config.values.get("n_group") is not None:
        config.values["topk_group"] = config.values["n_group"]
