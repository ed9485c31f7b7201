"""Ground truths: which there are, and that the references agree with them."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest

import fibcore_op_split_rmsnorm as plugin
from fibcore.plugin import Definition
from fibcore.testing.templates import Template, load_run, load_source

torch = pytest.importorskip("torch")

Make = Callable[..., Definition]


@pytest.mark.parametrize("form", ["sums", "apply"])
def test_the_references_agree(definition: Make, template: Template, form: str) -> None:
    made = definition(form, q_size=96, k_size=32)
    (truth,) = plugin.fibcore_ground_truths(made)
    assert (truth.kind, truth.entry, truth.device) == ("torch", f"torch_{form}", "any")
    entry = getattr(load_source(truth.source, "ground_truth"), truth.entry)
    for case in template.cases(made):
        inputs = template.inputs(made, case)
        actual, expected = load_run(made.reference)(*inputs.values()), entry(**inputs)
        pairs = zip(actual, expected, strict=True) if form == "apply" else [(actual, expected)]
        for one, other in pairs:
            torch.testing.assert_close(one.double(), other, rtol=8e-3, atol=1e-6)


def test_no_ground_truths_for_what_is_not_known(definition: Make) -> None:
    made = definition("apply")
    nothing = "def run(q, k, q_weight, k_weight, sums):\n    pass\n"
    for other in (
        attrs.evolve(made, op_type="of_another_plugin"),
        attrs.evolve(made, outputs={"q_out": made.outputs["q_out"]}),
        attrs.evolve(made, reference=nothing),
    ):
        assert plugin.fibcore_ground_truths(other) == ()
