"""SGLang's native routing, dequantisation, activation and experts, in float32.

Its experts stack the gate before the up projection, so the halves change places; weights are
dequantised one expert at a time. Biases go as one more column of the weights, whose input is 1,
because not every version's `moe_forward_native` adds them itself. Its experts function knows one
rank alone: where experts are on other ranks, it gets the pairs of token and expert of this rank as
tokens with one expert each.
"""

import inspect
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch

SGLANG_MOE_SCORING = "sigmoid"
SGLANG_MOE_CHOICE = ""
SGLANG_MOE_RENORMALIZED = True
SGLANG_MOE_ON_INPUT = False
SGLANG_MOE_TOP_K = 8
SGLANG_MOE_NUM_GROUPS = 8
SGLANG_MOE_TOP_GROUPS = 4
SGLANG_MOE_ACTIVATION = "swiglu"
# Where versions of SGLang have the activations of experts that are clamped.
SGLANG_MOE_ACTIVATIONS = (
    ("srt/layers/moe/moe_runner/triton_utils/fused_moe.py", ""),
    ("srt/layers/moe/fused_moe_triton/fused_moe.py", "_"),
)


class sglang_moe_weights:  # noqa: N801  (begins with the entry's name)
    """Weights that are made float32 when an expert's are asked for."""

    def __init__(self, make: Callable[[int], torch.Tensor]) -> None:
        self.make = make

    def __getitem__(self, expert: int) -> torch.Tensor:
        return self.make(int(expert))


class SGLANG_MOE_TABLE:  # noqa: N801  (begins with the entry's name)
    """What stands for the class whose method dequantises."""

    E2M1_values = (0, 0.5, 1, 1.5, 2, 3, 4, 6)


def sglang_moe_grouped(
    load_sglang: Any, common: dict[str, Any], bias: torch.Tensor | None, factor: float
) -> Any:
    """Weights and experts by SGLang's functions for groups of experts."""
    file, best = "srt/layers/moe/topk.py", bias is None
    stubs = {
        "_RENORMALIZE_SUM_EPSILON": 1e-20,
        "topk_ids_logical_to_physical": lambda ids, _: ids,
        "_mask_topk_ids_padded_region": lambda *_: None,
        "fused_shared_expert_weight": None,
    }
    name = "grouped_topk_gpu" if best else "biased_grouped_topk_impl"
    route = load_sglang(file, name, **stubs)
    if best and SGLANG_MOE_SCORING != "softmax":
        if "scoring_func" not in inspect.signature(route).parameters:
            raise LookupError("this version of SGLang groups softmax scores alone")
        common = {**common, "scoring_func": SGLANG_MOE_SCORING}
    if bias is not None:
        common = {**common, "correction_bias": bias.float()}
    weights, chosen = route(
        **common, num_expert_group=SGLANG_MOE_NUM_GROUPS, topk_group=SGLANG_MOE_TOP_GROUPS
    )
    return weights * float(factor), chosen


def sglang_moe_hashed(
    load_sglang: Any, logits: torch.Tensor, input_ids: torch.Tensor, tid2eid: torch.Tensor
) -> Any:
    """Weights and experts of the tokens, by SGLang's table."""
    route = load_sglang(
        "srt/layers/moe/hash_topk.py", "HashTopK._forward_torch", _RENORMALIZE_SUM_EPSILON=1e-20
    )
    own = SimpleNamespace(
        score_func=SGLANG_MOE_SCORING,
        topk=SGLANG_MOE_TOP_K,
        num_shared_topk_slots=0,
        num_fused_shared_experts=0,
        num_experts=logits.shape[1],
        tid2eid=tid2eid,
        routed_scaling_factor=1.0,
    )
    return route(own, logits, input_ids)


def sglang_moe_of_each_group(load_sglang: Any, common: dict[str, Any]) -> Any:
    """Weights and experts by Intern-S1-Pro's own function."""
    file, name = "srt/models/interns1pro.py", "InternS1ProTextDecoderLayer"
    route = load_sglang(file, f"{name}._custom_routing_function")
    offsets = load_sglang(file, f"{name}.get_group_offsets")
    own = SimpleNamespace(router_n_groups=SGLANG_MOE_NUM_GROUPS, get_group_offsets=offsets)
    return route(own, **common)


def sglang_moe_route(
    load_sglang: Any,
    routing_logits: torch.Tensor,
    routing_bias: torch.Tensor | None,
    factor: float,
    input_ids: torch.Tensor | None,
    tid2eid: torch.Tensor | None,
    per_expert_scale: torch.Tensor | None,
) -> Any:
    """Weights and experts of all tokens, by the function that SGLang would call."""
    file, logits = "srt/layers/moe/topk.py", routing_logits.float()
    common = {
        "gating_output": logits,
        "hidden_states": routing_logits,  # only its number of tokens is looked at
        "topk": SGLANG_MOE_TOP_K,
        "renormalize": SGLANG_MOE_RENORMALIZED,
    }
    if SGLANG_MOE_ON_INPUT:
        fast_topk = load_sglang("srt/utils/common.py", "fast_topk")
        route = load_sglang(
            "srt/models/llama4.py", "Llama4MoE.custom_routing_function", fast_topk=fast_topk
        )
        return route(**{**common, "hidden_states": logits})  # the weights get its dtype
    if input_ids is not None and tid2eid is not None:
        weights, chosen = sglang_moe_hashed(load_sglang, logits, input_ids, tid2eid)
    elif SGLANG_MOE_SCORING == "sparsemixer":
        weights, chosen = load_sglang("srt/models/phimoe.py", "sparsemixer")(logits)
    elif SGLANG_MOE_CHOICE == "each_group":
        weights, chosen = sglang_moe_of_each_group(load_sglang, common)
    elif SGLANG_MOE_CHOICE == "groups" or (
        SGLANG_MOE_SCORING == "sigmoid" and routing_bias is not None
    ):
        return sglang_moe_grouped(load_sglang, common, routing_bias, factor)
    else:
        route = load_sglang(file, "fused_topk_torch_native", _RENORMALIZE_SUM_EPSILON=1e-20)
        if SGLANG_MOE_SCORING == "sqrtsoftplus" and not load_sglang.has(file, "biased_topk_impl"):
            raise LookupError("this version of SGLang has no scores of that kind")
        if SGLANG_MOE_SCORING != "softmax":
            common["scoring_func"] = SGLANG_MOE_SCORING
        if routing_bias is not None:
            common["correction_bias"] = routing_bias.float()
        weights, chosen = route(**common)
    if per_expert_scale is not None:
        weights = weights * per_expert_scale.float()[chosen.long()]
    return weights * float(factor), chosen


def sglang_moe_values(
    load_sglang: Any, stored: torch.Tensor, scale: torch.Tensor | None
) -> torch.Tensor:
    """What rows of weights or hidden states stand for, in float32.

    Of four bits by SGLang's functions, where it has one for torch. Scales of int8 are exponents.
    """
    if scale is None:
        return stored.float()
    if scale.dim() == 1:
        return stored.float() * scale[:, None]
    if stored.dtype != torch.int8:
        rows, columns = scale.shape
        values = stored.float().view(
            rows, stored.shape[0] // rows, columns, stored.shape[1] // columns
        )
        return (values * scale[:, None, :, None]).view(stored.shape)
    packed = stored.contiguous().view(torch.uint8)
    if scale.dtype == torch.int8:
        method = load_sglang(
            "srt/layers/quantization/mxfp4_tensor.py", "MXFP4QuantizeUtil.dequantize"
        )
        bits = scale.contiguous().view(torch.uint8)
        found: torch.Tensor = method(SGLANG_MOE_TABLE, packed, torch.float32, bits, [32])
        return found
    if scale.dtype == torch.bfloat16:
        numbers = torch.stack((packed & 15, packed >> 4), dim=-1).flatten(-2).int()
        groups = ((numbers ^ 8) - 8).float().view(*scale.shape, -1)
        return (groups * scale.float()[:, :, None]).flatten(1)
    positive = torch.tensor(SGLANG_MOE_TABLE.E2M1_values)
    dequantise = load_sglang(
        "srt/layers/quantization/dequantization.py",
        "dequantize_nvfp4",
        NVFP4_BLOCK_SIZE=16,
        _FP4_E2M1_LUT=torch.cat((positive, -positive)),
    )
    return torch.as_tensor(dequantise(packed, scale, None, torch.float32))


def sglang_moe_clamped(load_sglang: Any, name: str) -> Any:
    """A clamped activation of SGLang's experts, wherever the version has it."""
    (newer, _), (older, prefix) = SGLANG_MOE_ACTIVATIONS
    try:
        return load_sglang(newer, name)
    except LookupError:
        return load_sglang(older, prefix + name.lstrip("_"))


def sglang_moe_activated(
    load_sglang: Any, both: torch.Tensor, alpha: float, limit: float
) -> torch.Tensor:
    """What an expert computes of its first product, gate before up."""
    name, functional, file = SGLANG_MOE_ACTIVATION, torch.nn.functional, "srt/layers/activation.py"
    if name == "relu2":
        found: torch.Tensor = load_sglang(file, "ReLU2.forward_native")(None, both)
    elif name in ("silu", "gelu_alone"):
        found = functional.silu(both) if name == "silu" else functional.gelu(both)
    elif name == "swiglu_oai":
        gate, up = both.chunk(2, dim=-1)
        alternating = torch.stack([gate, up], dim=-1).flatten(-2)
        found = sglang_moe_clamped(load_sglang, "swiglu_gpt_oss_sigmoid_alpha")(
            alternating, alpha, limit
        )
    elif name == "swiglu_step":
        found = sglang_moe_clamped(load_sglang, "_swiglu_silu_clamp_mul")(both, limit)
    elif name.startswith("gelu"):
        approximate = "tanh" if name == "gelu_tanh" else "none"
        method = load_sglang(file, "GeluAndMul.forward_native")
        found = method(SimpleNamespace(approximate=approximate), both)
    elif name.startswith("situ"):
        bounds = SimpleNamespace(beta=alpha, linear_beta=limit if name == "situ" else None)
        found = load_sglang(file, "SituAndMul.forward_native")(bounds, both)
    else:
        if name == "swiglu_limit":  # SGLang has it for a GPU alone: clamped, then as ever
            gate, up = both.chunk(2, dim=-1)
            both = torch.cat([gate.clamp(max=limit), up.clamp(-limit, limit)], dim=-1)
        found = load_sglang(file, "SiluAndMul.forward_native")(None, both)
    return found


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
    gemm1_bias: torch.Tensor | None = None,
    gemm1_alpha: torch.Tensor | None = None,
    gemm1_clamp_limit: torch.Tensor | None = None,
    gemm2_bias: torch.Tensor | None = None,
    output1_scales_scalar: torch.Tensor | None = None,
    output1_scales_gate_scalar: torch.Tensor | None = None,
    output2_scales_scalar: torch.Tensor | None = None,
    output1_scale_scalar: torch.Tensor | None = None,
    output1_scale_gate_scalar: torch.Tensor | None = None,
    output2_scale_scalar: torch.Tensor | None = None,
    input_ids: torch.Tensor | None = None,
    tid2eid: torch.Tensor | None = None,
    per_expert_scale: torch.Tensor | None = None,
    local_expert_offset: int = 0,
    routed_scaling_factor: float = 1.0,
) -> torch.Tensor:
    """Output of `moe_forward_native` on the experts that SGLang's routing chooses."""
    shape = (hidden_states.shape[0], gemm2_weights.shape[1])
    if hidden_states.shape[0] == 0:
        return hidden_states.new_zeros(shape, dtype=torch.bfloat16)
    bias = None if SGLANG_MOE_ON_INPUT else routing_bias
    weights, chosen = sglang_moe_route(
        load_sglang,
        routing_logits,
        bias,
        routed_scaling_factor,
        input_ids,
        tid2eid,
        per_expert_scale,
    )
    count, rows = gemm1_weights.shape[0], gemm1_weights.shape[1]
    gated = SGLANG_MOE_ACTIVATION not in ("relu2", "silu", "gelu_alone")
    local = chosen.long() - int(local_expert_offset)
    here = (local >= 0) & (local < count)
    if not here.any():
        return hidden_states.new_zeros(shape, dtype=torch.bfloat16)

    up_scale = output1_scales_scalar if output1_scale_scalar is None else output1_scale_scalar
    whole = output1_scales_gate_scalar
    whole = output1_scale_gate_scalar if whole is None else whole
    last = output2_scales_scalar if output2_scale_scalar is None else output2_scale_scalar
    running = {"expert": 0}

    def with_bias(
        stored: torch.Tensor,
        scale: torch.Tensor | None,
        factor: torch.Tensor | float,
        bias: torch.Tensor | None,
        expert: int,
    ) -> torch.Tensor:
        """Weights of an expert times a factor, and its bias as their last column."""
        own = None if scale is None else scale[expert]
        values = sglang_moe_values(load_sglang, stored[expert], own) * factor
        column = values.new_zeros(len(values)) if bias is None else bias[expert].float()
        return torch.cat([values, column[:, None]], dim=1)

    def w13(expert: int) -> torch.Tensor:
        running["expert"] = expert
        factor = 1.0 if whole is None else whole[expert]
        both = with_bias(gemm1_weights, gemm1_weights_scale, factor, gemm1_bias, expert)
        return torch.cat([both[rows // 2 :], both[: rows // 2]]) if gated else both

    def w2(expert: int) -> torch.Tensor:
        factor: torch.Tensor | float = 1.0
        if up_scale is not None and whole is not None and last is not None:
            factor = up_scale[expert] / whole[expert] * last[expert]
        elif last is not None:
            factor = last[expert]
        return with_bias(gemm2_weights, gemm2_weights_scale, factor, gemm2_bias, expert)

    def activate(gate_up: torch.Tensor) -> torch.Tensor:
        given = (gemm1_alpha, gemm1_clamp_limit)
        numbers = [1.0 if n is None else float(n[running["expert"]]) for n in given]
        inside = sglang_moe_activated(load_sglang, gate_up, *numbers)
        return torch.nn.functional.pad(inside, (0, 1), value=1.0)

    scale = hidden_states_scale
    if scale is not None and scale.dim() == 2 and hidden_states.dtype != torch.int8:
        scale = scale.T  # of blocks, which stand before the tokens
    x, token = sglang_moe_values(load_sglang, hidden_states, scale), None
    if not here.all():
        token, slot = torch.nonzero(here, as_tuple=True)
        x, weights, local = x[token], weights[token, slot, None], local[token, slot, None]
    apply_weights = load_sglang("srt/layers/moe/topk.py", "apply_topk_weights_cpu")
    x, weights = apply_weights(SGLANG_MOE_ON_INPUT, weights, x)
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
