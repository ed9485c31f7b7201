"""Finds routed experts in a model tree: a layer of fused experts and the `TopK` beside it."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from fibcore.plugin import (
    Extraction,
    Fact,
    Kernel,
    KernelCollector,
    ModelTree,
    ModuleNode,
    Named,
    Serving,
    fact,
    with_origins,
)
from fibcore_op_moe.activations import ACTIVATIONS
from fibcore_op_moe.arguments import Findings, listed, spelled
from fibcore_op_moe.experts import Experts, is_experts, read_experts, read_packed_experts
from fibcore_op_moe.formats import BF16, BLOCK, FORMATS
from fibcore_op_moe.kernel import Moe
from fibcore_op_moe.names import OP_TYPE
from fibcore_op_moe.routings import ROUTINGS, find
from fibcore_op_moe.topk import Router, is_topk, read_router

COVERED = (
    f"moe definitions describe experts with {listed([a.name for a in ACTIVATIONS])}, in "
    f"{listed([weights.title for weights in FORMATS])} weights (with biases in "
    f"{listed([weights.title for weights in FORMATS if weights.biases])}), with "
    f"{listed([routing.name for routing in ROUTINGS])}"
)


def extract(tree: ModelTree, serving: Serving) -> Extraction:
    """The MoE kernels of a model, and what kept others from being one."""
    collector = KernelCollector()
    paired: set[str] = set()
    for node in tree.walk():
        if is_experts(node):
            topk = _topk_beside(tree, node)
            paired.update((topk.path,) if topk else ())
            _add(collector, tree, serving, node, topk, read_experts)
    for node in tree.walk():
        if is_topk(node) and node.path not in paired:
            parent = tree.parent(node.path)
            if parent is not None:
                _add(collector, tree, serving, parent, node, read_packed_experts)
                if "w1" in parent.attributes and "experts" in parent.children:
                    for part in parent.children["experts"].walk():
                        collector.claim(part)
    return collector.finish()


def _topk_beside(tree: ModelTree, node: ModuleNode) -> ModuleNode | None:
    """The module that routes for these experts: one beside them, or beside what holds them."""
    name = node.path.rpartition(".")[2]
    holder = tree.parent(node.path)
    for _ in range(2):
        if holder is None:
            return None
        found = [child for child in holder.children.values() if is_topk(child)]
        # Two sets of experts in one block (text and vision) name theirs after themselves.
        named = [t for t in found if t.path.rpartition(".")[2].startswith(name + "_")]
        if len(found) == 1 or len(named) == 1:
            return (named or found)[0]
        if found:
            return None
        holder = tree.parent(holder.path)
    return None


def _own_router(tree: ModelTree, node: ModuleNode) -> ModuleNode | None:
    """The router of a model's own beside these experts, where no `TopK` is (Zaya, Inkling)."""
    block = tree.parent(node.path)
    beside = () if block is None else tuple(block.children.values())
    if any(is_topk(inner) for child in beside for inner in child.walk()):
        return None
    ends = ("Router", "Gate") if _takes_choice(node) else ("Router",)
    return next((child for child in beside if child.class_name.endswith(ends)), None)


def _takes_choice(node: ModuleNode) -> bool:
    """Whether the layer is told that it is called with a choice (`RoutingMethodType.TopK`)."""
    method = node.argument("routing_method_type")
    return isinstance(method, Named) and method.name.endswith(".RoutingMethodType.TopK")


def _add(
    collector: KernelCollector,
    tree: ModelTree,
    serving: Serving,
    node: ModuleNode,
    topk: ModuleNode | None,
    read: Callable[[ModuleNode, Findings], Experts | None],
) -> None:
    """Record what `node`, the experts, and `topk` make together."""
    findings = Findings()
    experts = read(node, findings)
    zero = _zero_experts(tree, node)
    if experts is not None and zero:
        experts = attrs.evolve(experts, zero=zero)
    router = None
    own = _own_router(tree, node) if topk is None else None
    if own is not None:
        findings.unsupported.append(f"the routing of {own.class_name}")
    elif topk is None:
        findings.undecided.append("there is no TopK beside it that routes for it alone")
    else:
        collector.claim(topk)
        router = read_router(topk, findings)
    if router is not None:
        _claim_holder(collector, tree, node, router)
    if router is not None and topk is not None and router.routing.choice == "each_group":
        router = _of_each_group(tree, topk, router, findings)
    if experts is not None and router is not None:
        router = _compare(experts, router, findings)
    if experts is not None and router is not None and findings.clear and topk is not None:
        moe = _divide(experts, router, serving, findings)
        if moe is not None:
            _check_blocks(moe, experts, serving, findings)
            if findings.clear:
                collector.add(_kernel(moe, experts, router, serving, node, topk), node)
                return
    if findings.unsupported:
        reason = COVERED + _fused_shared(node)
        collector.not_covered("moe with " + ", ".join(findings.unsupported), reason, node)
    else:
        collector.problem("moe", "; ".join(findings.undecided), node)


def _claim_holder(
    collector: KernelCollector, tree: ModelTree, node: ModuleNode, router: Router
) -> None:
    """Claim what holds the experts, where the routing reads a parameter of its own (Gemma 4)."""
    holder = tree.parent(node.path)
    if holder is not None and set(router.routing.inputs) & set(holder.attributes):
        collector.claim(holder)


def _fused_shared(node: ModuleNode) -> str:
    """Words for shared experts in the kernel of a layer, which have no layer of their own."""
    count = node.argument("num_fused_shared_experts")
    if isinstance(count, int) and count > 0:
        return f"; SGLang fuses {int(count)} shared expert(s) into this layer's kernel"
    return ""


def _zero_experts(tree: ModelTree, node: ModuleNode) -> int:
    """Experts that hand their input on (LongCat): the router has them, the experts' kernel not."""
    block = tree.parent(node.path)
    count = None if block is None else block.attributes.get("zero_expert_num")
    return count if isinstance(count, int) and not isinstance(count, bool) else 0


def _of_each_group(
    tree: ModelTree, topk: ModuleNode, router: Router, findings: Findings
) -> Router | None:
    """The router with its groups, which the block or what holds it has (Intern-S1-Pro).

    None where `findings` says what is in the way; the plain routing where there are no groups.
    """
    holder = tree.parent(topk.path)
    while holder is not None and "router_n_groups" not in holder.attributes:
        holder = tree.parent(holder.path)
    count = None if holder is None else holder.attributes["router_n_groups"]
    if not isinstance(count, int):
        findings.undecided.append(f"router_n_groups is {spelled(count)}")
        return None
    if count <= 0:
        plain = find("softmax", renormalized=router.routing.renormalized)
        return None if plain is None else attrs.evolve(router, routing=plain)
    if router.top_k % count:
        findings.undecided.append(f"top {router.top_k} cannot be divided over {count} groups")
        return None
    return attrs.evolve(router, num_groups=count, top_groups=count)


def _compare(experts: Experts, router: Router, findings: Findings) -> Router | None:
    """The router, with a scaling factor where there is one; records what does not go together."""
    if experts.top_k is not None and experts.top_k != router.top_k:
        findings.undecided.append(
            f"the experts are for top {experts.top_k} and TopK chooses {router.top_k}"
        )
    if experts.weight_on_input != router.routing.weight_on_input:
        where = "input" if experts.weight_on_input else "output"
        findings.unsupported.append(f"{router.routing.name} weights on the experts' {where}")
    factor = _scaling_factor(experts, router)
    if factor == 1:
        return router
    scaled = router.scaled()
    if scaled is None:
        findings.unsupported.append(
            f"{router.routing.name} scaled by routed_scaling_factor {factor}"
        )
    return scaled


def _scaling_factor(experts: Experts, router: Router) -> float:
    """What the routed output is multiplied by; the experts and TopK are given the same number."""
    given = [f for f in (experts.scaling_factor, router.scaling_factor) if f is not None]
    return next((f for f in given if f != 1), given[0] if given else 1.0)


def _divide(experts: Experts, router: Router, serving: Serving, findings: Findings) -> Moe | None:
    """One rank's part; None and the numbers where they do not divide."""
    ep = serving.ep if experts.expert_parallel else 1
    parts = serving.expert_tp if experts.expert_parallel else serving.tp
    served = f"TP {serving.tp}" + (f", EP {ep}" if experts.expert_parallel else "")
    if experts.num_experts % ep:
        findings.undecided.append(
            f"{experts.num_experts} experts cannot be divided over EP {ep} ({served})"
        )
    shared = not experts.sharded and not experts.weights.whole_blocks
    if shared and experts.intermediate_size % parts:
        findings.undecided.append(
            f"intermediate size {experts.intermediate_size} cannot be divided over "
            f"{parts} ranks ({served})"
        )
    if router.routing.has_groups and experts.num_experts % router.num_groups:
        findings.undecided.append(
            f"{experts.num_experts} experts cannot be divided into {router.num_groups} groups"
        )
    if router.top_k > experts.num_experts:
        findings.undecided.append(
            f"top {router.top_k} of {experts.num_experts} experts cannot be chosen"
        )
    if not findings.clear:
        return None
    intermediate = experts.intermediate_size // (1 if experts.sharded else parts)
    if experts.weights.whole_blocks:
        group = experts.weights.group
        intermediate = -(-experts.intermediate_size // (group * parts)) * group
    return Moe(
        weights=experts.weights,
        routing=router.routing,
        top_k=int(router.top_k),
        num_groups=int(router.num_groups),
        top_groups=int(router.top_groups),
        num_experts=int(experts.num_experts + experts.zero),
        num_local_experts=int(experts.num_experts // ep),
        hidden_size=int(experts.hidden_size),
        intermediate_size=int(intermediate),
        activation=experts.activation,
        biased=experts.biased,
        vocab_size=int(router.vocab_size),
    )


def _check_blocks(moe: Moe, experts: Experts, serving: Serving, findings: Findings) -> None:
    """Record sizes of which blocks are no divisor; SGLang refuses to load such weights."""
    block = moe.weights.scale_size
    if not block:
        return
    words = f"the fp8 block size {block}" if moe.weights.block_scaled else f"the group size {block}"
    if moe.hidden_size % block:
        findings.undecided.append(f"hidden size {moe.hidden_size} is no multiple of {words}")
    if moe.weights.whole_blocks:
        if experts.intermediate_size % block:
            findings.undecided.append(
                f"intermediate size {experts.intermediate_size} is no multiple of {words}"
            )
    elif moe.intermediate_size % block:
        findings.undecided.append(
            f"intermediate size {experts.intermediate_size} / "
            f"{experts.intermediate_size // moe.intermediate_size} = {moe.intermediate_size} is no "
            f"multiple of {words} (TP {serving.tp}, EP {serving.ep})"
        )


def _kernel(
    moe: Moe,
    experts: Experts,
    router: Router,
    serving: Serving,
    node: ModuleNode,
    topk: ModuleNode,
) -> Kernel:
    tags = [f"tp:{serving.tp}"]
    if experts.expert_parallel:
        tags.append(f"ep:{serving.ep}")
    if moe.weights != BF16:
        tags.append(f"quantization:{moe.weights.quantized}")
    if moe.in_trtllm:
        tags.append(f"fi_api:flashinfer.fused_moe.{moe.weights.trtllm}")
    notes = [*router.notes]
    if experts.zero:
        notes.append(
            f"the router chooses among {experts.zero} zero experts besides, which the block adds "
            "to the sum of the others; here they compute nothing"
        )
    if experts.fused:
        notes.append(
            f"SGLang fuses {experts.fused} shared expert(s) into this layer's kernel "
            f"({moe.num_experts + experts.fused} experts, top {moe.top_k + experts.fused}); "
            "the definition has the routed experts"
        )
    ranks = serving.expert_tp
    if experts.weights.whole_blocks and moe.intermediate_size * ranks > experts.intermediate_size:
        notes.append(
            f"{experts.intermediate_size} over {ranks} ranks in groups of {moe.weights.group}: "
            f"{moe.intermediate_size} on a rank, of which the last one fills up what it lacks"
        )
    if not experts.expert_parallel and serving.ep > 1:
        notes.append(f"SGLang does not divide these experts over EP {serving.ep}")
    return Kernel(
        op_type=OP_TYPE,
        name=moe.name,
        parameters=moe.parameters(),
        facts=_facts(moe, experts, router, serving, node, topk),
        uses=(),
        tags=tuple(tags),
        notes=tuple(notes),
    )


def _facts(
    moe: Moe,
    experts: Experts,
    router: Router,
    serving: Serving,
    node: ModuleNode,
    topk: ModuleNode,
) -> dict[str, Fact]:
    """Where every const axis, and every number that is in the reference alone, comes from."""
    tp = with_origins(serving.tp, frozenset({"serving:tp"}))
    ep = with_origins(serving.ep, frozenset({"serving:ep"}))
    fused = f" - {experts.fused} fused shared" if experts.fused else ""
    count, size = experts.num_experts, experts.intermediate_size
    # Where expert parallelism does not reach, node is the block and not the layer of experts.
    raw_count = node.argument("num_experts", count) if experts.expert_parallel else count
    local = fact(moe.num_local_experts, node, f"num_experts{fused}", raw_count)
    if moe.remote_experts:
        local = fact(moe.num_local_experts, node, f"num_experts{fused} / ep", raw_count, ep)
    ranks = (tp, ep) if experts.expert_parallel else (tp,)
    divisor = " / (tp / ep)" if experts.expert_parallel else " / tp"
    if experts.expert_parallel and serving.expert_tp * serving.ep < serving.tp:
        groups = serving.tp // serving.ep // serving.expert_tp
        ranks = (*ranks, with_origins(groups, frozenset({"serving:moe_dp"})))
        divisor = " / (tp / ep / moe_dp)"
    divisor = "" if experts.sharded else divisor
    inner = f"intermediate_size{divisor}"
    if experts.weights.whole_blocks and divisor and serving.tp > serving.ep:
        inner += f", rounded up to {moe.weights.group}"
    twice = "2 x " if moe.activation.gated else ""
    facts = {
        "num_local_experts": local,
        "hidden_size": fact(experts.hidden_size, node),
        "intermediate_size": fact(moe.intermediate_size, node, inner, size, *ranks),
        "gemm1_out_size": fact(moe.gemm1_rows, node, f"{twice}{inner}", size, *ranks),
        "top_k": fact(
            moe.top_k,
            topk,
            f"top_k{fused}" if topk.argument("num_fused_shared_experts") else "",
            topk.argument("top_k", topk.argument("topk")),
        ),
    }
    if experts.fused:
        given = node.argument("num_fused_shared_experts")
        facts["num_fused_shared_experts"] = fact(experts.fused, node, "", given)
    if moe.remote_experts:
        besides = f" + {experts.zero} zero experts" if experts.zero else ""
        facts["num_experts"] = fact(
            moe.num_experts, node, f"num_experts{fused}{besides}", raw_count
        )
    if moe.vocab_size:
        facts["vocab_size"] = fact(moe.vocab_size, topk, "", topk.argument("vocab_size"))
    if moe.weights.block_scaled:
        hidden = experts.hidden_size
        facts["num_hidden_blocks"] = fact(
            moe.hidden_size // BLOCK, node, f"hidden_size / {BLOCK}", hidden
        )
        facts["num_intermediate_blocks"] = fact(
            moe.intermediate_size // BLOCK, node, f"{inner} / {BLOCK}", size, *ranks
        )
        facts["num_gemm1_out_blocks"] = fact(
            moe.gemm1_rows // BLOCK, node, f"{twice}{inner} / {BLOCK}", size, *ranks
        )
    if group := moe.weights.group:
        hidden = experts.hidden_size
        facts[moe.weights.groups_axis("hidden")] = fact(
            moe.hidden_size // group, node, f"hidden_size / {group}", hidden
        )
        facts[moe.weights.groups_axis("intermediate")] = fact(
            moe.intermediate_size // group, node, f"{inner} / {group}", size, *ranks
        )
    if moe.weights.packed:
        facts["num_packed_hidden"] = fact(
            moe.hidden_size // 2, node, "hidden_size / 2", experts.hidden_size
        )
        facts["num_packed_intermediate"] = fact(
            moe.intermediate_size // 2, node, f"{inner} / 2", size, *ranks
        )
    for name in moe.activation.inputs:
        value = experts.settings[name]
        facts[name] = fact(float(value), node, "", value)
    if router.softcap is not None:
        facts["router_logit_softcap"] = fact(float(router.softcap), topk, "", router.softcap)
    if moe.routing.has_groups:
        kept = topk.argument("topk_group", moe.top_groups)
        groups = topk.argument("num_expert_group", moe.num_groups)
        facts["num_groups"] = fact(moe.num_groups, topk, "", groups)
        facts["top_groups"] = fact(moe.top_groups, topk, "", kept)
    if moe.routing.scaled:
        factor = _scaling_factor(experts, router)
        facts["routed_scaling_factor"] = fact(float(factor), topk, "", factor)
    return facts
