"""The contract that every plugin has to hold."""

from __future__ import annotations

import fibcore_op_eh_norm
from fibcore.plugin import ModelTree, ParameterRef, Serving
from fibcore.testing.contract import PluginContract
from fibcore.testing.trees import TENSOR, module, operation, tree

CLASS = "sglang.srt.layers.layernorm.RMSNorm"


def draft(hidden_size: int) -> ModelTree:
    weights = [ParameterRef(f"{name}.weight", (hidden_size,), None) for name in ("enorm", "hnorm")]
    call = operation("sglang.kernels.fused_eh_norm", TENSOR, TENSOR, *weights, 1e-6, module="")
    return tree(module("enorm", CLASS), module("hnorm", CLASS), operations=[call])


class TestContract(PluginContract):
    plugin = fibcore_op_eh_norm
    trees = ((draft(48), Serving()),)
