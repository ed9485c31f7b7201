"""Sizes, inputs and properties for the reference tests of rows times SiLU of a gate."""

import math
from collections.abc import Callable
from typing import Any

import torch

Run = Callable[..., torch.Tensor]
Definition = dict[str, Any]
Case = dict[str, Any]
Inputs = dict[str, torch.Tensor]


def cases(definition: Definition) -> list[Case]:
    """One row, an odd number of rows, and more rows than a GPU has multiprocessors."""
    del definition
    return [{"id": f"batch{rows}", "batch_size": rows} for rows in (1, 7, 300)]


def make_inputs(
    definition: Definition, case: Case, device: torch.device, generator: torch.Generator
) -> Inputs:
    """Rows and gates of many magnitudes and both signs.

    Returns hidden_states, gate in the definition's order.
    """
    rows, hidden = case["batch_size"], _hidden_size(definition)
    values = {}
    for name in ("hidden_states", "gate"):
        # From about 0.03 to 30: SiLU is nearly linear, curved, and saturated.
        magnitude = 10.0 ** (3.0 * torch.rand(rows, 1, generator=generator) - 1.5)
        values[name] = magnitude * torch.randn(rows, hidden, generator=generator)
    return _cast(definition, values, device)


def _cast(definition: Definition, values: Inputs, device: torch.device) -> Inputs:
    """The values in the definition's order and dtypes; definitions with others are skipped."""
    if set(definition["inputs"]) != set(values):
        import pytest

        pytest.skip(f"no inputs are made for {', '.join(definition['inputs'])}")
    return {
        name: values[name].to(getattr(torch, spec["dtype"])).to(device)
        for name, spec in definition["inputs"].items()
    }


def _hidden_size(definition: Definition) -> int:
    return int(definition["axes"]["hidden_size"]["value"])


def _expected(inputs: Inputs) -> torch.Tensor:
    """The formula in float64."""
    gate = inputs["gate"].double()
    return inputs["hidden_states"].double() * gate / (1.0 + (-gate).exp())


def _assert_close(actual: torch.Tensor, expected: torch.Tensor) -> None:
    # Half a unit in the last place: the output is rounded once, and nothing before it.
    unit = 0.51 * torch.finfo(actual.dtype).eps
    torch.testing.assert_close(actual.double(), expected, rtol=unit, atol=1e-12)


def rows_of_every_magnitude_agree_with_float64(
    run: Run, definition: Definition, case: Case, device: torch.device, generator: torch.Generator
) -> None:
    """The formula, evaluated in float64, gives the same up to rounding; inputs stay as they are."""
    inputs = make_inputs(definition, case, device, generator)
    before = {name: value.clone() for name, value in inputs.items()}
    output = run(*inputs.values())
    assert output.shape == inputs["hidden_states"].shape
    assert output.dtype == getattr(torch, definition["outputs"]["output"]["dtype"])
    _assert_close(output, _expected(inputs))
    for name, value in inputs.items():
        assert torch.equal(value, before[name]), f"run changes its input {name}"


def gates_far_from_zero_open_or_close(
    run: Run, definition: Definition, case: Case, device: torch.device, generator: torch.Generator
) -> None:
    """Gates of large size, at which exponentials overflow float32, give what float64 gives."""
    hidden = _hidden_size(definition)
    gates = torch.tensor([[-200.0], [-85.0], [-20.0], [20.0], [95.0], [200.0]])
    values = {
        "hidden_states": torch.randn(6, hidden, generator=generator),
        "gate": gates.repeat(1, hidden),
    }
    inputs = _cast(definition, values, device)
    _assert_close(run(*inputs.values()), _expected(inputs))


def elements_do_not_mix(
    run: Run, definition: Definition, case: Case, device: torch.device, generator: torch.Generator
) -> None:
    """NaN stays at its place, in rows and in gates; no rows give no rows."""
    inputs = make_inputs(definition, {"batch_size": 5}, device, generator)
    clean = run(*inputs.values())
    for name in inputs:
        spoiled = {**inputs, name: inputs[name].clone()}
        spoiled[name][2, -1] = math.nan
        output = run(*spoiled.values())
        wrong = torch.zeros_like(output, dtype=torch.bool)
        wrong[2, -1] = True
        assert torch.equal(output.isnan(), wrong)
        assert torch.equal(output[~wrong], clean[~wrong])
    none = {name: value[:0] for name, value in inputs.items()}
    assert run(*none.values()).shape == (0, _hidden_size(definition))


PROPERTIES = [
    rows_of_every_magnitude_agree_with_float64,
    gates_far_from_zero_open_or_close,
    elements_do_not_mix,
]
