"""The contract that every plugin has to hold, on norms of every form."""

from __future__ import annotations

import fibcore_op_rmsnorm
from fibcore.plugin import ModuleNode, Serving
from fibcore.testing.contract import PluginContract
from fibcore.testing.trees import TENSOR, call, module, tree


def norm(path: str, cls: str, hidden_size: int, *tensors: object) -> ModuleNode:
    arguments = {"hidden_size": hidden_size, "eps": 1e-5}
    return module(
        path, f"sglang.srt.layers.layernorm.{cls}", arguments, calls=[call(*(tensors or (TENSOR,)))]
    )


NORMS = (
    norm("plain", "RMSNorm", 48),
    norm("fused", "RMSNorm", 64, TENSOR, TENSOR),
    norm("gemma", "GemmaRMSNorm", 48),
    norm("gemma_fused", "GemmaRMSNorm", 64, TENSOR, TENSOR),
)


class TestContract(PluginContract):
    plugin = fibcore_op_rmsnorm
    trees = ((tree(*NORMS), Serving()),)
