"""The public contract kit, on small layers of every routing and weight format."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("torch")

import attrs

import fibcore_op_moe
from fibcore.plugin import ModuleNode, Named, Quantization, Serving
from fibcore.testing.contract import PluginContract
from fibcore.testing.trees import tree


def _trees() -> ModuleType:
    path = Path(__file__).with_name("moe_trees.py")
    spec = importlib.util.spec_from_file_location("moe_trees_of_the_contract", path)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


T = _trees()


def small(version: str, quantization: object, top_k: int = 4, **routing: object) -> ModuleNode:
    """A block of 16 experts of width 256 x 256."""
    on_input = "custom_routing_function" in routing
    made: ModuleNode = T.block(
        T.experts(
            T.config("num_experts", 16),
            T.config("hidden_size", 256),
            T.config("moe_intermediate_size", 256),
            version=version,
            quantization=quantization,
            apply_router_weight_on_input=on_input,
        ),
        T.topk(T.config("num_experts_per_tok", top_k), version=version, **routing),
    )
    return made


GROUPED = {
    "use_grouped_topk": True,
    "num_expert_group": 4,
    "topk_group": 2,
    "correction_bias": T.BIAS,
    "routed_scaling_factor": 2.5,
}
LLAMA4 = {
    "renormalize": False,
    "custom_routing_function": Named("sglang.srt.models.llama4.Llama4MoE.custom_routing_function"),
}
OLD, NEW = T.VERSIONS
MXFP4 = Quantization("mxfp4", "float4_e2m1", "group", group_size=32)

NVFP4 = Quantization("modelopt_fp4", "float4_e2m1", "group", group_size=16, activation="static")
WEIGHTS_ALONE = attrs.evolve(NVFP4, activation=None)


def gpt_oss(version: str) -> ModuleNode:
    """Experts with biases and a clamped SwiGLU."""
    made: ModuleNode = T.block(
        T.experts(
            T.config("num_local_experts", 16),
            T.config("hidden_size", 256),
            T.config("intermediate_size", 192),
            version=version,
            quantization=MXFP4,
            with_bias=True,
            gemm1_alpha=T.config("hidden_act_alpha", 1.702),
            gemm1_clamp_limit=T.config("swiglu_limit", 7.0),
        ),
        T.topk(T.config("num_experts_per_tok", 4), version=version),
    )
    return made


class TestContract(PluginContract):
    plugin = fibcore_op_moe
    trees = [  # noqa: RUF012 - the kit's form
        (tree(small(OLD, T.FP8_BLOCK, **GROUPED)), Serving(tp=4, ep=4)),
        (tree(small(NEW, None, **GROUPED)), Serving(tp=2)),
        (tree(small(NEW, T.FP8_BLOCK, renormalize=True)), Serving()),
        (tree(small(OLD, None, renormalize=False)), Serving(tp=2, ep=2)),
        (tree(small(NEW, None, 1, **LLAMA4)), Serving()),
        (tree(small(OLD, T.FP8_STATIC, 1, **LLAMA4)), Serving(tp=2)),
        (tree(small(NEW, T.FP8_STATIC, renormalize=True)), Serving()),
        (tree(gpt_oss(OLD)), Serving()),
        (tree(small(NEW, NVFP4, **GROUPED)), Serving(tp=4, ep=2)),
        (tree(small(NEW, WEIGHTS_ALONE, **GROUPED)), Serving(tp=4, ep=2)),
        (tree(gpt_oss(NEW)), Serving(tp=4, ep=4)),
    ]
