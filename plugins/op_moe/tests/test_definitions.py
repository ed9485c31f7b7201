"""Names, axes, tensors, tags and variants of definitions."""

from __future__ import annotations

import ast
from typing import Any

import attrs
import pytest

from fibcore.plugin import Axis, Definition, FibcoreError, named_after
from fibcore_op_moe import fibcore_identify
from fibcore_op_moe.activations import SWIGLU_OAI
from fibcore_op_moe.assembling import select, swap_function
from fibcore_op_moe.formats import (
    BF16,
    FP8_BLOCK,
    FP8_TENSOR,
    MXFP4,
    NVFP4,
    W4A16_NVFP4,
    of_inputs,
)
from fibcore_op_moe.identity import kernel_of
from fibcore_op_moe.kernel import Moe
from fibcore_op_moe.routings import DEFAULT, DS, LLAMA4, RENORM

DEEPSEEK = Moe(FP8_BLOCK, DS, 8, 8, 4, 256, 32, 7168, 2048)
SHORT = {"bfloat16": "B", "float32": "F", "int32": "I", "float8_e4m3fn": "8", "int8": "4"}


def spelled(definition: Definition) -> list[str]:
    """Inputs as the dataset's description writes them."""
    return [
        f"{name}{'' if spec.shape is None else list(spec.shape)} {SHORT[spec.dtype]}".replace(
            "'", ""
        )
        for name, spec in definition.inputs.items()
    ]


def test_deepseek_v3_is_as_the_dataset_has_it(definition_of: Any) -> None:
    definition = definition_of(DEEPSEEK)
    assert definition.name == "moe_fp8_block_scale_ds_routing_topk8_ng8_kg4_e32_h7168_i2048"
    assert {n: a.value for n, a in definition.axes.items()} == {
        "seq_len": None,
        "num_experts": 256,
        "num_local_experts": 32,
        "hidden_size": 7168,
        "intermediate_size": 2048,
        "gemm1_out_size": 4096,
        "num_hidden_blocks": 56,
        "num_intermediate_blocks": 16,
        "num_gemm1_out_blocks": 32,
    }
    assert spelled(definition) == [
        "routing_logits[seq_len, num_experts] F",
        "routing_bias[num_experts] B",
        "hidden_states[seq_len, hidden_size] 8",
        "hidden_states_scale[num_hidden_blocks, seq_len] F",
        "gemm1_weights[num_local_experts, gemm1_out_size, hidden_size] 8",
        "gemm1_weights_scale[num_local_experts, num_gemm1_out_blocks, num_hidden_blocks] F",
        "gemm2_weights[num_local_experts, hidden_size, intermediate_size] 8",
        "gemm2_weights_scale[num_local_experts, num_hidden_blocks, num_intermediate_blocks] F",
        "local_expert_offset I",
        "routed_scaling_factor F",
    ]
    (output,) = definition.outputs.items()
    assert output[0] == "output"
    assert (output[1].shape, output[1].dtype) == (("seq_len", "hidden_size"), "bfloat16")


def test_all_experts_local(definition_of: Any) -> None:
    definition = definition_of(Moe(BF16, RENORM, 8, 0, 0, 128, 128, 2048, 768))
    assert definition.name == "moe_bf16_renorm_topk8_e128_h2048_i768"
    assert {n: a.value for n, a in definition.axes.items()} == {
        "seq_len": None,
        "num_local_experts": 128,
        "hidden_size": 2048,
        "intermediate_size": 768,
        "gemm1_out_size": 1536,
        "top_k": 8,
    }
    assert spelled(definition) == [
        "routing_logits[seq_len, num_local_experts] B",
        "hidden_states[seq_len, hidden_size] B",
        "gemm1_weights[num_local_experts, gemm1_out_size, hidden_size] B",
        "gemm2_weights[num_local_experts, hidden_size, intermediate_size] B",
    ]


def test_per_tensor(definition_of: Any) -> None:
    definition = definition_of(Moe(FP8_TENSOR, LLAMA4, 1, 0, 0, 16, 16, 5120, 8192))
    assert definition.name == "trtllm_fp8_per_tensor_scale_moe_topk1_e16_h5120_i8192"
    assert spelled(definition) == [
        "routing_logits[seq_len, num_local_experts] B",
        "hidden_states[seq_len, hidden_size] 8",
        "gemm1_weights[num_local_experts, gemm1_out_size, hidden_size] 8",
        "output1_scales_scalar[num_local_experts] F",
        "output1_scales_gate_scalar[num_local_experts] F",
        "gemm2_weights[num_local_experts, hidden_size, intermediate_size] 8",
        "output2_scales_scalar[num_local_experts] F",
        "routing_bias[num_local_experts] B",
    ]
    other = definition_of(Moe(FP8_TENSOR, RENORM, 2, 0, 0, 8, 8, 4096, 14336))
    assert "routing_bias" not in other.inputs


def test_gpt_oss(definition_of: Any) -> None:
    moe = Moe(MXFP4, RENORM, 4, 0, 0, 32, 32, 2880, 2880, SWIGLU_OAI, biased=True)
    definition = definition_of(moe)
    assert definition.name == "moe_mxfp4_swiglu_oai_bias_renorm_topk4_e32_h2880_i2880"
    assert {n: a.value for n, a in definition.axes.items()} == {
        "seq_len": None,
        "num_local_experts": 32,
        "hidden_size": 2880,
        "intermediate_size": 2880,
        "gemm1_out_size": 5760,
        "top_k": 4,
        "num_packed_hidden": 1440,
        "num_packed_intermediate": 1440,
        "num_fp4_hidden_blocks": 90,
        "num_fp4_intermediate_blocks": 90,
    }
    assert spelled(definition) == [
        "routing_logits[seq_len, num_local_experts] B",
        "hidden_states[seq_len, hidden_size] B",
        "gemm1_weights[num_local_experts, gemm1_out_size, num_packed_hidden] 4",
        "gemm1_weights_scale[num_local_experts, gemm1_out_size, num_fp4_hidden_blocks] 4",
        "gemm1_bias[num_local_experts, gemm1_out_size] F",
        "gemm1_alpha[num_local_experts] F",
        "gemm1_clamp_limit[num_local_experts] F",
        "gemm2_weights[num_local_experts, hidden_size, num_packed_intermediate] 4",
        "gemm2_weights_scale[num_local_experts, hidden_size, num_fp4_intermediate_blocks] 4",
        "gemm2_bias[num_local_experts, hidden_size] F",
    ]
    plain = definition_of(Moe(MXFP4, RENORM, 4, 0, 0, 32, 32, 2880, 2880))
    assert plain.name == "moe_mxfp4_renorm_topk4_e32_h2880_i2880"


FOUR_BITS = (NVFP4, W4A16_NVFP4)


def test_kimi_in_four_bits(definition_of: Any) -> None:
    definition = definition_of(Moe(NVFP4, DS, 8, 1, 1, 384, 48, 7168, 2048))
    assert definition.name == "moe_nvfp4_ds_routing_topk8_ng1_kg1_e48_h7168_i2048"
    assert definition.axes["num_fp4_hidden_blocks"].value == 448
    assert definition.axes["num_packed_intermediate"].value == 1024
    assert spelled(definition) == [
        "routing_logits[seq_len, num_experts] F",
        "routing_bias[num_experts] B",
        "hidden_states[seq_len, num_packed_hidden] 4",
        "hidden_states_scale[seq_len, num_fp4_hidden_blocks] 8",
        "gemm1_weights[num_local_experts, gemm1_out_size, num_packed_hidden] 4",
        "gemm1_weights_scale[num_local_experts, gemm1_out_size, num_fp4_hidden_blocks] 8",
        "gemm2_weights[num_local_experts, hidden_size, num_packed_intermediate] 4",
        "gemm2_weights_scale[num_local_experts, hidden_size, num_fp4_intermediate_blocks] 8",
        "output1_scale_scalar[num_local_experts] F",
        "output1_scale_gate_scalar[num_local_experts] F",
        "output2_scale_scalar[num_local_experts] F",
        "local_expert_offset I",
        "routed_scaling_factor F",
    ]


def test_weights_that_alone_are_quantised(definition_of: Any) -> None:
    both, alone = (definition_of(Moe(w, RENORM, 8, 0, 0, 256, 256, 2048, 64)) for w in FOUR_BITS)
    assert alone.name == "moe_w4a16_nvfp4_renorm_topk8_e256_h2048_i64"
    assert spelled(alone) == [
        "routing_logits[seq_len, num_local_experts] B",
        "hidden_states[seq_len, hidden_size] B",
        "gemm1_weights[num_local_experts, gemm1_out_size, num_packed_hidden] 4",
        "gemm1_weights_scale[num_local_experts, gemm1_out_size, num_fp4_hidden_blocks] 8",
        "gemm2_weights[num_local_experts, hidden_size, num_packed_intermediate] 4",
        "gemm2_weights_scale[num_local_experts, hidden_size, num_fp4_intermediate_blocks] 8",
        "output1_scale_gate_scalar[num_local_experts] F",
        "output2_scale_scalar[num_local_experts] F",
    ]
    assert alone.const_axes == both.const_axes
    for made, weights in zip((both, alone), FOUR_BITS, strict=True):
        assert of_inputs(made.inputs) is weights


@pytest.mark.parametrize(
    ("moe", "name"),
    [
        (
            Moe(FP8_BLOCK, RENORM, 8, 0, 0, 128, 16, 2048, 768),
            "moe_fp8_block_scale_renorm_topk8_e16_h2048_i768",
        ),
        (
            Moe(BF16, DEFAULT, 6, 0, 0, 64, 64, 2048, 1408),
            "moe_bf16_default_routing_topk6_e64_h2048_i1408",
        ),
        (
            Moe(BF16, LLAMA4, 1, 0, 0, 16, 16, 5120, 1024),
            "moe_bf16_llama4_routing_topk1_e16_h5120_i1024",
        ),
        (
            Moe(FP8_BLOCK, DS, 8, 1, 1, 384, 384, 7168, 256),
            "moe_fp8_block_scale_ds_routing_topk8_ng1_kg1_e384_h7168_i256",
        ),
    ],
)
def test_names(moe: Moe, name: str) -> None:
    assert moe.name == name
    assert Moe.from_parameters(moe.parameters()) == moe


def test_references_are_plain(definition_of: Any, small: Any) -> None:
    for moe in small.values():
        reference = definition_of(moe).reference
        assert "# only:" not in reference
        assert "# except:" not in reference
        ast.parse(reference)
        assert reference == reference.rstrip() + "\n"
        assert ("float(routed_scaling_factor)" in reference) == moe.routing.scaled
        assert ("local_expert_offset" in reference) == moe.remote_experts


def test_variants_tell_routings_apart(definition_of: Any, small: Any) -> None:
    same: dict[Any, set[str]] = {}
    for moe in small.values():
        definition = definition_of(moe)
        variant = fibcore_identify(definition).variant
        assert variant
        same.setdefault(definition.structure(), set()).add(variant)
    sizes = (8, 8, 4096, 1024)
    pair = [definition_of(Moe(BF16, kind, 2, 0, 0, *sizes)) for kind in (RENORM, DEFAULT)]
    assert pair[0].structure() == pair[1].structure()
    assert fibcore_identify(pair[0]).variant != fibcore_identify(pair[1]).variant
    groups = [definition_of(Moe(BF16, DS, 2, *g, *sizes)) for g in ((4, 2), (4, 3), (1, 1))]
    assert len({fibcore_identify(d).variant for d in groups}) == 3
    assert len({d.structure() for d in groups}) == 1
    tensor = [definition_of(Moe(FP8_TENSOR, kind, 2, 0, 0, *sizes)) for kind in (RENORM, DEFAULT)]
    assert tensor[0].name == tensor[1].name
    assert fibcore_identify(tensor[0]).variant != fibcore_identify(tensor[1]).variant


def foreign(definition: Definition, name: str) -> Definition:
    """The same tensors under another name, with a reference that says nothing."""
    parameters = ", ".join(definition.inputs)
    reference = f"def run({parameters}):\n    raise NotImplementedError\n"
    return attrs.evolve(definition, name=name, reference=reference)


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        ("moe_bf16_renorm_topk2_e8_h4096_i1024", "renorm:topk2"),
        ("moe_bf16_renorm_topk2_e8_h4096_i1024_v2", "renorm:topk2"),
        ("moe_bf16_renormalize_naive_routing_topk2_e8", "renorm:topk2"),
        ("moe_bf16_default_routing_topk2_e8_h4096_i1024", "default_routing:topk2"),
    ],
)
def test_foreign_names_tell_the_routing(definition_of: Any, name: str, variant: str) -> None:
    definition = definition_of(Moe(BF16, RENORM, 2, 0, 0, 8, 8, 4096, 1024))
    assert fibcore_identify(foreign(definition, name)).variant == variant


def test_deepseek_by_others_is_the_same_kernel(definition_of: Any) -> None:
    mine = definition_of(DEEPSEEK)
    theirs = foreign(mine, mine.name)
    assert (
        fibcore_identify(theirs).variant
        == fibcore_identify(mine).variant
        == "ds_routing:topk8:ng8:kg4"
    )


@pytest.mark.parametrize("kernel", ["bf16_renorm_remote", "bf16_llama4", "fp8_ds"])
def test_a_definition_that_does_not_tell_equals_no_other(
    definition_of: Any, small: Any, kernel: str
) -> None:
    definition = definition_of(small[kernel])
    names = ("my_moe", "their_moe", "moe_bf16_llama4_routing_topk1_e8_h192_i96")
    found = {fibcore_identify(foreign(definition, name)).variant for name in names}
    assert len(found) == 3
    assert fibcore_identify(definition).variant not in found


def test_kernels_of_other_forms_are_not_recognised(definition_of: Any) -> None:
    definition = definition_of(DEEPSEEK)
    without = {n: s for n, s in definition.inputs.items() if n != "gemm1_weights"}
    other = foreign(
        attrs.evolve(
            definition, inputs=without, reference="def run(" + ", ".join(without) + "):\n    pass\n"
        ),
        "moe_fp4_block_scale_ds_routing_topk8_ng8_kg4",
    )
    assert kernel_of(other) is None
    axes = {n: a for n, a in definition.axes.items() if n != "seq_len"} | {"seq_len": Axis("var")}
    assert kernel_of(attrs.evolve(definition, axes=axes)) == DEEPSEEK


def test_unknown_marks_and_functions_are_errors() -> None:
    with pytest.raises(FibcoreError, match="unknown mark"):
        select("x = 1  # only: some_day\n", ())
    with pytest.raises(FibcoreError, match="one top-level function"):
        swap_function("x = 1\n", "route", "def route():\n    pass\n")


def test_named_after_renames_all_of_an_entry() -> None:
    text = "MY_TOP_K = 1\n\n\ndef my_help():\n    return MY_TOP_K\n\n\ndef my():\n    my_help()\n"
    text = named_after(text, "my", "a", {"TOP_K": 8})
    assert text == (
        "MY_A_TOP_K = 8\n\n\ndef my_a_help():\n    return MY_A_TOP_K\n\n\n"
        "def my_a():\n    my_a_help()\n"
    )
