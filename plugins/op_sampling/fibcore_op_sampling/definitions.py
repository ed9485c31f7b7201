"""Writes the definition of a kernel, and reads what other tools' definitions say."""

from __future__ import annotations

from importlib.resources import files

from fibcore.plugin import (
    Definition,
    Identity,
    Kernel,
    TensorSpec,
    const,
    in_name,
    render,
    select,
    tensor,
    var,
)
from fibcore_op_sampling.names import (
    JOINT,
    JOINT_DESCRIPTION,
    KINDS,
    OP_TYPE,
    SOFTMAX,
    TOP_K_TOP_P,
    WORDS,
    Kind,
    kind_of,
)

_ROWS = "batch_size vocab_size"
_INPUTS = {
    "probs": tensor(_ROWS, "float32", "Probabilities of the tokens; the sum of each row is 1."),
    "logits": tensor(_ROWS, "float32", "Logits of the tokens."),
    "top_k": tensor("batch_size", "int32", "How many tokens of the row are kept."),
    "top_p": tensor("batch_size", "float32", "Which part of its probability a row keeps, 0 to 1."),
    "min_p": tensor(
        "batch_size", "float32", "Least probability, as a part of the row's largest one, 0 to 1."
    ),
    "temperature": tensor("batch_size", "float32", "Divisor of the row's logits, above 0."),
}


def define(kernel: Kernel) -> Definition:
    """The definition of a kernel that the matcher found.

    Axes: batch_size (var), vocab_size. Inputs: probs or logits [batch_size, vocab_size] float32,
    then the parameters of the filters [batch_size]; output: samples [batch_size], or probabilities.
    """
    kind = KINDS[str(kernel.parameters["kind"])]
    vocab_size, joint = int(kernel.parameters["vocab_size"]), bool(kernel.parameters["joint"])
    return Definition(
        name=kernel.name,
        op_type=OP_TYPE,
        description=(
            f"{JOINT_DESCRIPTION if joint else kind.description} "
            f"The vocabulary has {vocab_size} tokens."
        ),
        tags=kernel.tags,
        axes={
            "batch_size": var("Sequences."),
            "vocab_size": const(vocab_size, "Tokens of the vocabulary."),
        },
        inputs={name: _INPUTS[name] for name in kind.inputs},
        outputs={kind.output: _output(kind)},
        reference=_reference(kind, vocab_size, joint=joint),
    )


def _output(kind: Kind) -> TensorSpec:
    if kind.draws:
        return tensor("batch_size", kind.dtype, "The token that is drawn of each row.")
    return tensor(_ROWS, kind.dtype, "Probabilities of the tokens; the sum of each row is 1.")


def _reference(kind: Kind, vocab_size: int, *, joint: bool) -> str:
    stem = "softmax" if kind.stem == SOFTMAX else "sampling"
    text = (files(__package__) / "references" / f"{stem}.py").read_text(encoding="utf-8")
    text = select(text, kind.words(joint=joint), WORDS)
    return render(text, {"VOCAB_SIZE": vocab_size})


def identify(definition: Definition) -> Identity:
    """Whether both filters see the whole row, and a vocabulary that is another one in the name."""
    kind = kind_of(definition)
    joint = kind is not None and kind.stem == TOP_K_TOP_P and is_joint(definition)
    return Identity(JOINT if joint else "", tuple(in_name(definition, {"v": "vocab_size"})))


def is_joint(definition: Definition) -> bool:
    """Whether top-p of a top_k_top_p definition sees what top-k leaves out, by its reference.

    Ours takes the larger of two thresholds. Those of others are taken to filter one after the
    other, as the dataset's do.
    """
    text = definition.reference
    return "least = least.maximum(" in text and "ordered = ordered.where(" not in text
