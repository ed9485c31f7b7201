"""What a sampling kernel is called, what it takes and gives, and which kinds there are."""

from __future__ import annotations

import attrs

from fibcore.plugin import Definition, Option, OpType

OP_TYPE = "sampling"

ORDER: Option[str] = Option(
    "sampling_order",
    default="top_k_first",
    help="Top-p of what top-k leaves, as the dataset has it, or joint: as SGLang calls it.",
    choices={"top_k_first": "top-p after top-k", "joint": "top-p beside top-k"},
)
"""How top_k_top_p_sampling_from_probs combines its filters."""

OP_TYPES = (
    OpType(
        OP_TYPE,
        "softmax of logits, filters of probabilities, drawing of tokens",
        (ORDER,),
        parallel_tags=False,
    ),
)

JOINT = "joint"
"""The variant whose filters both see the whole distribution; its tensors are the other's."""


@attrs.frozen
class Kind:
    """One function of FlashInfer.

    Attributes:
        stem: The definition's name without the size.
        function: FlashInfer's function, in `flashinfer.sampling`.
        filters: Names of the parameters, one a row, in order.
        output: Name of the output.
        dtype: Its dtype.
        description: What it does, for people.
    """

    stem: str
    function: str
    filters: tuple[str, ...]
    output: str
    dtype: str
    description: str

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of its inputs, in order."""
        return ("logits" if self.stem == SOFTMAX else "probs", *self.filters)

    @property
    def draws(self) -> bool:
        """Whether tokens are drawn."""
        return self.output == "samples"

    def words(self, *, joint: bool = False) -> set[str]:
        """What marks of its lines in the reference say."""
        words = {*self.filters, "draw" if self.draws else "renorm", self.dtype}
        words.add("filtered" if self.filters else "plain")
        if {"top_k", "top_p"} & set(self.filters):
            words.add("ordered")
        if self.stem == TOP_K_TOP_P:
            words |= {"both", "joint" if joint else "first"}
        elif "top_p" in self.filters:
            words.add("alone")
        return words


SOFTMAX = "softmax"
TOP_K_TOP_P = "top_k_top_p_sampling_from_probs"

_KINDS = (
    Kind(
        "top_k_sampling_from_probs",
        "top_k_sampling_from_probs",
        ("top_k",),
        "samples",
        "int64",
        "Draws a token of each row out of its top_k most probable ones.",
    ),
    Kind(
        "top_p_sampling_from_probs",
        "top_p_sampling_from_probs",
        ("top_p",),
        "samples",
        "int64",
        "Draws a token of each row out of the fewest most probable ones that together have top_p "
        "of its probability.",
    ),
    Kind(
        TOP_K_TOP_P,
        "top_k_top_p_sampling_from_probs",
        ("top_k", "top_p"),
        "samples",
        "int64",
        "Draws a token of each row out of its top_k most probable ones, and of these out of the "
        "fewest that together have top_p of their probability.",
    ),
    Kind(
        "min_p_sampling",
        "min_p_sampling_from_probs",
        ("min_p",),
        "samples",
        "int32",
        "Draws a token of each row out of those that have at least min_p times the probability of "
        "the most probable one.",
    ),
    Kind(
        "sampling_from_probs",
        "sampling_from_probs",
        (),
        "samples",
        "int32",
        "Draws a token of each row with its probability.",
    ),
    Kind(
        "top_k_renorm_probs",
        "top_k_renorm_probs",
        ("top_k",),
        "renormalized",
        "float32",
        "Keeps the top_k largest probabilities of each row, scaled to the sum 1; others are 0.",
    ),
    Kind(
        "top_p_renorm_probs",
        "top_p_renorm_probs",
        ("top_p",),
        "renormalized",
        "float32",
        "Keeps the fewest largest probabilities of each row that together have top_p of it, scaled "
        "to the sum 1; others are 0.",
    ),
    Kind(
        SOFTMAX,
        "softmax",
        ("temperature",),
        "output",
        "float32",
        "Softmax of each row of logits, divided by the row's temperature first.",
    ),
)
KINDS = {kind.stem: kind for kind in _KINDS}
"""Stem to kind."""

JOINT_DESCRIPTION = (
    "Draws a token of each row out of those that are both among its top_k most probable ones and "
    "among the fewest most probable ones that together have top_p of its probability."
)

WORDS = (
    *("top_k", "top_p", "min_p", "temperature", "filtered", "plain", "ordered"),
    *("both", "first", "joint", "alone", "draw", "renorm", "int64", "int32", "float32"),
)
"""What marks of the reference may say."""


def kernel_name(stem: str, vocab_size: int, *, joint: bool = False) -> str:
    """The definition's name, such as `top_p_sampling_from_probs_v128256`."""
    return f"{stem}{'_joint' if joint else ''}_v{vocab_size}"


def kind_of(definition: Definition) -> Kind | None:
    """The kind that a definition is of, whoever wrote it; None for another function."""
    if definition.op_type != OP_TYPE or len(definition.outputs) != 1:
        return None
    drawn = next(iter(definition.outputs.values())).dtype.startswith("int")
    for kind in KINDS.values():
        if set(definition.inputs) == set(kind.inputs) and drawn == kind.draws:
            return kind
    return None
