"""The contract that every plugin has to hold, on an indexer in small sizes."""

from __future__ import annotations

import fibcore_op_dsa_index
from fibcore.plugin import Named, Serving
from fibcore.testing.contract import PluginContract
from fibcore.testing.trees import TENSOR, call, module, tree

NORM = module(
    "layers.0.indexer.k_norm",
    "sglang.srt.layers.layernorm.LayerNorm",
    {"hidden_size": 32, "eps": 1e-6, "dtype": Named("torch.float32")},
)
INDEXER = module(
    "layers.0.indexer",
    "sglang.srt.layers.attention.dsa.dsa_indexer.Indexer",
    {"index_n_heads": 3, "index_head_dim": 32, "rope_head_dim": 12},
    attributes={"use_dsa_indexer_fusion": True, "softmax_scale": 0.25},
    calls=[call(TENSOR)],
    children=[NORM],
)


class TestContract(PluginContract):
    plugin = fibcore_op_dsa_index
    trees = ((tree(INDEXER), Serving(tp=2)),)
