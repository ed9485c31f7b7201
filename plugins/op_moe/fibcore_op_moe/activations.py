"""What experts compute between their two products: one record each, in one table.

A new one is a record here, the file below `references/` that it names, and its formula in the test
template and in `torch_moe.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import attrs

# Arguments of SGLang's experts that say which one it is, besides `activation`.
ARGUMENTS = ("gemm1_alpha", "gemm1_beta", "gemm1_clamp_limit", "swiglu_limit")
LIMIT = "gemm1_clamp_limit"
ALPHA = "gemm1_alpha"


@attrs.frozen
class Activation:
    """What an expert computes of its first products.

    Attributes:
        name: Its name in parameters, its word in references and the function of emitted references
            that computes it.
        description: What it does, for the description of a definition.
        inputs: Inputs that only it has, one number an expert each: name and what it is.
        of_gate: What is done to the gate, up to "the second half".
        in_name: What names of kernels have of it.
        gated: Whether there is a gate beside up.
        function: SGLang's word for it, the experts' argument `activation`.
        settings: Those of `ARGUMENTS` that SGLang is given with it: the input that each is.
        beta: What is added to up; the only `gemm1_beta` that may be given.
        in_trtllm: Whether FlashInfer's fused kernels are known to have it.
        alpha: The `gemm1_alpha` where SGLang is given none; None where it has to be given.
    """

    name: str
    description: str
    inputs: Mapping[str, str] = attrs.field(factory=dict, hash=False)
    of_gate: str = "silu is applied to"
    in_name: str = ""
    gated: bool = True
    function: str = "silu"
    settings: Mapping[str, str] = attrs.field(factory=dict, hash=False)
    beta: float = 0.0
    alpha: float | None = None
    in_trtllm: bool = False

    @property
    def call(self) -> str:
        """How a reference calls its function, which stands below `references/`."""
        words = {ALPHA: "alpha", LIMIT: "limit"}
        given = ["up", *(["gate"] if self.gated else []), *(words[name] for name in self.inputs)]
        return f"{self.name}({', '.join(given)})"

    @property
    def products(self) -> int:
        """Products of hidden and intermediate size that an expert takes."""
        return 3 if self.gated else 2

    @property
    def told_by_inputs(self) -> bool:
        """Whether inputs tell it, so that others' definitions are taken to have it."""
        return of_inputs(self.inputs) is self

    @property
    def words(self) -> frozenset[str]:
        """Words of the lines that references have for it."""
        found = {self.name, *self.inputs} | (set() if self.gated else {"ungated"})
        return frozenset(found)


SWIGLU = Activation(name="swiglu", description="SwiGLU", in_trtllm=True)
SWIGLU_OAI = Activation(
    name="swiglu_oai",
    description=(
        "clamped SwiGLU, (up + 1) * gate * sigmoid(alpha * gate) of a gate that is at most the "
        "limit and an up between minus the limit and the limit,"
    ),
    inputs={
        ALPHA: "Multiplies the gate within the sigmoid.",
        LIMIT: "The largest gate, and the largest up of either sign.",
    },
    of_gate="the sigmoid is of",
    in_name="swiglu_oai",
    settings={ALPHA: ALPHA, LIMIT: LIMIT},
    beta=1.0,
    in_trtllm=True,
)
# DeepSeek-V4, Hunyuan-V4 (`silu_and_mul_clamp`).
SWIGLU_LIMIT = Activation(
    name="swiglu_limit",
    description=(
        "SwiGLU of a gate that is at most the limit and an up between minus the limit and the "
        "limit,"
    ),
    inputs={LIMIT: "The largest gate, and the largest up of either sign."},
    in_name="swiglu_limit",
    settings={"swiglu_limit": LIMIT},
)
# Step-3.5, Ling 3 (`_swiglu_silu_clamp_mul`): what silu makes of the gate is clamped.
SWIGLU_STEP = Activation(
    name="swiglu_step",
    description=(
        "SwiGLU of which silu of the gate is at most the limit and up is between minus the limit "
        "and the limit,"
    ),
    inputs={LIMIT: "The largest silu of a gate, and the largest up of either sign."},
    in_name="swiglu_step",
    settings={LIMIT: LIMIT},
)
# Kimi-K3.
SITU = Activation(
    name="situ",
    description=(
        "SituGLU, alpha * tanh(gate / alpha) * sigmoid(gate) times limit * tanh(up / limit),"
    ),
    inputs={ALPHA: "Bounds the gate softly.", LIMIT: "Bounds up softly."},
    of_gate="the sigmoid is of",
    in_name="situ",
    function="situ",
    settings={ALPHA: ALPHA, LIMIT: LIMIT},
)
SITU_UNBOUNDED = Activation(
    name="situ_unbounded",
    description="SituGLU without a bound of up, alpha * tanh(gate / alpha) * sigmoid(gate) * up,",
    inputs={ALPHA: "Bounds the gate softly."},
    of_gate="the sigmoid is of",
    in_name="situ_unbounded",
    function="situ",
    settings={ALPHA: ALPHA},
    alpha=4.0,
)
# Grok, Gemma 4. SGLang's word "gelu" is the exact one on CUDA.
GELU = Activation(
    name="gelu",
    description="GELU of the gate (with the error function) times up,",
    of_gate="gelu is applied to",
    in_name="gelu",
    function="gelu",
)
GELU_TANH = Activation(
    name="gelu_tanh",
    description="GELU of the gate (with tanh) times up,",
    of_gate="gelu is applied to",
    in_name="gelu_tanh",
    function="gelu_tanh",
)
# Nemotron-H.
RELU2 = Activation(
    name="relu2",
    description="the square of what is above zero, without a gate,",
    in_name="relu2",
    gated=False,
    function="relu2",
)
SILU = Activation(
    name="silu",
    description="SiLU, without a gate,",
    in_name="silu",
    gated=False,
)
GELU_ALONE = Activation(
    name="gelu_alone",
    description="GELU (with the error function), without a gate,",
    in_name="gelu_alone",
    gated=False,
    function="gelu",
)

ACTIVATIONS = (
    SWIGLU,
    SWIGLU_OAI,
    SWIGLU_LIMIT,
    SWIGLU_STEP,
    SITU,
    SITU_UNBOUNDED,
    GELU,
    GELU_TANH,
    RELU2,
    SILU,
    GELU_ALONE,
)

BY_NAME = {activation.name: activation for activation in ACTIVATIONS}
"""The records by the name that parameters and functions of references have."""

INPUTS = frozenset(name for activation in ACTIVATIONS for name in activation.inputs)
"""Every input that some activation has."""


def of_settings(
    settings: Mapping[str, float], function: str = "silu", *, gated: bool = True
) -> Activation | None:
    """The activation of experts with SGLang's word and these of `ARGUMENTS`; None for no record."""
    given = {name for name in settings if name != "gemm1_beta"}
    for activation in ACTIVATIONS:
        beta = settings.get("gemm1_beta", activation.beta)
        asked = {*activation.settings} - (set() if activation.alpha is None else {ALPHA})
        if (
            (activation.function, activation.gated) == (function, gated)
            and asked <= given <= {*activation.settings}
            and beta == activation.beta
        ):
            return activation
    return None


def values(activation: Activation, settings: Mapping[str, float]) -> dict[str, float]:
    """The numbers of the inputs of an activation, of what SGLang is given."""
    found = {name: settings[key] for key, name in activation.settings.items() if key in settings}
    if activation.alpha is not None:
        found.setdefault(ALPHA, activation.alpha)
    return found


def of_inputs(inputs: Collection[str]) -> Activation | None:
    """The activation of a definition whose reference does not say it, by its inputs alone.

    Of those that inputs do not tell apart all but the first have a function in references.
    """
    own = INPUTS & set(inputs)
    return next((a for a in ACTIVATIONS if set(a.inputs) == own), None)
