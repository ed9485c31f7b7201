"""The contract that every plugin has to hold, on a layer of each ratio in small sizes."""

from __future__ import annotations

import attrs

import fibcore_op_dsv4
from fibcore.plugin import ModuleNode, Serving
from fibcore.testing.contract import PluginContract
from fibcore.testing.sglang_modules import radix_attention
from fibcore.testing.trees import module, tree

DSV4 = "sglang.srt.layers.attention.dsv4."
NORM = "sglang.srt.layers.layernorm.RMSNorm"


def compressor(path: str, ratio: int, head_dim: int, rope: int) -> ModuleNode:
    attributes = {
        "ratio": ratio,
        "overlap": ratio == 4,
        "head_dim": head_dim,
        "rope_head_dim": rope,
        "is_in_indexer": "indexer" in path,
    }
    norm = module(f"{path}.norm", NORM, {"hidden_size": head_dim, "eps": 1e-6})
    cls = f"{DSV4}compressor.Compressor"
    return module(path, cls, attributes=attributes, children=[norm])


def layer(path: str, ratio: int) -> ModuleNode:
    children = [
        module(f"{path}.kv_norm", NORM),
        module(f"{path}.rotary_emb", "sglang.srt.layers.rotary_embedding.RotaryEmbedding"),
        radix_attention(f"{path}.attn_mqa", num_heads=2, num_kv_heads=1, head_dim=144, scaling=1.0),
    ]
    if ratio:
        children.append(compressor(f"{path}.compressor", ratio, 144, 16))
    if ratio == 4:
        sizes = {"n_heads": 3, "head_dim": 32, "rope_head_dim": 8, "index_topk": 4}
        attributes = {**sizes, "use_fp4_indexer": False, "weight_scale": 0.1}
        inside = [compressor(f"{path}.indexer.compressor", 4, 32, 8)]
        cls = f"{DSV4}indexer.C4Indexer"
        children.append(module(f"{path}.indexer", cls, attributes=attributes, children=inside))
    attributes = {
        "n_local_heads": 2,
        "head_dim": 144,
        "qk_rope_head_dim": 16,
        "softmax_scale": 0.1,
        "eps": 1e-6,
        "compress_ratio": ratio,
    }
    cls = "sglang.srt.models.deepseek_v4.MQALayer"
    return module(path, cls, attributes=attributes, children=children)


LAYERS = [layer(f"layers.{ratio}", ratio) for ratio in (0, 4, 128)]


class TestContract(PluginContract):
    plugin = fibcore_op_dsv4
    trees = ((attrs.evolve(tree(*LAYERS), config={"sliding_window": 5}), Serving(tp=2)),)
