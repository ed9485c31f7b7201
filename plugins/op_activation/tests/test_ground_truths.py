"""Ground truths: which there are, and that references agree with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

import fibcore_op_activation as plugin
from fibcore.plugin import Definition
from fibcore.testing.harness import harness
from fibcore.testing.templates import Template, load_run, load_source
from fibcore_op_activation.kinds import KINDS

torch = pytest.importorskip("torch")

Make = Callable[..., Definition]

EXPECTED = {
    "silu_and_mul": ["flashinfer", "sglang"],
    "gelu_and_mul": ["flashinfer", "sglang"],
    "gelu_tanh_and_mul": ["flashinfer", "sglang"],
    "situ_and_mul": ["sglang", "torch"],
    "silu_and_mul_clamp": ["torch"],
    "swiglu_oai_and_mul": ["torch"],
    "silu": ["torch"],
    "gelu": ["torch"],
    "gelu_tanh": ["sglang", "torch"],
    "quick_gelu": ["sglang", "torch"],
    "relu": ["torch"],
    "relu2": ["sglang", "torch"],
}


@pytest.mark.parametrize("kind", KINDS)
def test_ground_truths_in_order_of_preference(definition: Make, kind: str) -> None:
    found = plugin.fibcore_ground_truths(definition(kind))
    assert [truth.kind for truth in found] == EXPECTED[kind]


def test_no_ground_truths_for_what_is_not_known(definition: Make) -> None:
    made = definition("silu_and_mul")
    others: list[dict[str, Any]] = [
        {"op_type": "of_another_plugin"},
        {"reference": "def run(input):\n    pass\n"},
        {"outputs": {**made.outputs, "scale": made.outputs["output"]}},
    ]
    for other in others:
        assert plugin.fibcore_ground_truths(attrs.evolve(made, **other)) == ()


@pytest.mark.parametrize(
    ("kind", "truth"), [(k, t) for k, ts in EXPECTED.items() for t in ts if t != "flashinfer"]
)
def test_references_agree(definition: Make, template: Template, kind: str, truth: str) -> None:
    made = definition(kind, 128)
    (chosen,) = (t for t in plugin.fibcore_ground_truths(made) if t.kind == truth)
    first: tuple[Any, ...] = ()
    if truth == "sglang":
        package, reason = harness().find_sglang(None)
        if package is None:
            pytest.skip(reason)
        first = (harness().SGLangSource(package),)
        if kind == "situ_and_mul" and not first[0].has(
            "srt/layers/activation.py", "SituAndMul.forward_native"
        ):
            pytest.skip("this SGLang has no SituAndMul")
    entry = getattr(load_source(chosen.source, "ground_truth"), chosen.entry)
    for case in template.cases(made):
        inputs = template.inputs(made, case)
        expected = entry(*first, **inputs).bfloat16()
        actual = load_run(made.reference)(*inputs.values())
        # Both are exact before they are rounded.
        torch.testing.assert_close(actual, expected, rtol=8e-3, atol=1e-5)


def test_flashinfers_kernel_declines_halves_that_its_vectors_do_not_fit(definition: Make) -> None:
    pytest.importorskip("flashinfer")
    (truth, _) = plugin.fibcore_ground_truths(definition("silu_and_mul", 12))
    entry = getattr(load_source(truth.source, "ground_truth"), truth.entry)
    with pytest.raises(NotImplementedError, match="24 bytes"):
        entry(torch.zeros(1, 24, dtype=torch.bfloat16))
