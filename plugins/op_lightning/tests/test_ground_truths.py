"""Ground truths: which there are, and that the references agree with them."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest

import fibcore_op_lightning as plugin
from fibcore.plugin import Definition
from fibcore.testing.templates import Template, load_run, load_source

torch = pytest.importorskip("torch")

Make = Callable[..., Definition]

MINICPM = "sglang.srt.models.minicpm.MiniCPMLightningMixer"


@pytest.mark.parametrize("form", ["decode", "prefill"])
def test_there_is_the_recurrence(definition: Make, form: str) -> None:
    (truth,) = plugin.fibcore_ground_truths(definition(form))
    assert (truth.kind, truth.entry, truth.device) == ("torch", f"torch_{form}", "any")


def test_no_ground_truths_for_what_is_not_known(definition: Make) -> None:
    made = definition()
    for other in (
        attrs.evolve(made, op_type="of_another_plugin"),
        attrs.evolve(made, outputs={"output": made.outputs["output"]}),
    ):
        assert plugin.fibcore_ground_truths(other) == ()


@pytest.mark.parametrize("form", ["decode", "prefill"])
@pytest.mark.parametrize("holder", [None, MINICPM])
def test_the_references_agree_with_the_recurrence(
    definition: Make, template: Template, form: str, holder: str | None
) -> None:
    given = {"holder": holder} if holder else {}
    made = definition(form, num_heads=4, num_kv_heads=4, head_dim=16, **given)
    (truth,) = plugin.fibcore_ground_truths(made)
    entry = getattr(load_source(truth.source, "ground_truth"), truth.entry)
    run = load_run(made.reference)
    for case in template.cases(made):
        inputs = template.inputs(made, case)
        if form == "decode":
            inputs["state_batch_indices"][0] = -1
        for actual, expected in zip(run(*inputs.values()), entry(**inputs), strict=True):
            assert actual.shape == expected.shape
            rtol = 8e-3 if actual.dtype == torch.bfloat16 else 1e-5
            torch.testing.assert_close(actual.double(), expected, rtol=rtol, atol=1e-4)
