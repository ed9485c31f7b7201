"""Costs of routed experts, counted by hand."""

from __future__ import annotations

from typing import Any

import attrs

from fibcore.plugin import Cost
from fibcore_op_moe import fibcore_cost


def test_one_token_reads_the_experts_that_it_chooses(definition_of: Any, small: Any) -> None:
    # 16 experts of 192 x 96, 4 a token.
    cost = fibcore_cost(definition_of(small["bf16_default"]), {"seq_len": 1}, {})
    expert = 2 * 3 * 192 * 96
    assert cost == Cost(4 * expert, "bfloat16", 4 * expert + 2 * 16 + 2 * 192, 2 * 192)


def test_no_more_experts_are_read_than_there_are(definition_of: Any, small: Any) -> None:
    cost = fibcore_cost(definition_of(small["bf16_default"]), {"seq_len": 100}, {})
    expert, rest = 2 * 3 * 192 * 96, 100 * (2 * 16 + 2 * 192)
    assert (cost.flops, cost.bytes_read) == (400 * expert, 16 * expert + rest)
    assert cost.assumes == "tokens spread evenly over the experts"
    # All tokens may choose the same four.
    assert cost.least == Cost(400 * expert, "bfloat16", 4 * expert + rest, 100 * 2 * 192)


def test_scales_of_blocks_are_read_with_their_experts(definition_of: Any, small: Any) -> None:
    # 16 experts of 256 x 128, 4 a token: 4 and 2 scales an expert, 2 a token.
    cost = fibcore_cost(definition_of(small["fp8_renorm"]), {"seq_len": 1}, {})
    expert = 3 * 256 * 128
    read = 4 * (expert + 4 * (4 + 2)) + 2 * 16 + 256 + 4 * 2
    assert cost == Cost(4 * 2 * expert, "float8_e4m3fn", read, 2 * 256)


def test_scales_of_tensors_are_read_with_their_experts(definition_of: Any, small: Any) -> None:
    # 8 experts of 192 x 96, one a token; the bias is not used.
    cost = fibcore_cost(definition_of(small["tensor_llama4"]), {"seq_len": 1}, {})
    expert = 3 * 192 * 96
    assert cost == Cost(2 * expert, "float8_e4m3fn", expert + 3 * 4 + 2 * 8 + 192, 2 * 192)


def test_experts_of_other_ranks_cost_nothing_here(definition_of: Any, small: Any) -> None:
    # 8 of 16 experts of 192 x 96 are here, 4 a token; logits are float32, and there is a bias.
    cost = fibcore_cost(definition_of(small["bf16_ds_remote"]), {"seq_len": 100}, {})
    expert, router = 2 * 3 * 192 * 96, 100 * 4 * 16 + 2 * 16
    assert cost.flops == 200 * expert
    assert cost.bytes_read == 8 * expert + 100 * 2 * 192 + router
    # All tokens may go elsewhere.
    assert cost.least == Cost(0, "bfloat16", router, 100 * 2 * 192)


def test_experts_of_others_are_not_guessed(definition_of: Any, small: Any) -> None:
    one = definition_of(small["bf16_default"])
    text = f"def run({', '.join(one.inputs)}):\n    pass\n"
    other = attrs.evolve(one, name="moe_of_another", reference=text)
    assert fibcore_cost(other, {"seq_len": 1}, {}) is None


def test_weights_of_four_bits_and_biases_are_read_with_their_experts(
    definition_of: Any, small: Any
) -> None:
    # 16 experts of 192 x 96, 4 a token: a byte for two weights and one for 32 of them.
    cost = fibcore_cost(definition_of(small["mxfp4_oai"]), {"seq_len": 1}, {})
    weights = 3 * 192 * 96
    expert = weights // 2 + weights // 32 + 4 * (2 * 96 + 192) + 2 * 4
    assert cost == Cost(4 * 2 * weights, "bfloat16", 4 * expert + 2 * 16 + 2 * 192, 2 * 192)


def test_weights_that_alone_have_four_bits_are_multiplied_as_bfloat16(
    definition_of: Any, small: Any
) -> None:
    # 16 experts of 192 x 96, 4 a token: a byte for two numbers and one for 16, two scales of each.
    cost = fibcore_cost(definition_of(small["w4a16_renorm"]), {"seq_len": 1}, {})
    weights = 3 * 192 * 96
    expert = weights // 2 + weights // 16 + 2 * 4
    assert cost == Cost(4 * 2 * weights, "bfloat16", 4 * expert + 2 * 16 + 2 * 192, 2 * 192)


def test_scales_of_activations_of_four_bits_are_read_with_their_tokens(
    definition_of: Any, small: Any
) -> None:
    # 16 experts of 192 x 96, 4 a token: a byte for two numbers and one for 16 of them.
    cost = fibcore_cost(definition_of(small["nvfp4_renorm"]), {"seq_len": 1}, {})
    weights = 3 * 192 * 96
    expert = weights // 2 + weights // 16 + 3 * 4
    read = 4 * expert + 2 * 16 + 192 // 2 + 192 // 16
    assert cost == Cost(4 * 2 * weights, "float4_e2m1", read, 2 * 192)
