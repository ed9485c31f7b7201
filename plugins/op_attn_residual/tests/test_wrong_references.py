"""The properties of the test template against plausible mistakes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fibcore.plugin import Definition
from fibcore.testing.templates import CRASHES, Template
from fibcore.testing.wrong_references import (
    Mistake,
    assert_rejected,
    assert_wrong_ones_rejected,
    parameters,
)
from fibcore_op_attn_residual import fibcore_implementations

pytest.importorskip("torch")

Make = Callable[..., Definition]

SCORES = "torch.matmul(streams, score_weight) * root"
MISTAKES = [
    Mistake.of("a mean", SCORES, f"0 * {SCORES}"),
    Mistake.of("not normalised", " * root, -1", ", -1"),
    Mistake.of("a sum of squares", ".mean(-1) + EPSILON", ".sum(-1) + EPSILON"),
    Mistake.of("no epsilon", " + EPSILON", " + 1e-30"),
    Mistake.of(
        "epsilon outside the root",
        "rsqrt(streams.square().mean(-1) + EPSILON)",
        "reciprocal(streams.square().mean(-1).sqrt() + EPSILON)",
    ),
    Mistake.of("root forgotten", "torch.rsqrt", "torch.reciprocal"),
    Mistake.of("no softmax", f"torch.softmax({SCORES}, -1)", SCORES),
    Mistake.of("sigmoids", f"torch.softmax({SCORES}, -1)", f"torch.sigmoid({SCORES})"),
    Mistake.of(
        "exponentials overflow",
        f"torch.softmax({SCORES}, -1)",
        f"(lambda e: e / e.sum(-1, keepdim=True))(torch.exp({SCORES}))",
    ),
    Mistake.of("a softmax over tokens", f"({SCORES}, -1)", f"({SCORES}, 0)"),
    Mistake.of("a softmax of base 2", SCORES, f"{SCORES} * 0.6931471805599453"),
    Mistake.of(
        "normalised streams are weighed",
        "(weights[:, None], streams)",
        "(weights[:, None], streams * root[..., None])",
    ),
    Mistake.of(
        "the stream of now is left out",
        "weights[:, None], streams",
        "weights[:, None, :-1], streams[:, :-1]",
    ),
    Mistake.of("weights in bfloat16", "weights[:, None]", "weights[:, None].bfloat16().float()"),
    Mistake.of(
        "the last token is left out",
        "range(0, num_tokens, chunk)",
        "range(0, num_tokens - 1, chunk)",
    ),
    Mistake.of("written over the input", "torch.empty_like(prefix_sum)", "prefix_sum"),
]


@pytest.mark.parametrize("mistake", parameters(MISTAKES))
def test_wrong_references_are_rejected(
    definition: Make, template: Template, mistake: Mistake
) -> None:
    assert_rejected(template, definition(size=96), mistake, crashes=CRASHES)


def test_wrong_implementations_are_rejected(definition: Make, template: Template) -> None:
    made = definition(size=96)
    assert_wrong_ones_rejected(template, made, fibcore_implementations(made))
