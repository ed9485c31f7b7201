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
from fibcore_op_mamba import fibcore_implementations

pytest.importorskip("torch")

Make = Callable[..., Definition]
Templates = dict[str, Template]

SOFTPLUS = "torch.nn.functional.softplus("
DECODE = [
    Mistake.of("relu for softplus", "functional.softplus", "functional.relu"),
    Mistake.of("no bias of the step", "dt[rows].float() + dt_bias", "dt[rows].float()"),
    Mistake.of("nothing fades", ".exp_()", ".exp_().fill_(1.0)"),
    Mistake.of("rates are logarithms", "(step[..., None] * A)", "(step[..., None] * -A.exp())"),
    Mistake.of("x without its step", "(step * taken)[", "taken["),
    Mistake.of("B and C are swapped", "for g in (B, C)", "for g in (C, B)"),
    Mistake.of(
        "heads share groups in turns",
        "repeat_interleave(NHEADS // NGROUPS, dim=1)",
        "repeat(1, NHEADS // NGROUPS, 1)",
    ),
    Mistake.of("no D", "read + taken * D", "read"),
    Mistake.of("read before x", "read = (after @", "read = (before.float() @"),
    Mistake.of(
        "places in order",
        "places = state_batch_indices[rows]",
        "places = state_batch_indices[rows].sort()[0]",
    ),
    Mistake.of(
        "padding has the first state", ".masked_fill_((places < 0)[:, None, None, None], 0.0)", ""
    ),
    Mistake.of("padding is kept", "kept = places >= 0", "kept = places >= -1"),
    Mistake.of("the first place is padding", "kept = places >= 0", "kept = places > 0"),
    Mistake.of("the cache is written over", "state.clone()", "state"),
    Mistake.of(
        "the last row is left out", "range(0, batch_size, chunk)", "range(0, batch_size - 1, chunk)"
    ),
    Mistake.of(
        "states are read as they are kept", "read = (after @", "read = (after.bfloat16().float() @"
    ),
]
PREFILL = [
    Mistake.of("relu for softplus", "functional.softplus", "functional.relu"),
    Mistake.of("no bias of the step", "dt.float() + dt_bias", "dt.float()"),
    Mistake.of("later tokens are seen", "triu_(1)", "triu_(2)"),
    Mistake.of("the own token is not seen", "triu_(1)", "triu_()"),
    Mistake.of("x without its step", "steps * inputs, ", "inputs, "),
    Mistake.of("rates without a step", "steps * A[:, None, None]", "0 * steps + A[:, None, None]"),
    Mistake.of("B and C are swapped", "(x, step, B, C)", "(x, step, C, B)"),
    Mistake.of("states do not fade", "carried * decay[:, c]", "carried"),
    Mistake.of("what is added does not fade", "taken * until_end", "taken"),
    Mistake.of("queries do not fade", "C * since_start", "C"),
    Mistake.of("every chunk begins anew", "@ carried.transpose", "@ new_state[rows].transpose"),
    Mistake.of("no D", "own += inputs * D[:, None, None]", "pass"),
    Mistake.of("D of the step", "own += inputs * D", "own += steps * inputs * D"),
    Mistake.of(
        "sequences go on into the next",
        "present = tokens < cu_seqlens[rows + 1, None]",
        "present = tokens < total",
    ),
    Mistake.of(
        "heads share groups in turns",
        "repeat_interleave(NHEADS // x.shape[1], dim=2)",
        "repeat(1, 1, NHEADS // x.shape[1], 1, 1)",
    ),
    Mistake.of("states stay", "new_state[rows] = carried", "pass"),
]


@pytest.mark.parametrize(("form", "mistake"), parameters({"decode": DECODE, "prefill": PREFILL}))
def test_wrong_references_are_rejected(
    small_one: Make, templates: Templates, form: str, mistake: Mistake
) -> None:
    assert_rejected(templates[form], small_one(form), mistake)


@pytest.mark.parametrize("form", ["decode", "prefill"])
def test_wrong_implementations_are_rejected(
    small_one: Make, templates: Templates, form: str
) -> None:
    made = small_one(form)
    assert_wrong_ones_rejected(templates[form], made, fibcore_implementations(made))


def test_one_group_is_shared_in_any_order(definition: Make) -> None:
    for groups, there in ((1, False), (8, True), (64, False)):
        found = {one.name for one in fibcore_implementations(definition(n_groups=groups))}
        assert ("heads share groups in turns" in found) == there
