"""Ground truths: which there are, and that the references agree with them."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from typing import Any

import attrs
import pytest

import fibcore_op_gdn as plugin
from fibcore.plugin import Definition
from fibcore.testing.templates import Template, load_run, load_source

torch = pytest.importorskip("torch")

Make = Callable[..., Definition]
Templates = dict[str, Template]

FORMS = ("decode", "mtp", "prefill")
RULES = (("head", None), ("channel", None), ("channel", -5.0))


@pytest.mark.parametrize("form", FORMS)
def test_flashinfer_comes_first_and_needs_hopper(definition: Make, form: str) -> None:
    flashinfer, recurrence = plugin.fibcore_ground_truths(definition(form))
    assert flashinfer.kind == "flashinfer"
    assert (flashinfer.device, flashinfer.min_capability) == ("cuda", (9, 0))
    assert flashinfer.packages == ("flashinfer", *["cutlass"] * (form != "prefill"))
    assert recurrence.kind == "torch"
    assert flashinfer.solution
    assert recurrence.solution


def test_kda_of_flashinfer_needs_blackwell_and_gives_no_states(definition: Make) -> None:
    truth, _ = plugin.fibcore_ground_truths(definition("decode", "channel", lower_bound=-5.0))
    assert (truth.name, truth.min_capability) == ("flashinfer.kda_decode.recurrent_kda", (10, 0))
    assert "LOWER_BOUND = -5.0" in truth.source
    assert not truth.solution
    for form in ("mtp", "prefill"):
        (only,) = plugin.fibcore_ground_truths(definition(form, "channel"))
        assert only.kind == "torch"


def test_flashinfer_is_taken_for_what_it_computes(definition: Make) -> None:
    for gate, size, there in (("head", 64, 0), ("head", 256, 0), ("channel", 64, 1)):
        found = plugin.fibcore_ground_truths(definition("decode", gate, head_size=size))
        assert len(found) == 1 + there
    made = definition()
    state = attrs.evolve(made.inputs["state"], dtype="bfloat16")
    (only,) = plugin.fibcore_ground_truths(
        attrs.evolve(made, inputs={**made.inputs, "state": state})
    )
    assert only.kind == "torch"


def test_no_ground_truths_for_what_is_not_known(definition: Make) -> None:
    made = definition()
    for other in (
        attrs.evolve(made, op_type="of_another_plugin"),
        attrs.evolve(made, outputs={"output": made.outputs["output"]}),
    ):
        assert plugin.fibcore_ground_truths(other) == ()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("gate", "bound"), RULES)
def test_the_references_agree_with_the_recurrence(
    definition: Make, templates: Templates, form: str, gate: str, bound: float | None
) -> None:
    sizes = {"qk_heads": 2, "v_heads": 4, "head_size": 16, "lower_bound": bound}
    made = definition(form, gate, **sizes)
    truth = plugin.fibcore_ground_truths(made)[-1]
    entry = getattr(load_source(truth.source, "ground_truth"), truth.entry)
    run, template = load_run(made.reference), templates[gate]
    for case in template.cases(made)[:3]:
        inputs = template.inputs(made, case)
        if "initial_state_indices" in inputs:
            inputs["initial_state_indices"][0] = -1
        outputs = zip(run(*inputs.values()), entry(**inputs), strict=True)
        for (actual, expected), rtol in zip(outputs, (8e-3, 1e-5), strict=True):
            assert actual.shape == expected.shape
            torch.testing.assert_close(actual.double(), expected, rtol=rtol, atol=1e-5)


def _fake(monkeypatch: pytest.MonkeyPatch, name: str, **functions: Any) -> None:
    """A stand-in for a module of FlashInfer."""
    fake = types.ModuleType(name)
    for key, function in functions.items():
        setattr(fake, key, function)
    monkeypatch.setitem(sys.modules, "flashinfer", types.ModuleType("flashinfer"))
    monkeypatch.setitem(sys.modules, name, fake)


def _in_place(made: Definition) -> Callable[..., Any]:
    """The reference behind FlashInfer's signature: it writes over the states that it is given."""
    run = load_run(made.reference)

    def kernel(*given: Any, scale: float, use_qk_l2norm: bool, **more: Any) -> Any:
        assert use_qk_l2norm is False
        assert more.pop("disable_state_update", False) is False
        output, after = run(*given, scale, *more.values())
        given[3].copy_(after)
        return output, given[3]

    return kernel


def test_flashinfers_decode_gets_its_arguments(
    definition: Make, templates: Templates, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = definition(qk_heads=1, v_heads=2)
    name = "flashinfer.gdn_decode"
    _fake(monkeypatch, name, gated_delta_rule_decode_pretranspose=_in_place(made))
    _compare(made, templates["head"])


def test_flashinfers_mtp_gets_its_arguments(
    definition: Make, templates: Templates, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = definition("mtp", qk_heads=1, v_heads=2)
    _fake(monkeypatch, "flashinfer.gdn_decode", gated_delta_rule_mtp=_in_place(made))
    _compare(made, templates["head"])


def test_flashinfers_prefill_gets_alpha_and_beta(
    definition: Make, templates: Templates, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = definition("prefill", qk_heads=1, v_heads=2)
    run = load_run(made.reference)

    def chunk_gated_delta_rule(
        q: Any, k: Any, v: Any, g: Any, beta: Any, scale: float, **more: Any
    ) -> Any:
        assert g.dtype == beta.dtype == torch.float32
        assert more["output_final_state"] is True
        # A gate of rate 1 and no bias whose alpha is g, and whose beta is beta.
        a, b = torch.log(torch.expm1(-g.double().log())), torch.logit(beta.double())
        nothing = torch.zeros(2, dtype=torch.float64)
        inputs = (q, k, v, more["initial_state"], nothing, a, nothing, b, more["cu_seqlens"])
        return run(*inputs, scale)

    _fake(monkeypatch, "flashinfer.gdn_prefill", chunk_gated_delta_rule=chunk_gated_delta_rule)
    _compare(made, templates["head"], rtol=1e-2)


def test_flashinfers_kda_is_given_a_state_in_bfloat16(
    definition: Make, templates: Templates, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = definition("decode", "channel", qk_heads=2, v_heads=2, lower_bound=-5.0)
    run, seen = load_run(made.reference), {}

    def recurrent_kda(q: Any, k: Any, v: Any, g: Any, beta: Any, **given: Any) -> Any:
        seen.update(given)
        assert given["initial_state"].dtype == beta.dtype == torch.bfloat16
        b, dt_bias = torch.logit(beta.float()), given["dt_bias"].view(2, 128)
        state = given["initial_state"].float()
        output, _ = run(q, k, v, state, given["A_log"], g, dt_bias, b, given["scale"])
        return output, given["initial_state"]

    _fake(monkeypatch, "flashinfer.kda_decode", recurrent_kda=recurrent_kda)
    truth = plugin.fibcore_ground_truths(made)[0]
    entry = getattr(load_source(truth.source, "ground_truth"), truth.entry)
    template = templates["channel"]
    inputs = template.inputs(made, template.cases(made)[1])
    output, none = entry(**inputs)
    assert none is None
    assert seen["lower_bound"] == -5.0
    assert seen["use_qk_l2norm_in_kernel"] is seen["use_gate_in_kernel"] is True
    expected = run(*inputs.values())[0]
    torch.testing.assert_close(output, expected, rtol=2e-2, atol=1e-2)
    inputs["state"] += 2.0**-20
    with pytest.raises(NotImplementedError):
        entry(**inputs)


def _compare(made: Definition, template: Template, rtol: float = 1e-6) -> None:
    """The ground truth, with a stand-in for FlashInfer, gives what the reference gives."""
    truth = plugin.fibcore_ground_truths(made)[0]
    entry = getattr(load_source(truth.source, "ground_truth"), truth.entry)
    inputs = template.inputs(made, template.cases(made)[1])
    before = {n: v.clone() for n, v in inputs.items() if isinstance(v, torch.Tensor)}
    expected = load_run(made.reference)(*inputs.values())
    for one, other in zip(entry(**inputs), expected, strict=True):
        torch.testing.assert_close(one.double(), other.double(), rtol=rtol, atol=rtol)
    assert all(torch.equal(inputs[name], value) for name, value in before.items())
