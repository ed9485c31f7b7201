"""Plausible mistakes in a reference, each of which the properties have to reject on any machine."""

from __future__ import annotations

from typing import Any

import pytest

from fibcore.testing.harness import harness
from fibcore.testing.shares import a_share
from fibcore.testing.templates import Template, load_run
from fibcore.testing.wrong_references import (
    Mistake,
    assert_accepted,
    assert_rejected,
    assert_wrong_ones_rejected,
    parameters,
)
from fibcore_op_moe import fibcore_implementations
from fibcore_op_moe.routings import BY_NAME, SCORED, Routing

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
    "a neighbour's down projection": (
        "gemm2_weights[first:last],",
        "gemm2_weights[first - 1 : last - 1 or None],",
    ),
    "routing weights are left out": (", per_sample_weights=weights", ""),
    "a token's first weight serves for all its experts": (
        "per_sample_weights=weights",
        "per_sample_weights=weights[:, :1].repeat(1, TOP_K)",
    ),
    "one expert a token is forgotten": (
        "bags, y,",
        "bags[:, 1:], y,",
        "per_sample_weights=weights",
        "per_sample_weights=weights[:, 1:].contiguous()",
    ),
    "a neighbour's output": ("bags, y,", "bags.roll(1, 1), y,"),
}
# An expert of this rank that is left out, wherever it is, and pairs that are.
EVERY = {
    "the first expert is left out": (
        "for expert in range(NUM_LOCAL_EXPERTS)",
        "for expert in range(1, NUM_LOCAL_EXPERTS)",
    ),
    "the last expert is left out": (
        "for expert in range(NUM_LOCAL_EXPERTS)",
        "for expert in range(NUM_LOCAL_EXPERTS - 1)",
    ),
    "the second expert is left out": (
        "if counts[expert] == 0:",
        "if counts[expert] == 0 or expert == 1:",
    ),
    "an expert in the middle is left out": (
        "if counts[expert] == 0:",
        "if counts[expert] == 0 or expert == NUM_LOCAL_EXPERTS // 2:",
    ),
    "an expert with one token is left out": ("if counts[expert] == 0:", "if counts[expert] <= 1:"),
    "the expert has its neighbour's tokens": (
        "hidden[order[pairs] // TOP_K]",
        "hidden[order[pairs].roll(1) // TOP_K]",
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
        "local = chosen - first_local",
        "local = chosen - first_local - 1",
    ),
    "experts of other ranks wrap around": (
        "local.masked_fill(~here, NUM_LOCAL_EXPERTS)",
        "local % NUM_LOCAL_EXPERTS",
    ),
    "the first expert is taken for another rank's": ("(local >= 0)", "(local > 0)"),
    "the first two experts are taken for another rank's": ("(local >= 0)", "(local > 1)"),
    "the last expert is taken for another rank's": (
        "(local < NUM_LOCAL_EXPERTS)",
        "(local < NUM_LOCAL_EXPERTS - 1)",
    ),
    "experts of other ranks are this rank's last": (
        "masked_fill(~here, NUM_LOCAL_EXPERTS)",
        "clamp(0, NUM_LOCAL_EXPERTS - 1)",
    ),
}
BLOCKS = {
    "the first weight's scales are transposed": (
        "gemm1_weights_scale[first:last],",
        "gemm1_weights_scale[first:last].mT.reshape(last - first, -1, HIDDEN_SIZE // BLOCK),",
    ),
    "the second weight's scales are transposed": (
        "gemm2_weights_scale[first:last],",
        "gemm2_weights_scale[first:last].mT.reshape(last - first, HIDDEN_SIZE // BLOCK, -1),",
    ),
    "the activations' scales are transposed": (
        "hidden_states_scale[:, tokens].T.unsqueeze(2)",
        "hidden_states_scale[:, tokens].reshape(-1, HIDDEN_SIZE // BLOCK, 1)",
    ),
    "the gate has the up projection's scales": ("gate_scale[:, blocks]", "up_scale[:, blocks]"),
    "the block index is off by one": (
        "blocks = slice(start // BLOCK, stop // BLOCK)",
        "blocks = torch.arange(start // BLOCK, stop // BLOCK).roll(1)",
    ),
    "the scales divide": ("blocks.mul_(", "blocks.div_("),
    "a neighbour's scales": (
        "gemm1_weights_scale[first:last],",
        "gemm1_weights_scale[first - 1 : last - 1 or None],",
    ),
}
PACKED = {
    "the numbers of a byte are swapped": (
        "(one.repeat(16), one.repeat_interleave(16))",
        "(one.repeat_interleave(16), one.repeat(16))",
    ),
    "the numbers have no sign": (
        "-0.0, -0.5, -1, -1.5, -2, -3, -4, -6)",
        "0, 0.5, 1, 1.5, 2, 3, 4, 6)",
    ),
    "the exponent is off by one": ("(bits << 7)", "((bits + 1) << 7)"),
    "the smallest exponent is zero": (".clamp(min=64)", ""),
    "a scale of NaN is infinite": (" + ((bits == 255).to(torch.int16) << 6)", ""),
    "scales have a sign": ("scales.view(torch.uint8).to", "scales.to"),
    "the first weight has the scales of the group before": (
        "gemm1_weights_scale[first:last],",
        "gemm1_weights_scale[first:last].roll(1, 2),",
    ),
    "the second weight has the scales of the group before": (
        "gemm2_weights_scale[first:last],",
        "gemm2_weights_scale[first:last].roll(1, 2),",
    ),
    "the first weight has a neighbour's scales": (
        "gemm1_weights_scale[first:last],",
        "gemm1_weights_scale[first - 1 : last - 1 or None],",
    ),
    "the second weight has a neighbour's scales": (
        "gemm2_weights_scale[first:last],",
        "gemm2_weights_scale[first - 1 : last - 1 or None],",
    ),
    "the gate has the up projection's scales": (
        "gate_scale[:, start:stop]",
        "up_scale[:, start:stop]",
    ),
}
OAI = {
    "gate and up are swapped": (
        "up, gate = torch.clamp(up, -limit, limit), torch.clamp(gate, max=limit)",
        "gate, up = torch.clamp(up, max=limit), torch.clamp(gate, -limit, limit)",
    ),
    "up is clamped on one side": ("torch.clamp(up, -limit, limit)", "torch.clamp(up, max=limit)"),
    "gate is clamped on both sides": (
        "torch.clamp(gate, max=limit)",
        "torch.clamp(gate, -limit, limit)",
    ),
    "up is not clamped": ("torch.clamp(up, -limit, limit)", "up"),
    "gate is not clamped": ("torch.clamp(gate, max=limit)", "gate"),
    "one is not added to up": ("(up + 1) * gate", "up * gate"),
    "the gate has no alpha": ("torch.sigmoid(alpha * gate)", "torch.sigmoid(gate)"),
    "a neighbour's alpha": (
        "gemm1_alpha[first:last, None, None],",
        "gemm1_alpha.roll(1)[first:last, None, None],",
    ),
    "a neighbour's limit": (
        "gemm1_clamp_limit[first:last, None, None],",
        "gemm1_clamp_limit.roll(1)[first:last, None, None],",
    ),
    "silu instead of the sigmoid with alpha": ("torch.sigmoid(alpha * gate)", "alpha"),
    "clamped before the biases": (
        "        up += up_bias[:, :, start:stop]\n",
        "        up = torch.clamp(up, -limit, limit) + up_bias[:, :, start:stop]\n",
        "torch.clamp(up, -limit, limit), torch.clamp(gate, max=limit)\n",
        "up, torch.clamp(gate, max=limit)\n",
    ),
}
NVFP4 = {
    "the activations have the scales of the group before": (
        "hidden_states_scale[None, tokens]",
        "hidden_states_scale[None, tokens].view(torch.uint8).roll(1, 2).view(torch.float8_e4m3fn)",
    ),
    "the numbers of a byte are swapped": (
        "(one.repeat(16), one.repeat_interleave(16))",
        "(one.repeat_interleave(16), one.repeat(16))",
    ),
    "the first weight has a neighbour's scales": (
        "gemm1_weights_scale[first:last],",
        "gemm1_weights_scale[first - 1 : last - 1 or None],",
    ),
    "the second weight has a neighbour's scales": (
        "gemm2_weights_scale[first:last],",
        "gemm2_weights_scale[first - 1 : last - 1 or None],",
    ),
    "the gate has the up projection's scales": (
        "gate_scale[:, start:stop]",
        "up_scale[:, start:stop]",
    ),
    "the scale of the intermediate activations is left out": (
        "        hidden *= up_scalar / gate_scalar\n",
        "",
    ),
    "the gate is not scaled": (
        "up, gate = up * gate_scalar, gate * gate_scalar",
        "up = up * gate_scalar",
    ),
    "the up is scaled for the second product before its time": (
        "up, gate = up * gate_scalar, gate * gate_scalar",
        "up, gate = up * gate_scalar * gate_scalar, gate * gate_scalar",
    ),
    "the output scale is left out": ("return result * output_scalar", "return result"),
    "a neighbour's scale of the first product": (
        "output1_scale_gate_scalar[first:last, None, None],",
        "output1_scale_gate_scalar.roll(1)[first:last, None, None],",
    ),
    "a neighbour's output scale": (
        "output2_scale_scalar[first:last, None, None],",
        "output2_scale_scalar.roll(1)[first:last, None, None],",
    ),
}
# Where weights alone are quantised nothing is scaled between the products.
W4A16 = {
    name: texts
    for name, texts in NVFP4.items()
    if "activations" not in name and "before its time" not in name
}
BIASED = {
    "up has no bias": ("        up += up_bias[:, :, start:stop]\n", ""),
    "the gate has no bias": ("        gate += gate_bias[:, :, start:stop]\n", ""),
    "the biases of gate and up are swapped": (
        "up_bias, gate_bias = gemm1_bias",
        "gate_bias, up_bias = gemm1_bias",
    ),
    "the second product has no bias": (
        "gemm2_bias.unsqueeze(1).repeat(1, x.shape[1], 1)",
        "x.new_zeros(x.shape, dtype=torch.float32)",
    ),
    "a neighbour's first bias": (
        "gemm1_bias[first:last],",
        "gemm1_bias[first - 1 : last - 1 or None],",
    ),
    "a neighbour's second bias": (
        "gemm2_bias[first:last],",
        "gemm2_bias[first - 1 : last - 1 or None],",
    ),
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
    "the weight is on the output": (
        "rows = rows * weights.flatten()[order[pairs], None]",
        "rows = rows.to(torch.float32)",
        'mode="sum"',
        'mode="sum", per_sample_weights=weights',
    ),
    "the weight is on input and output": (
        'mode="sum"',
        'mode="sum", per_sample_weights=weights',
    ),
    "another pair's weight": ("weights.flatten()[order[pairs]", "weights.flatten()[pairs"),
    "softmax instead of sigmoid": (
        "torch.sigmoid(logits.gather(1, chosen))",
        "torch.softmax(logits, dim=1).gather(1, chosen)",
    ),
}
TENSOR = {
    "gate and up scales are swapped": (
        "up, gate = up * gate_scalar, gate * gate_scalar",
        "up, gate = up * up_scalar, gate * up_scalar",
        "hidden *= up_scalar / gate_scalar",
        "hidden *= gate_scalar / up_scalar",
    ),
    "the gate is activated unscaled": (
        "up, gate = up * gate_scalar, gate * gate_scalar",
        "up = up * gate_scalar * gate_scalar",
    ),
    "the scale of the intermediate activations is left out": (
        "        hidden *= up_scalar / gate_scalar\n",
        "",
    ),
    "the output scale is left out": ("return result * output_scalar", "return result"),
    "a neighbour's scale": (
        "output2_scales_scalar[first:last, None, None],",
        "output2_scales_scalar[first - 1 : last - 1 or None, None, None],",
    ),
}
CHANNEL = {
    "the gate has the up projection's scales": ("gate *= gate_scale[", "gate *= up_scale["),
    "tokens have no scale": (
        "up *= up_scale[:, :, start:stop] * x_scale",
        "up *= up_scale[:, :, start:stop]",
    ),
    "the second product is not scaled": ("return result * gemm2_scale", "return result"),
    "another pair's scale": (
        "hidden_states_scale[tokens][order[pairs] // TOP_K]",
        "hidden_states_scale[tokens][order[pairs] // TOP_K].roll(1)",
    ),
    "the first weight has a neighbour's scales": (
        "gemm1_weights_scale[first:last, None],",
        "gemm1_weights_scale.roll(1, 0)[first:last, None],",
    ),
    "the second weight has a neighbour's scales": (
        "gemm2_weights_scale[first:last, None],",
        "gemm2_weights_scale.roll(1, 0)[first:last, None],",
    ),
    "the scales of the channel before": (
        "gemm1_weights_scale[first:last, None],",
        "gemm1_weights_scale.roll(1, 1)[first:last, None],",
    ),
}
INT4 = {
    "the numbers have no sign": (
        "(0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1)",
        "(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)",
    ),
    "the numbers lie eight too high": (
        "(0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1)",
        "(-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7)",
    ),
    "the numbers of a byte are swapped": (
        "(one.repeat(16), one.repeat_interleave(16))",
        "(one.repeat_interleave(16), one.repeat(16))",
    ),
    "the first weight has the scales of the group before": (
        "gemm1_weights_scale[first:last],",
        "gemm1_weights_scale[first:last].roll(1, 2),",
    ),
    "the gate has the up projection's scales": (
        "gate_scale[:, start:stop]",
        "up_scale[:, start:stop]",
    ),
}
# By the name of what experts compute between their products.
ACTIVATED = {
    "bf16_oai": {
        "gate and up are swapped": ("swiglu_oai(up, gate, alpha", "swiglu_oai(gate, up, alpha"),
        "up is clamped on one side": (
            "torch.clamp(up, -limit, limit)",
            "torch.clamp(up, max=limit)",
        ),
        "one is not added to up": ("(up + 1) * gate", "up * gate"),
        "up has no bias": ("        up += up_bias[:, :, start:stop]\n", ""),
        "the second product has no bias": (
            "gemm2_bias.unsqueeze(1).repeat(1, x.shape[1], 1)",
            "x.new_zeros(x.shape, dtype=torch.float32)",
        ),
    },
    "bf16_gelu": {
        "silu": ("functional.gelu(gate)", "functional.silu(gate)"),
        "gate and up are swapped": ("= gelu(up, gate)", "= gelu(gate, up)"),
    },
    "bf16_gelu_tanh": {
        "silu": ('functional.gelu(gate, approximate="tanh")', "functional.silu(gate)"),
        "gate and up are swapped": ("= gelu_tanh(up, gate)", "= gelu_tanh(gate, up)"),
    },
    "bf16_relu2": {
        "not squared": ("torch.relu(up).square()", "torch.relu(up)"),
        "the square of all": ("torch.relu(up).square()", "up.square()"),
        "silu": ("torch.relu(up).square()", "torch.nn.functional.silu(up)"),
    },
    "bf16_silu": {"relu": ("torch.nn.functional.silu(up)", "torch.relu(up)")},
    "fp8_limit": {
        "up is clamped on one side": (
            "torch.clamp(up, -limit, limit)",
            "torch.clamp(up, max=limit)",
        ),
        "the gate is clamped on both sides": (
            "torch.clamp(gate, max=limit)",
            "torch.clamp(gate, -limit, limit)",
        ),
        "the gate is not clamped": ("torch.clamp(gate, max=limit)", "gate"),
        "clamped after silu": (
            "up * torch.nn.functional.silu(gate)",
            "up * torch.clamp(torch.nn.functional.silu(gate), max=limit)",
            "torch.clamp(gate, max=limit)",
            "gate",
        ),
        "a neighbour's limit": (
            "gemm1_clamp_limit[first:last, None, None],",
            "gemm1_clamp_limit.roll(1)[first:last, None, None],",
        ),
    },
    "fp8_relu2": {"the square of all": ("torch.relu(up).square()", "up.square()")},
    "bf16_step": {
        "clamped before silu": (
            "torch.clamp(torch.nn.functional.silu(gate), max=limit)",
            "torch.nn.functional.silu(torch.clamp(gate, max=limit))",
        ),
        "up is not clamped": ("torch.clamp(up, -limit, limit) * activated", "up * activated"),
    },
    "mxfp4_situ": {
        "up is not bounded": ("limit * torch.tanh(up / limit)", "up"),
        "the gate is not bounded": ("alpha * torch.tanh(gate / alpha)", "gate"),
        "alpha and limit are swapped": ("gate, alpha, limit)\n", "gate, limit, alpha)\n"),
        "gate and up are swapped": ("situ(up, gate, alpha", "situ(gate, up, alpha"),
    },
    "tensor_situ": {"the gate is not bounded": ("alpha * torch.tanh(gate / alpha)", "gate")},
    "tensor_relu2": {
        "activated unscaled": (
            "        up = up * gate_scalar\n        hidden = relu2(up)\n",
            "        hidden = relu2(up) * gate_scalar\n",
        )
    },
    "nvfp4_relu2": {
        "activated unscaled": (
            "        up = up * gate_scalar\n        hidden = relu2(up)\n",
            "        hidden = relu2(up) * gate_scalar\n",
        )
    },
    "w4a16_relu2": {
        "activated unscaled": (
            "        up = up * gate_scalar\n        hidden = relu2(up)\n",
            "        hidden = relu2(up) * gate_scalar\n",
        )
    },
    "w4a16_oai": {
        "clamped before it is scaled": (
            "gate_scalar, gate * gate_scalar\n",
            "gate_scalar, torch.clamp(gate, max=limit) * gate_scalar\n",
        )
    },
    "channel_gelu_alone": {
        "silu": ("torch.nn.functional.gelu(up)", "torch.nn.functional.silu(up)")
    },
    "mxint4_limit": {"the gate is not clamped": ("torch.clamp(gate, max=limit)", "gate")},
}
WEIGHTS = {
    "the weights are not scaled": (" * float(routed_scaling_factor)", ""),
    "the smallest are chosen": (
        "first_of_largest(ranked, TOP_K)",
        "first_of_largest(-ranked, TOP_K)",
    ),
}
NORMALISED = {
    "the weights are not normalised": (
        "    weights = weights / (weights.sum(dim=1, keepdim=True) + 1e-20)\n",
        "",
    ),
}
NOT_NORMALISED = {
    "the weights are normalised": (
        "weights = scores.gather(1, chosen)\n",
        "weights = scores.gather(1, chosen)\n    weights /= weights.sum(1, keepdim=True)\n",
    ),
}
OF_BIAS = {
    "the bias is in the weights": ("scores.gather(1, chosen)", "ranked.gather(1, chosen)"),
    "the bias is ignored": ("scores + routing_bias.to(torch.float32)", "scores + 0.0"),
}
KEPT_GROUPS = {
    "groups are ignored": ("groups.masked_fill(dropped", "groups.masked_fill((dropped < 0)"),
    "one group too many is kept": ("TOP_GROUPS), False)", "TOP_GROUPS + 1), False)"),
}
BEST_GROUPS = {
    "groups are ranked by their two best": (
        "groups.amax(dim=2)",
        "groups.topk(2, dim=2).values.sum(dim=2)",
    ),
}
EACH_GROUP = {
    "the best of all groups": (
        "chosen = (of_each + first[:, None]).flatten(1)",
        "chosen = first_of_largest(ranked, TOP_K)",
    ),
    "all of the first group": ("of_each + first[:, None]", "of_each"),
}
HASH = {
    "the best logits choose": (
        "tid2eid[input_ids].to(torch.int64)",
        "logits.topk(TOP_K).indices",
    ),
    "the table of the token before": ("tid2eid[input_ids]", "tid2eid[input_ids - 1]"),
    "experts of other tokens": ("tid2eid[input_ids]", "tid2eid[input_ids.flip(0)]"),
}
OTHER_SCORES = {
    "softmax": {
        "a sigmoid": ("torch.softmax(logits, dim=1)", "torch.sigmoid(logits)"),
        "the logits": ("torch.softmax(logits, dim=1)", "logits"),
    },
    "sigmoid": {
        "a softmax": ("torch.sigmoid(logits)", "torch.softmax(logits, dim=1)"),
        "the root of the softplus": (
            "torch.sigmoid(logits)",
            "torch.nn.functional.softplus(logits).sqrt()",
        ),
    },
    "sqrtsoftplus": {
        "no root": ("softplus(logits).sqrt()", "softplus(logits)"),
        "a sigmoid": (
            "torch.nn.functional.softplus(logits).sqrt()",
            "torch.sigmoid(logits)",
        ),
    },
    "softcap": {
        "no bound": ("cap * torch.tanh(logits / cap)", "logits"),
        "a bound of one": ("cap * torch.tanh(logits / cap)", "torch.tanh(logits)"),
    },
    "sparsemixer": {
        "all are near": ("> 0.02", "> float('inf')"),
        "half as near": ("> 0.02", "> 0.005"),
        "the first expert counts for the second": ("left = left.scatter", "_ = left.scatter"),
        "the plain softmax": ("near = left.masked_fill(far,", "near = logits.masked_fill(far < 0,"),
        "the weights are not scaled": (" * float(routed_scaling_factor)", ""),
    },
}


# Routings with every part between them; that the others are right is tested of all.
ROUTED = (
    *("softmax_groups_routing", "softmax_bias_renorm_routing", "softmax_each_group_renorm_routing"),
    *("softmax_renorm_expert_scale_routing", "softmax_hash_routing", "sigmoid_routing"),
    *("sigmoid_groups_renorm_routing", "sigmoid_bias_routing", "sqrtsoftplus_bias_renorm_routing"),
    *("sqrtsoftplus_hash_renorm_routing", "softcap_routing", "sparsemixer_routing"),
)


def mistakes_of(routing: Routing) -> dict[str, tuple[str, ...]]:
    """Mistakes in a routing that is made of parts, by its parts."""
    found: dict[str, tuple[str, ...]] = dict(OTHER_SCORES[routing.scoring])
    if routing.scoring == "sparsemixer":
        return found
    found |= {name: texts for name, texts in WEIGHTS.items() if "ranked" not in texts[0]}
    if routing.choice in ("", "groups"):
        found |= WEIGHTS
    found |= NORMALISED if routing.renormalized else NOT_NORMALISED
    found |= OF_BIAS if routing.biased else {}
    found |= KEPT_GROUPS if routing.grouped or routing.choice == "groups" else {}
    found |= BEST_GROUPS if routing.choice == "groups" else {}
    found |= {"each_group": EACH_GROUP, "hash": HASH}.get(routing.choice, {})
    if "per_expert_scale" in routing.inputs:
        found["no scale of experts"] = (" * per_expert_scale.to(torch.float32)[chosen]", "")
    return found


KERNELS = {
    "fp8_ds_remote": EXPERTS | EVERY | DS | GROUPS | REMOTE | BLOCKS,
    "fp8_ds": EXPERTS | EVERY | DS | BLOCKS,
    "fp8_renorm": EXPERTS | EVERY | RENORM,
    "fp8_default_remote": EVERY | DEFAULT | REMOTE,
    "fp8_llama4": EVERY | LLAMA4,
    "bf16_ds_remote": EXPERTS | EVERY | DS | GROUPS | REMOTE,
    "bf16_ds": EVERY | DS,
    "bf16_renorm_remote": EXPERTS | EVERY | RENORM | REMOTE,
    "bf16_default": EXPERTS | EVERY | DEFAULT,
    "bf16_llama4": EVERY | LLAMA4,
    "tensor_renorm": EVERY | RENORM | TENSOR,
    "tensor_default": EVERY | DEFAULT,
    "tensor_llama4": EVERY | LLAMA4 | TENSOR,
    "mxfp4_oai": EVERY | RENORM | PACKED | OAI | BIASED,
    "mxfp4_oai_remote": EVERY | REMOTE | BIASED,
    "mxfp4_ds_remote": EVERY | DS | GROUPS | REMOTE,
    "mxfp4_default": EXPERTS | EVERY | DEFAULT | PACKED,
    "mxfp4_llama4": EVERY | LLAMA4,
    "nvfp4_ds_remote": EXPERTS | EVERY | DS | GROUPS | REMOTE | NVFP4,
    "nvfp4_oai": EVERY | DS | NVFP4 | OAI,
    "nvfp4_renorm": EVERY | RENORM,
    "nvfp4_llama4": LLAMA4,
    "w4a16_ds_remote": EXPERTS | EVERY | DS | GROUPS | REMOTE | W4A16,
    "w4a16_renorm": EVERY | RENORM | W4A16,
    "w4a16_llama4": LLAMA4,
    "tensor_ds_remote": DS | GROUPS | REMOTE,
    "channel_ds_remote": EXPERTS | EVERY | REMOTE | CHANNEL,
    "channel_llama4": LLAMA4,
    "int8_renorm": EXPERTS | CHANNEL,
    "mxint4_ds_remote": EXPERTS | EVERY | REMOTE,
    "mxint4_renorm": RENORM | INT4,
    **ACTIVATED,
    **{name: mistakes_of(BY_NAME[name]) for name in ROUTED},
}
# fp8_ds_remote has one block along intermediate_size, nvfp4_oai no biases.
HARMLESS = {
    ("nvfp4_oai", "clamped before the biases"),
    ("fp8_ds_remote", "the block index is off by one"),
    ("fp8_ds_remote", "the second weight's scales are transposed"),
}
MISTAKES = {
    kernel: [
        Mistake.of(name, *texts)
        for name, texts in mistakes.items()
        if (kernel, name) not in HARMLESS
    ]
    for kernel, mistakes in KERNELS.items()
}


@pytest.mark.parametrize(("kernel", "mistake"), a_share(parameters(MISTAKES), 4))
def test_wrong_reference_is_rejected(
    definition_of: Any, small: Any, template: Template, kernel: str, mistake: Mistake
) -> None:
    assert_rejected(template, definition_of(small[kernel]), mistake)


@pytest.mark.parametrize("kernel", a_share(dict.fromkeys([*KERNELS, *(r.name for r in SCORED)]), 2))
def test_right_reference_is_accepted(
    definition_of: Any, small: Any, template: Template, kernel: str
) -> None:
    assert_accepted(template, definition_of(small[kernel]))


@pytest.mark.parametrize("kernel", a_share(KERNELS, 3))
def test_wrong_implementations_are_rejected(
    definition_of: Any, small: Any, template: Template, kernel: str
) -> None:
    definition = definition_of(small[kernel])
    assert_wrong_ones_rejected(template, definition, fibcore_implementations(definition))


@pytest.mark.parametrize("kernel", a_share(KERNELS, 6))
def test_wrong_implementations_are_outside_what_roundings_make(
    definition_of: Any, small: Any, template: Template, kernel: str
) -> None:
    """The room that comparisons have by their sizes lets none pass that the dtype's refuses."""
    definition = definition_of(small[kernel])
    data, run = definition.to_dict(), load_run(definition.reference)
    rtol, atol, ratio = harness().tolerance_of(data, "output", template.module, None)
    assert ratio == 1
    cases = [(case, template.inputs(definition, case)) for case in template.cases(definition)]
    right = [run(*clones(inputs)) for _, inputs in cases]

    def inside(actual: Any, expected: Any, case: Any, *, roomy: bool) -> bool:
        found: list[bool] = []

        def check(actual: Any, expected: Any, rounding: Any) -> None:
            room = harness().with_rounding(atol, rounding) if roomy else atol
            least = ratio if roomy else 1 - 1e-5
            found.append(harness().compare_tensors(actual, expected, rtol, room, least).inside)

        template.module.compare(data, case, "output", actual, expected, check)
        return found[0]

    for one in fibcore_implementations(definition):
        if one.right:
            continue
        wrong, passed = load_run(one.source), []
        for (case, inputs), expected in zip(cases, right, strict=True):
            actual = wrong(*clones(inputs))
            if not inside(actual, expected, case, roomy=True):
                break
            passed.append(inside(actual, expected, case, roomy=False))
        else:
            assert all(passed), one.name


def clones(inputs: dict[str, Any]) -> list[Any]:
    return [x.clone() if hasattr(x, "clone") else x for x in inputs.values()]
