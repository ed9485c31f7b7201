"""Sizes of parallel groups that follow from how a model is served, and whence each follows.

SGLang divides a tensor-parallel group of `tp` ranks twice: for attention into data-parallel groups,
context-parallel ones and what is left, over which heads are split; for experts into expert-parallel
groups, data-parallel ones and what is left, over which an expert's width is split
(`compute_dp_attention_world_info`, `initialize_model_parallel`).
"""

from __future__ import annotations

from fibcore.model.launch import Launch
from fibcore.model.serving import Serving

_NONE = Launch("")
Sizes = dict[str, tuple[int, frozenset[str]]]
"""A size, and the options of serving that it follows from."""


def sizes_of(serving: Serving) -> Sizes:
    """The sizes by the name that facts have for them."""
    launch = serving.launch if serving.launch is not None else _NONE
    dp, cp, moe_dp, dcp = (
        launch.attention_dp,
        launch.attention_cp,
        launch.expert_dp,
        launch.decode_cp,
    )
    attention = {"tp", *(["dp"] if dp > 1 else []), *(["attn_cp"] if cp > 1 else [])}
    experts = {"tp", "ep", *(["moe_dp"] if moe_dp > 1 else [])}
    return {
        "tp": (serving.tp, frozenset({"tp"})),
        "ep": (serving.ep, frozenset({"ep"})),
        "moe_tp": (serving.expert_tp, frozenset(experts)),
        "attn_tp": (serving.attention_tp, frozenset(attention)),
        "attn_dp": (dp, _origin("dp", dp)),
        "attn_cp": (cp, _origin("attn_cp", cp)),
        "moe_dp": (moe_dp, _origin("moe_dp", moe_dp)),
        "dcp": (dcp, _origin("dcp", dcp)),
        "attn_dp_enabled": (dp > 1, frozenset()),
        "dcp_enabled": (dcp > 1, frozenset()),
    }


def _origin(name: str, size: int) -> frozenset[str]:
    """A size of one is what the source has by itself."""
    return frozenset({name} if size > 1 else ())
