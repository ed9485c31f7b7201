"""Layers as SGLang 0.5.9 and 0.5.23 construct them, with what their constructors are given."""

from __future__ import annotations

from typing import Any

from fibcore.plugin import ModuleNode, Named, ParameterRef, Quantization, with_origins
from fibcore.testing.trees import TENSOR, call, module

FUSED = "sglang.srt.layers.moe.fused_moe_triton.layer.FusedMoE"
TOPK = "sglang.srt.layers.moe.topk.TopK"
VERSIONS = ("0.5.9", "0.5.23")

FP8_BLOCK = Quantization("fp8", "float8_e4m3fn", "block", block=(128, 128), activation="dynamic")
FP8_STATIC = Quantization("modelopt", "float8_e4m3fn", "tensor", activation="static")
BIAS = ParameterRef("model.layers.3.mlp.gate.e_score_correction_bias", (256,), "float32")

_EXPERTS = {
    "layer_id": 3,
    "top_k": None,
    "num_fused_shared_experts": 0,
    "params_dtype": None,
    "reduce_results": False,
    "quant_config": None,
    "prefix": "model.layers.3.mlp.experts",
    "activation": "silu",
    "apply_router_weight_on_input": False,
    "use_presharded_weights": False,
    "inplace": True,
    "no_combine": False,
    "routed_scaling_factor": None,
    "gemm1_alpha": None,
    "gemm1_clamp_limit": None,
    "use_weight_loader_fused": False,
    "with_bias": False,
    "routing_method_type": None,
    "is_gated": True,
}
_EXPERTS_NEW = {
    "gemm1_beta": None,
    "swiglu_limit": None,
    "gate_up_interleaved": True,
    "enable_qwen35_fp8_deferred_finalize": False,
    "quant_method": None,
    "uses_expert_location": True,
}
_TOPK = {
    "layer_id": 3,
    "use_grouped_topk": False,
    "topk_group": None,
    "num_expert_group": None,
    "renormalize": True,
    "custom_routing_function": None,
    "scoring_func": "softmax",
    "correction_bias": None,
    "quant_config": None,
    "routed_scaling_factor": None,
    "apply_routed_scaling_factor_on_output": False,
    "output_format": None,
    "fused_shared_experts_scaling_factor": None,
}
_TOPK_NEW = {
    "is_draft": None,
    "is_fp4_experts": False,
    "allow_routed_experts_capture": True,
    "sqrtsoftplus_log1p": False,
    "fused_gate_packed_ids": False,
}


def config(key: str, value: Any) -> Any:
    """A value that came out of the model's config."""
    return with_origins(value, frozenset({f"config:{key}"}))


def experts(
    num_experts: Any,
    hidden_size: Any,
    intermediate_size: Any,
    *,
    version: str = "0.5.9",
    path: str = "model.layers.3.mlp.experts",
    cls: str = FUSED,
    quantization: Any = None,
    **arguments: Any,
) -> ModuleNode:
    """A layer of fused experts."""
    defaults = _EXPERTS | (_EXPERTS_NEW if version == "0.5.23" else {})
    return module(
        path,
        cls,
        {
            "num_experts": num_experts,
            "hidden_size": hidden_size,
            "intermediate_size": intermediate_size,
            **defaults,
            **arguments,
        },
        bases=() if cls == FUSED else (FUSED,),
        quantization=quantization,
        calls=[call(TENSOR, TENSOR)],
    )


def topk(
    top_k: Any,
    *,
    version: str = "0.5.9",
    path: str = "model.layers.3.mlp.topk",
    **arguments: Any,
) -> ModuleNode:
    """The module that routes."""
    new = _TOPK_NEW if version == "0.5.23" else {"num_fused_shared_experts": 0}
    return module(
        path,
        TOPK,
        {"top_k": top_k, **_TOPK, **new, **arguments},
        bases=("sglang.srt.layers.utils.multi_platform.MultiPlatformOp",),
        calls=[call(TENSOR, TENSOR)],
    )


def block(*children: ModuleNode, path: str = "model.layers.3.mlp", **more: Any) -> ModuleNode:
    """The MoE block that holds them."""
    return module(
        path, "sglang.srt.models.example.ExampleMoE", children=children, leaf=False, **more
    )


def deepseek(
    version: str, *, fused: int, quantization: Any = FP8_BLOCK, experts_of: int = 256, **sizes: Any
) -> ModuleNode:
    """DeepSeek-V3's MoE block; Kimi-K2's with 384 experts and one group."""
    groups = (8, 4) if experts_of == 256 else (1, 1)
    old = version == "0.5.9"
    count, chosen = config("n_routed_experts", experts_of), config("num_experts_per_tok", 8)
    return block(
        experts(
            count + fused if fused else count,
            config("hidden_size", 7168),
            config("moe_intermediate_size", 2048),
            version=version,
            top_k=chosen + fused if fused else chosen,
            num_fused_shared_experts=fused,
            quantization=quantization,
            routed_scaling_factor=config("routed_scaling_factor", 2.5),
            routing_method_type=Named("RoutingMethodType.DeepSeekV3"),
            **sizes,
        ),
        topk(
            chosen + fused if fused and old else chosen,
            version=version,
            renormalize=True,
            use_grouped_topk=True,
            num_expert_group=config("n_group", groups[0]),
            topk_group=config("topk_group", groups[1]),
            correction_bias=BIAS,
            scoring_func="softmax" if old else "sigmoid",
            routed_scaling_factor=config("routed_scaling_factor", 2.5),
            **({"num_fused_shared_experts": fused} if old else {}),
        ),
    )


def simple(
    num_experts: int, top_k: int, hidden: int, intermediate: int, **routing: Any
) -> ModuleNode:
    """A MoE block with softmax routing, as Mixtral and Qwen construct it."""
    made = routing.pop("experts", {})
    return block(
        experts(
            config("num_experts", num_experts),
            config("hidden_size", hidden),
            config("moe_intermediate_size", intermediate),
            top_k=config("num_experts_per_tok", top_k),
            **made,
        ),
        topk(config("num_experts_per_tok", top_k), **routing),
    )


def llama4(version: str, quantization: Any = None) -> ModuleNode:
    """Llama 4 Scout's MoE block."""
    return block(
        experts(
            config("num_local_experts", 16),
            config("hidden_size", 5120),
            config("intermediate_size", 8192),
            version=version,
            apply_router_weight_on_input=True,
            quantization=quantization,
        ),
        topk(
            config("num_experts_per_tok", 1),
            version=version,
            renormalize=False,
            custom_routing_function=Named(
                "sglang.srt.models.llama4.Llama4MoE.custom_routing_function"
            ),
        ),
    )
