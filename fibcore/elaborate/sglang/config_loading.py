"""What SGLang's `get_config` changes in a config after its class has made it.

What `ModelConfig` settles after that is elaborated from the source (`loader.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.transformers.config_object import (
    TEXT_CONFIGS,
    ConfigObject,
    from_file,
    text_config,
)
from fibcore.model.tree import ModuleNode, Unknown, origins_of, with_origins

if TYPE_CHECKING:
    from fibcore.elaborate.transformers.config import ConfigBuilder

_MODERN_ORDER = ("thinker_config", "llm_config", "language_config", "text_config")
_LONGCAT = ("LongcatCausalLM", "LongcatFlashForCausalLM", "LongcatFlashNgramForCausalLM")
_OCR = (
    "modeling_deepseekocr.DeepseekOCRForCausalLM",
    "modeling_deepseekocr2.DeepseekOCR2ForCausalLM",
)
_CORE = ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
_SIZES = frozenset(("hidden_size", "d_model", "embed_dim", "width", "num_hidden_layers", "depth"))
_SHARED = ("pad_token_id", "bos_token_id", "eos_token_id", "tie_word_embeddings")


def load_config(
    builder: ConfigBuilder, data: Mapping[str, Any], origins: Mapping[str, str] | None = None
) -> ConfigObject:
    """The config object that SGLang's loader makes of `config.json`'s data.

    Args:
        builder: Makes config objects, SGLang's own classes included.
        data: The file's content.
        origins: Where keys came from that the file has under other names, by dotted path.
    """
    given = from_file(dict(data), "", origins)
    assert isinstance(given, dict)
    kind = loaded_type(data)
    if kind is not None:
        given["model_type"] = kind
        if kind == "mamba":
            _state_spaces(given)
    kind = given.get("model_type")
    config = builder.automatic(given, "config", top=True)
    own = builder.own.find(kind) if isinstance(kind, str) else None
    finish(
        config,
        registered=own is not None and own.registered,
        modern=builder.table is not None and builder.table.major >= 5,
    )
    return config


def loaded_as(data: Mapping[str, Any], architecture: str) -> str | None:
    """The model class under which the loader serves a file that names another; None for the same.

    (`get_config`: files of these models name classes of their repositories' own code.)
    """
    if data.get("model_type") == "multi_modality":
        return "MultiModalityCausalLM"
    if architecture in _LONGCAT:
        return "LongcatFlashForCausalLM"
    if _is_ocr(data):
        return "DeepseekOCRForCausalLM"
    return None


def loaded_type(data: Mapping[str, Any]) -> str | None:
    """The model type whose class the loader takes for a file that says another; None likewise."""
    names = data.get("architectures")
    if isinstance(names, list) and names and names[0] in _LONGCAT:
        return "longcat_flash"
    if _is_ocr(data):
        return "deepseek-ocr"
    if not data.get("model_type") and {"d_model", "n_layer", "ssm_cfg"} <= set(data):
        return "mamba"  # the original checkpoints of state-spaces
    return None


def _is_ocr(data: Mapping[str, Any]) -> bool:
    remote = data.get("auto_map")
    return isinstance(remote, Mapping) and remote.get("AutoModel") in _OCR


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
    _gemma4(config)
    if modern:
        _complete_rope(config)


def _complete_rope(config: ConfigObject) -> None:
    """RoPE settings of configs whose class leaves them at None after it has set `rope_theta`.

    Classes of checkpoints and some of SGLang's own set `rope_scaling`, which is the same attribute
    in transformers 5; models read the base frequency from `rope_parameters` all the same.
    """
    values = config.values
    theta = values.get("rope_theta")
    if values.get("rope_parameters", 0) is None and isinstance(theta, (int, float)):
        kind = config.default("rope_parameters", "default")
        values["rope_parameters"] = {"rope_theta": theta, "rope_type": kind}
    for inner in values.values():
        if isinstance(inner, ConfigObject):
            _complete_rope(inner)


def core_sizes(config: ConfigObject) -> list[str]:
    """Warnings about sizes of the whole model that are no model's but a class's default."""
    text = text_config(config) or config
    names = [
        name
        for name in _CORE
        if any(o.startswith("default:") for o in origins_of(text.values.get(text.key(name))))
    ]
    if not names:
        return []
    verb = "is" if len(names) == 1 else "are"
    return [f"{', '.join(names)} {verb} not in the config: the default of {text.label} stands in"]


def unused_parts(data: Mapping[str, Any], root: ModuleNode) -> list[str]:
    """Warnings about parts of a multimodal model that its file gives sizes of to no end.

    SGLang serves some models without their vision tower unless it is asked for, leaves out parts
    that it does not run, such as those that speak, and has fixed sizes for some others.
    """
    parts = {
        key
        for key, value in data.items()
        if key.endswith("_config") and isinstance(value, Mapping) and not _SIZES.isdisjoint(value)
    }
    nodes = [root] if parts else []
    while nodes and parts:
        node = nodes.pop()
        for origin in _origins((node.arguments, node.attributes)):
            parts.discard(origin.removeprefix("config:").partition(".")[0])
        nodes.extend(node.children.values())
    return [
        f"no module has a size from {key}: at its defaults SGLang runs the model without that "
        "part, or with fixed sizes"
        for key in sorted(parts)
    ]


def origins_below(root: ModuleNode) -> set[str]:
    """The origins of all that the modules below a model were given and have."""
    found: set[str] = set()
    nodes = list(root.children.values())
    while nodes:
        node = nodes.pop()
        found.update(_origins((node.arguments, node.attributes)))
        nodes.extend(node.children.values())
    return found


def _origins(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        value = tuple(value.values())
    if isinstance(value, (list, tuple)):
        for part in value:
            yield from _origins(part)
    else:
        yield from origins_of(value)


def _llava(config: ConfigObject) -> bool:
    """Whether the file's text config is not used (`get_hf_text_config`)."""
    names = config.values.get("architectures")
    first = names[0] if isinstance(names, list) and names else ""
    return str(first).startswith("Llava") and str(first).endswith("ForCausalLM")


def _gemma4(config: ConfigObject) -> None:
    """`_apply_gemma4_attention_overrides`: one head shape for each kind of layer.

    transformers keeps the shape of full attention beside the shape of sliding windows: in
    `per_layer_config` from 5.19 on, as `global_head_dim` and so on before. SGLang reads the former
    as the model's own and the latter as `swa_...`.
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
    for key, globally in (
        ("head_dim", "global_head_dim"),
        ("num_key_value_heads", "num_global_key_value_heads"),
    ):
        window = values.get(key)
        older = [values[globally]] if values.get(globally) is not None else [window]
        full = [layer.get(key, window) for layer in changed] or older
        same = all(f == full[0] for f in full)
        swa = f"swa_{key}"
        values[swa] = window
        values[key] = full[0] if same else Unknown(f"{key}, which differs from layer to layer")
    values["per_layer_config"] = None
    values["swa_v_head_dim"] = values["swa_head_dim"]
    values.setdefault("v_head_dim", values["head_dim"])


def _state_spaces(given: dict[str, Any]) -> None:
    """The keys of an original Mamba checkpoint as SGLang's loader renames them.

    (`_try_load_raw_mamba_config`; the vocabulary is padded to a multiple.)
    """
    given["hidden_size"] = given["d_model"]
    given["num_hidden_layers"] = given["n_layer"]
    given.setdefault("state_size", (given.get("ssm_cfg") or {}).get("d_state", 16))
    multiple = given.get("pad_vocab_size_multiple") or 1
    words = given.get("vocab_size", 50280)
    padded = -(-int(words) // int(multiple)) * int(multiple)
    given["vocab_size"] = with_origins(padded, origins_of(words) | origins_of(multiple))
