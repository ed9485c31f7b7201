"""Sizes, inputs and properties for the reference tests of LayerNorm definitions."""

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
    """Rows of many magnitudes, some so small that epsilon matters, about means that are not zero.

    Returns hidden_states, then of weight and bias what the definition has.
    """
    rows, hidden = case["batch_size"], _hidden_size(definition)
    # Variances from about 1e-7 to 1e2.
    magnitude = 10.0 ** (4.5 * torch.rand(rows, 1, generator=generator) - 3.5)
    offset = torch.randn(rows, 1, generator=generator)
    values = {
        "hidden_states": magnitude * (torch.randn(rows, hidden, generator=generator) + offset),
        "weight": 1.0 + 0.3 * torch.randn(hidden, generator=generator),
        "bias": torch.randn(hidden, generator=generator),
    }
    return _cast(definition, values, device)


def _cast(definition: Definition, values: Inputs, device: torch.device) -> Inputs:
    """The values that the definition takes, in its order and dtypes; others are skipped."""
    names = set(definition["inputs"])
    if not {"hidden_states"} <= names <= set(values):
        import pytest

        pytest.skip(f"no inputs are made for {', '.join(definition['inputs'])}")
    return {
        name: values[name].to(getattr(torch, spec["dtype"])).to(device)
        for name, spec in definition["inputs"].items()
    }


def _hidden_size(definition: Definition) -> int:
    return int(definition["axes"]["hidden_size"]["value"])


def _epsilon(definition: Definition) -> float:
    """What the description says, else what the reference sets; skipped where neither does."""
    number = r"(\d[\d.]*(?:[eE][-+]?\d+)?)"
    said = re.search(rf"[Ee]psilon\D*?{number}", definition.get("description") or "") or re.search(
        rf"^\s*(?:EPS|EPSILON|eps) *= *{number}", definition["reference"], flags=re.MULTILINE
    )
    if said is None:
        import pytest

        pytest.skip("neither description nor reference says the epsilon")
    return float(said[1].rstrip("."))


def _expected(definition: Definition, inputs: Inputs) -> torch.Tensor:
    """(x - mean(x)) / sqrt(mean(x^2) - mean(x)^2 + epsilon) * weight + bias, in float64."""
    x = inputs["hidden_states"].double()
    count = x.shape[-1]
    mean = x.sum(dim=-1, keepdim=True) / count
    variance = (x * x).sum(dim=-1, keepdim=True) / count - mean * mean
    normalised = (x - mean) / (variance.clamp(min=0.0) + _epsilon(definition)).sqrt()
    if "weight" in inputs:
        normalised = normalised * inputs["weight"].double()
    return normalised + inputs["bias"].double() if "bias" in inputs else normalised


def _assert_close(actual: torch.Tensor, expected: torch.Tensor) -> None:
    # Half a unit in the last place: the output is rounded once, and nothing before it.
    unit = 0.51 * torch.finfo(actual.dtype).eps
    torch.testing.assert_close(actual.double(), expected, rtol=unit, atol=1e-5)


def rows_of_every_magnitude_agree_with_float64(
    run: Run, definition: Definition, case: Case, device: torch.device, generator: torch.Generator
) -> None:
    """The formula, evaluated in float64, gives the same up to rounding; inputs stay as they are."""
    inputs = make_inputs(definition, case, device, generator)
    before = {name: value.clone() for name, value in inputs.items()}
    output = run(*inputs.values())
    assert output.shape == inputs["hidden_states"].shape
    assert output.dtype == getattr(torch, definition["outputs"]["output"]["dtype"])
    _assert_close(output, _expected(definition, inputs))
    for name, value in inputs.items():
        assert torch.equal(value, before[name]), f"run changes its input {name}"


def epsilon_is_added_below_the_root(
    run: Run, definition: Definition, case: Case, device: torch.device, generator: torch.Generator
) -> None:
    """Rows whose variance equals epsilon, is larger, far smaller, and zero."""
    hidden, eps = _hidden_size(definition), _epsilon(definition)
    row = torch.randn(1, hidden, generator=generator)
    size = torch.tensor([[1.0], [0.01], [0.0], [3.0]])
    values = {
        "hidden_states": math.sqrt(eps) * size * row,
        "weight": torch.ones(hidden),
        "bias": torch.zeros(hidden),
    }
    inputs = _cast(definition, values, device)
    _assert_close(run(*inputs.values()), _expected(definition, inputs))


def rows_do_not_mix(
    run: Run, definition: Definition, case: Case, device: torch.device, generator: torch.Generator
) -> None:
    """NaN in a row stays there; the other rows come out as they do alone; no rows give no rows."""
    inputs = make_inputs(definition, {"batch_size": 5}, device, generator)
    inputs["hidden_states"][2] = math.nan
    output = run(*inputs.values())
    assert bool(output[2].isnan().all())
    kept = [0, 1, 3, 4]
    alone = {**inputs, "hidden_states": inputs["hidden_states"][kept]}
    unit = torch.finfo(output.dtype).eps
    torch.testing.assert_close(output[kept], run(*alone.values()), rtol=unit, atol=1e-6)
    none = {**inputs, "hidden_states": inputs["hidden_states"][:0]}
    assert run(*none.values()).shape == (0, _hidden_size(definition))


PROPERTIES = [
    rows_of_every_magnitude_agree_with_float64,
    epsilon_is_added_below_the_root,
    rows_do_not_mix,
]
