"""What experts compute between their two products: one record each, in one table.

A new one is a record here, its lines in the references whose formats have it, and its formula in
the test template.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from fibcore.plugin import TensorSpec

# Arguments of SGLang's experts that say which one it is, besides `activation`.
ARGUMENTS = ("gemm1_alpha", "gemm1_beta", "gemm1_clamp_limit", "swiglu_limit")


@attrs.frozen
class Activation:
    """What an expert computes of its two first products, up and gate.

    Attributes:
        name: Its name in parameters, and its word in references.
        description: What it does, for the description of a definition.
        inputs: Inputs that only it has, one number an expert each: name and what it is.
        of_gate: What is done to the gate, up to "the second half".
        in_name: What names of kernels have of it.
        settings: Those of `ARGUMENTS` that SGLang is given with it.
        beta: What is added to up; the only `gemm1_beta` that may be given.
    """

    name: str
    description: str
    inputs: Mapping[str, str] = attrs.field(factory=dict, hash=False)
    of_gate: str = "silu is applied to"
    in_name: str = ""
    settings: frozenset[str] = frozenset()
    beta: float = 0.0


SWIGLU = Activation(name="swiglu", description="SwiGLU")
SWIGLU_OAI = Activation(
    name="swiglu_oai",
    description=(
        "clamped SwiGLU, (up + 1) * gate * sigmoid(alpha * gate) of a gate that is at most the "
        "limit and an up between minus the limit and the limit,"
    ),
    inputs={
        "gemm1_alpha": "Multiplies the gate within the sigmoid.",
        "gemm1_clamp_limit": "The largest gate, and the largest up of either sign.",
    },
    of_gate="the sigmoid is of",
    in_name="swiglu_oai",
    settings=frozenset({"gemm1_alpha", "gemm1_clamp_limit"}),
    beta=1.0,
)

ACTIVATIONS = (SWIGLU, SWIGLU_OAI)

BY_NAME = {activation.name: activation for activation in ACTIVATIONS}
"""The records by the name that parameters have."""

INPUTS = frozenset(name for activation in ACTIVATIONS for name in activation.inputs)
"""Every input that some activation has."""


def of_settings(settings: Mapping[str, float]) -> Activation | None:
    """The activation of experts with "silu" that have these of `ARGUMENTS`; None for no record."""
    given = {name for name in settings if name != "gemm1_beta"}
    for activation in ACTIVATIONS:
        beta = settings.get("gemm1_beta", activation.beta)
        if activation.settings == given and beta == activation.beta:
            return activation
    return None


def of_inputs(inputs: Mapping[str, TensorSpec]) -> Activation | None:
    """The activation that the inputs of a definition show; None where no record has them."""
    own = INPUTS & set(inputs)
    return next((a for a in ACTIVATIONS if set(a.inputs) == own), None)
