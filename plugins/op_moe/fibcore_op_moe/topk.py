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

HASH_KNOWN = frozenset(
    {
        "topk",
        "num_experts",
        "num_fused_shared_experts",
        "vocab_size",
        "scoring_func",
        "routed_scaling_factor",
        "apply_routed_scaling_factor_on_output",
        "layer_id",
        "is_draft",
    }
)
"""Every argument that `HashTopK` has in the SGLang versions that were read."""

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


BIAS_OF_SOFTMAX = (
    "the correction bias is part of the definition; SGLang's kernels for softmax scores on CUDA "
    "leave it out, its native function adds it"
)


@attrs.frozen
class Router:
    """How the tokens of a layer choose experts.

    Attributes:
        routing: The routing.
        top_k: Routed experts a token goes to; shared experts are not counted.
        num_groups: Groups of experts (1 where there are none); 0 where the routing has no groups.
        top_groups: Groups that experts are chosen from; 0 where the routing has no groups.
        scaling_factor: What `TopK` was given as routed_scaling_factor.
        softcap: What bounds the logits, where the routing has that.
        vocab_size: Tokens of the vocabulary, where these choose; else 0.
        notes: What to know of it, as sentences.
    """

    routing: Routing
    top_k: int
    num_groups: int = 0
    top_groups: int = 0
    scaling_factor: float | None = None
    softcap: float | None = None
    vocab_size: int = 0
    notes: tuple[str, ...] = ()

    def scaled(self) -> Router | None:
        """The router whose weights are scaled; None where no record has that."""
        mine = self.routing
        if mine.scaled:
            return self
        routing = None
        if not mine.weight_on_input:
            routing = routings.find(
                mine.scoring, biased=mine.biased, renormalized=mine.renormalized, scaled=True
            )
        return None if routing is None else attrs.evolve(self, routing=routing)


def is_topk(node: ModuleNode) -> bool:
    """Whether the module chooses experts for tokens."""
    return node.is_a("TopK") or node.class_name.endswith("TopK")


def read_router(node: ModuleNode, findings: Findings) -> Router | None:
    """What a `TopK` module does; None where `findings` says what is in the way."""
    if node.is_a("HashTopK"):
        return _hash(Arguments(node, findings), findings)
    if not node.is_a("TopK"):
        findings.unsupported.append(f"{node.class_name} routing")
        return None
    arguments = Arguments(node, findings)
    arguments.only(KNOWN)
    top_k = arguments.integer("top_k")
    fused = arguments.get("num_fused_shared_experts", 0) or 0
    custom = arguments.get("custom_routing_function")
    factor = arguments.number("routed_scaling_factor")
    groups, softcap, notes = (0, 0), None, tuple[str, ...]()
    if custom is not None:
        renormalized = arguments.flag("renormalize", default=True)
        routing, softcap = _custom(custom, findings, renormalized=renormalized)
        if routing is not None and routing.grouped:
            groups = (1, 1)
    else:
        routing, groups = _standard(arguments, findings)
    if routing is None or top_k is None or findings.undecided:
        return None
    # 0.5.9 counts the shared experts that it fuses in among the chosen ones.
    routed = top_k - fused if fused else top_k
    if routing.max_top_k is not None and routed > routing.max_top_k:
        findings.unsupported.append(f"{routing.title} routing to {routed} experts")
        return None
    if routing.scoring == "softmax" and routing.biased:
        notes = (BIAS_OF_SOFTMAX,)
    return Router(routing, routed, *groups, factor, softcap, notes=notes)


def _hash(arguments: Arguments, findings: Findings) -> Router | None:
    """A router that asks a table which experts a token of the vocabulary has."""
    arguments.only(HASH_KNOWN)
    top_k, vocab_size = arguments.integer("topk"), arguments.integer("vocab_size")
    fused = arguments.get("num_fused_shared_experts", 0) or 0
    scoring = arguments.word("scoring_func", "sqrtsoftplus")
    factor = arguments.number("routed_scaling_factor")
    if findings.undecided or top_k is None or vocab_size is None or scoring is None:
        return None
    routing = routings.find(
        scoring,
        choice="hash",
        renormalized=scoring != "softmax",
        inputs=("input_ids", "tid2eid"),
    )
    if routing is None:
        findings.unsupported.append(f"{scoring} scoring with hash routing")
        return None
    routed = top_k - fused if fused else top_k
    return Router(routing, routed, scaling_factor=factor, vocab_size=vocab_size)


def _custom(
    custom: object, findings: Findings, *, renormalized: bool
) -> tuple[Routing | None, float | None]:
    """The routing of a function of the model's own, and what it bounds the logits by."""
    routing = routings.of_custom_function(custom.name) if isinstance(custom, Named) else None
    if routing is not None and routing.renormalized != renormalized:
        routing = routings.find(
            routing.scoring,
            biased=routing.biased,
            renormalized=renormalized,
            choice=routing.choice,
            inputs=routing.inputs,
        )
    if routing is None:
        findings.unsupported.append(f"custom routing function {spelled(custom)}")
    return routing, None


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
    limited = grouped and not biased and top_groups < num_groups
    routing = routings.find(
        scoring,
        biased=biased,
        renormalized=renormalized,
        choice="groups" if limited else "",
    )
    if routing is not None:
        return routing, (num_groups, top_groups) if routing.has_groups else (0, 0)
    words = f"{scoring} scoring" + (" with a correction bias" if biased else "")
    if limited:
        words += f" limited to {top_groups} of {num_groups} groups"
    findings.unsupported.append(words)
    return None, (0, 0)
