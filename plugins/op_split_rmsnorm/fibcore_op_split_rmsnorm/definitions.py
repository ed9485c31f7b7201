"""Writes the definition of a kernel, and reads what other tools' definitions say."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import cast

from fibcore.plugin import (
    Axis,
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
from fibcore_op_split_rmsnorm.names import (
    FORMS,
    INPUTS,
    NUM_ROWS,
    OP_TYPE,
    OUTPUTS,
    Form,
    Shape,
)


def define(kernel: Kernel) -> Definition:
    """The definition of a kernel that the matcher found.

    Axes: num_tokens (var), q_size, k_size, num_rows. Sums are [num_rows, num_tokens] float32, as
    ranks add them up; rows and weights bfloat16.
    """
    parameters = kernel.parameters
    form = cast(Form, parameters["form"])
    shape = Shape(*(int(parameters[name]) for name in ("q_size", "k_size", "ranks")))
    sizes: dict[str, int | float] = {"Q_SIZE": shape.q_size, "K_SIZE": shape.k_size}
    if form == "sums":
        what = (
            f"Sums of the squares of a rank's {shape.q_size} elements of queries and "
            f"{shape.k_size} of keys, which ranks add up for an RMSNorm of whole rows."
        )
    else:
        eps = float(parameters["eps"])
        sizes |= {"RANKS": shape.ranks, "EPSILON": eps}
        what = (
            f"RMSNorm of a rank's {shape.q_size} elements of queries and {shape.k_size} of keys, "
            f"by the sums of the squares of {shape.ranks} ranks, times weight. Epsilon is {eps!r}."
        )
    taken, given = _tensors(form)
    template = files(__package__) / "references" / f"{form}.py"
    return Definition(
        name=kernel.name,
        op_type=OP_TYPE,
        description=what,
        tags=kernel.tags,
        axes=_axes(shape),
        inputs=taken,
        outputs=given,
        reference=render(template.read_text(encoding="utf-8"), sizes),
    )


def _axes(shape: Shape) -> dict[str, Axis]:
    return {
        "num_tokens": var("Tokens of the batch."),
        "q_size": const(shape.q_size, "Elements of a rank's queries, all heads together."),
        "k_size": const(shape.k_size, "Elements of a rank's keys, all heads together."),
        "num_rows": const(NUM_ROWS, "Rows of the sums: queries, then keys."),
    }


def _tensors(form: Form) -> tuple[dict[str, TensorSpec], dict[str, TensorSpec]]:
    queries, keys = "num_tokens q_size", "num_tokens k_size"
    every = {
        "q": tensor(queries, "bfloat16", "A rank's queries."),
        "k": tensor(keys, "bfloat16", "A rank's keys."),
        "q_weight": tensor("q_size", "bfloat16", "Multiplies every row of queries."),
        "k_weight": tensor("k_size", "bfloat16", "Multiplies every row of keys."),
        "sums": tensor("num_rows num_tokens", "float32", "Sums of squares of each token."),
        "q_out": tensor(queries, "bfloat16", "The normalised queries."),
        "k_out": tensor(keys, "bfloat16", "The normalised keys."),
    }
    return (
        {name: every[name] for name in INPUTS[form]},
        {name: every[name] for name in OUTPUTS[form]},
    )


def form_of(definition: Definition) -> Form | None:
    """Which form it is by its tensors and axes; None where they are others."""
    for form in FORMS:
        taken, given = _tensors(form)
        have = {**definition.inputs, **definition.outputs}
        if (
            definition.op_type == OP_TYPE
            and tuple(definition.inputs) == INPUTS[form]
            and tuple(definition.outputs) == OUTPUTS[form]
            and definition.var_axes == ("num_tokens",)
            and all(have[name].shape == spec.shape for name, spec in {**taken, **given}.items())
        ):
            return form
    return None


def identify(definition: Definition) -> Identity:
    """No variant, and sizes that the name gives otherwise."""
    return Identity("", tuple(in_name(definition, {"q": "q_size", "k": "k_size"})))


def constant(definition: Definition, name: str) -> float | None:
    """A constant that the reference sets, RANKS or EPSILON; None where it does not."""
    found = re.search(rf"^{name} = ([\d.eE+-]+)$", definition.reference, re.MULTILINE)
    return None if found is None else float(found[1])
