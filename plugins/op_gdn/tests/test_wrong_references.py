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
from fibcore_op_gdn import fibcore_implementations

pytest.importorskip("torch")

Make = Callable[..., Definition]
Templates = dict[str, Template]

ALPHA = "log_alpha = -rate * torch.nn.functional.softplus(x)"
BETA = "torch.sigmoid(b.float())"
REPEATED = "x.repeat_interleave(NUM_V_HEADS // x.shape[-2], dim=-2)"
ROWS = "rows.transpose(2, 3).repeat_interleave(NUM_V_HEADS // x.shape[1], dim=2)"
SCALED = "scale * read"

GATES = [
    Mistake.of("the rate is not its exponential", "A_log.exp()", "A_log"),
    Mistake.of("a gate that grows", "-rate * torch", "rate.neg().neg() * torch"),
    Mistake.of("no bias of the gate", "a + dt_bias", "a.float()"),
    Mistake.of("relu for softplus", "functional.softplus(x)", "functional.relu(x)"),
    Mistake.of("sigmoid for softplus", "torch.nn.functional.softplus(x)", "torch.sigmoid(x)"),
    Mistake.of("beta is not its sigmoid", BETA, "b.float()"),
    Mistake.of("beta is twice its sigmoid", BETA, f"(2 * {BETA})"),
    Mistake.of("gates in bfloat16", ALPHA, f"{ALPHA}.bfloat16().float()"),
]
STEP = [
    Mistake.of("nothing fades", "state * log_alpha.exp()[..., None, :]", "state.clone()"),
    Mistake.of(
        "fading rows", "[..., None, :]\n    # One", "[..., :, None].mT.mT * 1.001\n    # One"
    ),
    Mistake.of("corrected by what has not faded", "faded @ torch.stack", "state @ torch.stack"),
    Mistake.of("nothing is corrected", "(v - answers[..., 0])", "v"),
    Mistake.of("no beta", "beta * (v", "(v"),
    Mistake.of(
        "beta for the value alone", "beta * (v - answers[..., 0])", "beta * v - answers[..., 0]"
    ),
    Mistake.of("read before the update", " + update * (k * q).sum(dim=-1, keepdim=True)", ""),
    Mistake.of(
        "a transposed update",
        "update.reshape(-1, HEAD_SIZE, 1), k.reshape(-1, 1, HEAD_SIZE)",
        "k.reshape(-1, HEAD_SIZE, 1), update.reshape(-1, 1, HEAD_SIZE)",
    ),
    Mistake.of("read by key", "answers[..., 1]", "answers[..., 0]"),
    Mistake.of(
        "heads share in turns",
        REPEATED,
        "x.repeat(*[1] * (x.dim() - 2), NUM_V_HEADS // x.shape[-2], 1)",
    ),
]
MTP = [
    Mistake.of("padding is a place", "indices >= 0)", "indices >= -1)"),
    Mistake.of("the first place is padding", "indices >= 0)", "indices > 0)"),
    Mistake.of("places in order", "places = initial_state_indices[rows]", "places = rows"),
    Mistake.of("the pool is written over", "initial_state.clone()", "initial_state"),
    Mistake.of("the last token is left out", "range(seq_len)", "range(seq_len - 1)"),
    Mistake.of(
        "every token begins anew",
        "read, state = step(\n            state",
        "read, state = step(\n            initial_state[places]",
    ),
    Mistake.of("no scale", SCALED, "read"),
    Mistake.of("states stay", "final_state[places] = state", "pass"),
]
PREFILL = [
    Mistake.of(
        "nothing is solved",
        "beta * among_keys, right",
        "torch.zeros_like(among_keys), right",
    ),
    Mistake.of("no beta in the system", "beta * among_keys, right", "among_keys, right"),
    Mistake.of("queries see later keys", "triu_(1)", "triu_(2)"),
    Mistake.of("queries do not see their own key", "triu_(1)", "triu_()"),
    Mistake.of("the state does not fade", "state * decay", "state"),
    Mistake.of("keys do not fade until the end", "k * until_end", "k"),
    Mistake.of("queries do not fade", "q * since_start", "q"),
    Mistake.of("updates see an empty state", "own - erased @ state.transpose(-1, -2)", "own"),
    Mistake.of("every chunk begins anew", "through(carried, *", "through(new_state[rows], *"),
    Mistake.of("states are written over", "state.clone()", "state"),
    Mistake.of(
        "one state for all",
        "carried, reads = solved(*parts), new_state[rows]",
        "carried, reads = solved(*parts), new_state[rows * 0]",
    ),
    Mistake.of(
        "sequences go on into the next",
        "present = tokens < cu_seqlens[rows + 1, None]",
        "present = tokens < total",
    ),
    Mistake.of("no scale", SCALED, "read"),
    Mistake.of(
        "heads share in turns",
        ROWS,
        "rows.transpose(2, 3).repeat(1, 1, NUM_V_HEADS // x.shape[1], 1, 1)",
    ),
]
NORMS = [
    Mistake.of("no epsilon", " + EPSILON", ""),
    Mistake.of("epsilon of another kernel", "EPSILON = 1e-06", "EPSILON = 1e-05"),
]
OF = {
    ("decode", "head"): [*GATES, *STEP, Mistake.of("no scale", "scale * output", "output")],
    ("mtp", "head"): [*STEP[:3], *MTP],
    ("prefill", "head"): [*GATES[:3], *PREFILL],
    ("decode", "channel"): [
        *GATES,
        *NORMS,
        Mistake.of("lengths stay", "x = x * torch.rsqrt", "x = x + 0 * torch.rsqrt"),
        Mistake.of("one gate for a head", ALPHA, f"{ALPHA}.mean(-1, keepdim=True)"),
    ],
    ("prefill", "channel"): [
        *PREFILL,
        *NORMS,
        Mistake.of("queries keep their length", "q = q * torch.rsqrt", "q = q + 0 * torch.rsqrt"),
        Mistake.of("keys keep their length", "k = k * torch.rsqrt", "k = k + 0 * torch.rsqrt"),
    ],
}
BY_FORM = {f"{form} {gate}": mistakes for (form, gate), mistakes in OF.items()}


@pytest.mark.parametrize(("form", "mistake"), parameters(BY_FORM))
def test_wrong_references_are_rejected(
    small_one: Make, templates: Templates, form: str, mistake: Mistake
) -> None:
    form, gate = form.split()
    assert_rejected(templates[gate], small_one(form, gate, None), mistake)


BOUNDED = [
    Mistake.of("the bound is not there", "LOWER_BOUND * torch", "-1.0 * torch"),
    Mistake.of("softplus for sigmoid", "torch.sigmoid(rate", "torch.nn.functional.softplus(rate"),
    Mistake.of("the rate outside", "torch.sigmoid(rate * x)", "(rate * torch.sigmoid(x))"),
]


@pytest.mark.parametrize("mistake", BOUNDED, ids=lambda m: m.name)
def test_wrong_bounds_are_rejected(small_one: Make, templates: Templates, mistake: Mistake) -> None:
    assert_rejected(templates["channel"], small_one("decode", "channel", -5.0), mistake)


@pytest.mark.parametrize("form", ["decode", "mtp", "prefill"])
@pytest.mark.parametrize("gate", ["head", "channel"])
def test_wrong_implementations_are_rejected(
    small_one: Make, templates: Templates, form: str, gate: str
) -> None:
    made = small_one(form, gate, None)
    assert_wrong_ones_rejected(templates[gate], made, fibcore_implementations(made))


def test_keys_of_every_head_are_shared_by_nobody(definition: Make) -> None:
    for heads, there in ((1, False), (4, True), (8, False)):
        found = {one.name for one in fibcore_implementations(definition(qk_heads=heads))}
        assert ("value heads share keys in turns" in found) == there
