"""The properties of the test template, and SGLang, against plausible mistakes."""

from __future__ import annotations

from typing import Any

import pytest

from fibcore.testing.templates import load_run
from fibcore.testing.wrong_references import (
    Mistake,
    assert_rejected,
    assert_wrong_ones_rejected,
    parameters,
)
from fibcore_op_rmsnorm import fibcore_implementations

torch = pytest.importorskip("torch")

STEMS = ("rmsnorm", "fused_add_rmsnorm", "gemma_rmsnorm", "gemma_fused_add_rmsnorm")
CPU = torch.device("cpu")

CALL = "rms_norm(x, (HIDDEN_SIZE,), scale, EPSILON)"
ROOT = "torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + EPSILON)"
FORMULA = f"(x * {ROOT} * scale)"
MEAN = "x.square().mean(dim=-1, keepdim=True)"
SUM = "x += residual[rows]"


def mistaken(right: str, wrong: str) -> str:
    """The formula that the call stands for, with a mistake in it."""
    assert right in FORMULA
    return FORMULA.replace(right, wrong)


# Plausible mistakes: name, text of the reference, text in its place, references that have it.
MISTAKES = [
    ("epsilon outside the root", CALL, mistaken(ROOT, f"(1 / ({MEAN}.sqrt() + EPSILON))"), STEMS),
    ("epsilon added to 1 / root", CALL, mistaken(ROOT, f"(torch.rsqrt({MEAN}) + EPSILON)"), STEMS),
    ("epsilon forgotten", CALL, mistaken(" + EPSILON", ""), STEMS),
    ("epsilon as a lower bound", CALL, mistaken(" + EPSILON", ".clamp(min=EPSILON)"), STEMS),
    ("epsilon of another model", "EPSILON = 1e-05", "EPSILON = 1e-06", STEMS),
    ("epsilon of the dtype", CALL, "rms_norm(x, (HIDDEN_SIZE,), scale)", STEMS),
    ("root forgotten", CALL, mistaken("torch.rsqrt", "torch.reciprocal"), STEMS),
    ("mean instead of mean square", CALL, mistaken("x.square().mean", "x.mean"), STEMS),
    ("mean of magnitudes", CALL, mistaken("x.square().mean", "x.abs().mean"), STEMS),
    ("sum instead of mean", CALL, mistaken("x.square().mean", "x.square().sum"), STEMS),
    ("variance about the mean", CALL, mistaken("x.square().mean", "x.var"), STEMS),
    ("mean over the rows", CALL, mistaken("dim=-1", "dim=0"), STEMS),
    ("mean of all but the last", CALL, mistaken("x.square()", "x[:, :-1].square()"), STEMS),
    ("weight forgotten", CALL, mistaken(" * scale", ""), STEMS),
    (
        "mean square in the activations' dtype",
        CALL,
        mistaken("x.square()", "x.to(output.dtype).square()"),
        STEMS,
    ),
    ("root in the activations' dtype", CALL, mistaken(ROOT, f"{ROOT}.to(output.dtype)"), STEMS),
    ("Gemma's offset", "scale = weight", "scale = 1.0 + weight", STEMS[:2]),
    ("Gemma's offset forgotten", "scale = 1.0 + weight", "scale = weight", STEMS[2:]),
    ("residual not added", SUM, "pass", STEMS[1::2]),
    ("residual alone", SUM, "x = residual[rows].to(torch.float32)", STEMS[1::2]),
    ("residual subtracted", SUM, "x -= residual[rows]", STEMS[1::2]),
    ("residual added after the norm", CALL, f"{CALL} + residual[rows]", STEMS[1::2]),
    ("result written over the input", "torch.empty_like(hidden_states)", "hidden_states", STEMS),
]


BY_STEM = {
    stem: [
        Mistake.of(name, right, wrong) for name, right, wrong, stems in MISTAKES if stem in stems
    ]
    for stem in STEMS
}


@pytest.mark.parametrize(("stem", "mistake"), parameters(BY_STEM))
def test_wrong_references_are_rejected(
    definition: Any, template: Any, stem: str, mistake: Mistake
) -> None:
    made = definition(stem, 512)
    cases = template.cases(made)[1:2]
    assert_rejected(template, made, mistake, cases=cases, crashes=(RuntimeError,))


def test_sglang_rejects_mistakes_too(definition: Any, native: Any, template: Any) -> None:
    made = definition("fused_add_rmsnorm", 512)
    data = made.to_dict()
    inputs = template.module.make_inputs(
        data, {"batch_size": 7}, CPU, torch.Generator().manual_seed(3)
    )
    expected = native(made, {n: v.clone() for n, v in inputs.items()})
    # These move every element by less than the tolerance of bfloat16; a property sees them.
    small = ("dtype", "but the last")
    for name, right, wrong, stems in MISTAKES:
        if "fused_add_rmsnorm" in stems and not any(part in name for part in small):
            own = {n: v.clone() for n, v in inputs.items()}
            actual = load_run(made.reference.replace(right, wrong))(*own.values())
            same_inputs = all(torch.equal(own[n], inputs[n]) for n in inputs)
            close = actual.shape == expected.shape and torch.allclose(
                actual, expected, rtol=1e-2, atol=8e-3
            )
            assert not (close and same_inputs), name


@pytest.mark.parametrize("stem", STEMS)
def test_wrong_implementations_are_rejected(definition: Any, template: Any, stem: str) -> None:
    made = definition(stem, 512)
    assert_wrong_ones_rejected(template, made, fibcore_implementations(made))
