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
from fibcore_op_activation import fibcore_implementations
from fibcore_op_activation.kinds import KINDS

pytest.importorskip("torch")

Make = Callable[..., Definition]

GATE, UP = "input[rows, :half]", "input[rows, half:]"
CLAMPED = ("silu_and_mul_clamp", "swiglu_oai_and_mul")
GATED = ("silu_and_mul", "gelu_and_mul", "gelu_tanh_and_mul", "situ_and_mul", *CLAMPED)
PRODUCT = {
    "silu_and_mul": "silu(gate)",
    "gelu_and_mul": "gelu(gate)",
    "gelu_tanh_and_mul": 'gelu(gate, approximate="tanh")',
}
F = "torch.nn.functional."

# Kind to mistakes: name, text of the reference, text in its place.
MISTAKES: dict[str, list[tuple[str, ...]]] = {kind: [] for kind in KINDS}
for _kind in GATED:
    MISTAKES[_kind] += [
        ("the halves are swapped", GATE, "input[rows, half:]", f" {UP}", f" {GATE}"),
        ("gate and up take turns", GATE, "input[rows, ::2]", UP, "input[rows, 1::2]"),
        ("the gate alone", GATE, GATE, UP, GATE),
        ("up begins one later", UP, "input[rows, half - 1 : -1]"),
    ]
for _kind, _text in PRODUCT.items():
    _call = f"torch.mul({_text}, {UP}, out=output[rows])"
    MISTAKES[_kind] += [
        ("up is left out", _call, f"output[rows] = {_text}"),
        ("up is added", _call, f"output[rows] = {_text} + {UP}"),
        ("both halves are activated", UP, f"{_text.replace('gate', UP)}"),
        ("the gate is not activated", _text, "gate"),
        (
            "rounded before it is multiplied",
            _call,
            f"output[rows] = {_text}.to(output.dtype) * {UP}",
        ),
    ]
for _kind in KINDS:
    if _kind not in ("relu", "silu"):  # of one call
        _loop = "range(0, num_tokens, chunk)"
        MISTAKES[_kind] += [
            ("the last row is left out", _loop, _loop.replace("tokens,", "tokens - 1,"))
        ]
MISTAKES["silu_and_mul"] += [
    ("GELU", "silu(gate)", f"{F}gelu(gate)"),
    ("quick GELU", "silu(gate)", "gate * torch.sigmoid(1.702 * gate)"),
    ("a sigmoid alone", "silu(gate)", "torch.sigmoid(gate)"),
    ("in the input's dtype", ".to(torch.float32)", ""),
]
MISTAKES["silu"] += [
    ("GELU", "silu(input)", f"{F}gelu(input)"),
    ("a sigmoid alone", "silu(input)", "torch.sigmoid(input)"),
]
for _kind in ("gelu_and_mul", "gelu"):
    _x = "gate" if "and" in _kind else "x"
    MISTAKES[_kind] += [
        ("its form with tanh", f"gelu({_x})", f'gelu({_x}, approximate="tanh")'),
        ("quick GELU", f"gelu({_x})", f"{_x} * torch.sigmoid(1.702 * {_x})"),
        ("digits are lost in float32", "torch.float64", "torch.float32"),
    ]
for _kind in ("gelu_tanh_and_mul", "gelu_tanh"):
    _x = "gate" if "and" in _kind else "x"
    MISTAKES[_kind] += [
        ("its form with erf", f'gelu({_x}, approximate="tanh")', f"gelu({_x})"),
        ("digits are lost in float32", "torch.float64", "torch.float32"),
    ]
MISTAKES["quick_gelu"] += [
    ("SiLU", "1.702 * x", "x"),
    ("another factor", "1.702", "1.7"),
    ("GELU", "torch.sigmoid(1.702 * x).mul_(x)", f"{F}gelu(x)"),
]
MISTAKES["relu2"] += [
    ("it is not squared", ".square_()", ""),
    ("negative numbers are squared", "x.relu_().square_()", "x.square_()"),
    ("the square has its sign", "x.relu_().square_()", "x * x.abs()"),
    ("squared in the input's dtype", "x.relu_()", "x.relu_().mul_(1.0013)"),
]
MISTAKES["relu"] += [
    ("leaky", "torch.relu(input)", f"{F}leaky_relu(input)"),
    ("bounded", "torch.relu(input)", f"{F}relu6(input)"),
    ("in place", "torch.relu(input)", "input.relu_()"),
]
MISTAKES["situ_and_mul"] += [
    ("the gate is not bounded", "gate.div_(beta).tanh_()", "gate.div_(beta)"),
    ("the other half is not bounded", "up.div_(linear_beta).tanh_()", "up.div_(linear_beta)"),
    ("the bounds are swapped", "gate.div_(beta)", "gate.div_(linear_beta)"),
    (
        "the sigmoid of the bounded gate",
        "torch.sigmoid(gate)",
        "torch.sigmoid(beta * torch.tanh(gate / beta))",
    ),
    ("the sigmoid is left out", "torch.sigmoid(gate)", "torch.ones_like(gate)"),
    ("beta is left out", ".mul_(beta)", ""),
]
for _kind in CLAMPED:
    MISTAKES[_kind] += [
        ("the gate is not clamped", ".clamp_(max=limit)", ""),
        ("the gate is clamped on both sides", ".clamp_(max=limit)", ".clamp_(-limit, limit)"),
        ("up is not clamped", ".clamp_(-limit, limit)", ""),
        ("up is clamped above alone", ".clamp_(-limit, limit)", ".clamp_(max=limit)"),
    ]
MISTAKES["silu_and_mul_clamp"] += [
    ("silu is clamped", ".clamp_(max=limit)", "", "silu(gate)", "silu(gate).clamp_(max=limit)"),
    ("one is added to up", "silu(gate), up", "silu(gate), up.add_(1)"),
    ("GELU", "silu(gate)", f"{F}gelu(gate)"),
]
MISTAKES["swiglu_oai_and_mul"] += [
    ("nothing is added to up", "up.add_(1)", "up"),
    ("alpha is left out", "alpha * gate", "gate"),
    ("the sigmoid alone", ".mul_(gate)", ""),
]

BY_KIND = {kind: [Mistake.of(*texts) for texts in found] for kind, found in MISTAKES.items()}


@pytest.mark.parametrize(("kind", "mistake"), parameters(BY_KIND))
def test_wrong_references_are_rejected(
    definition: Make, template: Template, kind: str, mistake: Mistake
) -> None:
    made = definition(kind, 128)
    assert_rejected(template, made, mistake, cases=template.cases(made)[:2])


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_implementations_are_rejected(
    definition: Make, template: Template, kind: str
) -> None:
    made = definition(kind, 128)
    assert_wrong_ones_rejected(template, made, fibcore_implementations(made))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_right_implementation_and_one_that_is_another_function(
    definition: Make, kind: str
) -> None:
    found = fibcore_implementations(definition(kind, 128))
    assert any(one.right for one in found)
    assert sum(not one.right for one in found) > 2
