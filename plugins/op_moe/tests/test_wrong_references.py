"""Plausible mistakes in a reference, each of which the properties have to reject on any machine."""

from __future__ import annotations

from typing import Any

import pytest

from fibcore.testing.templates import Template
from fibcore.testing.wrong_references import (
    Mistake,
    assert_accepted,
    assert_rejected,
    parameters,
)

torch = pytest.importorskip("torch")

# What is wrong, what the right reference has, what the wrong one has in its place.
EXPERTS = {
    "gate and up are swapped": (
        "hidden = up * torch.nn.functional.silu(gate)",
        "hidden = gate * torch.nn.functional.silu(up)",
    ),
    "the activation is left out": ("torch.nn.functional.silu(gate)", "gate"),
    "the activation is gelu": (
        "torch.nn.functional.silu(gate)",
        "torch.nn.functional.gelu(gate)",
    ),
    "a neighbour's down projection": ("gemm2_weights[local],", "gemm2_weights[local - 1],"),
    "routing weights are left out": ("y if WEIGHT_ON_INPUT else y * weight", "y"),
    "a token's first weight serves for all its experts": (
        "weights[rows, slots].unsqueeze(1)",
        "weights[rows, 0].unsqueeze(1)",
    ),
    "one expert a token is forgotten": (
        "rows, slots = torch.nonzero(chosen == expert, as_tuple=True)",
        "rows, slots = torch.nonzero(chosen[:, 1:] == expert, as_tuple=True)",
    ),
}
DS = {
    "the bias is in the weights": (
        "weights = scores.gather(1, chosen)",
        "weights = (scores + routing_bias.to(torch.float32)).gather(1, chosen)",
    ),
    "the bias is ignored": ("scores + routing_bias.to(torch.float32)", "scores + 0.0"),
    "the weights are not normalised": (
        "weights / (weights.sum(dim=1, keepdim=True) + 1e-20)",
        "weights",
    ),
    "the weights are normalised over all experts": (
        "(weights.sum(dim=1, keepdim=True) + 1e-20)",
        "scores.sum(dim=1, keepdim=True)",
    ),
    "the scaling factor is missing": (" * float(routed_scaling_factor)", ""),
    "softmax instead of sigmoid": (
        "torch.sigmoid(routing_logits.to(torch.float32))",
        "torch.softmax(routing_logits.to(torch.float32), dim=1)",
    ),
}
GROUPS = {
    "groups are ignored": ("groups.masked_fill(dropped", "groups.masked_fill((dropped < 0)"),
    "groups are ranked by their best expert": (
        "groups.topk(min(2, groups.shape[2]), dim=2)",
        "groups.topk(1, dim=2)",
    ),
    "groups are ranked without bias": (
        "best = groups.topk",
        "best = scores.unflatten(1, (NUM_GROUPS, -1)).topk",
    ),
    "one group too many is kept": ("TOP_GROUPS), False)", "TOP_GROUPS + 1), False)"),
}
REMOTE = {
    "the offset of local experts is ignored": ("int(local_expert_offset)", "0"),
    "the offset is off by one": (
        "local = expert - first_local",
        "local = expert - first_local - 1",
    ),
    "experts of other ranks wrap around": (
        "            if not 0 <= local < NUM_LOCAL_EXPERTS:\n                continue\n",
        "            local %= NUM_LOCAL_EXPERTS\n",
    ),
}
BLOCKS = {
    "the first weight's scales are transposed": (
        "gemm1_weights_scale[local],",
        "gemm1_weights_scale[local].T.contiguous().view_as(gemm1_weights_scale[local]),",
    ),
    "the second weight's scales are transposed": (
        "gemm2_weights_scale[local],",
        "gemm2_weights_scale[local].T.contiguous().view_as(gemm2_weights_scale[local]),",
    ),
    "the activations' scales are transposed": (
        "hidden_states_scale[:, tokens].T.unsqueeze(2)",
        "hidden_states_scale[:, tokens].reshape(-1, HIDDEN_SIZE // BLOCK, 1)",
    ),
    "the gate has the up projection's scales": (
        "gate_scale = gemm1_scale[INTERMEDIATE_SIZE // BLOCK :]",
        "gate_scale = gemm1_scale",
    ),
    "the block index is off by one": (
        "blocks = slice(start // BLOCK, stop // BLOCK)",
        "blocks = torch.arange(start // BLOCK, stop // BLOCK).roll(1)",
    ),
    "the scales divide": ("blocks.mul_(", "blocks.div_("),
    "a neighbour's scales": ("gemm1_weights_scale[local],", "gemm1_weights_scale[local - 1],"),
}
RENORM = {
    "the weights are not normalised over the chosen": (
        "torch.softmax(logits.gather(1, chosen), dim=1)",
        "torch.softmax(logits, dim=1).gather(1, chosen)",
    ),
    "sigmoid instead of softmax": (
        "torch.softmax(logits.gather(1, chosen), dim=1)",
        "torch.sigmoid(logits.gather(1, chosen))",
    ),
    "the smallest logits are chosen": ("descending=True", "descending=False"),
}
DEFAULT = {
    "the weights are normalised over the chosen": (
        "torch.softmax(logits, dim=1).gather(1, chosen)",
        "torch.softmax(logits.gather(1, chosen), dim=1)",
    ),
}
LLAMA4 = {
    "the weight is on the output": ("WEIGHT_ON_INPUT = True", "WEIGHT_ON_INPUT = False"),
    "softmax instead of sigmoid": (
        "torch.sigmoid(logits.gather(1, chosen))",
        "torch.softmax(logits, dim=1).gather(1, chosen)",
    ),
}
TENSOR = {
    "gate and up are swapped": (
        "hidden = up * up_scale * torch.nn.functional.silu(gate * gate_scale)",
        "hidden = gate * up_scale * torch.nn.functional.silu(up * gate_scale)",
    ),
    "gate and up scales are swapped": (
        "up * up_scale * torch.nn.functional.silu(gate * gate_scale)",
        "up * gate_scale * torch.nn.functional.silu(gate * up_scale)",
    ),
    "the gate is activated unscaled": ("silu(gate * gate_scale)", "silu(gate) * gate_scale"),
    "the output scale is left out": ("return result * output_scale", "return result"),
    "a neighbour's scale": (
        "output2_scales_scalar[expert],",
        "output2_scales_scalar[expert - 1],",
    ),
}
KERNELS = {
    "fp8_ds_remote": EXPERTS | DS | GROUPS | REMOTE | BLOCKS,
    "fp8_ds": EXPERTS | DS | BLOCKS,
    "fp8_renorm": EXPERTS | RENORM,
    "fp8_default_remote": DEFAULT | REMOTE,
    "fp8_llama4": LLAMA4,
    "bf16_ds_remote": EXPERTS | DS | GROUPS | REMOTE,
    "bf16_renorm_remote": EXPERTS | RENORM | REMOTE,
    "bf16_default": EXPERTS | DEFAULT,
    "bf16_llama4": LLAMA4,
    "tensor_renorm": RENORM | TENSOR,
    "tensor_default": DEFAULT,
    "tensor_llama4": LLAMA4 | TENSOR,
}
# fp8_ds_remote has one block along intermediate_size.
HARMLESS = {
    ("fp8_ds_remote", "the block index is off by one"),
    ("fp8_ds_remote", "the second weight's scales are transposed"),
}
MISTAKES = {
    kernel: [
        Mistake.of(name, right, wrong)
        for name, (right, wrong) in mistakes.items()
        if (kernel, name) not in HARMLESS
    ]
    for kernel, mistakes in KERNELS.items()
}


@pytest.mark.parametrize(("kernel", "mistake"), parameters(MISTAKES))
def test_wrong_reference_is_rejected(
    definition_of: Any, small: Any, template: Template, kernel: str, mistake: Mistake
) -> None:
    assert_rejected(template, definition_of(small[kernel]), mistake)


@pytest.mark.parametrize("kernel", KERNELS)
def test_right_reference_is_accepted(
    definition_of: Any, small: Any, template: Template, kernel: str
) -> None:
    assert_accepted(template, definition_of(small[kernel]))
