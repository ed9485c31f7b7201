"""The contract that every plugin has to hold."""

from __future__ import annotations

import fibcore_op_split_rmsnorm
from fibcore.plugin import Operation, ParameterRef, Serving
from fibcore.testing.contract import PluginContract
from fibcore.testing.trees import TENSOR, module, operation, tree

MODELS = "sglang.srt.models.minimax_m2."


def call(path: str, q_size: int, k_size: int, ranks: int) -> Operation:
    weights = [
        ParameterRef(f"{path}.{name}_norm.weight", (size,), None)
        for name, size in (("q", q_size), ("k", k_size))
    ]
    given = (TENSOR, TENSOR, *weights, TENSOR, ranks, 1e-6)
    return operation(f"{MODELS}rms_apply_serial", *given, module=path)


LAYERS = [
    module(
        path,
        f"{MODELS}Attention",
        children=[module(f"{path}.{name}_norm", f"{MODELS}MiniMaxM2RMSNormTP") for name in "qk"],
    )
    for path in ("a", "b")
]


class TestContract(PluginContract):
    plugin = fibcore_op_split_rmsnorm
    trees = ((tree(*LAYERS, operations=[call("a", 48, 16, 2), call("b", 40, 8, 1)]), Serving()),)
