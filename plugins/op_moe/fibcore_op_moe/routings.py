"""The ways in which tokens choose experts: one record each, in one table.

A new one whose parts are known (how logits are scored, what decides which experts are chosen, what
the weights become) is a record here. One with a formula of its own is a record, the file below
`references/` that it names, and its formula in the test template and in `torch_moe.py`.
"""

from __future__ import annotations

from typing import Literal

import attrs

_ALL = ("flashinfer_cutlass_bf16_moe", "flashinfer_moe_segment_gemm", "sglang_moe")

Scoring = Literal["softmax", "sigmoid", "sqrtsoftplus", "softcap", "sparsemixer"]
Choice = Literal["", "groups", "each_group", "hash"]

SCORES = {
    "softmax": "softmax scores",
    "sigmoid": "sigmoid scores",
    "sqrtsoftplus": "the square root of the softplus of the logits as scores",
    "softcap": "softmax scores of logits that go through a scaled tanh",
    "sparsemixer": "the softmax over the logits near the best one",
}
"""What scores the logits, for people."""

CHOICES = {
    "": "",
    "groups": "chosen from the groups whose best expert is best",
    "each_group": "as many chosen from each group",
    "hash": "experts that a table has for the token's id",
}
"""What decides which experts are chosen, besides the scores."""


@attrs.frozen
class Input:
    """An input that only some routings have.

    Attributes:
        shape: Its axes; none for a scalar. "experts" stands for the axis of all experts.
        dtype: Its dtype.
        description: What it is.
    """

    shape: str
    dtype: str
    description: str


INPUTS = {
    "input_ids": Input("seq_len", "int64", "The tokens, each a number of the vocabulary."),
    "tid2eid": Input("vocab_size top_k", "int32", "The experts of each token of the vocabulary."),
    "per_expert_scale": Input("experts", "bfloat16", "Multiplies an expert's weight."),
    "router_logit_softcap": Input("", "float32", "c of c * tanh(logit / c)."),
}
"""Inputs that only some routings have."""


@attrs.frozen
class Routing:
    """How tokens choose experts, and what weight these get.

    Attributes:
        name: Its name in definitions.
        title: The same at the beginning of a phrase: "Llama-4".
        description: What it does, for the description of a definition.
        scoring: What scores the logits.
        renormalized: Whether the weights of the chosen experts are made to sum to one.
        spellings: Other names of it in datasets.
        custom_functions: Ends of the names of models' own functions that SGLang calls for it; none
            where SGLang's `select_experts` or `HashTopK` has it.
        reference: The file below `references/` whose `route` it is; None where that of the
            references themselves is.
        biased: Whether a correction bias, the input `routing_bias`, is added to the scores for
            choosing alone.
        grouped: Whether experts are chosen from the best groups; the numbers of groups and of those
            that are kept are constants then. A group's rank is the sum of its two best.
        choice: What decides besides: "groups" ranks groups by their best expert, "each_group" takes
            as many of each, "hash" asks a table.
        scaled: Whether weights are multiplied by the input `routed_scaling_factor`.
        inputs: Those of `INPUTS` that it has.
        weight_on_input: Whether the weight multiplies an expert's input instead of its output.
        max_top_k: The most experts a token can go to; None for any number.
        ground_truths: Files below `ground_truths/` that compute it, FlashInfer's fused kernels and
            torch aside.
        trtllm_method: Its number in FlashInfer's fused kernels; None where these do not have it, or
            where nothing is known of it.
    """

    name: str
    title: str
    description: str
    scoring: Scoring
    renormalized: bool
    spellings: tuple[str, ...] = ()
    custom_functions: tuple[str, ...] = ()
    reference: str | None = None
    biased: bool = False
    grouped: bool = False
    choice: Choice = ""
    scaled: bool = False
    inputs: tuple[str, ...] = ()
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

    @property
    def has_groups(self) -> bool:
        """Whether the numbers of groups and of kept ones are part of it."""
        return self.grouped or self.choice in ("groups", "each_group")

    @property
    def words(self) -> frozenset[str]:
        """Words of the lines that references have for it."""
        whole = self.choice in ("", "groups")
        conditions = {
            "routing_bias": self.biased,
            "routed_scaling_factor": self.scaled,
            "renormalized": self.renormalized,
            "best_groups": self.choice == "groups",
            "each_group": self.choice == "each_group",
            "hash": self.choice == "hash",
            "best_of_all": whole,
            "plain_rank": self.choice != "hash" and not self.biased,
        }
        own = {self.name, self.scoring, *self.inputs}
        return frozenset(own | {word for word, holds in conditions.items() if holds})


DS = Routing(
    name="ds_routing",
    title="DeepSeek",
    description="sigmoid scores, chosen with a correction bias",
    scoring="sigmoid",
    renormalized=True,
    # AFMoE's own function without groups does the same.
    custom_functions=("AfmoeMoE._custom_routing_function",),
    biased=True,
    grouped=True,
    scaled=True,
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
    custom_functions=("Llama4MoE.custom_routing_function",),
    reference="routing_llama4",
    weight_on_input=True,
    max_top_k=1,
    ground_truths=_ALL,
    trtllm_method=3,
)


def _scored(
    scoring: Scoring,
    *custom_functions: str,
    biased: bool = False,
    choice: Choice = "",
    renormalized: bool = False,
    inputs: tuple[str, ...] = (),
    max_top_k: int | None = None,
) -> Routing:
    """A routing of known parts; they are in its name, and a scaling factor multiplies its weights.

    Without a choice, one with sigmoid scores and a bias takes the best groups as DeepSeek's does.
    """
    grouped = scoring == "sigmoid" and biased and not choice
    scales = "per_expert_scale" in inputs
    parts = (
        scoring,
        choice,
        "bias" if biased else "",
        "renorm" if renormalized else "",
        "expert_scale" if scales else "",
    )
    named = "_".join(filter(None, parts))
    phrases = (
        SCORES[scoring],
        CHOICES[choice],
        "chosen with a correction bias" if biased else "",
    )
    return Routing(
        name=f"{named}_routing",
        title=named.replace("_", " "),
        description=", ".join(filter(None, phrases)),
        scoring=scoring,
        renormalized=renormalized,
        custom_functions=custom_functions,
        reference="routing_sparsemixer" if scoring == "sparsemixer" else "routing_scored",
        biased=biased,
        grouped=grouped,
        choice=choice,
        scaled=True,
        inputs=inputs,
        max_top_k=max_top_k,
        # SGLang has the bounded logits in a kernel that multiplies them, too.
        ground_truths=() if scoring == "softcap" else ("sglang_moe",),
    )


_HASH = ("input_ids", "tid2eid")
_INTERNS1 = "InternS1ProTextDecoderLayer._custom_routing_function"

SCORED = (
    # Softmax with a scaling factor; DeepSeek-V2 limits it to groups.
    _scored("softmax"),
    _scored("softmax", renormalized=True),
    _scored("softmax", choice="groups"),
    _scored("softmax", choice="groups", renormalized=True),
    # LongCat; ERNIE's bias, on devices on which SGLang adds it.
    _scored("softmax", biased=True),
    _scored("softmax", biased=True, renormalized=True),
    # Intern-S1-Pro.
    _scored("softmax", choice="each_group"),
    _scored("softmax", _INTERNS1, choice="each_group", renormalized=True),
    # Gemma 4.
    _scored(
        "softmax",
        "gemma4_causal.routing_function",
        renormalized=True,
        inputs=("per_expert_scale",),
    ),
    # Command A, Sarvam, LFM2 without a bias.
    _scored("sigmoid", "cohere2_sigmoid_topk"),
    _scored("sigmoid", renormalized=True),
    _scored("sigmoid", choice="groups"),
    _scored("sigmoid", choice="groups", renormalized=True),
    _scored("sigmoid", biased=True),
    # DeepSeek-V4, Laguna; V4's first layers ask a table.
    _scored("sqrtsoftplus"),
    _scored("sqrtsoftplus", renormalized=True),
    _scored("sqrtsoftplus", biased=True),
    _scored("sqrtsoftplus", biased=True, renormalized=True),
    _scored("sqrtsoftplus", choice="hash", renormalized=True, inputs=_HASH),
    _scored("sigmoid", choice="hash", renormalized=True, inputs=_HASH),
    _scored("softmax", choice="hash", inputs=_HASH),
    # Grok.
    _scored("softcap", "fused_moe_router_shim", inputs=("router_logit_softcap",)),
    # Phi-3.5-MoE.
    _scored("sparsemixer", "phimoe_routing_function", max_top_k=2),
)

ROUTINGS = (DS, RENORM, DEFAULT, LLAMA4, *SCORED)

BY_NAME = {routing.name: routing for routing in ROUTINGS}
"""The records by the name that definitions, references and parameters have."""

BY_FUNCTION = {routing.function: routing for routing in ROUTINGS}
"""The records by the function that computes them in emitted references."""

BY_SPELLING = {
    spelling: routing for routing in ROUTINGS for spelling in (routing.name, *routing.spellings)
}
"""The records by every name that datasets have."""


def find(
    scoring: str,
    *,
    biased: bool = False,
    renormalized: bool = False,
    choice: str = "",
    inputs: tuple[str, ...] = (),
    scaled: bool = False,
) -> Routing | None:
    """The routing that does this; None where no record does.

    Args:
        scoring: What scores the logits.
        biased: Whether there is a correction bias.
        renormalized: Whether weights are made to sum to one.
        choice: What decides besides, as `Routing` has it.
        inputs: Inputs that only some routings have.
        scaled: Whether weights are scaled by another number than one: records that leave the factor
            out do not do that, and come first where it is one.
    """
    asked = (scoring, biased, renormalized, choice, inputs)
    for routing in ROUTINGS:
        has = (routing.scoring, routing.biased, routing.renormalized, routing.choice)
        fits = (*has, routing.inputs) == asked and not routing.weight_on_input
        if fits and (routing.scaled or not scaled):
            return routing
    return None


def of_custom_function(name: str) -> Routing | None:
    """The routing of a model's own function, by its dotted name; None where no record has it."""
    for routing in ROUTINGS:
        if any(name.endswith(function) for function in routing.custom_functions):
            return routing
    return None
