"""From the arguments of SGLang's `FusedMoE`, or of older layers, to the experts' sizes.

`FusedMoE` takes the sizes of the whole layer and divides them itself: experts by the
expert-parallel size, the intermediate size by what is left of the tensor-parallel size
(`srt/layers/moe/fused_moe_triton/layer.py`, `__init__`).
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from fibcore.plugin import ModuleNode, ParameterRef, Unknown
from fibcore_op_moe import activations, formats
from fibcore_op_moe.activations import SWIGLU, Activation
from fibcore_op_moe.arguments import Arguments, Findings, spelled
from fibcore_op_moe.formats import BF16, WeightFormat

KNOWN = frozenset(
    {
        "num_experts",
        "hidden_size",
        "intermediate_size",
        "layer_id",
        "top_k",
        "num_fused_shared_experts",
        "params_dtype",
        "reduce_results",
        "quant_config",
        "prefix",
        "activation",
        "apply_router_weight_on_input",
        "use_presharded_weights",
        "inplace",
        "no_combine",
        "routed_scaling_factor",
        "gemm1_alpha",
        "gemm1_beta",
        "gemm1_clamp_limit",
        "swiglu_limit",
        "use_weight_loader_fused",
        "with_bias",
        "routing_method_type",
        "is_gated",
        "gate_up_interleaved",
        "enable_qwen35_fp8_deferred_finalize",
        "quant_method",
        "uses_expert_location",
    }
)
"""Every argument that `FusedMoE` has in the SGLang versions that were read."""

CLASSES = frozenset(
    {
        "FusedMoE",
        "EPMoE",
        "DeepEPMoE",
        "MoriEPMoE",
        "NpuFuseEPMoE",
        "FlashInferFusedMoE",
        "FlashInferFP4MoE",
    }
)
"""Classes that compute the same function and differ in how ranks exchange tokens."""


@attrs.frozen
class Experts:
    """The routed experts of a layer, as the whole layer has them.

    Attributes:
        num_experts: Routed experts; fused shared experts are taken out.
        fused: Shared experts that SGLang fused into the same kernel.
        top_k: Routed experts a token goes to, where the layer says it.
        hidden_size: Width of the hidden states.
        intermediate_size: Of one expert; a rank's own where `sharded` is set.
        weights: The weight format.
        weight_on_input: Whether the routing weight multiplies the input.
        scaling_factor: What the layer was given as routed_scaling_factor.
        expert_parallel: Whether expert parallelism divides the experts.
        sharded: Whether the intermediate size is already a rank's.
        activation: What an expert computes between its two products.
        settings: The numbers of the activation, by input.
        biased: Whether both products of an expert have a bias.
        zero: Experts that the router has besides, which compute nothing.
    """

    num_experts: int
    fused: int
    top_k: int | None
    hidden_size: int
    intermediate_size: int
    weights: WeightFormat
    weight_on_input: bool = False
    scaling_factor: float | None = None
    expert_parallel: bool = True
    sharded: bool = False
    activation: Activation = SWIGLU
    settings: Mapping[str, float] = attrs.field(factory=dict)
    biased: bool = False
    zero: int = 0


def is_experts(node: ModuleNode) -> bool:
    """Whether the module is a layer of fused experts."""
    return node.is_a(*CLASSES)


def read_experts(node: ModuleNode, findings: Findings) -> Experts | None:
    """The experts of a `FusedMoE`; None where `findings` says what is in the way."""
    arguments = Arguments(node, findings)
    if node.class_name not in CLASSES:
        findings.unsupported.append(f"experts of class {node.class_name}")
    arguments.only(KNOWN)
    num_experts = arguments.integer("num_experts")
    hidden_size = arguments.integer("hidden_size")
    intermediate_size = arguments.integer("intermediate_size")
    fused = arguments.get("num_fused_shared_experts", 0) or 0
    top_k = arguments.get("top_k")
    factor = arguments.number("routed_scaling_factor")
    on_input = arguments.flag("apply_router_weight_on_input")
    computed = _computed(arguments, _format_of(node), findings)
    weights = read_weights(node, findings)
    if not findings.clear or weights is None:
        return None
    if num_experts is None or hidden_size is None or intermediate_size is None:
        return None
    return Experts(
        num_experts=num_experts - fused if fused else num_experts,
        fused=fused,
        top_k=top_k - fused if fused and top_k is not None else top_k,
        hidden_size=hidden_size,
        intermediate_size=intermediate_size,
        weights=weights,
        weight_on_input=on_input,
        scaling_factor=factor,
        activation=computed.activation,
        settings=computed.settings,
        biased=computed.biased,
    )


@attrs.frozen
class Computed:
    """What an expert computes beside its products; see `Experts`."""

    activation: Activation
    settings: Mapping[str, float]
    biased: bool


def _format_of(node: ModuleNode) -> WeightFormat | None:
    """The format of the layer's weights; None where it is not known or has no record."""
    if isinstance(node.quantization, Unknown):
        return None
    return formats.of_quantization(node.quantization)


def _computed(arguments: Arguments, weights: WeightFormat | None, findings: Findings) -> Computed:
    """What the experts compute; a record in `findings` of what has no definition."""
    function = arguments.word("activation", "silu")
    gated = arguments.flag("is_gated", default=True)
    found = {name: arguments.number(name) for name in activations.ARGUMENTS}
    settings = {name: value for name, value in found.items() if value is not None}
    own = activations.of_settings(settings, function or "silu", gated=gated)
    if own is None:
        words = [f"{name} {spelled(value)}" for name, value in settings.items()]
        alone = "" if gated else " without a gate"
        what = "SwiGLU" if function == "silu" and gated else f"{function} activation{alone}"
        findings.unsupported.append(" with ".join(filter(None, (what, ", ".join(words)))))
    biased = arguments.flag("with_bias")
    if biased and (not (weights and weights.biases) or not gated):
        findings.unsupported.append("expert biases")
    if arguments.flag("no_combine"):
        findings.unsupported.append("experts without the weighted sum")
    if (method := arguments.get("quant_method")) is not None:
        findings.undecided.append(f"{spelled(method)} decides how the weights are stored")
    own = own or SWIGLU
    return Computed(own, activations.values(own, settings), biased)


def read_weights(node: ModuleNode, findings: Findings) -> WeightFormat | None:
    """The weight format of a layer; None where `findings` says what is in the way."""
    quantization = node.quantization
    if isinstance(quantization, Unknown):
        findings.undecided.append(f"the quantisation of {node.class_name} is {quantization}")
        return None
    weights = formats.of_quantization(quantization)
    if weights is None and quantization is not None:
        findings.unsupported.append(f"{formats.quantization_words(quantization)} weights")
    return weights


def read_packed_experts(parent: ModuleNode, findings: Findings) -> Experts | None:
    """The experts of an older layer, whose `forward` calls `fused_moe` on packed weights.

    Two forms exist: a list of gated MLPs whose weights are packed into `w1` and `w2`
    (`deepseek.py`, `xverse_moe.py`), and two parameters [experts, 2 x intermediate, hidden] and
    [experts, hidden, intermediate] of a rank's sizes (`dbrx.py`). Expert parallelism does not
    reach them.
    """
    parameters = [p for p in parent.attributes.values() if isinstance(p, ParameterRef)]
    shapes = [tuple(p.shape) for p in parameters if p.shape is not None and len(p.shape) == 3]
    if len(shapes) == 2 and all(isinstance(s, int) for shape in shapes for s in shape):
        (experts, rows, hidden), second = shapes
        if second == (experts, hidden, rows // 2) and rows % 2 == 0:
            weights = read_weights(parent, findings)
            if weights is None:
                return None
            return _packed(experts, hidden, second[2], weights, findings, sharded=True)
    container = parent.children.get("experts")
    if container is not None and {"w1", "w2"} <= set(parent.attributes):
        return _packed_mlps(container, findings)
    findings.undecided.append("there are no experts beside it that this plugin knows")
    return None


def _packed_mlps(container: ModuleNode, findings: Findings) -> Experts | None:
    found = set()
    for mlp in container.children.values():
        gate_up, down = mlp.children.get("gate_up_proj"), mlp.children.get("down_proj")
        if gate_up is None or down is None:
            findings.undecided.append(f"{mlp.path} is no gated MLP with gate_up_proj and down_proj")
            return None
        act = mlp.children.get("act_fn")
        if act is not None and act.class_name != "SiluAndMul":
            findings.unsupported.append(f"{act.class_name} activation")
            return None
        weights = read_weights(gate_up, findings)
        sizes = Arguments(gate_up, findings).get("output_sizes")
        hidden = Arguments(gate_up, findings).integer("input_size")
        if weights is None or hidden is None or not isinstance(sizes, (list, tuple)):
            return None
        if len(sizes) != 2 or sizes[0] != sizes[1] or not isinstance(sizes[0], int):
            findings.undecided.append(f"{gate_up.path} has output_sizes {sizes!r}")
            return None
        found.add((hidden, sizes[0], weights))
    if len(found) != 1:
        findings.undecided.append(f"the experts of {container.path} differ in size")
        return None
    ((hidden, intermediate, weights),) = found
    return _packed(len(container.children), hidden, intermediate, weights, findings, sharded=False)


def _packed(
    experts: int,
    hidden: int,
    intermediate: int,
    weights: WeightFormat,
    findings: Findings,
    *,
    sharded: bool,
) -> Experts | None:
    if weights != BF16:
        findings.unsupported.append(f"{weights.name} weights in a layer that packs them itself")
        return None
    return Experts(
        num_experts=experts,
        fused=0,
        top_k=None,
        hidden_size=hidden,
        intermediate_size=intermediate,
        weights=weights,
        expert_parallel=False,
        sharded=sharded,
    )
