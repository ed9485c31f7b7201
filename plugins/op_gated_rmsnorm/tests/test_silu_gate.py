"""Rows times SiLU of a gate: definition, references, ground truths, cost, workloads, mistakes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

import fibcore_op_gated_rmsnorm as plugin
from fibcore.plugin import Cost, Definition, const
from fibcore.testing.harness import harness
from fibcore.testing.mutations import with_constants
from fibcore.testing.real_trees import sglang_package
from fibcore.testing.templates import Template, load_run, load_source
from fibcore.testing.wrong_references import (
    Mistake,
    assert_accepted,
    assert_rejected,
    assert_wrong_ones_rejected,
    parameters,
)

torch = pytest.importorskip("torch")

Make = Callable[..., Definition]


def test_the_format_of_the_dataset(gate: Make) -> None:
    made = gate(64)
    data = made.to_dict()
    assert (data["name"], data["op_type"]) == ("silu_gate_h64", "silu_gate")
    assert {n: (a["type"], a.get("value")) for n, a in data["axes"].items()} == {
        "batch_size": ("var", None),
        "hidden_size": ("const", 64),
    }
    rows = (["batch_size", "hidden_size"], "bfloat16")
    assert {n: (t["shape"], t["dtype"]) for n, t in data["inputs"].items()} == {
        "hidden_states": rows,
        "gate": rows,
    }
    assert {n: (t["shape"], t["dtype"]) for n, t in data["outputs"].items()} == {"output": rows}
    assert plugin.fibcore_identify(made).contradictions == ()
    other = attrs.evolve(made, axes={**made.axes, "hidden_size": const(32)})
    assert plugin.fibcore_identify(other).contradictions == (
        "the name says h64, and hidden_size is 32",
    )


def test_cost_and_workloads(gate: Make) -> None:
    made = gate(4096)
    bytes_of_rows = 7 * 4096 * 2
    assert plugin.fibcore_cost(made, {"batch_size": 7}, {}) == Cost(
        5 * 7 * 4096, "float32", 2 * bytes_of_rows, bytes_of_rows
    )
    found = plugin.fibcore_workloads(made, {}, 0)
    assert [case.axes["batch_size"] for case in found] == [2**i for i in range(14)]


def test_definitions_of_others_are_not_guessed(gate: Make) -> None:
    made = gate()
    other = attrs.evolve(made, outputs={**made.outputs, "scale": made.outputs["output"]})
    assert plugin.fibcore_cost(other, {"batch_size": 1}, {}) is None
    assert plugin.fibcore_workloads(other, {}, 0) == ()
    assert plugin.fibcore_ground_truths(other) == ()
    assert plugin.fibcore_implementations(other) == ()


@pytest.mark.parametrize("kind", ["sglang", "torch"])
def test_the_reference_agrees(gate: Make, gate_template: Template, kind: str) -> None:
    made = gate()
    (truth,) = (t for t in plugin.fibcore_ground_truths(made) if t.kind == kind)
    first: tuple[Any, ...] = ()
    if kind == "sglang":
        package = sglang_package("0.5.23")
        if package is None:
            pytest.skip("the source of SGLang 0.5.23 is not there")
        first = (harness().SGLangSource(package),)
    entry = getattr(load_source(truth.source, "ground_truth"), truth.entry)
    for case in gate_template.cases(made):
        inputs = gate_template.inputs(made, case)
        expected = entry(*first, **inputs).to(torch.bfloat16)
        actual = load_run(made.reference)(*inputs.values())
        torch.testing.assert_close(actual, expected, rtol=2**-7, atol=1e-12)


@pytest.mark.parametrize("elements", [None, 192])
def test_the_reference_has_the_properties(
    gate: Make, gate_template: Template, elements: int | None
) -> None:
    made = gate(64)
    small = made if elements is None else with_constants(made, CHUNK_ELEMENTS=elements)
    assert_accepted(gate_template, small)


def test_sizes_are_checked(gate: Make) -> None:
    run, x = load_run(gate(64).reference), torch.zeros(2, 64, dtype=torch.bfloat16)
    for wrong in ((x[:, :32], x[:, :32]), (x, x[:1])):
        with pytest.raises(AssertionError):
            run(*wrong)


FACTOR = "silu(gate[rows].to(torch.float32))"
MISTAKES = [
    Mistake.of("sigmoid for SiLU", FACTOR, "torch.sigmoid(gate[rows].float())"),
    Mistake.of("GELU for SiLU", FACTOR, "torch.nn.functional.gelu(gate[rows].float())"),
    Mistake.of("the gate itself", FACTOR, "gate[rows].float()"),
    Mistake.of("the factor is rounded", FACTOR, f"{FACTOR}.bfloat16()"),
    Mistake.of("the gate is not multiplied", f" * {FACTOR}", ""),
    Mistake.of(
        "the rows go through SiLU", f"* {FACTOR}", f"* {FACTOR.replace('gate', 'hidden_states')}"
    ),
    Mistake.of(
        "exponentials overflow", FACTOR, "(gate[rows] * gate[rows].exp() / (1 + gate[rows].exp()))"
    ),
    Mistake.of("written over the input", "torch.empty_like(hidden_states)", "hidden_states"),
    Mistake.of(
        "the last row is left out", "range(0, batch_size, chunk)", "range(0, batch_size - 1, chunk)"
    ),
]


@pytest.mark.parametrize("mistake", parameters(MISTAKES))
def test_wrong_references_are_rejected(
    gate: Make, gate_template: Template, mistake: Mistake
) -> None:
    assert_rejected(gate_template, gate(64), mistake)


def test_wrong_implementations_are_rejected(gate: Make, gate_template: Template) -> None:
    made = gate(64)
    assert_wrong_ones_rejected(gate_template, made, plugin.fibcore_implementations(made))
