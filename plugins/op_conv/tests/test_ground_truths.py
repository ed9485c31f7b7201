"""Ground truths: which there are, and that the references agree with them."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest

import fibcore_op_conv as plugin
from fibcore.plugin import Definition
from fibcore.testing.templates import Template, load_run, load_source

torch = pytest.importorskip("torch")

Make = Callable[..., Definition]


def test_torch_is_the_ground_truth(definition: Make) -> None:
    for form in ("update", "prefill"):
        for silu in (True, False):
            (truth,) = plugin.fibcore_ground_truths(definition(form, silu=silu))
            assert (truth.kind, truth.entry) == ("torch", f"torch_{form}")
            assert f"SILU = {silu}\n" in truth.source


def test_no_ground_truths_for_what_is_not_known(definition: Make) -> None:
    made = definition()
    for other in (
        attrs.evolve(made, op_type="of_another_plugin"),
        attrs.evolve(made, outputs={"output": made.outputs["output"]}),
    ):
        assert plugin.fibcore_ground_truths(other) == ()


@pytest.mark.parametrize("form", ["update", "prefill"])
@pytest.mark.parametrize("silu", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_the_references_agree(
    definition: Make, template: Template, form: str, silu: bool, bias: bool
) -> None:
    made = definition(form, dim=20, silu=silu, bias=bias)
    (truth,) = plugin.fibcore_ground_truths(made)
    entry = getattr(load_source(truth.source, "ground_truth"), truth.entry)
    run = load_run(made.reference)
    for case in template.cases(made):
        inputs = template.inputs(made, case)
        if form == "update":
            inputs["conv_state_indices"][0] = -1
        for actual, expected in zip(run(*inputs.values()), entry(**inputs), strict=True):
            assert actual.shape == expected.shape
            torch.testing.assert_close(actual.double(), expected, rtol=8e-3, atol=1e-5)
