"""The properties of the test template against plausible mistakes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fibcore.plugin import Definition
from fibcore.testing.templates import Template
from fibcore.testing.wrong_references import (
    Mistake,
    assert_rejected,
    assert_wrong_ones_rejected,
    parameters,
)
from fibcore_op_gated_rmsnorm import fibcore_implementations

pytest.importorskip("torch")

Make = Callable[..., Definition]

VARIANTS: dict[str, dict[str, Any]] = {
    "silu": {},
    "sigmoid": {"activation": "sigmoid"},
    "first": {"norm_before_gate": False},
    "groups": {"group_size": 64},
    "groups_first": {"group_size": 64, "norm_before_gate": False},
}
CALL = "rms_norm(x, (HIDDEN_SIZE,), scale, EPSILON)"
PARTS = "rms_norm(parts, (GROUP_SIZE,), eps=EPSILON).view(x.shape) * scale"
MEAN = "x.square().mean(dim=-1, keepdim=True)"
FORMULA = f"(x * torch.rsqrt({MEAN} + EPSILON) * scale)"
SILU = "torch.nn.functional.silu(gate)"
GATE = "        x = gated(x, gate[rows])\n"


def formula(name: str, right: str, wrong: str) -> Mistake:
    """The formula that the call stands for, with a mistake in it."""
    assert right in FORMULA
    return Mistake.of(name, CALL, FORMULA.replace(right, wrong))


ROWS = [
    formula("epsilon forgotten", " + EPSILON", ""),
    formula("epsilon as a lower bound", " + EPSILON", ".clamp(min=EPSILON)"),
    formula(
        "epsilon outside the root",
        f"torch.rsqrt({MEAN} + EPSILON)",
        f"(1 / ({MEAN}.sqrt() + EPSILON))",
    ),
    formula("root forgotten", "torch.rsqrt", "torch.reciprocal"),
    formula("mean of magnitudes", "x.square().mean", "x.abs().mean"),
    formula("sum instead of mean", "x.square().mean", "x.square().sum"),
    formula("variance about the mean", "x.square().mean", "x.var"),
    formula("mean over the rows", "dim=-1", "dim=0"),
    formula("weight forgotten", " * scale", ""),
    formula("1 + weight", "* scale", "* (1 + scale)"),
]
EVERY = [
    Mistake.of("epsilon of another model", "EPSILON = 1e-05", "EPSILON = 1e-06"),
    Mistake.of("written over the input", "torch.empty_like(hidden_states)", "hidden_states"),
    Mistake.of(
        "the last row is left out",
        "range(0, batch_size, chunk)",
        "range(0, batch_size - 1, chunk)",
    ),
    Mistake.of("the gate is left out", GATE, ""),
    Mistake.of("the gate twice", GATE, GATE + GATE),
    Mistake.of("the gate of the first rows", "gate[rows]", "gate[: len(x)].roll(1, 0)"),
    Mistake.of("the gate rounded", "x *= ", "x *= 1.0078125 * "),
]
OF_SILU = [
    Mistake.of("sigmoid for SiLU", SILU, "torch.sigmoid(gate)"),
    Mistake.of("GELU for SiLU", SILU, "torch.nn.functional.gelu(gate)"),
    Mistake.of("no activation", SILU, "gate"),
    Mistake.of("SiLU as it overflows", SILU, "gate * gate.exp() / (1 + gate.exp())"),
    Mistake.of("SiLU in bfloat16", SILU, "torch.nn.functional.silu(gate.bfloat16()).float()"),
]
OF_GROUPS = [
    Mistake.of("one group", PARTS, CALL),
    Mistake.of("a mean for all groups", "(GROUP_SIZE,)", "(NUM_GROUPS, GROUP_SIZE)"),
    Mistake.of("groups of other columns", "NUM_GROUPS, GROUP_SIZE)", "GROUP_SIZE, NUM_GROUPS)"),
    Mistake.of("weight forgotten", " * scale", ""),
    Mistake.of("epsilon forgotten", "eps=EPSILON", "eps=0.0"),
]
STORE = "        output[rows] = x\n"
LOAD = "        x = hidden_states[rows].to(torch.float32)\n"
BY_VARIANT = {
    "silu": [
        *ROWS,
        *EVERY,
        *OF_SILU,
        Mistake.of("the gate first", GATE, "", LOAD, LOAD + GATE),
        Mistake.of("rounded before the gate", GATE, GATE.replace("(x", "(x.bfloat16().float()")),
    ],
    "sigmoid": [
        *ROWS,
        *EVERY,
        Mistake.of("SiLU for sigmoid", "torch.sigmoid(gate)", SILU),
        Mistake.of("tanh for sigmoid", "torch.sigmoid(gate)", "torch.tanh(gate)"),
        Mistake.of("the gate first", GATE, "", LOAD, LOAD + GATE),
    ],
    "first": [
        *ROWS,
        *EVERY,
        *OF_SILU,
        Mistake.of("the gate last", GATE, "", STORE, GATE + STORE),
    ],
    "groups": [*EVERY, *OF_SILU, *OF_GROUPS],
    "groups_first": [*EVERY, *OF_SILU, *OF_GROUPS],
}


@pytest.mark.parametrize(("variant", "mistake"), parameters(BY_VARIANT))
def test_wrong_references_are_rejected(
    definition: Make, template: Template, variant: str, mistake: Mistake
) -> None:
    made = definition(hidden_size=512, eps=1e-5, **VARIANTS[variant])
    assert_rejected(template, made, mistake, crashes=(RuntimeError,))


@pytest.mark.parametrize("variant", VARIANTS)
def test_wrong_implementations_are_rejected(
    definition: Make, template: Template, variant: str
) -> None:
    made = definition(hidden_size=512, **VARIANTS[variant])
    found = fibcore_implementations(made)
    assert len(found) >= 10
    assert_wrong_ones_rejected(template, made, found)
