"""Ground truths: which there are, and that the references agree with them."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from typing import Any

import attrs
import pytest

import fibcore_op_mamba as plugin
from fibcore.plugin import Definition
from fibcore.testing.templates import Template, load_run, load_source

torch = pytest.importorskip("torch")

Make = Callable[..., Definition]
Templates = dict[str, Template]


def test_flashinfer_has_the_decode_step(definition: Make) -> None:
    flashinfer, recurrence = plugin.fibcore_ground_truths(definition())
    assert (flashinfer.kind, flashinfer.device) == ("flashinfer", "cuda")
    assert flashinfer.packages == ("flashinfer",)
    assert recurrence.kind == "torch"
    (only,) = plugin.fibcore_ground_truths(definition("prefill"))
    assert only.kind == "torch"


def test_flashinfer_is_taken_for_what_it_computes(definition: Make) -> None:
    for sizes in ({"head_dim": 80}, {"ssm_state_size": 16}):
        (only,) = plugin.fibcore_ground_truths(definition(**sizes))
        assert only.kind == "torch"
    made = definition()
    dt = attrs.evolve(made.inputs["dt"], dtype="float32")
    (only,) = plugin.fibcore_ground_truths(attrs.evolve(made, inputs={**made.inputs, "dt": dt}))
    assert only.kind == "torch"


def test_no_ground_truths_for_what_is_not_known(definition: Make) -> None:
    made = definition()
    for other in (
        attrs.evolve(made, op_type="of_another_plugin"),
        attrs.evolve(made, outputs={"output": made.outputs["output"]}),
    ):
        assert plugin.fibcore_ground_truths(other) == ()


@pytest.mark.parametrize("form", ["decode", "prefill"])
def test_the_references_agree_with_the_recurrence(
    definition: Make, templates: Templates, form: str
) -> None:
    made = definition(form, nheads=4, head_dim=8, ssm_state_size=16, n_groups=2)
    truth = plugin.fibcore_ground_truths(made)[-1]
    entry = getattr(load_source(truth.source, "ground_truth"), truth.entry)
    run, template = load_run(made.reference), templates[form]
    for case in template.cases(made):
        inputs = template.inputs(made, case)
        if form == "decode":
            inputs["state_batch_indices"][0] = -1
        for actual, expected in zip(run(*inputs.values()), entry(**inputs), strict=True):
            assert actual.shape == expected.shape
            torch.testing.assert_close(actual.double(), expected, rtol=8e-3, atol=1e-4)


@pytest.mark.parametrize(("groups", "algorithm"), [(1, "simple"), (4, "auto")])
def test_flashinfer_gets_its_arguments(
    definition: Make,
    templates: Templates,
    monkeypatch: pytest.MonkeyPatch,
    groups: int,
    algorithm: str,
) -> None:
    """A stand-in with FlashInfer's signature that writes over the states, as the kernel does."""
    made = definition(nheads=4, n_groups=groups)
    run, template = load_run(made.reference), templates["decode"]

    def selective_state_update(
        state: Any, x: Any, dt: Any, A: Any, B: Any, C: Any, D: Any, **more: Any
    ) -> Any:
        assert (A.stride(1), A.stride(2)) == (0, 0)
        assert dt.stride(2) == D.stride(1) == more["dt_bias"].stride(1) == 0
        assert more["dt_softplus"] is True
        assert more["algorithm"] == algorithm
        places = more["state_batch_indices"]
        output, after = run(state, x, dt, A, B, C, D, more["dt_bias"], places)
        state.copy_(after)
        return output

    fake = types.ModuleType("flashinfer.mamba")
    fake.selective_state_update = selective_state_update  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "flashinfer", types.ModuleType("flashinfer"))
    monkeypatch.setitem(sys.modules, "flashinfer.mamba", fake)
    truth = plugin.fibcore_ground_truths(made)[0]
    entry = getattr(load_source(truth.source, "ground_truth"), truth.entry)
    inputs = template.inputs(made, template.cases(made)[1])
    before = inputs["state"].clone()
    expected = run(*inputs.values())
    for one, other in zip(entry(**inputs), expected, strict=True):
        assert torch.equal(one, other)
    assert torch.equal(inputs["state"], before)
    inputs["A"] = inputs["A"] * torch.rand(64, 1)
    with pytest.raises(NotImplementedError):
        entry(**inputs)
