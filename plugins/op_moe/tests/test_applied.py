"""FlashInfer's fused kernel has the definitions' references in its place."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytest.importorskip("torch")
pytest.importorskip("flashinfer", reason="flashinfer-python is not installed")
pytest.importorskip("flashinfer.trace_apply")

import flashinfer
import torch
from flashinfer import trace_apply

import fibcore_op_moe as plugin
from fibcore.plugin import Definition
from fibcore.testing.applying import applied
from fibcore_op_moe.formats import BF16, FP8_BLOCK
from fibcore_op_moe.kernel import Moe
from fibcore_op_moe.routings import DS, RENORM

FP8, EXPERTS, SIZE, INTER = torch.float8_e4m3fn, 4, 128, 128
Make = Callable[..., Definition]


def test_both_ways_to_normalise_are_one_definition(definition_of: Make) -> None:
    made = definition_of(Moe(FP8_BLOCK, RENORM, 2, 0, 0, EXPERTS, EXPERTS, SIZE, INTER))
    x = torch.randn(3, SIZE).to(FP8)
    w1, w2 = (
        torch.randn(EXPERTS, 2 * INTER, SIZE).to(FP8),
        torch.randn(EXPERTS, SIZE, INTER).to(FP8),
    )
    logits = torch.randn(3, EXPERTS).bfloat16()
    best = logits.float().topk(2, -1)
    expected = torch.zeros(3, SIZE)
    for token in range(3):
        for weight, expert in zip(best.values[token].softmax(-1), best.indices[token], strict=True):
            up, gate = (w1[expert].float() @ x[token].float()).chunk(2)
            expected[token] += weight * (w2[expert].float() @ (up * gate * gate.sigmoid()))
    given = {
        "routing_logits": logits,
        "routing_bias": None,
        "hidden_states": x,
        "hidden_states_scale": torch.ones(1, 3),
        "gemm1_weights": w1,
        "gemm1_weights_scale": torch.ones(EXPERTS, 2, 1),
        "gemm2_weights": w2,
        "gemm2_weights_scale": torch.ones(EXPERTS, 1, 1),
        "num_experts": EXPERTS,
        "top_k": 2,
        "n_group": None,
        "topk_group": None,
        "intermediate_size": INTER,
        "local_expert_offset": 0,
        "local_num_experts": EXPERTS,
        "routed_scaling_factor": None,
    }
    with applied(trace_apply, plugin, made) as functions:
        assert len(functions) == 2
        for method in (1, 4):
            found = flashinfer.fused_moe.trtllm_fp8_block_scale_moe(
                **given, routing_method_type=method
            )
            torch.testing.assert_close(found, expected.bfloat16(), rtol=2e-2, atol=2)
        with pytest.raises(RuntimeError, match="called with routed_scaling_factor"):
            flashinfer.fused_moe.trtllm_fp8_block_scale_moe(
                **{**given, "routed_scaling_factor": 2.0}, routing_method_type=1
            )


def test_weights_that_are_shuffled_are_left_out(definition_of: Make) -> None:
    made = definition_of(Moe(BF16, DS, 2, 2, 1, EXPERTS, EXPERTS, SIZE, INTER))
    with pytest.raises(AssertionError, match="no solution"), applied(trace_apply, plugin, made):
        pass
