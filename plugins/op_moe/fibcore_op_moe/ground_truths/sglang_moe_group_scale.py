"""SGLang's native routing, dequantisation, activation and experts, in float32.

Weights of four bits are dequantised one expert at a time. Biases go as one more column of the
weights, whose input is 1, because not every version's `moe_forward_native` adds them itself. Its
experts function knows one rank alone: where experts are on other ranks, it gets the pairs of token
and expert of this rank as tokens with one expert each.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch

from fibcore_op_moe.ground_truths.sglang_moe import sglang_moe_route

SGLANG_MOE_ROUTING = "ds_routing"
SGLANG_MOE_TOP_K = 8
SGLANG_MOE_NUM_GROUPS = 8
SGLANG_MOE_TOP_GROUPS = 4
# Where versions of SGLang have the activation of experts with an alpha; gate and up alternate.
SGLANG_MOE_ACTIVATIONS = (
    ("srt/layers/moe/moe_runner/triton_utils/fused_moe.py", "swiglu_gpt_oss_sigmoid_alpha"),
    ("srt/layers/moe/fused_moe_triton/fused_moe.py", "_swiglu_gpt_oss_sigmoid_alpha"),
)


class sglang_moe_weights:  # noqa: N801  (begins with the entry's name)
    """Weights that are dequantised when an expert's are asked for."""

    def __init__(self, make: Callable[[int], torch.Tensor]) -> None:
        self.make = make

    def __getitem__(self, expert: int) -> torch.Tensor:
        return self.make(int(expert))


class SGLANG_MOE_TABLE:  # noqa: N801  (begins with the entry's name)
    """What stands for the class whose method dequantises."""

    E2M1_values = (0, 0.5, 1, 1.5, 2, 3, 4, 6)


def sglang_moe_values(load_sglang: Any, packed: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """What rows of four bits stand for, in float32; scales of int8 are exponents."""
    packed = packed.contiguous().view(torch.uint8)
    if scale.dtype == torch.int8:
        method = load_sglang(
            "srt/layers/quantization/mxfp4_tensor.py", "MXFP4QuantizeUtil.dequantize"
        )
        bits = scale.contiguous().view(torch.uint8)
        values: torch.Tensor = method(SGLANG_MOE_TABLE, packed, torch.float32, bits, [32])
        return values
    positive = torch.tensor(SGLANG_MOE_TABLE.E2M1_values)
    dequantise = load_sglang(
        "srt/layers/quantization/dequantization.py",
        "dequantize_nvfp4",
        NVFP4_BLOCK_SIZE=16,
        _FP4_E2M1_LUT=torch.cat((positive, -positive)),
    )
    found: torch.Tensor = dequantise(packed, scale, None, torch.float32)
    return found


def sglang_moe_activation(load_sglang: Any) -> Any:
    """The activation of experts with an alpha and a limit."""
    newer, older = SGLANG_MOE_ACTIVATIONS
    try:
        return load_sglang(*newer)
    except LookupError:
        return load_sglang(*older)


def sglang_moe(
    load_sglang: Any,
    routing_logits: torch.Tensor,
    hidden_states: torch.Tensor,
    gemm1_weights: torch.Tensor,
    gemm1_weights_scale: torch.Tensor,
    gemm2_weights: torch.Tensor,
    gemm2_weights_scale: torch.Tensor,
    gemm1_bias: torch.Tensor | None = None,
    gemm1_alpha: torch.Tensor | None = None,
    gemm1_clamp_limit: torch.Tensor | None = None,
    gemm2_bias: torch.Tensor | None = None,
    hidden_states_scale: torch.Tensor | None = None,
    output1_scale_scalar: torch.Tensor | None = None,
    output1_scale_gate_scalar: torch.Tensor | None = None,
    output2_scale_scalar: torch.Tensor | None = None,
    routing_bias: torch.Tensor | None = None,
    local_expert_offset: int = 0,
    routed_scaling_factor: float = 1.0,
) -> torch.Tensor:
    """Output of `moe_forward_native` on the experts that SGLang's routing chooses."""
    shape = (hidden_states.shape[0], gemm2_weights.shape[1])
    if hidden_states.shape[0] == 0:
        return hidden_states.new_zeros(shape, dtype=torch.bfloat16)
    weights, chosen = sglang_moe_route(
        load_sglang, routing_logits, routing_bias, routed_scaling_factor
    )
    count, inner = gemm1_weights.shape[0], gemm1_weights.shape[1] // 2
    local = chosen.long() - int(local_expert_offset)
    here = (local >= 0) & (local < count)
    if not here.any():
        return hidden_states.new_zeros(shape, dtype=torch.bfloat16)

    alternate = gemm1_alpha is not None
    running = {"expert": 0}

    def whole(
        packed: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor | None, expert: int
    ) -> torch.Tensor:
        """Weights of an expert, and its bias as their last column."""
        values = sglang_moe_values(load_sglang, packed[expert], scale[expert])
        column = values.new_zeros(len(values)) if bias is None else bias[expert].float()
        return torch.cat([values, column[:, None]], dim=1)

    def w13(expert: int) -> torch.Tensor:
        running["expert"] = expert
        both = whole(gemm1_weights, gemm1_weights_scale, gemm1_bias, expert)
        if output1_scale_gate_scalar is not None:
            both = both * output1_scale_gate_scalar[expert]
        up, gate = both[:inner], both[inner:]
        return torch.stack([gate, up], dim=1).flatten(0, 1) if alternate else torch.cat([gate, up])

    def w2(expert: int) -> torch.Tensor:
        down = whole(gemm2_weights, gemm2_weights_scale, gemm2_bias, expert)
        if output1_scale_scalar is None or output1_scale_gate_scalar is None:
            return down
        if output2_scale_scalar is None:
            return down
        between = output1_scale_scalar[expert] / output1_scale_gate_scalar[expert]
        return down * (output2_scale_scalar[expert] * between)

    def activate(gate_up: torch.Tensor) -> torch.Tensor:
        expert = running["expert"]
        if gemm1_alpha is not None and gemm1_clamp_limit is not None:
            clamped = sglang_moe_activation(load_sglang)
            inside = clamped(gate_up, float(gemm1_alpha[expert]), float(gemm1_clamp_limit[expert]))
        else:
            activation = load_sglang("srt/layers/activation.py", "SiluAndMul.forward_native")
            inside = activation(None, gate_up)
        return torch.nn.functional.pad(inside, (0, 1), value=1.0)

    x, token = hidden_states, None
    if hidden_states_scale is not None:
        x = sglang_moe_values(load_sglang, hidden_states, hidden_states_scale)
    x = x.float()
    if not here.all():
        token, slot = torch.nonzero(here, as_tuple=True)
        x, weights, local = x[token], weights[token, slot, None], local[token, slot, None]
    apply_weights = load_sglang("srt/layers/moe/topk.py", "apply_topk_weights_cpu")
    x, weights = apply_weights(SGLANG_MOE_ROUTING == "llama4_routing", weights, x)
    forward = load_sglang(
        "srt/layers/moe/fused_moe_native.py", "moe_forward_native", SiluAndMul=lambda: activate
    )
    output: torch.Tensor = forward(
        SimpleNamespace(
            num_experts=count,
            w13_weight=sglang_moe_weights(w13),
            w2_weight=sglang_moe_weights(w2),
        ),
        torch.nn.functional.pad(x, (0, 1), value=1.0),
        (weights, local, None),
        SimpleNamespace(
            apply_router_weight_on_input=False,
            activation="silu",
            gemm1_alpha=None,
            gemm1_clamp_limit=None,
        ),
    )
    if token is not None:
        output = hidden_states.new_zeros(shape, dtype=torch.float32).index_add_(0, token, output)
    return output.to(torch.bfloat16)
