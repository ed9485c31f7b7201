"""What a definition computes, whoever wrote it: weight format, routing, sizes."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Mapping

import attrs

from fibcore.plugin import Definition, Identity, in_name, other_than
from fibcore_op_moe import activations, formats, routings
from fibcore_op_moe.activations import Activation
from fibcore_op_moe.kernel import Moe
from fibcore_op_moe.names import SIZES_IN_NAME, routing_variant
from fibcore_op_moe.routings import Routing

_IN_NAME = re.compile(
    r"_(" + "|".join(sorted(routings.BY_SPELLING, key=len, reverse=True)) + r")(?:_|$)"
    r"(?:topk(\d+))?(?:_ng(\d+))?(?:_kg(\d+))?"
)


@attrs.frozen
class Choice:
    """How the tokens of a definition choose experts.

    Attributes:
        routing: The routing.
        top_k: Routed experts a token goes to.
        num_groups: Groups of experts, 0 where the definition has none.
        top_groups: Groups that experts are chosen from, 0 where the definition has none.
    """

    routing: Routing
    top_k: int
    num_groups: int
    top_groups: int


def identify(definition: Definition) -> Identity:
    """The variant and the contradictions of a definition."""
    return Identity(variant(definition), contradictions(definition))


def kernel_of(definition: Definition) -> Moe | None:
    """The kernel of a definition; None where it does not say which it is."""
    choice = choice_of(definition)
    weights = formats.of_inputs(definition.inputs)
    activation = activation_of(definition)
    sizes = definition.const_axes
    local, hidden = sizes.get("num_local_experts"), sizes.get("hidden_size")
    intermediate = sizes.get("intermediate_size")
    if not (choice and weights and activation and local and hidden and intermediate):
        return None
    return Moe(
        weights=weights,
        routing=choice.routing,
        top_k=choice.top_k,
        num_groups=choice.num_groups,
        top_groups=choice.top_groups,
        num_experts=sizes.get("num_experts") or local,
        num_local_experts=local,
        hidden_size=hidden,
        intermediate_size=intermediate,
        activation=activation,
        biased="gemm1_bias" in definition.inputs,
        vocab_size=sizes.get("vocab_size", 0),
    )


def activation_of(definition: Definition) -> Activation | None:
    """What a definition's experts compute between their products; None where it is not known.

    A reference in this plugin's form has a function of its name, unless inputs tell it.
    """
    for node in _statements(definition.reference):
        if isinstance(node, ast.FunctionDef) and node.name in activations.BY_NAME:
            return activations.BY_NAME[node.name]
    return activations.of_inputs(definition.inputs)


def choice_of(definition: Definition) -> Choice | None:
    """Routing, experts a token, groups and kept groups of a definition; None if unknown.

    A reference in this plugin's form decides, else the name (names of fp8 per-tensor kernels have
    no routing in them). Llama-4 routing has two meanings in use, weight on the expert's input as in
    the model and weight on its output, so that only a reference that says which is recognised.
    """
    constants = _constants_of(definition.reference)
    named = _IN_NAME.search(definition.name)
    routing = _routing_of(definition.reference, constants)
    own_form = routing is not None
    if routing is None and named:
        routing = routings.BY_SPELLING[named[1]]
        if routing.weight_on_input:
            return None
    if routing is None:
        return None
    axis = definition.axes.get("top_k")
    stated_sizes = [axis.value if axis else None, None, None]
    written = [constants.get(n) for n in ("TOP_K", "NUM_GROUPS", "TOP_GROUPS")]
    in_name = [int(n) if n else None for n in named.groups()[1:]] if named else [None] * 3
    top_k, num_groups, top_groups = (
        next((n for n in found if isinstance(n, int) and n > 0), 0)
        for found in zip(stated_sizes, written, in_name, strict=True)
    )
    if own_form and routing.has_groups and "NUM_GROUPS" not in constants:
        num_groups = top_groups = 1  # all experts are one group, of which no line speaks
    if routing.choice == "each_group":
        top_groups = num_groups
    if not top_k or (routing.has_groups and not (num_groups and top_groups)):
        return None
    if not routing.has_groups:
        num_groups = top_groups = 0
    return Choice(routing, top_k, num_groups, top_groups)


def variant(definition: Definition) -> str:
    """The function that a definition computes beyond what its tensors say.

    Renormalised and plain softmax routing have the same tensors, and so have DeepSeek routings
    with other numbers of groups. A definition that does not say which it is gets a variant that
    no other definition has.
    """
    choice = choice_of(definition)
    if choice is None:
        return f"unknown:{definition.name}:{definition.reference_hash}"
    groups = (choice.num_groups, choice.top_groups)
    computed = activation_of(definition)
    own = "" if computed is None or computed.told_by_inputs else f":{computed.name}"
    return routing_variant(choice.routing, choice.top_k, groups) + own


def contradictions(definition: Definition) -> tuple[str, ...]:
    """Sizes of a definition that no MoE layer can have together."""
    sizes = definition.const_axes
    found = list(in_name(definition, SIZES_IN_NAME))
    experts = sizes.get("num_experts", sizes.get("num_local_experts"))
    found += [
        f"{axis} is {sizes[axis]}, of {experts} experts"
        for axis in ("num_local_experts", "top_k")
        if axis in sizes and experts is not None and sizes[axis] > experts
    ]
    if "intermediate_size" in sizes:
        activation = activation_of(definition)
        if activation is None or activation.gated:
            rows, words = 2 * sizes["intermediate_size"], "2 * intermediate_size"
        else:
            rows, words = sizes["intermediate_size"], "intermediate_size"
        found += other_than(definition, "gemm1_out_size", rows, words)
    return tuple(found)


@functools.lru_cache(maxsize=64)  # each workload of a definition asks, some of them thrice
def _statements(reference: str) -> tuple[ast.stmt, ...]:
    """The statements of a reference's module; not to be changed."""
    return tuple(ast.parse(reference).body)


def _routing_of(reference: str, constants: Mapping[str, object]) -> Routing | None:
    """The routing that a reference in this plugin's form says; None for any other reference.

    The function that computes it has its name. In references of earlier versions constants say it,
    `ROUTING = "renorm"` and `WEIGHT_ON_INPUT = True`.
    """
    for node in _statements(reference):
        if isinstance(node, ast.FunctionDef) and node.name in routings.BY_FUNCTION:
            return routings.BY_FUNCTION[node.name]
    routing = routings.BY_NAME.get(str(constants.get("ROUTING")))
    if routing and routing.weight_on_input and constants.get("WEIGHT_ON_INPUT") is not True:
        return None
    return routing


def _constants_of(reference: str) -> dict[str, object]:
    """Top-level `NAME = literal` assignments of a source."""
    found: dict[str, object] = {}
    for node in _statements(reference):
        if (
            isinstance(node, ast.Assign)
            and len(node.targets) == 1
            and isinstance(node.targets[0], ast.Name)
            and isinstance(node.value, ast.Constant)
        ):
            found[node.targets[0].id] = node.value.value
    return found
