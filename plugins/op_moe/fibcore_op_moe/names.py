"""What an MoE kernel is: weights, routing and sizes; its name; its variant."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping

import attrs

from fibcore.plugin import Definition, OpType, Scalar

OP_TYPE = "moe"

OP_TYPES = (OpType(OP_TYPE, "routed experts: routing, grouped GEMMs with SwiGLU, weighted sum"),)

BLOCK = 128
"""Rows and columns of a weight block, and activations of a token, that share one fp8 scale."""

BF16 = "bf16"
FP8_BLOCK = "fp8_block_scale"
FP8_TENSOR = "fp8_per_tensor"

DS = "ds_routing"
RENORM = "renorm"
DEFAULT = "default_routing"
LLAMA4 = "llama4_routing"


@attrs.frozen
class Moe:
    """One rank's routed experts of one layer.

    Attributes:
        weights: `bf16`, `fp8_block_scale` or `fp8_per_tensor`.
        routing: `ds_routing`, `renorm`, `default_routing` or `llama4_routing`.
        top_k: Routed experts a token goes to.
        num_groups: Groups of experts (ds_routing; 1 where there are none), else 0.
        top_groups: Groups that experts are chosen from (ds_routing), else 0.
        num_experts: Routed experts of the layer, on all ranks.
        num_local_experts: Those of them on this rank.
        hidden_size: Width of the hidden states.
        intermediate_size: Rows of the up projection that this rank holds.
    """

    weights: str
    routing: str
    top_k: int
    num_groups: int
    top_groups: int
    num_experts: int
    num_local_experts: int
    hidden_size: int
    intermediate_size: int

    @property
    def remote_experts(self) -> bool:
        """Whether some experts are on other ranks."""
        return self.num_local_experts < self.num_experts

    @property
    def name(self) -> str:
        """The definition's name."""
        sizes = f"e{self.num_local_experts}_h{self.hidden_size}_i{self.intermediate_size}"
        if self.weights == FP8_TENSOR:
            return f"trtllm_fp8_per_tensor_scale_moe_topk{self.top_k}_{sizes}"
        groups = f"_ng{self.num_groups}_kg{self.top_groups}" if self.routing == DS else ""
        return f"moe_{self.weights}_{self.routing}_topk{self.top_k}{groups}_{sizes}"

    def parameters(self) -> dict[str, Scalar]:
        """All of it as plain scalars."""
        return attrs.asdict(self)

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Scalar]) -> Moe:
        """The kernel that `parameters()` came from."""
        return cls(**parameters)  # type: ignore[arg-type]

    @classmethod
    def from_definition(cls, definition: Definition) -> Moe | None:
        """The kernel of a definition, whoever wrote it; None where that cannot be told."""
        routing = routing_of(definition)
        weights = _weights_of(definition)
        sizes = {n: a.value for n, a in definition.axes.items()}
        try:
            kind, top_k, num_groups, top_groups = routing or ("", 0, 0, 0)
            local, hidden = sizes["num_local_experts"], sizes["hidden_size"]
            intermediate = sizes["intermediate_size"]
        except KeyError:
            return None
        if not (kind and weights and local and hidden and intermediate):
            return None
        return cls(
            weights=weights,
            routing=kind,
            top_k=top_k,
            num_groups=num_groups,
            top_groups=top_groups,
            num_experts=sizes.get("num_experts") or local,
            num_local_experts=local,
            hidden_size=hidden,
            intermediate_size=intermediate,
        )


def _weights_of(definition: Definition) -> str | None:
    if "output1_scales_scalar" in definition.inputs:
        return FP8_TENSOR
    weight = definition.inputs.get("gemm1_weights")
    if weight is None:
        return None
    if "gemm1_weights_scale" in definition.inputs:
        return FP8_BLOCK if weight.dtype == "float8_e4m3fn" else None
    return BF16 if weight.dtype == "bfloat16" else None


# FlashInfer names the two ways of computing the same renormalised weights apart.
_KINDS = {
    "ds_routing": DS,
    "renorm": RENORM,
    "renormalize_routing": RENORM,
    "renormalize_naive_routing": RENORM,
    "default_routing": DEFAULT,
    "llama4_routing": LLAMA4,
}
_IN_NAME = re.compile(
    r"_(" + "|".join(sorted(_KINDS, key=len, reverse=True)) + r")(?:_|$)"
    r"(?:topk(\d+))?(?:_ng(\d+))?(?:_kg(\d+))?"
)


def constants_of(reference: str) -> dict[str, object]:
    """Top-level `NAME = literal` assignments of a source."""
    found: dict[str, object] = {}
    for node in ast.parse(reference).body:
        if (
            isinstance(node, ast.Assign)
            and len(node.targets) == 1
            and isinstance(node.targets[0], ast.Name)
            and isinstance(node.value, ast.Constant)
        ):
            found[node.targets[0].id] = node.value.value
    return found


def routing_of(definition: Definition) -> tuple[str, int, int, int] | None:
    """Routing kind, experts a token, groups and kept groups of a definition; None if unknown.

    The constants of a reference in this plugin's form tell it, else the name does (fp8 per-tensor
    names have no routing in them). Llama-4 routing has two meanings in use, weight on the expert's
    input as in the model and weight on its output, so that only a reference that says which is
    recognised.
    """
    constants = constants_of(definition.reference)
    named = _IN_NAME.search(definition.name)
    kind = constants.get("ROUTING") or (_KINDS[named[1]] if named else None)
    if not isinstance(kind, str) or kind not in _KINDS.values():
        return None
    if kind == LLAMA4 and constants.get("WEIGHT_ON_INPUT") is not True:
        return None
    axis = definition.axes.get("top_k")
    stated = [axis.value if axis else None, None, None]
    written = [constants.get(n) for n in ("TOP_K", "NUM_GROUPS", "TOP_GROUPS")]
    in_name = [int(n) if n else None for n in named.groups()[1:]] if named else [None] * 3
    numbers = [
        next((n for n in found if isinstance(n, int) and n > 0), 0)
        for found in zip(stated, written, in_name, strict=True)
    ]
    if not numbers[0] or (kind == DS and not (numbers[1] and numbers[2])):
        return None
    top_k, num_groups, top_groups = numbers
    return kind, top_k, num_groups, top_groups


def variant(definition: Definition) -> str:
    """The function that a definition computes beyond what its tensors say.

    Renormalised and plain softmax routing have the same tensors, and so have DeepSeek routings
    with other numbers of groups. A definition that does not tell which it is gets a variant that
    no other definition has.
    """
    routing = routing_of(definition)
    if routing is None:
        return f"unknown:{definition.name}:{definition.reference_hash}"
    kind, top_k, num_groups, top_groups = routing
    groups = f":ng{num_groups}:kg{top_groups}" if kind == DS else ""
    return f"{kind}:topk{top_k}{groups}"
