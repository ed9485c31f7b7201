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
from fibcore_op_eh_norm import fibcore_implementations

pytest.importorskip("torch")

Make = Callable[..., Definition]

CALL = "rms_norm(x[own].to(torch.float32), (HIDDEN_SIZE,), scale, EPSILON)"
MEAN = "x[own].float().square().mean(dim=-1, keepdim=True)"
FORMULA = f"x[own].float() * torch.rsqrt({MEAN} + EPSILON) * scale"


def formula(name: str, right: str, wrong: str) -> Mistake:
    """The formula that the call stands for, with a mistake in it."""
    assert right in FORMULA
    return Mistake.of(name, CALL, FORMULA.replace(right, wrong))


MISTAKES = [
    formula(
        "the mean is taken off", "x[own].float() *", "(x[own] - x[own].mean(-1, True)).float() *"
    ),
    formula("a sum of squares", ".mean(dim=-1, keepdim=True)", ".sum(dim=-1, keepdim=True)"),
    formula("mean over the rows", "dim=-1", "dim=0"),
    formula("epsilon forgotten", " + EPSILON", ""),
    formula(
        "epsilon outside the root",
        f"torch.rsqrt({MEAN} + EPSILON)",
        f"(1 / ({MEAN}.sqrt() + EPSILON))",
    ),
    formula("epsilon as a lower bound", " + EPSILON", ".clamp(min=EPSILON)"),
    formula("root forgotten", "torch.rsqrt", "torch.reciprocal"),
    formula("weight forgotten", " * scale", ""),
    formula("1 + weight", " * scale", " * (1 + scale)"),
    formula("rounded before the weight", " * scale", " .to(output.dtype) * scale"),
    Mistake.of("epsilon of another model", "EPSILON = 1e-06", "EPSILON = 1e-05"),
    Mistake.of("one weight for both", "hnorm_weight))", "enorm_weight))"),
    Mistake.of(
        "the hidden state comes first",
        "halves = (output[:, :HIDDEN_SIZE], output[:, HIDDEN_SIZE:])",
        "halves = (output[:, HIDDEN_SIZE:], output[:, :HIDDEN_SIZE])",
    ),
    Mistake.of(
        "halves by turns",
        "halves = (output[:, :HIDDEN_SIZE], output[:, HIDDEN_SIZE:])",
        "halves = (output[:, 0::2], output[:, 1::2])",
    ),
    Mistake.of(
        "one root for both",
        CALL,
        "x[own].float() * scale * torch.rsqrt("
        "torch.cat((inputs_embeds, previous_hidden), 1)[own].float().square().mean(-1, True)"
        " + EPSILON)",
    ),
    Mistake.of(
        "the last row is left out",
        "range(0, batch_size, chunk)",
        "range(0, batch_size - 1, chunk)",
    ),
]


@pytest.mark.parametrize("mistake", parameters(MISTAKES))
def test_wrong_references_are_rejected(
    definition: Make, template: Template, mistake: Mistake
) -> None:
    assert_rejected(template, definition(hidden_size=96), mistake)


def test_wrong_implementations_are_rejected(definition: Make, template: Template) -> None:
    made = definition(hidden_size=96)
    assert_wrong_ones_rejected(template, made, fibcore_implementations(made))
