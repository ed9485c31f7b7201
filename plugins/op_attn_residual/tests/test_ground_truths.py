"""Ground truths: which there are, and that the reference agrees with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

import fibcore_op_attn_residual as plugin
from fibcore.plugin import Definition
from fibcore.testing.harness import harness
from fibcore.testing.real_trees import sglang_package
from fibcore.testing.templates import Template, load_run, load_source

torch = pytest.importorskip("torch")

Make = Callable[..., Definition]


def test_ground_truths_in_order_of_preference(definition: Make) -> None:
    found = plugin.fibcore_ground_truths(definition(eps=1e-6))
    assert [(t.kind, t.device) for t in found] == [("sglang", "any"), ("torch", "any")]
    assert all("EPSILON = 1e-06\n" in truth.source for truth in found)


def test_no_ground_truths_for_what_is_not_known(definition: Make) -> None:
    made = definition()
    others: list[dict[str, Any]] = [
        {"op_type": "of_another_plugin"},
        {"outputs": {**made.outputs, "more": next(iter(made.outputs.values()))}},
        {"reference": made.reference.replace("EPSILON", "E")},
    ]
    for other in others:
        assert plugin.fibcore_ground_truths(attrs.evolve(made, **other)) == ()


@pytest.mark.parametrize("kind", ["sglang", "torch"])
def test_the_reference_agrees(definition: Make, template: Template, kind: str) -> None:
    made = definition(size=96, eps=1e-3)
    (truth,) = (t for t in plugin.fibcore_ground_truths(made) if t.kind == kind)
    first: tuple[Any, ...] = ()
    if kind == "sglang":
        package = sglang_package("0.5.23")
        if package is None:
            pytest.skip("the source of SGLang 0.5.23 is not there")
        first = (harness().SGLangSource(package),)
    entry = getattr(load_source(truth.source, "ground_truth"), truth.entry)
    for case in template.cases(made):
        inputs = template.inputs(made, case)
        actual, expected = load_run(made.reference)(*inputs.values()), entry(*first, **inputs)
        torch.testing.assert_close(actual, expected, rtol=2**-7, atol=1e-5)
