"""The public contract kit, on small heads."""

from __future__ import annotations

import attrs
import pytest

pytest.importorskip("torch")

import fibcore_op_gqa
from fibcore.plugin import ModuleNode, ParameterRef, Serving
from fibcore.testing.contract import PluginContract
from fibcore.testing.trees import TENSOR, call, module, tree


def layer(number: int, *, sinks: bool = False, **changed: object) -> ModuleNode:
    path = f"model.layers.{number}.self_attn.attn"
    given = ParameterRef("sinks", (4,)) if sinks else None
    arguments = {
        "num_heads": 4,
        "head_dim": 16,
        "scaling": 0.25,
        "num_kv_heads": 2,
        "layer_id": number,
        "logit_cap": 0.0,
        "v_head_dim": -1,
        "sliding_window_size": -1,
        "is_cross_attention": False,
        "pos_encoding_mode": "NONE",
        "logit_capping_method": "tanh",
        "quant_config": None,
        "attn_type": "decoder",
        "use_irope": False,
        "prefix": path,
    }
    return module(
        path,
        "sglang.srt.layers.radix_attention.RadixAttention",
        {**arguments, **changed},
        calls=[call(TENSOR, TENSOR, TENSOR, TENSOR, sinks=given)],
    )


LAYERS = (
    layer(0),
    layer(1, sliding_window_size=5),
    layer(2, sliding_window_size=8),
    layer(3, sliding_window_size=5, logit_cap=20.0),
    layer(4, logit_cap=20.0),
    layer(5, attn_type="encoder_only"),
    layer(6, sinks=True),
    layer(7, sinks=True, sliding_window_size=5),
    layer(8, use_irope=True),
)


OTHERS = (
    layer(0, v_head_dim=8),
    layer(1, v_head_dim=8, sinks=True, sliding_window_size=5),
    layer(2, is_cross_attention=True),
    layer(3),
)
FP8 = {"quantization_config": {"kv_cache_quant_algo": "FP8"}}

MODEL = attrs.evolve(tree(*LAYERS), config={"attention_chunk_size": 6})


class TestContract(PluginContract):
    plugin = fibcore_op_gqa
    trees = (
        (MODEL, Serving(tp=2, options={"page_size": (4,)})),
        (tree(*OTHERS), Serving(options={"page_size": (4,), "drafts": "tree"})),
        (attrs.evolve(tree(*OTHERS[1:]), config=FP8), Serving(options={"page_size": (1, 4)})),
    )
