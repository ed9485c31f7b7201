"""The properties of the test template, and its comparison, against plausible mistakes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fibcore.plugin import Definition
from fibcore.testing.templates import Template, load_run
from fibcore.testing.wrong_references import (
    Mistake,
    assert_rejected,
    assert_wrong_ones_rejected,
    parameters,
)
from fibcore_op_sampling import fibcore_implementations

torch = pytest.importorskip("torch")

K, P, BOTH, JOINT = (
    "top_k_sampling_from_probs",
    "top_p_sampling_from_probs",
    "top_k_top_p_sampling_from_probs",
    "top_k_top_p_sampling_from_probs_joint",
)
MIN_P, PLAIN, RENORM_K, RENORM_P = (
    "min_p_sampling",
    "sampling_from_probs",
    "top_k_renorm_probs",
    "top_p_renorm_probs",
)
SAMPLERS = (K, P, BOTH, JOINT, MIN_P, PLAIN)
FILTERS_K, FILTERS_P = (K, BOTH, JOINT, RENORM_K), (P, BOTH, JOINT, RENORM_P)
FILTERED = (K, P, BOTH, JOINT, MIN_P, RENORM_K, RENORM_P)

DRAW = "torch.searchsorted(sums, point, right=True)[:, 0]"
POINT = "torch.rand(len(kept), 1, dtype=torch.float64, device=probs.device) * sums[:, -1:]"
LAST = "top_k[rows].where(top_k[rows] > 0, VOCAB_SIZE).clamp(max=VOCAB_SIZE) - 1"
BOUND = "top_p[rows, None] * reached[:, -1:]"
LEAST = "kept.amax(dim=-1, keepdim=True) * min_p[rows, None].clamp(max=1.0)"

# Plausible mistakes: name, text of the reference, text in its place, references that have it.
MISTAKES = [
    ("always the most probable token", DRAW, "kept.argmax(dim=-1)", SAMPLERS),
    ("always the first token", DRAW, "torch.zeros(len(kept), dtype=torch.int64)", SAMPLERS),
    ("always the last token that is kept", POINT, "sums[:, -1:] * (1 - 1e-9)", SAMPLERS),
    ("all kept tokens alike", "sums = kept.cumsum", "sums = (kept > 0).cumsum", SAMPLERS),
    ("the place after", DRAW, f"({DRAW} + 1) % VOCAB_SIZE", SAMPLERS),
    ("the place before", DRAW, f"({DRAW} - 1) % VOCAB_SIZE", SAMPLERS),
    (
        "of the square roots of the probabilities",
        "sums = kept.cumsum",
        "sums = kept.sqrt().cumsum",
        SAMPLERS,
    ),
    ("of the squares of the probabilities", "sums = kept.", "sums = kept.square().", SAMPLERS),
    (
        "the same number in every row",
        POINT,
        "torch.rand(1, 1, dtype=torch.float64) * sums[:, -1:]",
        SAMPLERS,
    ),
    (
        "the same numbers in every call",
        POINT,
        f"(torch.manual_seed(1), {POINT})[1]",
        SAMPLERS,
    ),
    (
        "numbers of a normal distribution",
        "torch.rand(len(kept), 1, dtype=torch.float64, device=probs.device)",
        "torch.randn(len(kept), 1, dtype=torch.float64).abs().clamp(max=1 - 1e-9)",
        SAMPLERS,
    ),
    ("every number twice", POINT, f"({POINT})[torch.arange(len(kept)) // 8 * 8]", SAMPLERS),
    (
        "not scaled after the filters",
        POINT,
        "torch.rand(len(kept), 1, dtype=torch.float64)",
        (K, P, BOTH, JOINT, MIN_P),
    ),
    ("one token more", LAST, LAST.replace(" - 1", "").replace("SIZE)", "SIZE - 1)"), FILTERS_K),
    ("one token fewer", LAST, f"({LAST} - 1).clamp(min=0)", FILTERS_K),
    ("top_k of the first row", LAST, f"({LAST})[:1].expand(len(kept))", FILTERS_K),
    (
        "no filter by top_k",
        "ordered.gather(-1, last[:, None].long())",
        "0.0 * ordered[:, :1]",
        FILTERS_K,
    ),
    (
        "nothing kept where top_k is 0",
        "top_k[rows] > 0, VOCAB_SIZE",
        "top_k[rows] > 0, 1",
        FILTERS_K,
    ),
    ("without the token that crosses top_p", "fewest - 1", "(fewest - 2).clamp(min=0)", FILTERS_P),
    ("one token after top_p", "fewest - 1", "fewest.clamp(max=VOCAB_SIZE - 1)", FILTERS_P),
    ("no filter by top_p", BOUND, "2.0", FILTERS_P),
    ("top_p of the first row", BOUND, "top_p[rows][:1] * reached[:, -1:]", FILTERS_P),
    ("the most improbable tokens", "descending=True", "descending=False", (P, RENORM_P)),
    ("top_p of the whole row", "ordered = ordered.where(ordered >= least, 0.0)", "pass", (BOTH,)),
    ("top_p of what top_k leaves", BOUND, f"{BOUND} * 0.8", (JOINT,)),
    (
        "top_p of what top_k leaves, not scaled",
        BOUND,
        "top_p[rows, None]",
        (BOTH,),
    ),
    ("min_p of one, not of the largest", LEAST, "min_p[rows, None]", (MIN_P,)),
    ("no filter by min_p", LEAST, "0.0", (MIN_P,)),
    ("half of min_p", LEAST, f"0.5 * {LEAST}", (MIN_P,)),
    ("min_p of the first row", LEAST, LEAST.replace("min_p[rows, None]", "min_p[:1]"), (MIN_P,)),
    ("without the least token", "kept >= least", "kept > least", (K, P, BOTH, JOINT)),
    (
        "probabilities are cut in place",
        "kept = probs[rows]",
        "kept = probs[rows].mul_(0.5)",
        FILTERED,
    ),
    (
        "not scaled",
        "kept / kept.sum(dim=-1, keepdim=True, dtype=torch.float64)",
        "kept",
        (RENORM_K, RENORM_P),
    ),
]
SOFTMAX = [
    ("no temperature", "logits / temperature[:, None]", "logits"),
    ("temperature as a factor", "logits / temp", "logits * temp"),
    ("temperature of the first row", "temperature[:, None]", "temperature[:1]"),
    ("over the rows", "dim=-1", "dim=0"),
    (
        "without the largest logit taken off",
        "torch.softmax(logits / temperature[:, None], dim=-1)",
        "(x := (logits / temperature[:, None]).exp()) / x.sum(dim=-1, keepdim=True)",
    ),
    ("the logarithm", "torch.softmax", "torch.log_softmax"),
    ("in bfloat16", "torch.softmax(logits", "torch.softmax(logits.bfloat16().float()"),
]

BY_STEM = {
    stem: [
        Mistake.of(name, right, wrong) for name, right, wrong, stems in MISTAKES if stem in stems
    ]
    for stem in (*SAMPLERS, RENORM_K, RENORM_P)
}
BY_STEM["softmax"] = [Mistake.of(*texts) for texts in SOFTMAX]

Make = Callable[..., Definition]


@pytest.mark.parametrize(("stem", "mistake"), parameters(BY_STEM))
def test_wrong_references_are_rejected(
    definition: Make, template: Template, stem: str, mistake: Mistake
) -> None:
    assert_rejected(template, definition(stem), mistake, crashes=(RuntimeError,))


@pytest.mark.parametrize("stem", [RENORM_K, RENORM_P, "softmax"])
def test_wrong_implementations_are_rejected(
    definition: Make, template: Template, stem: str
) -> None:
    made = definition(stem)
    assert_wrong_ones_rejected(template, made, fibcore_implementations(made))


def test_what_draws_has_no_implementations(definition: Make) -> None:
    assert fibcore_implementations(definition(K)) == ()


def compared(template: Template, made: Definition, actual: Any, expected: Any, inputs: Any) -> None:
    def check(*_: Any) -> None:
        raise AssertionError("tokens that are drawn are not compared")

    case = template.cases(made)[2]
    template.module.compare(made.to_dict(), case, "samples", actual, expected, check, inputs)


@pytest.mark.parametrize("stem", SAMPLERS)
def test_the_comparison_holds_both_against_the_probabilities(
    definition: Make, template: Template, stem: str
) -> None:
    made = definition(stem)
    inputs = template.inputs(made, template.cases(made)[2])
    run = load_run(made.reference)
    right, again = run(*inputs.values()), run(*inputs.values())
    assert not torch.equal(right, again)
    compared(template, made, right, again, inputs)
    most = inputs["probs"].argmax(dim=-1)
    for pair in ((most, right), (right, most)):
        with pytest.raises(AssertionError, match=r"reference|ground truth"):
            compared(template, made, *pair, inputs)
    if stem != PLAIN:
        left_out = right.clone()
        left_out[1] = inputs["probs"][1].argmin()
        with pytest.raises(AssertionError, match="which is left out"):
            compared(template, made, left_out, again, inputs)
    beyond = right.clone()
    beyond[3] = 64
    with pytest.raises(AssertionError, match="no such token"):
        compared(template, made, right, beyond, inputs)
