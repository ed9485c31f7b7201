"""The contract that every plugin has to hold."""

from __future__ import annotations

import fibcore_op_lightning
from fibcore.plugin import ModuleNode, Serving
from fibcore.testing.contract import PluginContract
from fibcore.testing.trees import TENSOR, call, module, tree

MODELS = "sglang.srt.models."


def layer(path: str, holder: str, heads: int) -> ModuleNode:
    arguments = {"num_heads": heads, "num_kv_heads": heads, "head_dim": 16}
    cls = "sglang.srt.layers.radix_attention.RadixAttention"
    attention = module(f"{path}.attn", cls, arguments, calls=[call(TENSOR, TENSOR, TENSOR)])
    return module(path, MODELS + holder, children=[attention])


LAYERS = (
    layer("ling", "bailing_moe_linear.BailingMoELinearAttention", 4),
    layer("minicpm", "minicpm.MiniCPMLightningMixer", 3),
)


class TestContract(PluginContract):
    plugin = fibcore_op_lightning
    trees = ((tree(*LAYERS), Serving()),)
