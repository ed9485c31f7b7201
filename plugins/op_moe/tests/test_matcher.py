"""From model trees to kernels: sizes, routings, weights, splits, and what is refused."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from fibcore.plugin import (
    Alternatives,
    Extraction,
    ModuleNode,
    Named,
    ParameterRef,
    Quantization,
    Serving,
    Unknown,
)
from fibcore.testing.trees import TENSOR, call, module, tree
from fibcore_op_moe import activations, fibcore_extract, fibcore_reference


def found(node: ModuleNode, tp: int = 1, ep: int = 1) -> Extraction:
    return fibcore_extract(tree(node), Serving(tp=tp, ep=ep))


def names(extraction: Extraction) -> list[str]:
    assert extraction.problems == ()
    assert extraction.not_covered == ()
    return [kernel.name for kernel in extraction.kernels]


def problem(extraction: Extraction) -> str:
    assert extraction.kernels == ()
    assert extraction.not_covered == ()
    (only,) = extraction.problems
    return only.reason


def not_covered(extraction: Extraction) -> str:
    assert extraction.kernels == ()
    assert extraction.problems == ()
    (only,) = extraction.not_covered
    return only.what


def changed(node: ModuleNode, child: str, **arguments: Any) -> ModuleNode:
    """The block with other arguments of one child."""
    old = node.children[child]
    new = attrs.evolve(old, arguments={**old.arguments, **arguments})
    return attrs.evolve(node, children={**node.children, child: new})


@pytest.mark.parametrize("version", ["0.5.9", "0.5.23"])
def test_deepseek_v3_at_tp_8_ep_8(trees: Any, version: str) -> None:
    extraction = found(trees.deepseek(version, fused=0), tp=8, ep=8)
    (kernel,) = extraction.kernels
    assert names(extraction) == ["moe_fp8_block_scale_ds_routing_topk8_ng8_kg4_e32_h7168_i2048"]
    assert extraction.claimed == {"model.layers.3.mlp.experts", "model.layers.3.mlp.topk"}
    assert kernel.tags == (
        "tp:8",
        "ep:8",
        "quantization:float8_e4m3fn",
        "fi_api:flashinfer.fused_moe.trtllm_fp8_block_scale_moe",
    )
    assert [u.path for u in kernel.uses] == ["model.layers.3.mlp.experts"]
    facts = {name: (fact.value, fact.origins, fact.note) for name, fact in kernel.facts.items()}
    routed, size = "config:n_routed_experts", "config:moe_intermediate_size"
    assert facts["num_experts"] == (256, (routed,), "num_experts")
    assert facts["num_local_experts"] == (32, (routed, "serving:ep"), "num_experts / ep")
    assert facts["hidden_size"] == (7168, ("config:hidden_size",), "")
    split = (size, "serving:ep", "serving:tp")
    assert facts["intermediate_size"] == (2048, split, "intermediate_size / (tp / ep)")
    assert facts["gemm1_out_size"][:2] == (4096, split)
    assert facts["num_hidden_blocks"][:2] == (56, ("config:hidden_size",))
    assert facts["num_intermediate_blocks"][:2] == (16, split)
    assert facts["num_gemm1_out_blocks"][:2] == (32, split)
    assert facts["top_k"][:2] == (8, ("config:num_experts_per_tok",))
    assert facts["num_groups"][:2] == (8, ("config:n_group",))
    assert facts["top_groups"][:2] == (4, ("config:topk_group",))
    assert facts["routed_scaling_factor"][:2] == (2.5, ("config:routed_scaling_factor",))


@pytest.mark.parametrize("version", ["0.5.9", "0.5.23"])
def test_fused_shared_expert_is_taken_out(trees: Any, version: str) -> None:
    node = trees.deepseek(version, fused=1)
    assert node.children["experts"].arguments["num_experts"] == 257
    extraction = found(node, tp=8, ep=1)
    assert names(extraction) == ["moe_fp8_block_scale_ds_routing_topk8_ng8_kg4_e256_h7168_i256"]
    (kernel,) = extraction.kernels
    assert "257 experts, top 9" in kernel.notes[0]
    assert kernel.facts["num_local_experts"].note == "num_experts - 1 fused shared"
    assert "num_experts" not in kernel.facts


@pytest.mark.parametrize("version", ["0.5.9", "0.5.23"])
def test_kimi_k2(trees: Any, version: str) -> None:
    node = trees.deepseek(version, fused=0, experts_of=384)
    assert names(found(node, 8, 8)) == [
        "moe_fp8_block_scale_ds_routing_topk8_ng1_kg1_e48_h7168_i2048"
    ]
    assert names(found(node, 8, 1)) == [
        "moe_fp8_block_scale_ds_routing_topk8_ng1_kg1_e384_h7168_i256"
    ]


@pytest.mark.parametrize("version", ["0.5.9", "0.5.23"])
def test_sigmoid_without_groups(trees: Any, version: str) -> None:
    """MiniMax-M2: no groups, no expert top_k in 0.5.9's TopK arguments beyond its own."""
    node = trees.block(
        trees.experts(256, 3072, 1536, version=version, top_k=8, quantization=trees.FP8_BLOCK),
        trees.topk(
            8,
            version=version,
            renormalize=True,
            scoring_func="sigmoid",
            correction_bias=trees.BIAS,
            routed_scaling_factor=1.0,
        ),
    )
    extraction = found(node)
    assert names(extraction) == ["moe_fp8_block_scale_ds_routing_topk8_ng1_kg1_e256_h3072_i1536"]
    assert extraction.kernels[0].facts["routed_scaling_factor"].value == 1.0


def test_softmax_routings(trees: Any) -> None:
    qwen3 = trees.simple(128, 8, 2048, 768, renormalize=True)
    assert names(found(qwen3)) == ["moe_bf16_renorm_topk8_e128_h2048_i768"]
    assert names(found(qwen3, 8, 1)) == ["moe_bf16_renorm_topk8_e128_h2048_i96"]
    assert names(found(qwen3, 8, 4)) == ["moe_bf16_renorm_topk8_e32_h2048_i384"]
    qwen2 = trees.simple(64, 8, 3584, 2560, renormalize=False)
    assert names(found(qwen2)) == ["moe_bf16_default_routing_topk8_e64_h3584_i2560"]
    mixtral = trees.simple(8, 2, 4096, 14336)
    assert names(found(mixtral, 4)) == ["moe_bf16_renorm_topk2_e8_h4096_i3584"]
    tags = found(mixtral, 4).kernels[0].tags
    assert tags == ("tp:4", "ep:1", "fi_api:flashinfer.fused_moe.trtllm_bf16_moe")


def test_one_group_of_softmax_scores_is_no_group(trees: Any) -> None:
    """DeepSeek-V2-Lite: grouped in name alone; without a bias the scores are a softmax."""
    lite = trees.simple(
        64,
        6,
        2048,
        1408,
        renormalize=False,
        use_grouped_topk=True,
        num_expert_group=1,
        topk_group=1,
        routed_scaling_factor=1.0,
    )
    assert names(found(lite)) == ["moe_bf16_default_routing_topk6_e64_h2048_i1408"]


@pytest.mark.parametrize("version", ["0.5.9", "0.5.23"])
def test_llama_4(trees: Any, version: str) -> None:
    plain = found(trees.llama4(version))
    assert names(plain) == ["moe_bf16_llama4_routing_topk1_e16_h5120_i8192"]
    # FlashInfer's bfloat16 kernel weighs the output; Llama 4 weighs the input.
    assert plain.kernels[0].tags == ("tp:1", "ep:1")
    static = found(trees.llama4(version, trees.FP8_STATIC), tp=8)
    assert names(static) == ["trtllm_fp8_per_tensor_scale_moe_topk1_e16_h5120_i1024"]
    assert "fi_api:flashinfer.fused_moe.trtllm_fp8_per_tensor_scale_moe" in static.kernels[0].tags


def test_per_tensor_weights(trees: Any) -> None:
    node = trees.simple(8, 2, 4096, 14336, experts={"quantization": trees.FP8_STATIC})
    assert names(found(node)) == ["trtllm_fp8_per_tensor_scale_moe_topk2_e8_h4096_i14336"]
    assert found(node).kernels[0].parameters["routing"] == "renorm"
    (remote,) = found(node, 4, 4).kernels
    assert remote.name == "trtllm_fp8_per_tensor_scale_moe_renorm_topk2_e2_h4096_i14336"
    dynamic = Quantization("fp8", "float8_e4m3fn", "tensor", activation="dynamic")
    node = trees.simple(8, 2, 4096, 14336, experts={"quantization": dynamic})
    assert names(found(node)) == ["trtllm_fp8_per_tensor_scale_moe_topk2_e8_h4096_i14336"]


def test_layers_of_the_same_sizes_are_one_kernel(trees: Any) -> None:
    first = trees.simple(8, 2, 4096, 14336)
    path = "model.layers.4.mlp"
    second = trees.block(
        trees.experts(8, 4096, 14336, top_k=2, path=f"{path}.experts"),
        trees.topk(2, path=f"{path}.topk"),
        path=path,
    )
    extraction = fibcore_extract(tree(first, second), Serving())
    (kernel,) = extraction.kernels
    assert [u.path for u in kernel.uses] == [
        "model.layers.3.mlp.experts",
        "model.layers.4.mlp.experts",
    ]


def test_experts_in_a_block_of_their_own_use_the_topk_above(trees: Any) -> None:
    inner = trees.experts(8, 256, 128, path="model.layers.3.mlp.wrapped.experts")
    wrapped = trees.block(inner, path="model.layers.3.mlp.wrapped")
    assert names(found(trees.block(wrapped, trees.topk(2)))) == [
        "moe_bf16_renorm_topk2_e8_h256_i128"
    ]


def test_two_sets_of_experts_have_their_own_topk(trees: Any) -> None:
    path = "model.layers.3.mlp"
    node = trees.block(
        trees.topk(2, path=f"{path}.text_experts_topk"),
        trees.experts(8, 256, 128, path=f"{path}.text_experts"),
        trees.topk(4, path=f"{path}.vision_experts_topk", renormalize=False),
        trees.experts(16, 256, 64, path=f"{path}.vision_experts"),
    )
    assert names(found(node)) == [
        "moe_bf16_renorm_topk2_e8_h256_i128",
        "moe_bf16_default_routing_topk4_e16_h256_i64",
    ]


def test_arguments_of_kwargs_count(trees: Any) -> None:
    node = trees.experts(8, 256, 128, cls="sglang.srt.layers.moe.ep_moe.layer.DeepEPMoE")
    arguments = dict(node.arguments)
    extra = {name: arguments.pop(name) for name in ("with_bias", "is_gated")}
    deepep = attrs.evolve(node, arguments={**arguments, "kwargs": extra})
    assert names(found(trees.block(deepep, trees.topk(2)))) == [
        "moe_bf16_renorm_topk2_e8_h256_i128"
    ]
    biased = attrs.evolve(deepep, arguments={**arguments, "kwargs": {**extra, "with_bias": True}})
    assert names(found(trees.block(biased, trees.topk(2)))) == [
        "moe_bf16_bias_renorm_topk2_e8_h256_i128"
    ]


@pytest.mark.parametrize(
    ("child", "arguments", "what"),
    [
        ("experts", {"activation": "relu"}, "relu activation"),
        ("experts", {"activation": "relu2"}, "relu2 activation"),
        (
            "experts",
            {"activation": "gelu_tanh", "is_gated": False},
            "gelu_tanh activation without a gate",
        ),
        ("experts", {"with_bias": True, "is_gated": False}, "expert biases"),
        ("experts", {"no_combine": True}, "experts without the weighted sum"),
        ("experts", {"gemm1_alpha": 1.702}, "SwiGLU with gemm1_alpha 1.702"),
        (
            "experts",
            {"activation": "gelu", "gemm1_clamp_limit": 7.0},
            "gelu activation with gemm1_clamp_limit 7.0",
        ),
        (
            "experts",
            {"apply_router_weight_on_input": True},
            "renorm weights on the experts' input",
        ),
        (
            "topk",
            {"custom_routing_function": Named("sglang.srt.models.other.routing_function")},
            "custom routing function routing_function",
        ),
        (
            "topk",
            {"custom_routing_function": Named("sglang.srt.models.phimoe.phimoe_routing_function")},
            "custom routing function phimoe_routing_function",
        ),
        ("topk", {"scoring_func": "relu"}, "relu scoring"),
        (
            "topk",
            {
                "scoring_func": "sqrtsoftplus",
                "use_grouped_topk": True,
                "num_expert_group": 8,
                "topk_group": 3,
            },
            "sqrtsoftplus scoring limited to 3 of 8 groups",
        ),
        (
            "topk",
            {
                "renormalize": False,
                "custom_routing_function": Named("llama4.Llama4MoE.custom_routing_function"),
            },
            "Llama-4 routing to 2 experts",
        ),
    ],
)
def test_what_no_definition_describes_is_named(
    trees: Any, child: str, arguments: dict[str, Any], what: str
) -> None:
    extraction = found(changed(trees.simple(8, 2, 256, 128), child, **arguments))
    assert not_covered(extraction).startswith(f"moe with {what}")
    (only,) = extraction.not_covered
    assert "moe definitions describe experts with swiglu, swiglu_oai" in only.reason
    assert [use.path for use in only.uses] == ["model.layers.3.mlp.experts"]
    assert extraction.claimed == {"model.layers.3.mlp.experts", "model.layers.3.mlp.topk"}


MXFP4 = Quantization("mxfp4", "float4_e2m1", "group", group_size=32)


def gpt_oss(trees: Any, **more: Any) -> Any:
    """gpt-oss-20b's MoE block."""
    numbers = {"gemm1_alpha": 1.702, "gemm1_clamp_limit": 7.0, "with_bias": True}
    return trees.simple(32, 4, 2880, 2880, experts={"quantization": MXFP4, **numbers, **more})


def test_gpt_oss(trees: Any) -> None:
    (kernel,) = found(gpt_oss(trees)).kernels
    assert kernel.name == "moe_mxfp4_swiglu_oai_bias_renorm_topk4_e32_h2880_i2880"
    assert "quantization:float4_e2m1" in kernel.tags
    assert kernel.facts["gemm1_alpha"].value == 1.702
    assert kernel.facts["gemm1_clamp_limit"].value == 7.0
    assert kernel.facts["num_fp4_hidden_blocks"].value == 90
    definition = fibcore_reference(kernel)
    assert definition is not None
    assert set(definition.const_axes) <= set(kernel.facts)
    assert names(found(gpt_oss(trees), 4, 4)) == [
        "moe_mxfp4_swiglu_oai_bias_renorm_topk4_e8_h2880_i2880"
    ]


@pytest.mark.parametrize(("tp", "inner"), [(2, 1440), (4, 736), (8, 384)])
def test_ranks_get_whole_groups(trees: Any, tp: int, inner: int) -> None:
    """Of 90 groups of 32, as the loader of gpt-oss divides them."""
    (kernel,) = found(gpt_oss(trees), tp).kernels
    assert kernel.name.endswith(f"_i{inner}")
    assert any("fills up" in note for note in kernel.notes) == (inner * tp > 2880)


def test_mxfp4_without_more_is_swiglu(trees: Any) -> None:
    node = trees.simple(8, 2, 256, 128, experts={"quantization": MXFP4})
    assert names(found(node)) == ["moe_mxfp4_renorm_topk2_e8_h256_i128"]


@pytest.mark.parametrize(
    ("more", "what"),
    [
        (
            {"gemm1_beta": 0.5},
            "SwiGLU with gemm1_alpha 1.702, gemm1_beta 0.5, gemm1_clamp_limit 7.0",
        ),
        ({"gemm1_clamp_limit": None}, "SwiGLU with gemm1_alpha 1.702"),
        (
            {"quantization": attrs.evolve(MXFP4, activation="dynamic")},
            "expert biases, mxfp4 float4_e2m1 (a scale per 32) weights",
        ),
    ],
)
def test_other_experts_of_four_bits_are_named(trees: Any, more: Any, what: str) -> None:
    assert not_covered(found(gpt_oss(trees, **more))).startswith(f"moe with {what}")


def test_groups_have_to_divide(trees: Any) -> None:
    node = trees.simple(8, 2, 256, 80, experts={"quantization": MXFP4})
    assert "intermediate size 80 is no multiple of the group size 32" in problem(found(node))
    node = trees.simple(8, 2, 80, 64, experts={"quantization": MXFP4})
    assert "hidden size 80 is no multiple of the group size 32" in problem(found(node))


NVFP4 = Quantization("modelopt_fp4", "float4_e2m1", "group", group_size=16, activation="static")


def test_kimi_and_minimax_in_four_bits(trees: Any) -> None:
    node = trees.deepseek("0.5.23", fused=0, quantization=NVFP4, experts_of=384)
    (kernel,) = found(node, 8, 8).kernels
    assert kernel.name == "moe_nvfp4_ds_routing_topk8_ng1_kg1_e48_h7168_i2048"
    assert "quantization:float4_e2m1" in kernel.tags
    definition = fibcore_reference(kernel)
    assert definition is not None
    assert set(definition.const_axes) <= set(kernel.facts)
    numbers = {"gemm1_alpha": 1.702, "gemm1_beta": 1.0, "gemm1_clamp_limit": 7.0}
    node = trees.simple(8, 2, 256, 128, experts={"quantization": NVFP4, **numbers})
    assert names(found(node)) == ["moe_nvfp4_swiglu_oai_renorm_topk2_e8_h256_i128"]


def test_nvfp4_of_other_layers_is_named(trees: Any) -> None:
    other = attrs.evolve(NVFP4, activation=None, group_size=64)
    node = trees.simple(8, 2, 256, 128, experts={"quantization": other})
    assert not_covered(found(node)) == "moe with modelopt_fp4 float4_e2m1 (a scale per 64) weights"
    node = trees.simple(8, 2, 256, 128, experts={"quantization": NVFP4, "with_bias": True})
    assert not_covered(found(node)) == "moe with expert biases"
    node = trees.simple(8, 2, 256, 40, experts={"quantization": NVFP4})
    assert "= 40 is no multiple of the group size 16" in problem(found(node))


def test_gpt_oss_in_another_format_is_named_whole(trees: Any) -> None:
    node = trees.simple(
        32,
        4,
        2880,
        2880,
        experts={
            "quantization": Quantization("awq", "int4", "group", group_size=32),
            "gemm1_alpha": 1.702,
            "gemm1_clamp_limit": 7.0,
            "with_bias": True,
        },
    )
    assert not_covered(found(node)) == ("moe with expert biases, awq int4 (a scale per 32) weights")


@pytest.mark.parametrize(
    ("quantization", "words"),
    [
        (
            Quantization("modelopt_fp4", "float4_e2m1", "group", group_size=64),
            "modelopt_fp4 float4_e2m1 (a scale per 64) weights",
        ),
        (
            Quantization("awq", "int4", "group", group_size=128),
            "awq int4 (a scale per 128) weights",
        ),
        (
            Quantization("compressed_tensors", "int4", "group", group_size=128),
            "compressed_tensors int4 (a scale per 128) weights",
        ),
        (
            Quantization("compressed_tensors", "float8_e4m3fn", "channel"),
            "compressed_tensors float8_e4m3fn (a scale per channel) weights",
        ),
        (
            Quantization("fp8", "float8_e4m3fn", "tensor"),
            "fp8 float8_e4m3fn (a scale per tensor) weights",
        ),
        (
            Quantization("quark", "int8", "channel", activation="dynamic"),
            "quark int8 (a scale per channel) weights",
        ),
        (
            Quantization("fp8", "float8_e4m3fn", "block", block=(1, 32), activation="dynamic"),
            "fp8 float8_e4m3fn (a scale per block of 1 x 32) weights",
        ),
    ],
)
def test_other_weight_formats_are_named(trees: Any, quantization: Any, words: str) -> None:
    node = trees.simple(8, 2, 256, 128, experts={"quantization": quantization})
    assert not_covered(found(node)) == f"moe with {words}"


@pytest.mark.parametrize(
    ("quantization", "words"),
    [
        (Quantization("modelopt", "float8_e4m3fn", "tensor", activation="static"), None),
        (
            Quantization("compressed_tensors", "float8_e4m3fn", "channel", activation="dynamic"),
            "moe_fp8_per_channel",
        ),
        (
            Quantization("w8a8_int8", "int8", "channel", activation="dynamic"),
            "moe_int8_per_channel",
        ),
        (Quantization("compressed_tensors", "int4", "group", group_size=32), "moe_mxint4"),
        # ModelOpt's W4A16_NVFP4, compressed-tensors without input activations.
        (attrs.evolve(NVFP4, method="modelopt_mixed", activation=None), "moe_w4a16_nvfp4"),
        (attrs.evolve(NVFP4, method="compressed_tensors", activation=None), "moe_w4a16_nvfp4"),
    ],
)
def test_every_format_has_every_routing(trees: Any, quantization: Any, words: str | None) -> None:
    node = trees.deepseek("0.5.23", fused=0, quantization=quantization)
    prefix = words or "trtllm_fp8_per_tensor_scale_moe"
    (kernel,) = found(node, 8, 8).kernels
    assert kernel.name == f"{prefix}_ds_routing_topk8_ng8_kg4_e32_h7168_i2048"
    definition = fibcore_reference(kernel)
    assert definition is not None
    assert set(definition.const_axes) <= set(kernel.facts)


def hashed(trees: Any, topk: int = 6, **arguments: Any) -> Any:
    """DeepSeek-V4's first layers, whose experts clamp."""
    asked = module(
        "model.layers.3.mlp.topk",
        "sglang.srt.layers.moe.hash_topk.HashTopK",
        {
            "topk": topk,
            "num_experts": 256,
            "vocab_size": trees.config("vocab_size", 129280),
            "scoring_func": "sqrtsoftplus",
            "routed_scaling_factor": 1.5,
            **arguments,
        },
        calls=[call(TENSOR, TENSOR, TENSOR)],
    )
    experts = trees.experts(
        256, 4096, 2048, version="0.5.23", swiglu_limit=10.0, routed_scaling_factor=1.5
    )
    return trees.block(experts, asked)


def test_tokens_of_the_vocabulary_choose_experts(trees: Any) -> None:
    (kernel,) = found(hashed(trees)).kernels
    assert kernel.name == (
        "moe_bf16_swiglu_limit_sqrtsoftplus_hash_renorm_routing_topk6_e256_h4096_i2048"
    )
    facts = {name: (fact.value, fact.origins) for name, fact in kernel.facts.items()}
    assert facts["vocab_size"] == (129280, ("config:vocab_size",))
    assert facts["gemm1_clamp_limit"][0] == 10.0
    assert facts["routed_scaling_factor"][0] == 1.5
    assert facts["top_k"][0] == 6
    # 0.5.13 counts the shared experts that it fuses in.
    fused = found(hashed(trees, 7, num_fused_shared_experts=1)).kernels
    assert [k.name for k in fused] == [kernel.name]
    assert "new_switch of HashTopK" in problem(found(hashed(trees, new_switch=True)))
    assert not_covered(found(hashed(trees, scoring_func="relu"))) == (
        "moe with relu scoring with hash routing"
    )


def test_other_expert_classes_are_named(trees: Any) -> None:
    sink = trees.experts(8, 256, 128, cls="sglang.srt.models.inkling.InklingSharedFusedMoE")
    assert not_covered(found(trees.block(sink, trees.topk(2)))) == (
        "moe with experts of class InklingSharedFusedMoE"
    )


def test_zero_experts_are_chosen_and_compute_nothing(trees: Any) -> None:
    """LongCat: softmax scores and a bias, among experts that hand their input on, too."""

    def block(**attributes: Any) -> Any:
        bias = ParameterRef("b", (512,))
        made = trees.block(
            trees.experts(512, 256, 128),
            trees.topk(12, renormalize=False, correction_bias=bias),
        )
        return attrs.evolve(made, attributes=attributes)

    (kernel,) = found(block(zero_expert_num=256, zero_expert_type="identity")).kernels
    assert kernel.name == "moe_bf16_softmax_bias_routing_topk12_e512_h256_i128"
    assert kernel.parameters["num_experts"] == 768
    assert kernel.facts["num_experts"].value == 768
    assert any("256 zero experts" in note for note in kernel.notes)
    assert any("correction bias is part of the definition" in note for note in kernel.notes)
    definition = fibcore_reference(kernel)
    assert definition is not None
    assert definition.const_axes["num_experts"] == 768
    plain = found(block(zero_expert_num=0, zero_expert_type=None)).kernels[0]
    assert plain.parameters["num_experts"] == 512


BIAS = ParameterRef("b", (64,))
GROUPED = {"use_grouped_topk": True, "num_expert_group": 8, "topk_group": 3}


@pytest.mark.parametrize(
    ("router", "routed"),
    [
        # DeepSeek-V2.
        (
            {"renormalize": False, **GROUPED, "routed_scaling_factor": 16.0},
            "softmax_groups_routing_topk8_ng8_kg3",
        ),
        (GROUPED, "softmax_groups_renorm_routing_topk8_ng8_kg3"),
        ({"scoring_func": "sigmoid"}, "sigmoid_renorm_routing_topk8"),
        ({"scoring_func": "sigmoid", "renormalize": False}, "sigmoid_routing_topk8"),
        (
            {"scoring_func": "sigmoid", "renormalize": False, "correction_bias": BIAS},
            "sigmoid_bias_routing_topk8_ng1_kg1",
        ),
        (
            {"scoring_func": "sqrtsoftplus", "correction_bias": BIAS},
            "sqrtsoftplus_bias_renorm_routing_topk8",
        ),
        ({"correction_bias": BIAS}, "softmax_bias_renorm_routing_topk8"),
        ({"routed_scaling_factor": 2.5}, "softmax_renorm_routing_topk8"),
        ({"routed_scaling_factor": 2.5, "renormalize": False}, "softmax_routing_topk8"),
        (
            {"custom_routing_function": Named("a.gemma4_causal.routing_function")},
            "softmax_renorm_expert_scale_routing_topk8",
        ),
        (
            {
                "custom_routing_function": Named("b.AfmoeMoE._custom_routing_function"),
                "routed_scaling_factor": 2.0,
            },
            "ds_routing_topk8_ng1_kg1",
        ),
        (
            {
                "custom_routing_function": Named("c.cohere2_moe.cohere2_sigmoid_topk"),
                "renormalize": False,
            },
            "sigmoid_routing_topk8",
        ),
        (
            {
                "custom_routing_function": Named("d.moe.router.fused_moe_router_shim"),
                "renormalize": False,
            },
            "softcap_routing_topk8",
        ),
    ],
)
def test_routings_of_parts(trees: Any, router: dict[str, Any], routed: str) -> None:
    (kernel,) = found(trees.simple(64, 8, 256, 128, **router)).kernels
    assert kernel.name == f"moe_bf16_{routed}_e64_h256_i128"
    factor = router.get("routed_scaling_factor", 1.0)
    assert kernel.facts["routed_scaling_factor"].value == factor
    definition = fibcore_reference(kernel)
    assert definition is not None
    assert set(definition.const_axes) <= set(kernel.facts)


def test_what_holds_a_number_of_each_expert_is_claimed(trees: Any) -> None:
    routing = {"custom_routing_function": Named("a.gemma4_causal.routing_function")}
    block = trees.simple(64, 8, 256, 128, **routing)
    scale = ParameterRef(f"{block.path}.per_expert_scale", (64,), None)
    assert block.path not in found(block).claimed
    holding = attrs.evolve(block, attributes={"per_expert_scale": scale})
    assert block.path in found(holding).claimed
    # Its number is the router's, whether the experts have a definition or a name alone.
    other = attrs.evolve(NVFP4, activation=None, group_size=64)
    alone = {"experts": {"quantization": other}}
    named = trees.simple(64, 8, 256, 128, **routing, **alone)
    named = attrs.evolve(named, attributes={"per_expert_scale": scale})
    assert not_covered(found(named)).startswith("moe with modelopt_fp4")
    assert named.path in found(named).claimed


def test_sparse_mixer_chooses_two(trees: Any) -> None:
    mixer = {
        "renormalize": False,
        "custom_routing_function": Named("sglang.srt.models.phimoe.phimoe_routing_function"),
    }
    assert names(found(trees.simple(16, 2, 256, 128, **mixer))) == [
        "moe_bf16_sparsemixer_routing_topk2_e16_h256_i128"
    ]
    assert not_covered(found(trees.simple(16, 3, 256, 128, **mixer))).endswith("to 3 experts")


def test_each_group_has_its_experts(trees: Any) -> None:
    """Intern-S1-Pro: what holds the block has the number of groups."""
    own = Named("x.InternS1ProTextDecoderLayer._custom_routing_function")

    def layer(groups: Any, **router: Any) -> Any:
        inner = trees.simple(64, 8, 256, 128, custom_routing_function=own, **router)
        return module(
            "model.layers.3",
            "x.InternS1ProTextDecoderLayer",
            children=[inner],
            attributes={"router_n_groups": groups},
            leaf=False,
        )

    assert names(found(layer(4))) == [
        "moe_bf16_softmax_each_group_renorm_routing_topk8_ng4_kg4_e64_h256_i128"
    ]
    assert names(found(layer(4, renormalize=False))) == [
        "moe_bf16_softmax_each_group_routing_topk8_ng4_kg4_e64_h256_i128"
    ]
    assert names(found(layer(-1))) == ["moe_bf16_renorm_topk8_e64_h256_i128"]
    assert "top 8 cannot be divided over 3 groups" in problem(found(layer(3)))
    assert "router_n_groups is unknown" in problem(found(layer(Unknown("?"))))


@pytest.mark.parametrize(
    ("arguments", "computed"),
    [
        ({"activation": "gelu"}, "gelu"),
        ({"activation": "gelu_tanh"}, "gelu_tanh"),
        ({"activation": "relu2", "is_gated": False}, "relu2"),
        ({"is_gated": False}, "silu"),
        ({"activation": "gelu", "is_gated": False}, "gelu_alone"),
        ({"swiglu_limit": 10.0}, "swiglu_limit"),
        ({"gemm1_clamp_limit": 7.0}, "swiglu_step"),
        ({"gemm1_alpha": 1.702, "gemm1_clamp_limit": 7.0}, "swiglu_oai"),
        ({"activation": "situ", "gemm1_alpha": 4.0, "gemm1_clamp_limit": 25.0}, "situ"),
        ({"activation": "situ"}, "situ_unbounded"),
    ],
)
def test_what_experts_compute_between_their_products(
    trees: Any, arguments: dict[str, Any], computed: str
) -> None:
    (kernel,) = found(trees.simple(8, 2, 256, 128, experts=arguments)).kernels
    assert kernel.name == f"moe_bf16_{computed}_renorm_topk2_e8_h256_i128"
    numbers = {
        name: arguments[key]
        for key, name in (
            ("gemm1_alpha", "gemm1_alpha"),
            ("gemm1_clamp_limit", "gemm1_clamp_limit"),
            ("swiglu_limit", "gemm1_clamp_limit"),
        )
        if key in arguments
    }
    if computed == "situ_unbounded":
        numbers = {"gemm1_alpha": 4.0}
    assert {n: f.value for n, f in kernel.facts.items() if n in activations.INPUTS} == numbers
    rows = 256 if activations.BY_NAME[computed].gated else 128
    assert kernel.facts["gemm1_out_size"].value == rows
    definition = fibcore_reference(kernel)
    assert definition is not None
    assert definition.const_axes["gemm1_out_size"] == rows


def test_combinations_that_cannot_be_are_refused_with_their_numbers(trees: Any) -> None:
    fp8 = trees.simple(128, 8, 2048, 768, experts={"quantization": trees.FP8_BLOCK})
    assert "768 / 8 = 96 is no multiple of the fp8 block size 128" in problem(found(fp8, 8))
    assert names(found(fp8, 8, 8)) == ["moe_fp8_block_scale_renorm_topk8_e16_h2048_i768"]
    odd = trees.simple(6, 2, 4096, 14336)
    assert "6 experts cannot be divided over EP 4 (TP 4, EP 4)" in problem(found(odd, 4, 4))
    thin = trees.simple(8, 2, 4096, 1001)
    assert "intermediate size 1001 cannot be divided over 2 ranks" in problem(found(thin, 4, 2))
    wide = trees.simple(8, 2, 2880, 256, experts={"quantization": trees.FP8_BLOCK})
    assert "hidden size 2880 is no multiple" in problem(found(wide))
    assert "top 9 of 8 experts" in problem(found(trees.simple(8, 9, 256, 128)))
    grouped = trees.deepseek("0.5.9", fused=0)
    grouped = changed(grouped, "topk", num_expert_group=7)
    assert "256 experts cannot be divided into 7 groups" in problem(found(grouped))


@pytest.mark.parametrize(
    ("child", "name", "value", "words"),
    [
        ("experts", "num_experts", Unknown("no key num_experts"), "num_experts of FusedMoE"),
        ("experts", "intermediate_size", Alternatives((64, 128)), "one of 64, 128"),
        ("experts", "activation", Unknown("?"), "activation of FusedMoE is unknown"),
        ("experts", "with_bias", Unknown("?"), "with_bias of FusedMoE is unknown"),
        ("experts", "hidden_size", "wide", "hidden_size of FusedMoE is wide"),
        ("experts", "quant_method", Named("BeamMethod"), "BeamMethod decides how"),
        ("experts", "some_new_switch", True, "some_new_switch of FusedMoE is True, which this"),
        ("experts", "top_k", 3, "the experts are for top 3 and TopK chooses 2"),
        ("topk", "top_k", Unknown("?"), "top_k of TopK is unknown"),
        ("topk", "renormalize", Unknown("?"), "renormalize of TopK is unknown"),
        ("topk", "correction_bias", Unknown("?"), "correction_bias of TopK is unknown"),
        ("topk", "custom_routing_function", Unknown("?"), "custom_routing_function of TopK"),
        ("topk", "some_new_switch", "on", "some_new_switch of TopK is on, which this plugin"),
    ],
)
def test_what_is_not_known_is_a_problem(
    trees: Any, child: str, name: str, value: Any, words: str
) -> None:
    extraction = found(changed(trees.simple(8, 2, 256, 128), child, **{name: value}))
    assert words in problem(extraction)


def test_new_arguments_that_are_switched_off_are_no_problem(trees: Any) -> None:
    node = changed(trees.simple(8, 2, 256, 128), "experts", some_new_switch=None, another=False)
    assert names(found(node)) == ["moe_bf16_renorm_topk2_e8_h256_i128"]


def test_unknown_quantisation_is_a_problem(trees: Any) -> None:
    node = trees.simple(8, 2, 256, 128, experts={"quantization": Unknown("no weight_dtype")})
    assert "no weight_dtype" in problem(found(node))


def test_unsupported_beats_unknown(trees: Any) -> None:
    """Whatever the unknown value is, there is no definition."""
    node = changed(trees.simple(8, 2, 256, 128), "topk", correction_bias=Unknown("?"))
    node = changed(node, "experts", activation="relu")
    assert not_covered(found(node)) == "moe with relu activation"


def test_experts_that_a_router_of_the_model_serves_are_named(trees: Any) -> None:
    router = module("model.layers.3.mlp.router", "sglang.srt.models.zaya.ZayaRouter")
    block = trees.block(trees.experts(8, 256, 128), router)
    assert not_covered(found(block)) == "moe with the routing of ZayaRouter"


def test_a_gate_that_chooses_itself_is_the_routing_where_the_experts_are_told_so(
    trees: Any,
) -> None:
    gate = module("model.layers.3.mlp.gate", "sglang.srt.models.inkling_common.moe.InklingGate")
    told = Named("sglang.srt.layers.moe.utils.RoutingMethodType.TopK")
    block = trees.block(trees.experts(8, 256, 128, routing_method_type=told), gate)
    assert not_covered(found(block)) == "moe with the routing of InklingGate"
    # Without that word a gate gives logits, and who chooses is not known.
    assert "no TopK beside it" in problem(found(trees.block(trees.experts(8, 256, 128), gate)))


def test_experts_without_routing_beside_them_are_a_problem(trees: Any) -> None:
    assert "no TopK beside it" in problem(found(trees.block(trees.experts(8, 256, 128))))
    two = trees.block(
        trees.experts(8, 256, 128),
        trees.topk(2, path="model.layers.3.mlp.first"),
        trees.topk(2, path="model.layers.3.mlp.second"),
    )
    extraction = found(two)
    assert extraction.kernels == ()
    assert any("no TopK beside it" in p.reason for p in extraction.problems)


def mlp(path: str, hidden: int, inner: int, act: str = "SiluAndMul") -> ModuleNode:
    layers = "sglang.srt.layers"
    return module(
        path,
        "sglang.srt.models.deepseek.DeepseekMLP",
        children=[
            module(
                f"{path}.gate_up_proj",
                f"{layers}.linear.MergedColumnParallelLinear",
                {"input_size": hidden, "output_sizes": [inner, inner], "bias": False},
            ),
            module(
                f"{path}.down_proj",
                f"{layers}.linear.RowParallelLinear",
                {"input_size": inner, "output_size": hidden, "bias": False},
            ),
            module(f"{path}.act_fn", f"{layers}.activation.{act}", {}),
        ],
        leaf=False,
    )


def packed(trees: Any, *mlps: ModuleNode, **attributes: Any) -> ModuleNode:
    """`deepseek.py`, `xverse_moe.py`: a list of MLPs whose weights are packed."""
    path = "model.layers.3.mlp"
    container = module(f"{path}.experts", "torch.nn.ModuleList", children=mlps, leaf=False)
    made = {"w1": Unknown("packed"), "w2": Unknown("packed"), **attributes}
    return trees.block(trees.topk(6, renormalize=False), container, attributes=made)


def test_old_layers_with_packed_experts(trees: Any) -> None:
    mlps = [mlp(f"model.layers.3.mlp.experts.{i}", 2048, 1408) for i in range(8)]
    node = packed(trees, *mlps)
    extraction = found(node, 2)
    assert names(extraction) == ["moe_bf16_default_routing_topk6_e8_h2048_i704"]
    (kernel,) = extraction.kernels
    assert kernel.tags[:1] == ("tp:2",)
    assert not any(tag.startswith("ep:") for tag in kernel.tags)
    assert [use.path for use in kernel.uses] == ["model.layers.3.mlp"]
    assert "model.layers.3.mlp.experts.7.down_proj" in extraction.claimed
    assert names(found(node, 2, 2)) == names(extraction)
    assert "does not divide these experts" in found(node, 2, 2).kernels[0].notes[0]


def test_old_layers_that_differ_are_refused(trees: Any) -> None:
    path = "model.layers.3.mlp.experts"
    mixed = packed(trees, mlp(f"{path}.0", 2048, 1408), mlp(f"{path}.1", 2048, 704))
    assert "differ in size" in problem(found(mixed))
    gelu = packed(trees, *[mlp(f"{path}.{i}", 2048, 1408, "GeluAndMul") for i in range(8)])
    assert "GeluAndMul activation" in not_covered(found(gelu))
    quantised = mlp(f"{path}.0", 2048, 1408)
    inner = quantised.children["gate_up_proj"]
    inner = attrs.evolve(inner, quantization=trees.FP8_BLOCK)
    quantised = attrs.evolve(quantised, children={**quantised.children, "gate_up_proj": inner})
    assert "packs them itself" in not_covered(found(packed(trees, quantised)))


def test_old_layers_with_two_parameters(trees: Any) -> None:
    """`dbrx.py`: the parameters have a rank's sizes already."""
    path = "model.layers.3.mlp"
    attributes = {
        "ws": ParameterRef(f"{path}.ws", (16, 2 * 2688, 6144)),
        "w2s": ParameterRef(f"{path}.w2s", (16, 6144, 2688)),
        "top_k": 4,
    }
    node = trees.block(trees.topk(4), attributes=attributes)
    assert names(found(node, 4)) == ["moe_bf16_renorm_topk4_e16_h6144_i2688"]
    broken = {**attributes, "w2s": ParameterRef(f"{path}.w2s", (16, 6144, 2687))}
    assert "no experts beside it" in problem(found(trees.block(trees.topk(4), attributes=broken)))


def test_a_topk_alone_is_a_problem(trees: Any) -> None:
    assert "no experts beside it" in problem(found(trees.block(trees.topk(2))))


def test_fused_shared_experts_are_named_beside_what_has_no_definition(trees: Any) -> None:
    node = trees.experts(9, 256, 128)
    arguments = {**node.arguments, "num_fused_shared_experts": 1, "no_combine": True}
    (only,) = found(trees.block(attrs.evolve(node, arguments=arguments), trees.topk(3))).not_covered
    assert only.what == "moe with experts without the weighted sum"
    assert "SGLang fuses 1 shared expert(s) into this layer's kernel" in only.reason
