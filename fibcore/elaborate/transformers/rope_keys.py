"""RoPE settings under the names of either generation of transformers.

Up to release 4 a config has `rope_theta` and `rope_scaling`; from 5 on it keeps both together as
`rope_parameters`, for each kind of layer where kinds differ
(huggingface.co/docs/transformers/main/en/internal/rope_utils). Files of one generation are read by
sources that expect the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.transformers.class_tables import lacks_class
from fibcore.elaborate.transformers.summaries.summary import KEEPS_ROPE
from fibcore.model.tree import Unknown, origins_of, with_origins

if TYPE_CHECKING:
    from fibcore.elaborate.transformers.config_object import ConfigObject

_LAYERS = {"full_attention": "global", "sliding_attention": "local"}
# Older names of a kind's base frequency.
_THETAS = {
    "full_attention": ("rope_theta", "global_rope_theta"),
    "sliding_attention": ("rope_local_base_freq", "local_rope_theta"),
}


def default_for_mrope(given: dict[str, Any]) -> None:
    """Call the sections of multimodal RoPE a setting of the default kind.

    Files of Qwen2-VL say `"type": "mrope"`; transformers' config classes of both generations read
    that as the default kind with sections (Qwen2VLTextConfig).
    """
    scaling = given.get("rope_scaling")
    if isinstance(scaling, dict) and scaling.get("rope_type", scaling.get("type")) == "mrope":
        kind = with_origins("default", origins_of(scaling.get("type")))
        given["rope_scaling"] = {**scaling, "type": kind, "rope_type": kind}


def classic_keys(given: dict[str, Any]) -> None:
    """Add `rope_theta` and `rope_scaling` to a file's keys that has `rope_parameters` alone."""
    parameters = given.get("rope_parameters")
    if not isinstance(parameters, dict):
        return
    full = parameters.get("full_attention")
    local = parameters.get("sliding_attention")
    if isinstance(local, dict) and "rope_theta" in local:
        given.setdefault("rope_local_base_freq", local["rope_theta"])
    flat = full if isinstance(full, dict) else parameters
    if any(isinstance(v, dict) for v in flat.values()):
        return
    if "rope_theta" in flat:
        given.setdefault("rope_theta", flat["rope_theta"])
    if "partial_rotary_factor" in flat:
        given.setdefault("partial_rotary_factor", flat["partial_rotary_factor"])
    scaling = {k: v for k, v in flat.items() if k not in ("rope_theta", "partial_rotary_factor")}
    unscaled = set(scaling) <= {"rope_type", "type"} and (
        scaling.get("rope_type", scaling.get("type", "default")) == "default"
    )
    given.setdefault("rope_scaling", None if unscaled else scaling)


def _is_for_own_class(given: Mapping[str, Any]) -> bool:
    """Whether a file was written for a class of its repository, which AutoConfig prefers then."""
    own = given.get("auto_map")
    return isinstance(own, Mapping) and "AutoConfig" in own


def _is_older(config: ConfigObject, rest: Mapping[str, Any]) -> bool:
    """Whether a file was written for a class of its repository, or before transformers had one.

    A published file of the latter kind has an `auto_map`, which one that was trimmed may lack.
    """
    if _is_for_own_class(rest):
        return True
    version, kind = (
        config.values.get(key, rest.get(key)) for key in ("transformers_version", "model_type")
    )
    return lacks_class(version, kind)


def modern_rope(
    config: ConfigObject, given: dict[str, Any], constants: Mapping[str, Any]
) -> dict[str, Any]:
    """Gather a config's RoPE settings as `rope_parameters`.

    (RotaryEmbeddingConfigMixin of transformers 5, modeling_rope_utils.py)

    Args:
        config: The config; only one whose class declares `rope_parameters`, or whose file has
            settings, gets any.
        given: The file's keys that no class took.
        constants: Class attributes; `default_theta` is the base frequency of a file without one.

    Returns:
        `given` without what went into the settings.
    """
    values = config.values
    rest = dict(given)
    if _leaves_theta_to_class(values, rest):
        values["rope_parameters"] = _of_own_class(rest.pop("rope_scaling"))
        return rest
    if constants.get(KEEPS_ROPE) and "rope_theta" in rest and _is_older(config, rest):
        values["rope_parameters"] = None
    elif constants.get(KEEPS_ROPE) or not _has_settings(values, rest):
        return rest
    scaling = rest.pop("rope_scaling", None)
    own = rest.pop("rope_parameters", None) or values.get("rope_parameters")
    parameters = scaling or own or {}
    if not isinstance(parameters, dict):  # a setting that is not known
        return rest
    default = constants.get("default_theta", 10000.0)
    labels = values.get("layer_types")
    nested = [k for k in parameters if isinstance(labels, list) and k in labels]
    if isinstance(default, dict) and not nested:
        # The older `rope_scaling` is for full attention alone.
        parameters = {kind: {} for kind in _LAYERS}
        parameters["full_attention"].update(scaling if isinstance(scaling, dict) else {})
        nested = list(_LAYERS)
    if nested:
        parameters = {**parameters, **{kind: dict(parameters[kind] or {}) for kind in nested}}
        for kind in nested:
            _complete(config, parameters[kind], kind, rest, default)
    else:
        parameters = dict(parameters)
        _complete(config, parameters, "", rest, default)
        # Kept under the old name too: code of the older generation reads it.
        rest.setdefault("rope_theta", parameters["rope_theta"])
    values["rope_parameters"] = parameters
    return rest


def _leaves_theta_to_class(values: Mapping[str, Any], rest: Mapping[str, Any]) -> bool:
    """Whether a file has RoPE settings without a base frequency, for a class of its repository."""
    return (
        _is_for_own_class(rest)
        and isinstance(rest.get("rope_scaling"), dict)
        and not any("rope_theta" in keys or "rope_parameters" in keys for keys in (values, rest))
    )


def _of_own_class(scaling: dict[str, Any]) -> dict[str, Any]:
    """RoPE settings with the base frequency that a class defaults whose code is not read."""
    theta = Unknown("rope_theta, which the config class of the model's repository defaults")
    return {"rope_theta": theta, "rope_type": scaling.get("type", "default"), **scaling}


def _has_settings(values: Mapping[str, Any], rest: Mapping[str, Any]) -> bool:
    """Whether a class declares RoPE settings, or a file has them under either name."""
    old = rest.get("rope_scaling") and rest.get("rope_theta")
    return "rope_parameters" in values or "rope_parameters" in rest or bool(old)


def _complete(
    config: ConfigObject, settings: dict[str, Any], kind: str, rest: Mapping[str, Any], default: Any
) -> None:
    """Add what transformers' classes add to the settings of a kind of layer, or of all ("")."""
    values = config.values
    names = _THETAS.get(kind, ("rope_theta",))
    if not isinstance(default, dict):
        names = (*names, "rope_theta")
    theta = next((rest[n] for n in names if n in rest), values.get("rope_theta"))
    if theta is None:
        base = default.get(_LAYERS.get(kind, kind)) if isinstance(default, dict) else default
        theta = config.default("rope_theta", base)
    settings.setdefault("rope_theta", theta)
    settings.setdefault("rope_type", settings.get("type", "default"))
    partial = rest.get("partial_rotary_factor", values.get("partial_rotary_factor"))
    if partial is not None:
        settings.setdefault("partial_rotary_factor", partial)
    if settings["rope_type"] in ("llama3", "yarn", "longrope"):
        longest = values.get(
            "original_max_position_embeddings", values.get("max_position_embeddings")
        )
        settings.setdefault("original_max_position_embeddings", longest)
