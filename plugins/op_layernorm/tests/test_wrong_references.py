"""The properties of the test template against plausible mistakes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fibcore.plugin import Definition
from fibcore.testing.templates import Template
from fibcore.testing.wrong_references import (
    Mistake,
    assert_rejected,
    assert_wrong_ones_rejected,
    parameters,
)
from fibcore_op_layernorm import fibcore_implementations
from fibcore_op_layernorm.forms import FORMS

pytest.importorskip("torch")

Make = Callable[..., Definition]

MEAN = "x.mean(dim=-1, keepdim=True)"
VARIANCE = f"(x - {MEAN}).square().mean(dim=-1, keepdim=True)"
NORMALISED = f"(x - {MEAN}) * torch.rsqrt({VARIANCE} + EPSILON)"

# Mistakes of the formula that the call stands for: name, right text, wrong text.
FORMULA = [
    ("the mean is not taken off", f"(x - {MEAN}) * torch", "x * torch"),
    ("squares about zero", VARIANCE, "x.square().mean(dim=-1, keepdim=True)"),
    ("variance of a sample", VARIANCE, "x.var(dim=-1, keepdim=True)"),
    ("mean over the rows", VARIANCE, VARIANCE.replace("dim=-1", "dim=0")),
    ("epsilon forgotten", " + EPSILON", ""),
    (
        "epsilon outside the root",
        f"torch.rsqrt({VARIANCE} + EPSILON)",
        f"(1 / ({VARIANCE}.sqrt() + EPSILON))",
    ),
    ("epsilon as a lower bound", " + EPSILON", ".clamp(min=EPSILON)"),
    ("root forgotten", "torch.rsqrt", "torch.reciprocal"),
    ("in the input's dtype", f"(x - {MEAN})", f"(x.to(output.dtype) - {MEAN}.to(output.dtype))"),
    ("rounded before the weight", NORMALISED, f"({NORMALISED}).to(output.dtype)"),
]
OTHERS = [
    ("epsilon of another model", "EPSILON = 1e-05", "EPSILON = 1e-06"),
    ("written over the input", "torch.empty_like(hidden_states)", "hidden_states"),
    (
        "the last row is left out",
        "range(0, batch_size, chunk)",
        "range(0, batch_size - 1, chunk)",
    ),
]


def mistakes(form: str) -> list[Mistake]:
    """All of a form; where nothing follows the normalisation, it is rounded once either way."""
    parameters = FORMS[form].parameters
    weight, bias = ("weight" in parameters, "bias" in parameters)
    given = ("weight=scale",) * weight + ("bias=shift",) * bias
    lines = "".join(f"            {a},\n" for a in ("x", "(HIDDEN_SIZE,)", *given, "eps=EPSILON"))
    call = f"layer_norm(\n{lines}        )"
    after = " * scale" * weight + " + shift" * bias
    found = []
    for name, right, wrong in FORMULA:
        assert right in NORMALISED
        if after or name != "rounded before the weight":
            found.append(Mistake.of(name, call, f"({NORMALISED.replace(right, wrong)}){after}"))
    found += [Mistake.of(*texts) for texts in OTHERS]
    if weight:
        found.append(Mistake.of("weight + 1", "scale = weight", "scale = 1.0 + weight"))
        found.append(Mistake.of("weight forgotten", "weight=scale", "weight=None"))
    if bias:
        found.append(Mistake.of("bias forgotten", "bias=shift", "bias=None"))
        found.append(
            Mistake.of("bias times weight", "bias.to(torch.float32)", "(bias * weight).float()")
        )
    return found


BY_FORM = {form: mistakes(form) for form in FORMS}


@pytest.mark.parametrize(("form", "mistake"), parameters(BY_FORM))
def test_wrong_references_are_rejected(
    definition: Make, template: Template, form: str, mistake: Mistake
) -> None:
    made = definition(form, 512)
    assert_rejected(template, made, mistake, cases=template.cases(made)[:2])


@pytest.mark.parametrize("form", FORMS)
def test_wrong_implementations_are_rejected(
    definition: Make, template: Template, form: str
) -> None:
    made = definition(form, 512)
    found = fibcore_implementations(made)
    assert_wrong_ones_rejected(template, made, found)
    assert sum(one.right for one in found) == 2
