"""Ground truths: which there are, and that the references agree with them."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest

import fibcore_op_qk_norm_rope as plugin
from fibcore.plugin import Definition
from fibcore.testing.templates import Template, load_run, load_source

torch = pytest.importorskip("torch")

Make = Callable[..., Definition]


def test_there_is_torch_in_float64(definition: Make) -> None:
    (truth,) = plugin.fibcore_ground_truths(definition())
    assert (truth.kind, truth.entry, truth.device) == ("torch", "torch_qk_norm_rope", "any")


def test_no_ground_truths_for_what_is_not_known(definition: Make) -> None:
    made = definition()
    for other in (
        attrs.evolve(made, op_type="of_another_plugin"),
        attrs.evolve(made, outputs={"q_out": made.outputs["q_out"]}),
    ):
        assert plugin.fibcore_ground_truths(other) == ()


@pytest.mark.parametrize("gated", [True, False])
@pytest.mark.parametrize("sections", [None, (11, 11, 10)])
@pytest.mark.parametrize("turned", [32, 64])
def test_the_references_agree(
    definition: Make, template: Template, gated: bool, sections: object, turned: int
) -> None:
    made = definition(has_gate=gated, sections=sections, head_dim=64, rotary_dim=turned)
    (truth,) = plugin.fibcore_ground_truths(made)
    entry = getattr(load_source(truth.source, "ground_truth"), truth.entry)
    run = load_run(made.reference)
    for case in template.cases(made):
        inputs = template.inputs(made, case)
        for actual, expected in zip(run(*inputs.values()), entry(**inputs), strict=True):
            assert actual.shape == expected.shape
            torch.testing.assert_close(actual.double(), expected, rtol=8e-3, atol=1e-5)
