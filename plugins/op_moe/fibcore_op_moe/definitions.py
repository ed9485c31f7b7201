"""Writes the definition of an MoE kernel: axes, tensors, words, reference."""

from __future__ import annotations

from fibcore.plugin import (
    Axis,
    Definition,
    Kernel,
    TensorSpec,
    const,
    scalar,
    tensor,
    var,
)
from fibcore_op_moe.activations import SWIGLU
from fibcore_op_moe.assembling import reference
from fibcore_op_moe.formats import BLOCK
from fibcore_op_moe.kernel import Moe
from fibcore_op_moe.routings import DS, INPUTS

_SCALARS = {
    "output1_scale_scalar": "The next, divided by the scale between the products.",
    "output1_scale_gate_scalar": "Weight scale x activation scale: for up and gate.",
    "output2_scale_scalar": "Scale between the products x weight scale.",
}
"""Scales of experts whose activations are quantised, too."""

_SCALARS_OF_WEIGHTS = {
    "output1_scale_gate_scalar": "Scale of all up and gate weights (weight_scale_2).",
    "output2_scale_scalar": "Scale of all down weights (weight_scale_2).",
}
"""Those of experts whose weights alone are."""


def routing_words(moe: Moe) -> str:
    """The routing, for people."""
    routing, words = moe.routing, moe.routing.description
    if routing.grouped and moe.top_groups < moe.num_groups:
        words += f" from the {moe.top_groups} best of {moe.num_groups} groups"
    elif routing.choice == "groups":
        words += f", {moe.top_groups} of {moe.num_groups}"
    elif routing.choice == "each_group":
        words += f" of {moe.num_groups}"
    if not routing.scaled:
        return words
    words += ", normalised over the chosen" if routing.renormalized else ", not normalised"
    words += ", times a number of each expert" if "per_expert_scale" in routing.inputs else ""
    return words + (" and scaled" if routing.renormalized else ", scaled")


def define(kernel: Kernel) -> Definition:
    """The definition of a kernel that this plugin found."""
    moe = Moe.from_parameters(kernel.parameters)
    return Definition(
        name=kernel.name,
        op_type=kernel.op_type,
        axes=_axes(moe),
        inputs=inputs_of(moe),
        outputs={
            "output": tensor("seq_len hidden_size", "bfloat16", "Weighted sum of the experts.")
        },
        reference=reference(moe, _constants(moe)),
        description=_description(moe),
        tags=kernel.tags,
    )


def _description(moe: Moe) -> str:
    where = f"All {moe.num_experts} experts are on this rank."
    if moe.remote_experts:
        where = (
            f"{moe.num_local_experts} of {moe.num_experts} experts are on this rank; tokens that "
            "choose none of them get 0."
        )
    words = moe.activation.description.removesuffix(",")
    if moe.activation.gated:
        words = f"{moe.activation.description} with the up projection stacked before the gate"
    return (
        f"Routed experts of a mixture-of-experts layer with {moe.weights.description}: "
        f"{routing_words(moe)}; {moe.top_k} expert{'s' if moe.top_k > 1 else ''} a token, "
        f"{words}, "
        f"{'biases, ' if moe.biased else ''}weighted sum. {where} Shared experts "
        "are not part of it."
    )


def _axes(moe: Moe) -> dict[str, Axis]:
    axes = {"seq_len": var("Tokens.")}
    if moe.remote_experts:
        axes["num_experts"] = const(moe.num_experts, "Routed experts on all ranks.")
        axes["num_local_experts"] = const(moe.num_local_experts, "Routed experts on this rank.")
    else:
        axes["num_local_experts"] = const(
            moe.num_local_experts, "Routed experts, all of them on this rank."
        )
    axes["hidden_size"] = const(moe.hidden_size, "Width of the hidden states.")
    axes["intermediate_size"] = const(
        moe.intermediate_size, "Intermediate size of one expert on this rank."
    )
    axes["gemm1_out_size"] = const(
        moe.gemm1_rows, "Up and gate rows." if moe.activation.gated else "Up rows."
    )
    if "tid2eid" in moe.routing.inputs:
        axes["vocab_size"] = const(moe.vocab_size, "Tokens of the vocabulary.")
    if moe.routing is not DS:
        axes["top_k"] = const(moe.top_k, "Experts a token goes to.")
    if moe.weights.block_scaled:
        axes["num_hidden_blocks"] = const(
            moe.hidden_size // BLOCK, f"Blocks of {BLOCK} along hidden_size."
        )
        axes["num_intermediate_blocks"] = const(
            moe.intermediate_size // BLOCK, f"Blocks of {BLOCK} along intermediate_size."
        )
        axes["num_gemm1_out_blocks"] = const(
            moe.gemm1_rows // BLOCK, f"Blocks of {BLOCK} along gemm1_out_size."
        )
    if moe.weights.packed:
        axes["num_packed_hidden"] = const(moe.hidden_size // 2, "Bytes of a row of hidden_size.")
        axes["num_packed_intermediate"] = const(
            moe.intermediate_size // 2, "Bytes of a row of intermediate_size."
        )
    if group := moe.weights.group:
        axes[moe.weights.groups_axis("hidden")] = const(
            moe.hidden_size // group, f"Groups of {group} along hidden_size."
        )
        axes[moe.weights.groups_axis("intermediate")] = const(
            moe.intermediate_size // group, f"Groups of {group} along intermediate_size."
        )
    return axes


def inputs_of(moe: Moe) -> dict[str, TensorSpec]:
    """The inputs of a kernel, in order."""
    experts = "num_experts" if moe.remote_experts else "num_local_experts"
    block, per_tensor = moe.weights.block_scaled, moe.weights.tensor_scaled
    dtype, group = moe.weights.dtype, moe.weights.group
    packed = "num_packed_" if moe.weights.packed else ""
    hidden, inner = (f"{packed}{n}" if packed else f"{n}_size" for n in ("hidden", "intermediate"))
    kind = "e2m1" if moe.weights.packed == "float4_e2m1" else "of four bits with a sign"
    pairs = f" Two numbers {kind} a byte, the first in its four lower bits." if packed else ""
    states, scales = moe.weights.packed_states, moe.weights.scale_dtype
    channel, wide = moe.weights.channel_scaled, moe.routing.scaled
    of_hidden, of_inner = (moe.weights.groups_axis(n) for n in ("hidden", "intermediate"))
    about = "Multiplies a group."
    if scales == "int8":
        about = "Multiplies a group by 2^(b - 127), b being the byte without a sign (e8m0)."
    inputs = {
        "routing_logits": tensor(
            f"seq_len {experts}",
            "float32" if wide else "bfloat16",
            "The router's output.",
        )
    }
    if moe.routing.biased:
        inputs["routing_bias"] = tensor(
            experts, "bfloat16", "Correction bias; added to the scores for choosing alone."
        )
    for name in moe.routing.inputs:
        own = INPUTS[name]
        inputs[name] = (
            tensor(own.shape.replace("experts", experts), own.dtype, own.description)
            if own.shape
            else scalar(own.dtype, own.description)
        )
    inputs["hidden_states"] = tensor(
        f"seq_len {hidden if states else 'hidden_size'}",
        dtype,
        f"What the experts are given.{pairs if states else ''}",
    )
    if states:
        inputs["hidden_states_scale"] = tensor(f"seq_len {of_hidden}", scales, about)
    if block:
        inputs["hidden_states_scale"] = tensor(
            "num_hidden_blocks seq_len", "float32", f"Multiplies {BLOCK} numbers of a token."
        )
    if channel:
        inputs["hidden_states_scale"] = tensor("seq_len", "float32", "Multiplies a token.")
    inputs["gemm1_weights"] = tensor(
        f"num_local_experts gemm1_out_size {hidden}",
        moe.weights.stored,
        f"Up projection first, then gate: {moe.activation.of_gate} the second half.{pairs}"
        if moe.activation.gated
        else f"Up projection.{pairs}",
    )
    if block:
        inputs["gemm1_weights_scale"] = tensor(
            "num_local_experts num_gemm1_out_blocks num_hidden_blocks",
            "float32",
            f"Multiplies a block of {BLOCK} x {BLOCK} weights.",
        )
    if channel:
        inputs["gemm1_weights_scale"] = tensor(
            "num_local_experts gemm1_out_size", "float32", "Multiplies an output channel."
        )
    if group:
        inputs["gemm1_weights_scale"] = tensor(
            f"num_local_experts gemm1_out_size {of_hidden}", scales, about
        )
    if moe.biased:
        inputs["gemm1_bias"] = tensor(
            "num_local_experts gemm1_out_size", "float32", "Of the up rows, then the gate rows."
        )
    for name, words in moe.activation.inputs.items():
        inputs[name] = tensor("num_local_experts", "float32", words)
    if per_tensor:
        inputs["output1_scales_scalar"] = tensor(
            "num_local_experts",
            "float32",
            "Weight scale x activation scale / intermediate activation scale: for the up half."
            if moe.activation is SWIGLU
            else "The next, divided by the scale of the intermediate activations.",
        )
        inputs["output1_scales_gate_scalar"] = tensor(
            "num_local_experts",
            "float32",
            "Weight scale x activation scale: for the gate half."
            if moe.activation is SWIGLU
            else "Weight scale x activation scale: of the first product.",
        )
    inputs["gemm2_weights"] = tensor(
        f"num_local_experts hidden_size {inner}",
        moe.weights.stored,
        f"Down projection.{pairs}",
    )
    if block:
        inputs["gemm2_weights_scale"] = tensor(
            "num_local_experts num_hidden_blocks num_intermediate_blocks",
            "float32",
            f"Multiplies a block of {BLOCK} x {BLOCK} weights.",
        )
    if channel:
        inputs["gemm2_weights_scale"] = tensor(
            "num_local_experts hidden_size", "float32", "Multiplies an output channel."
        )
    if group:
        inputs["gemm2_weights_scale"] = tensor(
            f"num_local_experts hidden_size {of_inner}", scales, about
        )
    if moe.biased:
        inputs["gemm2_bias"] = tensor(
            "num_local_experts hidden_size",
            "float32",
            "Of the down projection; where ranks share an expert, all but one of them have zeros.",
        )
    if moe.weights.expert_scales:
        for name, words in (_SCALARS if states else _SCALARS_OF_WEIGHTS).items():
            inputs[name] = tensor("num_local_experts", "float32", words)
    if per_tensor:
        inputs["output2_scales_scalar"] = tensor(
            "num_local_experts", "float32", "Intermediate activation scale x weight scale."
        )
        if moe.unused_bias:
            inputs["routing_bias"] = tensor(
                experts, "bfloat16", "Taken for FlashInfer's signature and not used."
            )
    if moe.remote_experts:
        inputs["local_expert_offset"] = scalar(
            "int32", "Index among all experts of the first one on this rank."
        )
    if moe.routing.scaled:
        sums = moe.routing.renormalized and not moe.routing.inputs
        words = "What a token's weights sum to." if sums else "Multiplies a token's weights."
        inputs["routed_scaling_factor"] = scalar("float32", words)
    return inputs


def _constants(moe: Moe) -> dict[str, object]:
    constants: dict[str, object] = {
        "NUM_LOCAL_EXPERTS": moe.num_local_experts,
        "HIDDEN_SIZE": moe.hidden_size,
        "INTERMEDIATE_SIZE": moe.intermediate_size,
        "TOP_K": moe.top_k,
    }
    constants["NUM_EXPERTS"] = moe.num_experts
    if moe.weights.group:
        constants["GROUP"] = moe.weights.group
    if moe.vocab_size:
        constants["VOCAB_SIZE"] = moe.vocab_size
    if moe.num_groups > 1:
        constants["NUM_GROUPS"] = moe.num_groups
        if moe.routing.choice != "each_group":
            constants["TOP_GROUPS"] = moe.top_groups
    return constants
