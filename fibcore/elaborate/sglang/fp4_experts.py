"""Checkpoints of method fp8 whose routed experts are MXFP4, as `ModelConfig` tells them.

The quantisation section says fp8 for the whole model; that experts are not is a mark of its own,
which the loader hands to `Fp8Config.is_fp4_experts`. (`ModelConfig.__init__` and
`_initialize_quantization` of the loader, SGLang 0.5.12 to 0.5.23.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.values import ABSENT, Raised
from fibcore.model.tree import SourcePlace, Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator

FLAG = "is_fp4_experts"
"""The attribute of a quantisation config that releases have which can serve such experts."""
MXFP4 = "mxfp4"
_MODEL_CONFIG = "srt.configs.model_config"


def has_fp4_experts(
    evaluator: Evaluator, section: Mapping[str, Any], config: Any
) -> bool | Unknown:
    """Whether the routed experts of a checkpoint are MXFP4.

    Args:
        evaluator: The evaluator.
        section: The quantisation section of the checkpoint's config.
        config: The model's config.
    """
    place = SourcePlace(f"{evaluator.index.package}/srt/configs/model_config.py", 1)
    named = section.get("routed_experts_quant_method")
    if named is not None:
        return bool(named == MXFP4)
    stored = str(section.get("store_dtype") or "").lower()
    if stored == MXFP4 and _is(evaluator, "MIMO_V2_MODEL_ARCHS", config, place):
        return True
    if not _is(evaluator, "is_deepseek_v4", config, place):
        return False
    # What the server reads in the headers of the weights, their config says as well.
    told = evaluator.attributes.find(config, "expert_dtype", place)
    if isinstance(told, str):
        return told.lower() == "fp4"
    return _by_default(evaluator, place)


def _is(evaluator: Evaluator, name: str, config: Any, place: SourcePlace) -> bool:
    """Whether a model is of a kind that `model_config` names, by a function or by architectures."""
    asked = evaluator.modules.imported(f"{evaluator.index.package}.{_MODEL_CONFIG}", name)
    try:
        if isinstance(asked, tuple):
            found = evaluator.attributes.find(config, "architectures", place)
            return isinstance(found, (list, tuple)) and bool(set(map(str, found)) & set(asked))
        return evaluator.calls.call(asked, [config], {}, place) is True
    except Raised:
        return False  # a release that does not know the kind


def _by_default(evaluator: Evaluator, place: SourcePlace) -> bool | Unknown:
    """What the server takes where nothing tells: a variable of its environment."""
    envs = evaluator.modules.imported(f"{evaluator.index.package}.srt.environ", "envs")
    try:
        variable = evaluator.attributes.find(envs, "SGLANG_DSV4_FP4_EXPERTS", place)
        if variable is not ABSENT:
            get = evaluator.attributes.get(variable, "get", place)
            found = evaluator.calls.call(get, [], {}, place)
            if isinstance(found, bool):
                return found
    except Raised:
        pass
    return Unknown("whether experts are FP4: the headers of the weights tell", place)
