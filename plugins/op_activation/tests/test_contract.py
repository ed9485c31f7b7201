"""The contract that every plugin has to hold, on activations of every kind."""

from __future__ import annotations

import fibcore_op_activation
from fibcore.plugin import ModuleNode, Serving
from fibcore.testing.contract import PluginContract
from fibcore.testing.sglang_modules import linear
from fibcore.testing.trees import TENSOR, call, module, tree

LAYERS = "sglang.srt.layers.activation."
GATED = (
    ("SiluAndMul", {}),
    ("GeluAndMul", {"approximate": "none"}),
    ("GeluAndMul", {"approximate": "tanh"}),
    ("SituAndMul", {"beta": 4.0, "linear_beta": 25.0}),
)
PLAIN = (
    ("torch.nn.SiLU", {}),
    ("torch.nn.GELU", {}),
    ("torch.nn.GELU", {"approximate": "tanh"}),
    ("torch.nn.ReLU", {}),
    (LAYERS + "QuickGELU", {}),
    (LAYERS + "ReLU2", {}),
)


def layer(path: str, cls: str, arguments: dict[str, object], *, gated: bool) -> ModuleNode:
    sizes = {"input_size": 32, "output_sizes": [48, 48]}
    merged = "sglang.srt.layers.linear.MergedColumnParallelLinear"
    first = (
        module(f"{path}.first", merged, sizes)
        if gated
        else linear(f"{path}.first", "ColumnParallelLinear", 32, 48)
    )
    children = [
        first,
        linear(f"{path}.last", "RowParallelLinear", 48, 32),
        module(f"{path}.act", cls, arguments, calls=[call(TENSOR)]),
    ]
    return module(path, "sglang.srt.models.example.MLP", children=children, leaf=False)


class TestContract(PluginContract):
    plugin = fibcore_op_activation
    trees = (
        (
            tree(
                *(
                    layer(f"gated{i}", LAYERS + cls, dict(arguments), gated=True)
                    for i, (cls, arguments) in enumerate(GATED)
                ),
                *(
                    layer(f"plain{i}", cls, dict(arguments), gated=False)
                    for i, (cls, arguments) in enumerate(PLAIN)
                ),
            ),
            Serving(tp=2),
        ),
    )
