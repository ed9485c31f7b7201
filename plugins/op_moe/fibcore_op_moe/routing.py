"""From the arguments of SGLang's `TopK` to the kind of routing.

What decides is what `select_experts` in `srt/layers/moe/topk.py` does with them on CUDA, in 0.5.9
and 0.5.23 alike: with a correction bias, grouped routing scores with a sigmoid whatever
`scoring_func` says; without one, it takes the best score of a group as the group's rank.
"""

from __future__ import annotations

import attrs

from fibcore.plugin import ModuleNode, Named
from fibcore_op_moe.names import DEFAULT, DS, LLAMA4, RENORM
from fibcore_op_moe.reading import Arguments, Findings, spelled

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
    }
)
"""Every argument that `TopK` has in the SGLang versions that were read."""


@attrs.frozen
class Routing:
    """How tokens choose experts.

    Attributes:
        kind: `ds_routing`, `renorm`, `default_routing` or `llama4_routing`.
        top_k: Routed experts a token goes to; shared experts are not counted.
        num_groups: Groups of experts for ds_routing (1 where there are none), else 0.
        top_groups: Groups that experts are chosen from for ds_routing, else 0.
        scaling_factor: What `TopK` was given as routed_scaling_factor.
    """

    kind: str
    top_k: int
    num_groups: int = 0
    top_groups: int = 0
    scaling_factor: float | None = None


def is_topk(node: ModuleNode) -> bool:
    """Whether the module chooses experts for tokens."""
    return node.is_a("TopK") or node.class_name.endswith("TopK")


def read_routing(node: ModuleNode, findings: Findings) -> Routing | None:
    """The routing of a `TopK` module; None where `findings` says what is in the way."""
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
    if custom is not None:
        kind: tuple[str, int, int] | None = _custom(custom, findings)
    else:
        kind = _standard(arguments, findings)
    if kind is None or top_k is None or findings.undecided:
        return None
    # 0.5.9 counts the shared experts that it fuses in among the chosen ones.
    routed = top_k - fused if fused else top_k
    if kind[0] == LLAMA4 and routed != 1:
        findings.unsupported.append(f"Llama-4 routing to {routed} experts")
        return None
    return Routing(kind[0], routed, kind[1], kind[2], factor)


def _custom(custom: object, findings: Findings) -> tuple[str, int, int] | None:
    if isinstance(custom, Named) and custom.name.endswith("Llama4MoE.custom_routing_function"):
        return LLAMA4, 0, 0
    findings.unsupported.append(f"custom routing function {spelled(custom)}")
    return None


def _standard(arguments: Arguments, findings: Findings) -> tuple[str, int, int] | None:
    """Kind, groups and kept groups where `select_experts` routes itself."""
    grouped = arguments.flag("use_grouped_topk")
    biased = arguments.get("correction_bias") is not None
    renormalize = arguments.flag("renormalize", default=True)
    scoring = arguments.word("scoring_func", "softmax")
    num_groups = arguments.integer("num_expert_group") if grouped else 1
    top_groups = arguments.integer("topk_group") if grouped else 1
    if findings.undecided or num_groups is None or top_groups is None:
        return None
    unsupported = findings.unsupported.append
    if scoring not in ("softmax", "sigmoid"):
        unsupported(f"{scoring} scoring")
    elif biased and (grouped or scoring == "sigmoid"):
        if renormalize:
            return DS, num_groups, top_groups
        unsupported("sigmoid scoring without normalisation over the chosen experts")
    elif biased:
        unsupported("softmax scoring with a correction bias")
    elif scoring == "sigmoid":
        unsupported("sigmoid scoring without a correction bias")
    elif top_groups < num_groups:
        unsupported(f"softmax scoring limited to {top_groups} of {num_groups} groups")
    else:
        return (RENORM if renormalize else DEFAULT), 0, 0
    return None
