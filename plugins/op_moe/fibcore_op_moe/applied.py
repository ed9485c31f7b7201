"""Routed experts in place of FlashInfer's at run time; see `fibcore.plugin.trace_apply_format`.

FlashInfer's fused kernel for block-scaled fp8 takes weights as definitions have them. Its others
take them shuffled, and CUTLASS's takes experts that another call has chosen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fibcore.plugin import CALLED, Applied, Definition, scalar, trace_apply_format
from fibcore_op_moe.identity import kernel_of
from fibcore_op_moe.names import OP_TYPE

ROUTINGS: Mapping[str, tuple[str, ...]] = {
    "ds_routing": ("ds_routing",),
    "renorm": ("renormalize_routing", "renormalize_naive_routing"),
    "default_routing": ("default_routing",),
}
"""Routing to what FlashInfer calls it; it has two ways to compute the second."""

SOURCE = '''
def apply(
    routing_logits,
    hidden_states,
    hidden_states_scale,
    gemm1_weights,
    gemm1_weights_scale,
    gemm2_weights,
    gemm2_weights_scale,
    local_expert_offset=0,
    routed_scaling_factor=None,
    routing_bias=None,
    **others,
):
    """As `flashinfer.fused_moe.trtllm_fp8_block_scale_moe` is called: weights as they are."""
    none = (None,)
    called(
        use_shuffled_weight=(False,),
        weight_layout=(0,),
        fp8_quantization_type=(1,),
        do_finalize=(True,),
        activation_type=(3,),
        norm_topk_prob=(True,),
        num_fused_shared_experts=(None, 0),
        gemm1_alpha=none,
        gemm1_beta=none,
        gemm1_clamp_limit=none,
        gemm1_bias=none,
        gemm2_bias=none,
        gemm1_lora_delta=none,
        routing_replay_out=none,{more}
    )
    return run({arguments})
'''

_OTHERWISE = {
    "routing_bias": "routing_bias=none,",
    "local_expert_offset": "local_expert_offset=(0,),",
    "routed_scaling_factor": "routed_scaling_factor=(None, 1.0),",
}
"""What a call has to leave out that the definition has not."""


def _applied(definition: Definition) -> Sequence[Applied] | str:
    moe = kernel_of(definition)
    names = ROUTINGS.get(moe.routing.name, ()) if moe is not None else ()
    if moe is None or definition.name != moe.name or not names or not moe.weights.block_scaled:
        return "FlashInfer's fused kernel takes such weights shuffled, or has no such routing"
    groups = f"_ng{moe.num_groups}_kg{moe.top_groups}" if moe.routing.grouped else ""
    sizes = (
        f"topk{moe.top_k}{groups}_e{moe.num_local_experts}_h{moe.hidden_size}"
        f"_i{moe.intermediate_size}"
    )
    more = "".join(
        f"\n        {text}" for name, text in _OTHERWISE.items() if name not in definition.inputs
    )
    default = {"routed_scaling_factor": "1.0 if routed_scaling_factor is None else "}
    arguments = ", ".join(f"{default.get(name, '')}{name}" for name in definition.inputs)
    body = SOURCE.format(more=more, arguments=arguments)
    return tuple(
        Applied(
            name=f"moe_fp8_block_scale_{name}_{sizes}",
            op_type=OP_TYPE,
            fi_api="flashinfer.fused_moe.core.trtllm_fp8_block_scale_moe",
            inputs={**definition.inputs, "top_k": scalar("int32")},
            outputs=definition.outputs,
            source=f"{CALLED.strip()}\n\n\n{body.strip()}",
            optional=frozenset(_OTHERWISE) & set(definition.inputs),
        )
        for name in names
    )


FORMATS = (trace_apply_format((OP_TYPE,), _applied),)
"""The formats that this plugin writes here."""
