"""The contract that every plugin has to hold."""

from __future__ import annotations

from typing import Any

import fibcore_op_qk_norm_rope
from fibcore.plugin import ModuleNode, Named, Operation, ParameterRef, Serving
from fibcore.testing.contract import PluginContract
from fibcore.testing.trees import TENSOR, module, operation, tree

FUNCTION = (
    "sglang.kernels.ops.attention.fused_qk_rmsnorm_rope_gate.fused_qk_gemma_rmsnorm_rope_gate"
)


def layer(path: str, sections: Any) -> ModuleNode:
    cls = "sglang.srt.layers.layernorm.GemmaRMSNorm"
    norms = [module(f"{path}.{name}_norm", cls) for name in "qk"]
    rotary = "sglang.srt.layers.rotary_embedding.mrope.MRotaryEmbedding"
    embedding = module(f"{path}.rotary_emb", rotary, {"mrope_section": sections})
    return module(path, "sglang.srt.models.qwen3_5.Layer", children=[*norms, embedding])


def call(path: str, head: int, turned: int, gated: bool) -> Operation:
    weights = [ParameterRef(f"{path}.{name}_norm.weight", (head,), None) for name in "qk"]
    given = (TENSOR, TENSOR, *weights, Named("torch.Tensor"), TENSOR, 1e-6, 4, 2, head, turned)
    return operation(FUNCTION, *given, module=path, has_gate=gated)


TREE = tree(
    *(layer(path, sections) for path, sections in (("a", [4, 2, 2]), ("b", None), ("c", None))),
    operations=[call("a", 32, 16, True), call("b", 32, 16, False), call("c", 16, 16, True)],
)


class TestContract(PluginContract):
    plugin = fibcore_op_qk_norm_rope
    trees = ((TREE, Serving()),)
