"""Ground truths: which there are, and that the references agree with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

import fibcore_op_gated_rmsnorm as plugin
from fibcore.plugin import Definition
from fibcore.testing.harness import harness
from fibcore.testing.templates import Template, load_run, load_source

torch = pytest.importorskip("torch")

Make = Callable[..., Definition]
VARIANTS = [
    {},
    {"norm_before_gate": False},
    {"group_size": 64},
    {"group_size": 64, "norm_before_gate": False},
]


def test_ground_truths_in_order_of_preference(definition: Make) -> None:
    def kinds(**changed: Any) -> list[str]:
        return [truth.kind for truth in plugin.fibcore_ground_truths(definition(**changed))]

    assert kinds() == ["sglang", "torch"]
    assert kinds(activation="sigmoid") == ["torch"]


def test_no_ground_truths_for_what_is_not_known(definition: Make) -> None:
    made = definition()
    others: list[dict[str, Any]] = [
        {"op_type": "of_another_plugin"},
        {"reference": "def run(hidden_states, gate, weight):\n    pass\n"},
        {"outputs": {**made.outputs, "scale": made.outputs["output"]}},
    ]
    for other in others:
        assert plugin.fibcore_ground_truths(attrs.evolve(made, **other)) == ()


@pytest.mark.parametrize("changed", VARIANTS, ids=str)
@pytest.mark.parametrize(
    ("kind", "activation"), [("sglang", "swish"), ("torch", "swish"), ("torch", "sigmoid")]
)
def test_the_reference_agrees(
    definition: Make, template: Template, kind: str, activation: str, changed: Any
) -> None:
    made = definition(hidden_size=512, activation=activation, **changed)
    (truth,) = (t for t in plugin.fibcore_ground_truths(made) if t.kind == kind)
    first: tuple[Any, ...] = ()
    if kind == "sglang":
        package, reason = harness().find_sglang(None)
        if package is None:
            pytest.skip(reason)
        first = (harness().SGLangSource(package),)
    entry = getattr(load_source(truth.source, "ground_truth"), truth.entry)
    for case in template.cases(made):
        inputs = template.inputs(made, case)
        expected = entry(*first, **inputs).to(torch.bfloat16)
        actual = load_run(made.reference)(*inputs.values())
        torch.testing.assert_close(actual, expected, rtol=1e-2, atol=1e-6)
