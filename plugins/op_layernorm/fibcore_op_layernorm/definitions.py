"""Writes the definition of a LayerNorm, and reads what other tools' definitions say."""

from __future__ import annotations

import re
from importlib.resources import files

from fibcore.plugin import (
    Definition,
    Identity,
    Kernel,
    const,
    in_name,
    render,
    select,
    tensor,
    var,
)
from fibcore_op_layernorm.forms import FORMS, Form, form_of
from fibcore_op_layernorm.names import OP_TYPE

WORDS = ("weight", "bias")
"""What the lines of the reference are marked with."""

_PARAMETERS = {
    "weight": "Factor of each element of a row.",
    "bias": "Added to each element of a row.",
}


def define(kernel: Kernel) -> Definition:
    """The definition of a kernel that the matcher found.

    Axes: batch_size (var), hidden_size. Inputs: hidden_states [batch_size, hidden_size] bfloat16,
    weight and bias [hidden_size], float32 or bfloat16, or one of them or neither; output: output,
    as hidden_states.
    """
    form = FORMS[str(kernel.parameters["form"])]
    hidden_size, eps = int(kernel.parameters["hidden_size"]), float(kernel.parameters["eps"])
    rows = "batch_size hidden_size"
    return Definition(
        name=kernel.name,
        op_type=OP_TYPE,
        description=_description(form, hidden_size, eps),
        tags=kernel.tags,
        axes={
            "batch_size": var("Rows: tokens, patches, or tokens times heads."),
            "hidden_size": const(hidden_size, "Elements of a row, which is normalised."),
        },
        inputs={
            "hidden_states": tensor(rows, "bfloat16", "The rows."),
            **{n: tensor("hidden_size", form.dtype, _PARAMETERS[n]) for n in form.parameters},
        },
        outputs={"output": tensor(rows, "bfloat16", "The normalised rows.")},
        reference=_reference(form, hidden_size, eps),
    )


def _description(form: Form, hidden_size: int, eps: float) -> str:
    terms = {"weight": ", times weight", "bias": ", plus bias"}
    parameters = "".join(terms[name] for name in form.parameters)
    return f"LayerNorm over rows of {hidden_size} elements{parameters}. Epsilon is {eps!r}."


def _reference(form: Form, hidden_size: int, eps: float) -> str:
    text = (files(__package__) / "references" / "layernorm.py").read_text(encoding="utf-8")
    text = render(text, {"HIDDEN_SIZE": hidden_size, "EPSILON": eps})
    return select(text, form.parameters, WORDS)


def identify(definition: Definition) -> Identity:
    """No variant: tensors tell forms apart. A hidden size that is another one in the name."""
    return Identity("", tuple(in_name(definition, {"h": "hidden_size"})))


def known_form(definition: Definition) -> Form | None:
    """The form of a definition, whoever wrote it; None for other tensors."""
    names = tuple(definition.inputs)
    shapes = {tuple(spec.shape or ()) for n, spec in definition.inputs.items() if n in WORDS}
    if names[:1] != ("hidden_states",) or not shapes <= {("hidden_size",)}:
        return None
    if list(definition.outputs) != ["output"] or definition.var_axes != ("batch_size",):
        return None
    dtypes = {definition.inputs[name].dtype for name in names[1:]}
    if len(dtypes) > 1 or "hidden_size" not in definition.const_axes:
        return None
    return form_of(names[1:], next(iter(dtypes), ""))


def epsilon(definition: Definition) -> float | None:
    """The epsilon: as the description says, else as the reference sets it; None if neither does."""
    said = re.search(
        r"[Ee]psilon\D*?(\d[\d.]*(?:[eE][-+]?\d+)?)", definition.description or ""
    ) or re.search(
        r"^\s*(?:EPS|EPSILON|eps) *= *(\d[\d.]*(?:[eE][-+]?\d+)?)",
        definition.reference,
        flags=re.MULTILINE,
    )
    return None if said is None else float(said[1].rstrip("."))
