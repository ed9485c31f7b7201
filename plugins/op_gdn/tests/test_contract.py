"""The contract that every plugin has to hold, on every gate and form."""

from __future__ import annotations

import fibcore_op_gdn
from fibcore.plugin import ModuleNode, ParameterRef, Serving
from fibcore.testing.contract import PluginContract
from fibcore.testing.trees import TENSOR, call, module, tree


def layer(path: str, heads: int, biases: int, bound: float | None = None) -> ModuleNode:
    size = 16
    arguments = {
        "layer_id": 0,
        "num_q_heads": 2,
        "num_k_heads": 2,
        "num_v_heads": heads,
        **dict.fromkeys(("head_q_dim", "head_k_dim", "head_v_dim"), size),
        "A_log": ParameterRef(f"{path}.A_log", (heads,), "float32"),
        "dt_bias": ParameterRef(f"{path}.dt_bias", (biases,), None),
        "lower_bound": bound,
    }
    cls = "sglang.srt.layers.radix_linear_attention.RadixLinearAttention"
    return module(path, cls, arguments, calls=[call(TENSOR)])


class TestContract(PluginContract):
    plugin = fibcore_op_gdn
    trees = (
        (
            tree(layer("gdn", 4, 4), layer("kda", 2, 32), layer("bounded", 2, 32, -5.0)),
            Serving(tp=2),
        ),
    )
