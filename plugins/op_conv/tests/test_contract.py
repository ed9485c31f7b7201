"""The contract that every plugin has to hold, on every form and variant."""

from __future__ import annotations

import attrs

import fibcore_op_conv
from fibcore.plugin import ModuleNode, Named, Serving
from fibcore.testing.contract import PluginContract
from fibcore.testing.trees import module, tree


def mixer(path: str, width: int, activation: str | None, *, bias: bool) -> ModuleNode:
    arguments = {
        "input_size": width,
        "output_sizes": [24, 8, 8],
        "bias": bias,
        "params_dtype": Named("torch.float32") if bias else None,
    }
    cls = "sglang.srt.layers.linear.MergedColumnParallelLinear"
    weight = module(f"{path}.conv1d", cls, arguments)
    holder = "sglang.srt.layers.attention.mamba.mamba.MambaMixer2"
    node = module(path, holder, children=[weight])
    return attrs.evolve(node, attributes={"activation": activation}, leaf=False)


class TestContract(PluginContract):
    plugin = fibcore_op_conv
    trees = (
        (
            tree(
                mixer("first", 4, "silu", bias=True),
                mixer("second", 3, None, bias=False),
                mixer("third", 4, None, bias=True),
                mixer("last", 4, "silu", bias=False),
            ),
            Serving(tp=2),
        ),
    )
