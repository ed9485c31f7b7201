"""SGLang's native routing (`topk.py`) and experts (`fused_moe_native.py`), in float32.

Its experts stack the gate before the up projection, so the halves change places; fp8 weights are
dequantised one expert at a time. Its experts function knows one rank alone: where experts are on
other ranks, it gets the pairs of token and expert of this rank as tokens with one expert each.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch

SGLANG_MOE_ROUTING = "ds_routing"
SGLANG_MOE_TOP_K = 8
SGLANG_MOE_NUM_GROUPS = 8
SGLANG_MOE_TOP_GROUPS = 4


class sglang_moe_weights:  # noqa: N801  (begins with the entry's name)
    """Weights that are made float32 when an expert's are asked for."""

    def __init__(self, make: Callable[[int], torch.Tensor]) -> None:
        self.make = make

    def __getitem__(self, expert: int) -> torch.Tensor:
        return self.make(int(expert))


def sglang_moe_route(
    load_sglang: Any, routing_logits: torch.Tensor, routing_bias: torch.Tensor | None, factor: float
) -> Any:
    """Weights and experts of all tokens, by the function that `select_experts` would call."""
    file = "srt/layers/moe/topk.py"
    common = {
        "gating_output": routing_logits.float(),
        "hidden_states": routing_logits,  # only its number of tokens is looked at
        "topk": SGLANG_MOE_TOP_K,
        "renormalize": SGLANG_MOE_ROUTING != "default_routing",
    }
    stubs = {
        "_RENORMALIZE_SUM_EPSILON": 1e-20,
        "topk_ids_logical_to_physical": lambda ids, _: ids,
        "_mask_topk_ids_padded_region": lambda *_: None,
    }
    if routing_bias is not None and SGLANG_MOE_ROUTING == "ds_routing":
        route = load_sglang(file, "biased_grouped_topk_impl", **stubs)
        return route(
            **common,
            correction_bias=routing_bias.float(),
            num_expert_group=SGLANG_MOE_NUM_GROUPS,
            topk_group=SGLANG_MOE_TOP_GROUPS,
            routed_scaling_factor=float(factor),
            apply_routed_scaling_factor_on_output=True,
        )
    if SGLANG_MOE_ROUTING == "llama4_routing":
        fast_topk = load_sglang("srt/utils/common.py", "fast_topk")
        route = load_sglang(
            "srt/models/llama4.py", "Llama4MoE.custom_routing_function", fast_topk=fast_topk
        )
        common["hidden_states"] = routing_logits.float()  # the weights get its dtype
        return route(**common)
    return load_sglang(file, "fused_topk_torch_native", **stubs)(**common)


def sglang_moe(
    load_sglang: Any,
    routing_logits: torch.Tensor,
    hidden_states: torch.Tensor,
    gemm1_weights: torch.Tensor,
    gemm2_weights: torch.Tensor,
    routing_bias: torch.Tensor | None = None,
    hidden_states_scale: torch.Tensor | None = None,
    gemm1_weights_scale: torch.Tensor | None = None,
    gemm2_weights_scale: torch.Tensor | None = None,
    output1_scales_scalar: torch.Tensor | None = None,
    output1_scales_gate_scalar: torch.Tensor | None = None,
    output2_scales_scalar: torch.Tensor | None = None,
    local_expert_offset: int = 0,
    routed_scaling_factor: float = 1.0,
) -> torch.Tensor:
    """Output of `moe_forward_native` on the experts that SGLang's routing chooses."""
    if hidden_states.shape[0] == 0:
        return hidden_states.to(torch.bfloat16)
    weights, chosen = sglang_moe_route(
        load_sglang, routing_logits, routing_bias, routed_scaling_factor
    )
    count, inner = gemm1_weights.shape[0], gemm2_weights.shape[2]
    local = chosen.long() - int(local_expert_offset)
    here = (local >= 0) & (local < count)
    if not here.any():
        return torch.zeros_like(hidden_states, dtype=torch.bfloat16)

    # One buffer each for all experts: what is made for one is used before the next is asked for.
    hidden = hidden_states.shape[1]
    both = torch.empty(2 * inner, hidden, device=hidden_states.device)
    down = torch.empty(hidden, inner, device=hidden_states.device)

    def scale(values: torch.Tensor, scales: torch.Tensor) -> None:
        rows, columns = scales.shape
        blocks = values.view(rows, values.shape[0] // rows, columns, values.shape[1] // columns)
        blocks.mul_(scales[:, None, :, None])

    def w13(expert: int) -> torch.Tensor:
        both[:inner].copy_(gemm1_weights[expert, inner:])
        both[inner:].copy_(gemm1_weights[expert, :inner])
        if gemm1_weights_scale is not None:
            up, gate = gemm1_weights_scale[expert].chunk(2)
            scale(both, torch.cat([gate, up]))
        if output1_scales_scalar is not None and output1_scales_gate_scalar is not None:
            both[:inner].mul_(output1_scales_gate_scalar[expert])
            both[inner:].mul_(output1_scales_scalar[expert])
        return both

    def w2(expert: int) -> torch.Tensor:
        down.copy_(gemm2_weights[expert])
        if gemm2_weights_scale is not None:
            scale(down, gemm2_weights_scale[expert])
        if output2_scales_scalar is not None:
            down.mul_(output2_scales_scalar[expert])
        return down

    x = hidden_states.float()
    if hidden_states_scale is not None:
        blocks = len(hidden_states_scale)
        x.view(len(x), blocks, hidden // blocks).mul_(hidden_states_scale.T[:, :, None])
    token = None
    if not here.all():
        token, slot = torch.nonzero(here, as_tuple=True)
        x, weights, local = x[token], weights[token, slot, None], local[token, slot, None]
    apply_weights = load_sglang("srt/layers/moe/topk.py", "apply_topk_weights_cpu")
    x, weights = apply_weights(SGLANG_MOE_ROUTING == "llama4_routing", weights, x)

    activation = load_sglang("srt/layers/activation.py", "SiluAndMul.forward_native")
    forward = load_sglang(
        "srt/layers/moe/fused_moe_native.py",
        "moe_forward_native",
        SiluAndMul=lambda: lambda gate_up: activation(None, gate_up),
    )
    output: torch.Tensor = forward(
        SimpleNamespace(
            num_experts=count,
            w13_weight=sglang_moe_weights(w13),
            w2_weight=sglang_moe_weights(w2),
        ),
        x,
        (weights, local, None),
        SimpleNamespace(
            apply_router_weight_on_input=False,
            activation="silu",
            gemm1_alpha=None,
            gemm1_clamp_limit=None,
        ),
    )
    if token is not None:
        output = torch.zeros_like(hidden_states, dtype=torch.float32).index_add_(0, token, output)
    return output.to(torch.bfloat16)
