"""The contract that every plugin has to hold, on fused and unfused hyper-connections."""

from __future__ import annotations

import fibcore_op_mhc
from fibcore.plugin import Operation, ParameterRef, Serving
from fibcore.testing.contract import PluginContract
from fibcore.testing.trees import TENSOR, module, operation, tree

HIDDEN = 32
LAYER = module(
    "a",
    "sglang.srt.models.example.Layer",
    children=[module("a.norm", "sglang.srt.layers.layernorm.RMSNorm")],
)


def mhc(name: str, *, norm: bool, streams: int = 4) -> Operation:
    mix = streams * (streams + 2)
    given = {
        "residual": TENSOR,
        "fn": ParameterRef("a.hc_fn", (mix, streams * HIDDEN), "float32"),
        "hc_scale": ParameterRef("a.hc_scale", (3,), "float32"),
        "hc_base": ParameterRef("a.hc_base", (mix,), "float32"),
        **dict.fromkeys(("rms_eps", "hc_pre_eps", "hc_sinkhorn_eps"), 1e-6),
        "hc_post_mult_value": 2.0,
        "sinkhorn_repeat": 20,
    }
    if norm:
        given |= {"norm_weight": ParameterRef("a.norm.weight", (HIDDEN,), None), "norm_eps": 1e-6}
    return operation(f"sglang.kernels.ops.layernorm.mhc.{name}", module="a", **given)


HEAD = operation(
    "sglang.kernels.ops.layernorm.mhc_head.fused_hc_head",
    TENSOR,
    ParameterRef("a.hc_head_fn", (4, 4 * HIDDEN), "float32"),
    ParameterRef("a.hc_head_scale", (1,), "float32"),
    ParameterRef("a.hc_head_base", (4,), "float32"),
    module="a",
    norm_eps=1e-6,
    hc_eps=1e-6,
)


class TestContract(PluginContract):
    plugin = fibcore_op_mhc
    trees = (
        (
            tree(
                LAYER,
                operations=[mhc("mhc_pre", norm=True), mhc("mhc_fused_post_pre", norm=True), HEAD],
            ),
            Serving(),
        ),
        (tree(LAYER, operations=[mhc("mhc_pre", norm=False, streams=3)]), Serving()),
    )
