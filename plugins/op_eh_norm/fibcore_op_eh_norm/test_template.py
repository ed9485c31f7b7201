"""Sizes, inputs and properties for the reference tests."""

import math
import re
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
    """Rows of many magnitudes, some so small that epsilon matters; weights that differ.

    Returns inputs_embeds, previous_hidden, enorm_weight, hnorm_weight in the definition's order.
    """
    rows, hidden = case["batch_size"], _hidden_size(definition)
    values = {}
    for name in ("inputs_embeds", "previous_hidden"):
        # Mean squares from about 1e-9 to 1e2.
        magnitude = 10.0 ** (5.5 * torch.rand(rows, 1, generator=generator) - 4.5)
        values[name] = magnitude * torch.randn(rows, hidden, generator=generator)
    values["enorm_weight"] = 1.0 + 0.3 * torch.randn(hidden, generator=generator)
    values["hnorm_weight"] = 0.5 + 0.2 * torch.randn(hidden, generator=generator)
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


def _epsilon(definition: Definition) -> float:
    """The constant of the reference; a definition without one is skipped."""
    found = re.search(r"^EPSILON = (\S+)$", definition["reference"], flags=re.MULTILINE)
    if found is None:
        import pytest

        pytest.skip("the reference does not say its epsilon")
    return float(found[1])


def _expected(definition: Definition, inputs: Inputs) -> torch.Tensor:
    """Both x / sqrt(sum(x^2) / size + epsilon) * weight, in float64."""
    eps, size, parts = _epsilon(definition), _hidden_size(definition), []
    for x, weight in (("inputs_embeds", "enorm_weight"), ("previous_hidden", "hnorm_weight")):
        row = inputs[x].double()
        root = ((row * row).sum(-1, keepdim=True) / size + eps).sqrt()
        parts.append(row / root * inputs[weight].double())
    return torch.cat(parts, -1)


def _assert_close(actual: torch.Tensor, expected: torch.Tensor) -> None:
    # Half a unit in the last place: the output is rounded once, and nothing before it.
    unit = 0.51 * torch.finfo(actual.dtype).eps
    torch.testing.assert_close(actual.double(), expected, rtol=unit, atol=1e-6)


def rows_of_every_magnitude_agree_with_float64(
    run: Run, definition: Definition, case: Case, device: torch.device, generator: torch.Generator
) -> None:
    """The formula, evaluated in float64, gives the same up to rounding; inputs stay as they are."""
    inputs = make_inputs(definition, case, device, generator)
    before = {name: value.clone() for name, value in inputs.items()}
    output = run(*inputs.values())
    assert output.shape == (case["batch_size"], 2 * _hidden_size(definition))
    assert output.dtype == getattr(torch, definition["outputs"]["output"]["dtype"])
    _assert_close(output, _expected(definition, inputs))
    for name, value in inputs.items():
        assert torch.equal(value, before[name]), f"run changes its input {name}"


def epsilon_is_added_below_the_root(
    run: Run, definition: Definition, case: Case, device: torch.device, generator: torch.Generator
) -> None:
    """Rows whose mean square equals epsilon, is larger, far smaller, and zero."""
    hidden, eps = _hidden_size(definition), _epsilon(definition)
    size = torch.tensor([[1.0], [0.01], [0.0], [3.0]])
    rows = [torch.randn(1, hidden, generator=generator) for _ in range(2)]
    values = {
        "inputs_embeds": math.sqrt(eps) * size * rows[0],
        "previous_hidden": math.sqrt(eps) * size.flip(0) * rows[1],
        "enorm_weight": torch.ones(hidden),
        "hnorm_weight": torch.ones(hidden),
    }
    inputs = _cast(definition, values, device)
    _assert_close(run(*inputs.values()), _expected(definition, inputs))


def rows_do_not_mix(
    run: Run, definition: Definition, case: Case, device: torch.device, generator: torch.Generator
) -> None:
    """NaN in a row stays in its half; the other rows come out as they do alone; none give none."""
    inputs = make_inputs(definition, {"batch_size": 5}, device, generator)
    hidden = _hidden_size(definition)
    inputs["inputs_embeds"][2] = math.nan
    output = run(*inputs.values())
    assert bool(output[2, :hidden].isnan().all())
    assert not bool(output[2, hidden:].isnan().any())
    for kept in ([0, 1, 3, 4], []):
        names = ("inputs_embeds", "previous_hidden")
        alone = {n: value[kept] if n in names else value for n, value in inputs.items()}
        unit = torch.finfo(output.dtype).eps
        torch.testing.assert_close(output[kept], run(*alone.values()), rtol=unit, atol=1e-6)


PROPERTIES = [
    rows_of_every_magnitude_agree_with_float64,
    epsilon_is_added_below_the_root,
    rows_do_not_mix,
]
