"""The contract that every plugin has to hold."""

from __future__ import annotations

import attrs

import fibcore_op_attn_residual
from fibcore.plugin import ParameterRef, Serving, SourcePlace
from fibcore.testing.contract import PluginContract
from fibcore.testing.trees import module, operation, tree

CHILDREN = [
    module("a.norm", "sglang.srt.layers.layernorm.RMSNorm", {"hidden_size": 48, "eps": 1e-6}),
    module("a.proj", "sglang.srt.layers.linear.ReplicatedLinear", {"input_size": 48}),
]
WEIGHTS = [ParameterRef("a.norm.weight", (48,), None), ParameterRef("a.proj.weight", (48,), None)]
PLACE = SourcePlace("sglang/srt/layers/attn_residual.py", 81)
LAYER = module("a", "x.Layer", attributes={"prev_valid_blocks": 2}, children=CHILDREN)


class TestContract(PluginContract):
    plugin = fibcore_op_attn_residual
    trees = (
        (
            tree(
                LAYER,
                operations=[
                    attrs.evolve(operation("torch.mul", *WEIGHTS, module="a"), place=PLACE)
                ],
            ),
            Serving(),
        ),
    )
