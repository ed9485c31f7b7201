"""The contract that every plugin has to hold, on one layer in small sizes."""

from __future__ import annotations

import attrs

import fibcore_op_msa
from fibcore.plugin import Serving
from fibcore.testing.contract import PluginContract
from fibcore.testing.sglang_modules import radix_attention
from fibcore.testing.trees import TENSOR, call, module, tree

LAYER = attrs.evolve(
    radix_attention("a.attn", num_heads=4, num_kv_heads=2, head_dim=8, scaling=0.3),
    calls=(call(TENSOR, TENSOR, TENSOR, idx_q=TENSOR, idx_k=TENSOR, idx_v=None),),
)
HELD = {"num_idx_heads": 2, "idx_head_dim": 16, "disable_index_value": True}
CLS = "sglang.srt.models.minimax_m3.MiniMaxM3Attention"
SPARSE = {
    "sparse_topk_blocks": 3,
    "sparse_block_size": 6,
    "sparse_init_block": 0,
    "sparse_local_block": 1,
}


class TestContract(PluginContract):
    plugin = fibcore_op_msa
    trees = (
        (
            attrs.evolve(
                tree(module("a", CLS, attributes=HELD, children=[LAYER])),
                config={"sparse_attention_config": SPARSE},
            ),
            Serving(tp=2, options={"page_size": (4,)}),
        ),
    )
