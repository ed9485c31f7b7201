"""Writes the definition of a kernel, and reads what other tools' definitions say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files

from fibcore.plugin import (
    Definition,
    Identity,
    Kernel,
    TensorSpec,
    const,
    in_name,
    other_than,
    render,
    tensor,
    var,
)
from fibcore_op_eh_norm.names import OP_TYPE

_ROWS = "batch_size hidden_size"
INPUTS = {
    "inputs_embeds": tensor(_ROWS, "bfloat16", "Embedding of each token."),
    "previous_hidden": tensor(_ROWS, "bfloat16", "Hidden state of the token before each."),
    "enorm_weight": tensor("hidden_size", "bfloat16", "Weight of the embeddings' norm."),
    "hnorm_weight": tensor("hidden_size", "bfloat16", "Weight of the hidden states' norm."),
}
OUTPUTS = {
    "output": tensor(
        "batch_size eh_size", "bfloat16", "The normalised embedding, then the hidden state."
    )
}


def define(kernel: Kernel) -> Definition:
    """The definition of a kernel that the matcher found.

    Axes: batch_size (var), hidden_size, eh_size (twice that). Inputs: inputs_embeds and
    previous_hidden [batch_size, hidden_size], enorm_weight and hnorm_weight [hidden_size]; output:
    output [batch_size, eh_size]; all in bfloat16.
    """
    hidden_size, eps = int(kernel.parameters["hidden_size"]), float(kernel.parameters["eps"])
    template = files(__package__) / "references" / "eh_norm.py"
    return Definition(
        name=kernel.name,
        op_type=OP_TYPE,
        description=(
            "What a multi-token predictor projects: RMSNorm of a token's embedding and RMSNorm of "
            f"the hidden state before it, side by side. Epsilon is {eps!r}."
        ),
        tags=kernel.tags,
        axes={
            "batch_size": var("Rows: tokens."),
            "hidden_size": const(hidden_size, "Elements of a row, which is normalised."),
            "eh_size": const(2 * hidden_size, "Elements of both rows of a token."),
        },
        inputs=INPUTS,
        outputs=OUTPUTS,
        reference=render(
            template.read_text(encoding="utf-8"),
            {"HIDDEN_SIZE": hidden_size, "EH_SIZE": 2 * hidden_size, "EPSILON": eps},
        ),
    )


def is_known(definition: Definition) -> bool:
    """Whether a definition has exactly this plugin's tensors and axes."""
    return (
        definition.op_type == OP_TYPE
        and _plain(definition.inputs) == _plain(INPUTS)
        and _plain(definition.outputs) == _plain(OUTPUTS)
        and definition.var_axes == ("batch_size",)
        and set(definition.const_axes) == {"hidden_size", "eh_size"}
    )


def identify(definition: Definition) -> Identity:
    """No variant; sizes that the name gives otherwise, and a row that is not two."""
    found = list(in_name(definition, {"h": "hidden_size"}))
    hidden = definition.const_axes.get("hidden_size")
    if hidden is not None:
        found += other_than(definition, "eh_size", 2 * hidden, "2 * hidden_size")
    return Identity("", tuple(found))


def epsilon(definition: Definition) -> float | None:
    """The epsilon that a reference sets; None where others wrote one that does not."""
    found = re.search(r"^EPSILON = (\S+)$", definition.reference, flags=re.MULTILINE)
    return None if found is None else float(found[1])


def _plain(specs: Mapping[str, TensorSpec]) -> list[tuple[str, object, str]]:
    return [(name, spec.shape, spec.dtype) for name, spec in specs.items()]
