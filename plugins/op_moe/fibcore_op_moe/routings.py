"""The ways in which tokens choose experts: one record each, in one table.

A new one is a record here, the file below `references/` that it names, and its formula in the test
template, which checks references on its own and runs without this package.
"""

from __future__ import annotations

from typing import Literal

import attrs

_ALL = ("flashinfer_cutlass_bf16_moe", "flashinfer_moe_segment_gemm", "sglang_moe")


@attrs.frozen
class Routing:
    """How tokens choose experts, and what weight these get.

    Attributes:
        name: Its name in definitions.
        title: The same at the beginning of a phrase: "Llama-4".
        description: What it does, for the description of a definition.
        scoring: What scores the logits, "softmax" or "sigmoid".
        renormalized: Whether the weights of the chosen experts are made to sum to one.
        spellings: Other names of it in datasets.
        custom_function: End of the name of the model's own function that SGLang calls for it; None
            where SGLang's `select_experts` has it.
        reference: The file below `references/` whose `route` it is; None where that of the
            references themselves is.
        grouped: Whether experts are chosen by scores with a correction bias from the best groups,
            and weights are scaled. Then the groups are constants, `routing_bias` and
            `routed_scaling_factor` inputs, and logits are float32.
        weight_on_input: Whether the weight multiplies an expert's input instead of its output.
        max_top_k: The most experts a token can go to; None for any number.
        ground_truths: Files below `ground_truths/` that compute it, FlashInfer's fused kernels
            aside.
        trtllm_method: Its number in FlashInfer's fused kernels; None where these do not have it.
    """

    name: str
    title: str
    description: str
    scoring: Literal["softmax", "sigmoid"]
    renormalized: bool
    spellings: tuple[str, ...] = ()
    custom_function: str | None = None
    reference: str | None = None
    grouped: bool = False
    weight_on_input: bool = False
    max_top_k: int | None = None
    ground_truths: tuple[str, ...] = ()
    trtllm_method: int | None = None

    @property
    def function(self) -> str:
        """The function of emitted references that computes it: `renorm_routing`.

        Its name tells which routing a reference has, and whether the weight is on the input.
        """
        name = self.name if self.name.endswith("_routing") else f"{self.name}_routing"
        return f"{name}_on_input" if self.weight_on_input else name


DS = Routing(
    name="ds_routing",
    title="DeepSeek",
    description="sigmoid scores, chosen with a correction bias",
    scoring="sigmoid",
    renormalized=True,
    grouped=True,
    ground_truths=_ALL,
    trtllm_method=2,
)
RENORM = Routing(
    name="renorm",
    title="renormalised",
    description="top-k of the logits, softmax over the chosen ones",
    scoring="softmax",
    renormalized=True,
    # FlashInfer names the two ways of computing the same weights apart.
    spellings=("renormalize_routing", "renormalize_naive_routing"),
    reference="routing_renorm",
    ground_truths=_ALL,
    trtllm_method=1,
)
DEFAULT = Routing(
    name="default_routing",
    title="default",
    description="softmax over all experts, then top-k without renormalisation",
    scoring="softmax",
    renormalized=False,
    reference="routing_default",
    ground_truths=_ALL,
    trtllm_method=0,
)
LLAMA4 = Routing(
    name="llama4_routing",
    title="Llama-4",
    description=(
        "the best expert, weighted by the sigmoid of its logit; the weight multiplies the "
        "expert's input, as Llama 4 does it"
    ),
    scoring="sigmoid",
    renormalized=False,
    custom_function="Llama4MoE.custom_routing_function",
    reference="routing_llama4",
    weight_on_input=True,
    max_top_k=1,
    ground_truths=_ALL,
    trtllm_method=3,
)

ROUTINGS = (DS, RENORM, DEFAULT, LLAMA4)

BY_NAME = {routing.name: routing for routing in ROUTINGS}
"""The records by the name that definitions, references and parameters have."""

BY_FUNCTION = {routing.function: routing for routing in ROUTINGS}
"""The records by the function that computes them in emitted references."""

BY_SPELLING = {
    spelling: routing for routing in ROUTINGS for spelling in (routing.name, *routing.spellings)
}
"""The records by every name that datasets have."""


def of_select_experts(scoring: str, *, biased: bool, renormalized: bool) -> Routing | None:
    """The routing that `select_experts` does with these settings; None where no record has them.

    Args:
        scoring: "softmax" or "sigmoid".
        biased: Whether there is a correction bias.
        renormalized: Whether weights are made to sum to one.
    """
    asked = (scoring, biased, renormalized)
    for routing in ROUTINGS:
        has = (routing.scoring, routing.grouped, routing.renormalized)
        if routing.custom_function is None and has == asked:
            return routing
    return None


def of_custom_function(name: str) -> Routing | None:
    """The routing of a model's own function, by its dotted name; None where no record has it."""
    for routing in ROUTINGS:
        if routing.custom_function is not None and name.endswith(routing.custom_function):
            return routing
    return None
