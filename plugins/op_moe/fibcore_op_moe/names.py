"""What routed experts are called: op type, names of kernels, variants."""

from __future__ import annotations

from fibcore.plugin import OpType
from fibcore_op_moe.activations import SWIGLU, Activation
from fibcore_op_moe.formats import WeightFormat
from fibcore_op_moe.routings import Routing

OP_TYPE = "moe"

OP_TYPES = (OpType(OP_TYPE, "routed experts: routing, grouped GEMMs with SwiGLU, weighted sum"),)

SIZES_IN_NAME = {
    "topk": "top_k",
    "e": "num_local_experts",
    "h": "hidden_size",
    "i": "intermediate_size",
}
"""The letters before the numbers of a name, and the axis that each is the size of."""


def kernel_name(
    weights: WeightFormat,
    routing: Routing,
    top_k: int,
    groups: tuple[int, int],
    sizes: tuple[int, int, int],
    activation: Activation = SWIGLU,
    *,
    biased: bool = False,
    remote: bool = False,
) -> str:
    """The definition's name, such as `moe_bf16_renorm_topk8_e128_h2048_i768`.

    Args:
        weights: The weight format.
        routing: The routing, which the name has unless datasets leave it out.
        top_k: Routed experts a token goes to.
        groups: Groups of experts and how many are kept; named where the routing has groups.
        sizes: Experts of the rank, hidden size, intermediate size of the rank.
        activation: What experts compute between their products; SwiGLU is not named.
        biased: Whether the experts have biases.
        remote: Whether some experts are on other ranks.
    """
    suffix = "_e{}_h{}_i{}".format(*sizes)
    if weights.plain_name and not (routing.scaled or biased or remote or activation.in_name):
        return f"{weights.prefix}_topk{top_k}{suffix}"
    experts = (weights.prefix, activation.in_name, "bias" if biased else "")
    return f"{'_'.join(filter(None, experts))}_{routing_suffix(routing, top_k, groups)}{suffix}"


def routing_suffix(routing: Routing, top_k: int, groups: tuple[int, int]) -> str:
    """A routing and its numbers in names: `ds_routing_topk8_ng8_kg4`."""
    grouped = "_ng{}_kg{}".format(*groups) if routing.has_groups else ""
    return f"{routing.name}_topk{top_k}{grouped}"


def routing_variant(routing: Routing, top_k: int, groups: tuple[int, int]) -> str:
    """A routing and its numbers as a variant: `ds_routing:topk8:ng8:kg4`."""
    grouped = ":ng{}:kg{}".format(*groups) if routing.has_groups else ""
    return f"{routing.name}:topk{top_k}{grouped}"
