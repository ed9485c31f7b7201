"""Ground truths: which there are, and that the reference agrees with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

import fibcore_op_eh_norm as plugin
from fibcore.plugin import Definition
from fibcore.testing.templates import Template, load_run, load_source

torch = pytest.importorskip("torch")

Make = Callable[..., Definition]


def test_ground_truths_in_order_of_preference(definition: Make) -> None:
    found = plugin.fibcore_ground_truths(definition(eps=1e-5))
    assert [(t.kind, t.device) for t in found] == [("flashinfer", "cuda"), ("torch", "any")]
    assert all("EPSILON = 1e-05\n" in truth.source for truth in found)


def test_no_ground_truths_for_what_is_not_known(definition: Make) -> None:
    made = definition()
    others: list[dict[str, Any]] = [
        {"op_type": "of_another_plugin"},
        {"outputs": {**made.outputs, "more": next(iter(made.outputs.values()))}},
        {"reference": made.reference.replace("EPSILON = 1e-06", "")},
    ]
    for other in others:
        assert plugin.fibcore_ground_truths(attrs.evolve(made, **other)) == ()


@pytest.mark.parametrize("eps", [1e-5, 1e-3])
def test_the_reference_agrees(definition: Make, template: Template, eps: float) -> None:
    made = definition(hidden_size=96, eps=eps)
    truth = plugin.fibcore_ground_truths(made)[-1]
    entry = getattr(load_source(truth.source, "ground_truth"), truth.entry)
    for case in template.cases(made):
        inputs = template.inputs(made, case)
        actual, expected = load_run(made.reference)(*inputs.values()), entry(**inputs)
        torch.testing.assert_close(actual, expected, rtol=2**-8, atol=1e-6)
