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
from fibcore_op_conv import fibcore_implementations

pytest.importorskip("torch")

Make = Callable[..., Definition]

BOTH = [
    Mistake.of("no bias", " bias\n    ", " 0\n    "),
    Mistake.of("no activation", "torch.nn.functional.silu(", "("),
    Mistake.of("relu for SiLU", "functional.silu", "functional.relu"),
]
UPDATE = [
    *BOTH,
    Mistake.of("weights in the other order", "float() * weight)", "float() * weight.flip(-1))"),
    Mistake.of(
        "the token comes first",
        "(conv_state[places], x[rows, :, None])",
        "(x[rows, :, None], conv_state[places])",
    ),
    Mistake.of("sums in bfloat16", "window.float() * weight", "window * weight"),
    Mistake.of("the oldest token is kept", "window[..., 1:]", "window[..., :-1]"),
    Mistake.of(
        "SiLU before the bias",
        "total = total + bias",
        "total = torch.nn.functional.silu(total) + bias",
    ),
    Mistake.of("states stay", "new_conv_state[places] = window[..., 1:]", "pass"),
    Mistake.of("places in order", "places = conv_state_indices[rows]", "places = rows"),
    Mistake.of("padding is a place", "indices >= 0", "indices >= -1"),
    Mistake.of("the first place is padding", "indices >= 0", "indices > 0"),
    Mistake.of("the cache is written over", "conv_state.clone()", "conv_state"),
    Mistake.of("padding stays as it is", "torch.zeros_like(x)", "x.clone()"),
]
PREFILL = [
    *BOTH,
    Mistake.of("weights in the other order", "weights[:, w]", "weights[:, WIDTH - 1 - w]"),
    Mistake.of(
        "the oldest token is left out", "sums = tokens[seen] *", "sums = 0 * tokens[seen] *"
    ),
    Mistake.of("the own token is left out", "range(1, WIDTH)", "range(1, WIDTH - 1)"),
    Mistake.of(
        "states of another sequence",
        "conv_state.transpose(1, 2)",
        "conv_state.flip(0).transpose(1, 2)",
    ),
    Mistake.of(
        "states in the other order",
        "conv_state.transpose(1, 2)",
        "conv_state.flip(2).transpose(1, 2)",
    ),
    Mistake.of("states are left out", "conv_state.transpose(1, 2)", "0"),
    Mistake.of(
        "the next token is seen", "tokens[seen + w]", "tokens[(seen + w + 1) % len(tokens)]"
    ),
    Mistake.of("kept one token early", "last = (cu_seqlens[1:]", "last = (cu_seqlens[1:] - 1"),
    Mistake.of("states stay", "tokens[last].transpose(1, 2)", "conv_state.clone()"),
    Mistake.of("products in bfloat16", "weight.float()", "weight"),
    Mistake.of(
        "the last token is left out", "range(0, total, chunk)", "range(0, total - 1, chunk)"
    ),
]


@pytest.mark.parametrize(("form", "mistake"), parameters({"update": UPDATE, "prefill": PREFILL}))
def test_wrong_references_are_rejected(
    small_one: Make, template: Template, form: str, mistake: Mistake
) -> None:
    assert_rejected(template, small_one(form), mistake)


@pytest.mark.parametrize("form", ["update", "prefill"])
@pytest.mark.parametrize("bias", [True, False])
def test_wrong_implementations_are_rejected(
    small_one: Make, template: Template, form: str, bias: bool
) -> None:
    made = small_one(form, bias=bias)
    assert_wrong_ones_rejected(template, made, fibcore_implementations(made))
