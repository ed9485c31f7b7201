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
from fibcore_op_split_rmsnorm import fibcore_implementations

pytest.importorskip("torch")

Make = Callable[..., Definition]

LAST = Mistake.of(
    "the last token is left out",
    "range(0, num_tokens, chunk)",
    "range(0, max(num_tokens - 1, 0), chunk)",
)
SUMS = [
    Mistake.of("means", ".sum(dim=-1)", ".mean(dim=-1)"),
    Mistake.of("magnitudes", ".square()", ".abs()"),
    Mistake.of("sums of sums", ".square().sum(dim=-1)", ".sum(dim=-1).square()"),
    Mistake.of("squares in bfloat16", "x[tokens].to(torch.float32).square()", "x[tokens].square()"),
    Mistake.of("all but the last", "x[tokens].to", "x[tokens, :-1].to"),
    Mistake.of("keys first", "(q, k), strict", "(k, q), strict"),
    Mistake.of("about the mean", ".square().sum(dim=-1)", ".var(dim=-1) * x.shape[1]"),
    LAST,
]
APPLY = [
    Mistake.of("epsilon forgotten", " + EPSILON", ""),
    Mistake.of("epsilon of another model", "EPSILON = 1e-06", "EPSILON = 1e-05"),
    Mistake.of("the mean of one rank", "x.shape[1] * RANKS", "x.shape[1]"),
    Mistake.of("sums without a mean", "sums / (x.shape[1] * RANKS)", "sums"),
    Mistake.of(
        "the rows' own squares", "sums / (x.shape[1] * RANKS)", "x.float().square().mean(-1)"
    ),
    Mistake.of("root forgotten", "torch.rsqrt", "torch.reciprocal"),
    Mistake.of("weight forgotten", " * weight.to(torch.float32)", ""),
    Mistake.of("1 + weight", "weight.to(torch.float32)", "(1 + weight.to(torch.float32))"),
    Mistake.of("keys by the sums of queries", "sums[1, tokens]", "sums[0, tokens]"),
    Mistake.of("the root in bfloat16", "EPSILON)\n    return", "EPSILON).bfloat16()\n    return"),
    Mistake.of("written over the input", "torch.empty_like(q)", "q"),
    LAST,
]


@pytest.mark.parametrize(("form", "mistake"), parameters({"sums": SUMS, "apply": APPLY}))
def test_wrong_references_are_rejected(
    small_one: Make, template: Template, form: str, mistake: Mistake
) -> None:
    assert_rejected(template, small_one(form), mistake, crashes=(RuntimeError,))


@pytest.mark.parametrize("form", ["sums", "apply"])
def test_wrong_implementations_are_rejected(small_one: Make, template: Template, form: str) -> None:
    made = small_one(form)
    found = fibcore_implementations(made)
    assert len(found) >= 7
    assert_wrong_ones_rejected(template, made, found)
