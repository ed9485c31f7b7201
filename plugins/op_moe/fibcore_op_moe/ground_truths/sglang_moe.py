"""SGLang's native routing (`topk.py`) and experts (`fused_moe_native.py`), in float32.

Its experts stack the gate before the up projection, so the halves change places; fp8 weights are
dequantised one expert at a time. Its experts function knows one rank alone: where experts are on
other ranks, it gets the pairs of token and expert of this rank as tokens with one expert each.
"""

from types import SimpleNamespace

import torch

SGLANG_MOE_ROUTING = "ds_routing"
SGLANG_MOE_TOP_K = 8
SGLANG_MOE_NUM_GROUPS = 8
SGLANG_MOE_TOP_GROUPS = 4


class sglang_moe_weights:  # noqa: N801  (begins with the entry's name)
    """Weights that are made float32 when an expert's are asked for."""

    def __init__(self, make):
        self.make = make

    def __getitem__(self, expert):
        return self.make(int(expert))


def sglang_moe_route(load_sglang, routing_logits, routing_bias, factor):
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
    if SGLANG_MOE_ROUTING == "ds_routing":
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
    load_sglang,
    routing_logits,
    hidden_states,
    gemm1_weights,
    gemm2_weights,
    routing_bias=None,
    hidden_states_scale=None,
    gemm1_weights_scale=None,
    gemm2_weights_scale=None,
    output1_scales_scalar=None,
    output1_scales_gate_scalar=None,
    output2_scales_scalar=None,
    local_expert_offset=0,
    routed_scaling_factor=1.0,
):
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

    def scale(values, scales):
        blocks = values.unflatten(1, (scales.shape[1], -1)).unflatten(0, (scales.shape[0], -1))
        blocks.mul_(scales[:, None, :, None])

    def w13(expert):
        up, gate = gemm1_weights[expert].split(inner)
        both[:inner].copy_(gate)
        both[inner:].copy_(up)
        if gemm1_weights_scale is not None:
            up, gate = gemm1_weights_scale[expert].chunk(2)
            scale(both, torch.cat([gate, up]))
        if output1_scales_scalar is not None:
            both[:inner].mul_(output1_scales_gate_scalar[expert])
            both[inner:].mul_(output1_scales_scalar[expert])
        return both

    def w2(expert):
        down.copy_(gemm2_weights[expert])
        if gemm2_weights_scale is not None:
            scale(down, gemm2_weights_scale[expert])
        if output2_scales_scalar is not None:
            down.mul_(output2_scales_scalar[expert])
        return down

    x = hidden_states.float()
    if hidden_states_scale is not None:
        x = x.unflatten(1, (hidden_states_scale.shape[0], -1)) * hidden_states_scale.T[:, :, None]
        x = x.flatten(1)
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
    output = forward(
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
