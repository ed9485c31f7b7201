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
from fibcore_op_qk_norm_rope import fibcore_implementations

pytest.importorskip("torch")

Make = Callable[..., Definition]

NORM = "rms_norm(heads.to(torch.float32), (HEAD_SIZE,), 1.0 + weight.to(torch.float32), EPSILON)"
TURN = "turned = (a * cos - b * sin, b * cos + a * sin)"
EVERY = [
    Mistake.of("the weight without 1", "1.0 + weight", "weight"),
    Mistake.of("no weight", ", 1.0 + weight.to(torch.float32)", ", None"),
    Mistake.of("epsilon forgotten", ", EPSILON)", ", 0.0)"),
    Mistake.of("epsilon of another model", "EPSILON = 1e-06", "EPSILON = 1e-05"),
    Mistake.of("rounded before the rotation", NORM, f"{NORM}.bfloat16().float()"),
    Mistake.of("turned the other way", TURN, "turned = (a * cos + b * sin, b * cos - a * sin)"),
    Mistake.of(
        "sines and cosines swapped", TURN, "turned = (a * sin - b * cos, b * sin + a * cos)"
    ),
    Mistake.of("not turned", TURN, "turned = (a, b)"),
    Mistake.of("keys by the weight of queries", "k[tokens], k_weight", "k[tokens], q_weight"),
    Mistake.of("queries by the weight of keys", "q[tokens], q_weight", "q[tokens], k_weight"),
    Mistake.of("turned before the norm", f"x = {NORM}", "x = heads.float()"),
    Mistake.of(
        "the last token is left out",
        "range(0, num_tokens, chunk)",
        "range(0, max(num_tokens - 1, 0), chunk)",
    ),
    Mistake.of(
        "sines of other pairs", "pairs + ROTARY_DIM // 2]", "pairs.flip(0) + ROTARY_DIM // 2]"
    ),
]
MROPE = [
    Mistake.of(
        "one position for all pairs",
        "positions[axis_map.long(), tokens]",
        "positions[0 * axis_map.long(), tokens]",
    ),
    Mistake.of("pairs in the other order", "axis_map.long()", "axis_map.long().flip(0)"),
]
GATE = [
    Mistake.of(
        "the gate comes first",
        "q_gate[..., :HEAD_SIZE], q_gate[..., HEAD_SIZE:]",
        "q_gate[..., HEAD_SIZE:], q_gate[..., :HEAD_SIZE]",
    ),
    Mistake.of("the gate is activated", "gate.clone()", "gate.sigmoid()"),
]
PARTIAL = [
    Mistake.of(
        "the rest as it was", "x[..., ROTARY_DIM:]), dim", "heads.float()[..., ROTARY_DIM:]), dim"
    ),
]
BY_VARIANT = {
    "gate_mrope": [*EVERY, *MROPE, *GATE, *PARTIAL],
    "plain": [*EVERY, *PARTIAL],
    "whole": [*EVERY, *MROPE, *GATE],
}


@pytest.mark.parametrize(("variant", "mistake"), parameters(BY_VARIANT))
def test_wrong_references_are_rejected(
    small_one: Make, template: Template, variant: str, mistake: Mistake
) -> None:
    assert_rejected(template, small_one(variant), mistake, crashes=(RuntimeError,))


@pytest.mark.parametrize("variant", ["gate_mrope", "mrope", "gate", "plain"])
def test_wrong_implementations_are_rejected(
    small_one: Make, template: Template, variant: str
) -> None:
    made = small_one(variant)
    found = fibcore_implementations(made)
    assert len(found) >= 10
    assert_wrong_ones_rejected(template, made, found)
