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
    render,
    tensor,
    var,
)
from fibcore_op_attn_residual.names import OP_TYPE

_ROWS = "num_tokens hidden_size"
INPUTS = {
    "prefix_sum": tensor(_ROWS, "bfloat16", "Residual stream of each token."),
    "blocks": tensor(
        "num_tokens num_blocks hidden_size", "bfloat16", "Residual streams that were kept before."
    ),
    "score_weight": tensor(
        "hidden_size", "float32", "Weight of the norm times that of the projection to one number."
    ),
}
OUTPUTS = {"output": tensor(_ROWS, "bfloat16", "What the layer's norm is given.")}


def define(kernel: Kernel) -> Definition:
    """The definition of a kernel that the matcher found.

    Axes: num_tokens and num_blocks (var), hidden_size. Inputs: prefix_sum [num_tokens,
    hidden_size], blocks [num_tokens, num_blocks, hidden_size], score_weight [hidden_size]; output:
    output, as prefix_sum.
    """
    hidden, eps = int(kernel.parameters["hidden_size"]), float(kernel.parameters["eps"])
    template = files(__package__) / "references" / "attn_residual.py"
    return Definition(
        name=kernel.name,
        op_type=OP_TYPE,
        description=(
            "Attention residual: the streams that were kept and the one of now, weighed by a "
            "softmax over scores. A stream's score is its product with a weight, divided by its "
            f"root mean square. Epsilon is {eps!r}."
        ),
        tags=kernel.tags,
        axes={
            "num_tokens": var("Tokens."),
            "num_blocks": var("Residual streams of a token that were kept."),
            "hidden_size": const(hidden, "Elements of a stream."),
        },
        inputs=INPUTS,
        outputs=OUTPUTS,
        reference=render(
            template.read_text(encoding="utf-8"), {"HIDDEN_SIZE": hidden, "EPSILON": eps}
        ),
    )


def is_known(definition: Definition) -> bool:
    """Whether a definition has exactly this plugin's tensors and axes."""
    return (
        definition.op_type == OP_TYPE
        and _plain(definition.inputs) == _plain(INPUTS)
        and _plain(definition.outputs) == _plain(OUTPUTS)
        and set(definition.var_axes) == {"num_tokens", "num_blocks"}
        and set(definition.const_axes) == {"hidden_size"}
    )


def identify(definition: Definition) -> Identity:
    """No variant; a size that the name gives otherwise."""
    return Identity("", tuple(in_name(definition, {"h": "hidden_size"})))


def epsilon(definition: Definition) -> float | None:
    """The epsilon that a reference sets; None where others wrote one that does not."""
    found = re.search(r"^EPSILON = (\S+)$", definition.reference, flags=re.MULTILINE)
    return None if found is None else float(found[1])


def _plain(specs: Mapping[str, TensorSpec]) -> list[tuple[str, object, str]]:
    return [(name, spec.shape, spec.dtype) for name, spec in specs.items()]
