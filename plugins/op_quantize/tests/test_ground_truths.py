"""Ground truths: which there are, and that references agree with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

import fibcore_op_quantize as plugin
from fibcore.plugin import Definition
from fibcore.testing.harness import harness
from fibcore.testing.templates import Template, load_run, load_source
from fibcore_op_quantize.kinds import KINDS

torch = pytest.importorskip("torch")

Make = Callable[..., Definition]


@pytest.mark.parametrize("kind", KINDS)
def test_ground_truths_in_order_of_preference(definition: Make, kind: str) -> None:
    found = [truth.kind for truth in plugin.fibcore_ground_truths(definition(kind))]
    first = ["flashinfer"] if KINDS[kind].flashinfer else []
    assert found == [*first, *["sglang"] * (kind == "per_tensor_quant_fp8"), "torch"]


def test_kernels_with_blackwells_instructions_say_so(definition: Make) -> None:
    truth = plugin.fibcore_ground_truths(definition("nvfp4_quantize"))[0]
    assert (truth.device, truth.min_capability) == ("cuda", (10, 0))


def test_no_ground_truths_for_what_is_not_known(definition: Make) -> None:
    made = definition("per_token_quant_fp8")
    scales = attrs.evolve(made.outputs["scales"], dtype="bfloat16")
    others: list[dict[str, Any]] = [
        {"op_type": "of_another_plugin"},
        {"outputs": {**made.outputs, "scales": scales}},
    ]
    for other in others:
        assert plugin.fibcore_ground_truths(attrs.evolve(made, **other)) == ()


def agree(template: Template, made: Definition, truth: Any, *first: Any) -> None:
    """The reference agrees with a ground truth, as the template compares them."""
    entry = getattr(load_source(truth.source, "ground_truth"), truth.entry)
    run, data = load_run(made.reference), made.to_dict()

    def check(actual: Any, expected: Any) -> None:
        torch.testing.assert_close(actual, expected, rtol=1e-6, atol=0.0)

    for case in template.cases(made):
        inputs = template.inputs(made, case)
        actual, expected = run(*inputs.values()), entry(*first, **inputs)
        if isinstance(actual, torch.Tensor):
            actual, expected = (actual,), (expected,)
        for name, one, other in zip(made.outputs, actual, expected, strict=True):
            assert (one.shape, one.dtype) == (other.shape, other.dtype)
            template.module.compare(data, case, name, one, other, check)


@pytest.mark.parametrize("kind", KINDS)
def test_references_agree_with_torch_in_float64(
    definition: Make, template: Template, kind: str
) -> None:
    made = definition(kind, 256)
    agree(template, made, plugin.fibcore_ground_truths(made)[-1])


def test_one_scale_for_all_agrees_with_sglang(definition: Make, template: Template) -> None:
    package, reason = harness().find_sglang(None)
    if package is None:
        pytest.skip(reason)
    made = definition("per_tensor_quant_fp8", 256)
    (truth,) = (t for t in plugin.fibcore_ground_truths(made) if t.kind == "sglang")
    agree(template, made, truth, harness().SGLangSource(package))


def test_numbers_that_are_two_steps_off_do_not_agree(definition: Make, template: Template) -> None:
    made = definition("per_token_quant_fp8", 256)
    case = {"M": 7}
    (quantized, _) = load_run(made.reference)(*template.inputs(made, case).values())
    codes = quantized.view(torch.uint8)
    for steps, count in ((2, 1), (1, 200)):
        other = codes.clone().flatten()
        nonzero = (other % 128 > 4).nonzero().flatten()[:count]
        other[nonzero] -= steps
        wrong = other.reshape(codes.shape).view(torch.float8_e4m3fn)
        with pytest.raises(AssertionError):
            template.module.compare(made.to_dict(), case, "quantized", quantized, wrong, None)
