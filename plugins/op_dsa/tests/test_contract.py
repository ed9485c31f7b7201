"""The contract that every plugin has to hold."""

from __future__ import annotations

import fibcore_op_dsa
from fibcore.plugin import ModuleNode, Serving
from fibcore.testing.contract import PluginContract
from fibcore.testing.sglang_modules import radix_attention
from fibcore.testing.trees import module, tree


def attention(path: str, heads: int, topk: int) -> ModuleNode:
    """A sparse module with few heads; origins are what `with_origins` of the contract gives."""
    arguments = {"index_n_heads": heads + 1, "index_head_dim": 16, "index_topk": topk}
    indexer = "sglang.srt.layers.attention.nsa.nsa_indexer.Indexer"
    mqa = {"num_heads": heads, "head_dim": 32, "v_head_dim": 24, "num_kv_heads": 1, "scaling": 0.2}
    return module(
        path,
        "sglang.srt.models.deepseek_v2.DeepseekV2AttentionMLA",
        attributes={"use_nsa": True},
        children=(
            radix_attention(f"{path}.attn_mqa", **mqa),
            module(f"{path}.indexer", indexer, arguments),
        ),
    )


class TestContract(PluginContract):
    plugin = fibcore_op_dsa
    trees = (
        (tree(attention("first", 2, 12)), Serving(options={"page_size": (1, 4)})),
        (tree(attention("second", 3, 20)), Serving(options={"page_size": (64,)})),
    )
