"""From the arguments of SGLang's `TopK` to the routing.

What decides is what `select_experts` in `srt/layers/moe/topk.py` does with them on CUDA, in 0.5.9
and 0.5.23 alike: with a correction bias, grouped routing scores with a sigmoid whatever
`scoring_func` says; without one, it takes the best score of a group as the group's rank.
"""

from __future__ import annotations

import attrs

from fibcore.plugin import ModuleNode, Named
from fibcore_op_moe import routings
from fibcore_op_moe.arguments import Arguments, Findings, spelled
from fibcore_op_moe.routings import Routing

KNOWN = frozenset(
    {
        "top_k",
        "layer_id",
        "is_draft",
        "use_grouped_topk",
        "topk_group",
        "num_expert_group",
        "renormalize",
        "num_fused_shared_experts",
        "custom_routing_function",
        "scoring_func",
        "correction_bias",
        "quant_config",
        "prefix",
        "routed_scaling_factor",
        "apply_routed_scaling_factor_on_output",
        "output_format",
        "fused_shared_experts_scaling_factor",
        "is_fp4_experts",
        "allow_routed_experts_capture",
        "sqrtsoftplus_log1p",
        "fused_gate_packed_ids",
        "force_topk",  # where experts are chosen: here, or inside of the experts' kernel
    }
)
"""Every argument that `TopK` has in the SGLang versions that were read."""


@attrs.frozen
class Router:
    """How the tokens of a layer choose experts.

    Attributes:
        routing: The routing.
        top_k: Routed experts a token goes to; shared experts are not counted.
        num_groups: Groups of experts (1 where there are none); 0 where the routing has no groups.
        top_groups: Groups that experts are chosen from; 0 where the routing has no groups.
        scaling_factor: What `TopK` was given as routed_scaling_factor.
    """

    routing: Routing
    top_k: int
    num_groups: int = 0
    top_groups: int = 0
    scaling_factor: float | None = None


def is_topk(node: ModuleNode) -> bool:
    """Whether the module chooses experts for tokens."""
    return node.is_a("TopK") or node.class_name.endswith("TopK")


def read_router(node: ModuleNode, findings: Findings) -> Router | None:
    """What a `TopK` module does; None where `findings` says what is in the way."""
    if not node.is_a("TopK"):
        words = "hash" if "Hash" in node.class_name else node.class_name
        findings.unsupported.append(f"{words} routing")
        return None
    arguments = Arguments(node, findings)
    arguments.only(KNOWN)
    top_k = arguments.integer("top_k")
    fused = arguments.get("num_fused_shared_experts", 0) or 0
    custom = arguments.get("custom_routing_function")
    factor = arguments.number("routed_scaling_factor")
    groups = (0, 0)
    if custom is not None:
        routing = _custom(custom, findings)
    else:
        routing, groups = _standard(arguments, findings)
    if routing is None or top_k is None or findings.undecided:
        return None
    # 0.5.9 counts the shared experts that it fuses in among the chosen ones.
    routed = top_k - fused if fused else top_k
    if routing.max_top_k is not None and routed > routing.max_top_k:
        findings.unsupported.append(f"{routing.title} routing to {routed} experts")
        return None
    return Router(routing, routed, *groups, factor)


def _custom(custom: object, findings: Findings) -> Routing | None:
    routing = routings.of_custom_function(custom.name) if isinstance(custom, Named) else None
    if routing is None:
        findings.unsupported.append(f"custom routing function {spelled(custom)}")
    return routing


def _standard(arguments: Arguments, findings: Findings) -> tuple[Routing | None, tuple[int, int]]:
    """The routing, groups and kept groups where `select_experts` routes itself."""
    grouped = arguments.flag("use_grouped_topk")
    biased = arguments.get("correction_bias") is not None
    renormalized = arguments.flag("renormalize", default=True)
    scoring = arguments.word("scoring_func", "softmax")
    num_groups = arguments.integer("num_expert_group") if grouped else 1
    top_groups = arguments.integer("topk_group") if grouped else 1
    if findings.undecided or scoring is None or num_groups is None or top_groups is None:
        return None, (0, 0)
    if biased and grouped and scoring == "softmax":
        scoring = "sigmoid"  # whatever it is given
    routing = routings.of_select_experts(scoring, biased=biased, renormalized=renormalized)
    if routing is not None and routing.grouped:
        return routing, (num_groups, top_groups)
    if routing is not None and top_groups == num_groups:
        return routing, (0, 0)
    findings.unsupported.append(
        _scoring_words(scoring, biased=biased)
        if routing is None
        else f"{scoring} scoring limited to {top_groups} of {num_groups} groups"
    )
    return None, (0, 0)


def _scoring_words(scoring: str, *, biased: bool) -> str:
    """A routing without a record, for people."""
    if scoring not in ("softmax", "sigmoid"):
        return f"{scoring} scoring"
    if not biased:
        return f"{scoring} scoring without a correction bias"
    if scoring == "sigmoid":
        return "sigmoid scoring without normalisation over the chosen experts"
    return f"{scoring} scoring with a correction bias"
