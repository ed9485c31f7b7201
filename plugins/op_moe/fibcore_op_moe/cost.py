"""What routed experts cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from fibcore.plugin import Cost, Definition, moved, tensor_bytes
from fibcore_op_moe.definitions import inputs_of
from fibcore_op_moe.identity import kernel_of
from fibcore_op_moe.kernel import Moe


@attrs.frozen
class Load:
    """What the router gives a rank to do.

    Attributes:
        pairs: Pairs of a token and an expert of this rank that it goes to.
        experts: Experts of this rank that a token goes to.
        tokens: Tokens that go to an expert of this rank.
    """

    pairs: int
    experts: int
    tokens: int


def cost(
    definition: Definition,
    axes: Mapping[str, int],
    values: Mapping[str, Sequence[int]],  # noqa: ARG001 - the hook's
) -> Cost | None:
    """Products of hidden and intermediate size for each token and expert that it goes to.

    Three where there is a gate, two where there is none.

    Weights are read of the experts alone that a token goes to. Which these are follows from the
    logits: tokens are taken to spread evenly, so that as many experts as can be are hit; certain
    is what is left when all tokens choose the same ones, those of other ranks first. None for
    weights or routing that are not known.
    """
    moe = kernel_of(definition)
    if moe is None or set(definition.inputs) != set(inputs_of(moe)):
        return None
    tokens = axes["seq_len"]
    even, certain = _evenly(moe, tokens), _certainly(moe, tokens)
    cost = _of(definition, axes, moe, even)
    if even == certain:
        return cost
    assumes = "tokens spread evenly over the experts"
    return attrs.evolve(cost, assumes=assumes, least=_of(definition, axes, moe, certain))


def _evenly(moe: Moe, tokens: int) -> Load:
    pairs = tokens * moe.top_k * moe.num_local_experts // moe.num_experts
    certain = _certainly(moe, tokens)
    pairs = max(pairs, certain.pairs)
    return Load(pairs, min(moe.num_local_experts, pairs), min(tokens, pairs))


def _certainly(moe: Moe, tokens: int) -> Load:
    """The least: a token goes to no more experts of this rank than it has to."""
    here = max(0, moe.top_k - (moe.num_experts - moe.num_local_experts))
    return Load(tokens * here, here if tokens else 0, tokens if here else 0)


def _of(definition: Definition, axes: Mapping[str, int], moe: Moe, load: Load) -> Cost:
    products = moe.activation.products
    flops = 2 * products * moe.hidden_size * moe.intermediate_size * load.pairs
    read: dict[str, int] = {}
    for name, spec in definition.inputs.items():
        own = tensor_bytes(spec, definition, axes)
        if name == "routing_bias":
            if not moe.routing.biased:
                read[name] = 0  # stands in the signature alone
        elif name == "tid2eid":
            read[name] = own // max(1, moe.vocab_size) * min(axes["seq_len"], moe.vocab_size)
        elif spec.shape and spec.shape[0] == "num_local_experts":
            read[name] = own // moe.num_local_experts * load.experts
        elif name in ("hidden_states", "hidden_states_scale"):
            read[name] = own // max(1, axes["seq_len"]) * load.tokens
    return moved(definition, axes, flops, moe.weights.multiplied, instead=read)
