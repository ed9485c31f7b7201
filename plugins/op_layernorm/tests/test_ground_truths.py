"""Ground truths: which there are, and that references agree with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

import fibcore_op_layernorm as plugin
from fibcore.plugin import Definition
from fibcore.testing.harness import harness
from fibcore.testing.templates import Template, load_run, load_source
from fibcore_op_layernorm.forms import FORMS

torch = pytest.importorskip("torch")

Make = Callable[..., Definition]


@pytest.mark.parametrize("form", FORMS)
def test_ground_truths_in_order_of_preference(definition: Make, form: str) -> None:
    kinds = [truth.kind for truth in plugin.fibcore_ground_truths(definition(form))]
    flashinfer = ["flashinfer"] if len(FORMS[form].parameters) == 2 else []
    assert kinds == [*flashinfer, "sglang", "torch"]


def test_no_ground_truths_for_what_is_not_known(definition: Make) -> None:
    made = definition()
    reference = "def run(hidden_states, weight, bias):\n    pass\n"
    others: list[dict[str, Any]] = [
        {"op_type": "of_another_plugin"},
        {"reference": reference, "description": "LayerNorm"},
        {"outputs": {**made.outputs, "scale": made.outputs["output"]}},
        {"inputs": {**made.inputs, "bias": attrs.evolve(made.inputs["bias"], dtype="float16")}},
    ]
    for other in others:
        assert plugin.fibcore_ground_truths(attrs.evolve(made, **other)) == ()


@pytest.mark.parametrize("eps", [1e-5, 1e-3])
@pytest.mark.parametrize("kind", ["sglang", "torch"])
@pytest.mark.parametrize("form", FORMS)
def test_references_agree(
    definition: Make, template: Template, form: str, kind: str, eps: float
) -> None:
    made = definition(form, 512, eps)
    (truth,) = (t for t in plugin.fibcore_ground_truths(made) if t.kind == kind)
    first: tuple[Any, ...] = ()
    if kind == "sglang":
        package, reason = harness().find_sglang(None)
        if package is None:
            pytest.skip(reason)
        first = (harness().SGLangSource(package),)
    entry = getattr(load_source(truth.source, "ground_truth"), truth.entry)
    for case in template.cases(made)[:2]:
        inputs = template.inputs(made, case)
        expected = entry(*first, **inputs).bfloat16()
        actual = load_run(made.reference)(*inputs.values())
        torch.testing.assert_close(actual, expected, rtol=8e-3, atol=1e-4)
