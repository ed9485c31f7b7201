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
from fibcore_op_lightning import fibcore_implementations

pytest.importorskip("torch")

Make = Callable[..., Definition]

DECODE = [
    Mistake.of("nothing fades", "torch.exp(-slope.float())", "torch.ones_like(slope)"),
    Mistake.of("states grow", "torch.exp(-slope.float())", "torch.exp(slope.float())"),
    Mistake.of("slopes are factors", "torch.exp(-slope.float())", "(1 - slope.float())"),
    Mistake.of("no scale", "scale * read", "read"),
    Mistake.of("read before the token", "[..., None, :] @ after", "[..., None, :] @ state[places]"),
    Mistake.of(
        "the token fades", "k[rows].float()[..., None]", "k[rows].float()[..., None] * decay"
    ),
    Mistake.of("keys and values are swapped", "after.addcmul_(k[", "after.addcmul_(q["),
    Mistake.of("the state is [V, K]", "@ after", "@ after.transpose(-1, -2)"),
    Mistake.of(
        "places in order",
        "places = state_batch_indices[rows]",
        "places = state_batch_indices[present].sort()[0][: len(rows)]",
    ),
    Mistake.of("the first place is padding", "state_batch_indices >= 0", "state_batch_indices > 0"),
    Mistake.of("padding is none", "state_batch_indices >= 0", "state_batch_indices >= -1"),
    Mistake.of("the cache is written over", "state.clone()", "state"),
    Mistake.of("the last row is left out", "split(present", "split(present[:-1]"),
    Mistake.of("padding is not 0", "torch.zeros_like(q)", "torch.ones_like(q)"),
    Mistake.of("states are read as bfloat16", "@ after", "@ after.bfloat16().float()"),
]
PREFILL = [
    Mistake.of("later tokens are seen", "later = order <", "later = order + 1 <"),
    Mistake.of("the own token is not seen", "later = order <", "later = order <="),
    Mistake.of("tokens of a chunk do not fade", "between.exp_()", "between.exp_().sign_()"),
    Mistake.of("states do not fade", "carried * decay[:, c]", "carried"),
    Mistake.of("what is added does not fade", "(k * until_end)", "k"),
    Mistake.of("queries do not fade", "q * (rate * order).exp().float()", "q"),
    Mistake.of("queries fade a token less", "(rate * order).exp()", "(rate * (order - 1)).exp()"),
    Mistake.of("a part of a chunk fades as a whole", "(count - order)", "(CHUNK - order)"),
    Mistake.of("states fade by whole chunks", "(rate * count)", "(rate * (0 * count + CHUNK))"),
    Mistake.of("every chunk begins anew", "@ carried\n", "@ new_state[rows]\n"),
    Mistake.of("no scale", "(scale * own)", "own"),
    Mistake.of(
        "sequences go on into the next",
        "present = tokens < cu_seqlens[rows + 1, None]",
        "present = tokens < total",
    ),
    Mistake.of("states stay", "new_state[rows] = carried", "pass"),
    Mistake.of("the states are written over", "state.float().clone()", "state.float()"),
    Mistake.of("the state is [V, K]", "@ carried\n", "@ carried.transpose(-1, -2)\n"),
]


@pytest.mark.parametrize(("form", "mistake"), parameters({"decode": DECODE, "prefill": PREFILL}))
def test_wrong_references_are_rejected(
    small_one: Make, template: Template, form: str, mistake: Mistake
) -> None:
    assert_rejected(template, small_one(form), mistake, crashes=(RuntimeError, IndexError))


@pytest.mark.parametrize("form", ["decode", "prefill"])
def test_wrong_implementations_are_rejected(small_one: Make, template: Template, form: str) -> None:
    made = small_one(form)
    assert_wrong_ones_rejected(template, made, fibcore_implementations(made))
