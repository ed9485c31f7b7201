"""Sizes, inputs and properties for the reference tests of RMSNorm definitions."""

import ast
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
    """Rows of many magnitudes, some so small that epsilon matters; weights near their usual ones.

    Returns hidden_states, (residual,) weight in the definition's order.
    """
    rows, hidden = case["batch_size"], _hidden_size(definition)
    # Mean squares from about 1e-7 to 1e2.
    magnitude = 10.0 ** (4.5 * torch.rand(rows, 1, generator=generator) - 3.5)
    # A row's mean is not zero either: RMSNorm does not subtract it.
    offset = torch.randn(rows, 1, generator=generator)
    values = {
        "hidden_states": magnitude * (torch.randn(rows, hidden, generator=generator) + offset),
        "residual": magnitude * torch.randn(rows, hidden, generator=generator),
        "weight": 0.3 * torch.randn(hidden, generator=generator)
        + (0.0 if _gemma(definition) else 1.0),
    }
    return _cast(definition, values, device)


def _cast(definition: Definition, values: Inputs, device: torch.device) -> Inputs:
    """The values that the definition takes, in its order and dtypes.

    Definitions of others that take something else (a scale of the output, say) are skipped.
    """
    names = set(definition["inputs"])
    if not {"hidden_states", "weight"} <= names <= set(values):
        import pytest

        pytest.skip(f"no inputs are made for a norm of {', '.join(definition['inputs'])}")
    return {
        name: values[name].to(getattr(torch, spec["dtype"])).to(device)
        for name, spec in definition["inputs"].items()
    }


def _hidden_size(definition: Definition) -> int:
    return int(definition["axes"]["hidden_size"]["value"])


def _epsilon(definition: Definition) -> float:
    """What the description says, or else the constant of the reference."""
    said = re.search(
        r"[Ee]psilon\D*?(\d[\d.]*(?:[eE][-+]?\d+)?)", definition.get("description") or ""
    )
    if said:
        return float(said.group(1).rstrip("."))
    for node in ast.walk(ast.parse(definition["reference"])):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            names = {t.id.lower() for t in node.targets if isinstance(t, ast.Name)}
            if names & {"eps", "epsilon"}:
                return float(node.value.value)  # type: ignore[arg-type]
    raise AssertionError(f"{definition['name']} does not say its epsilon")


def _gemma(definition: Definition) -> bool:
    tags = definition.get("tags") or []
    return "gemma" in definition["name"] or any("norm.gemma" in tag for tag in tags)


def _expected(definition: Definition, inputs: Inputs) -> torch.Tensor:
    """The output in float64, from the formula: x / sqrt(mean(x^2) + epsilon) * weight."""
    x = inputs["hidden_states"].double()
    if "residual" in inputs:
        x = x + inputs["residual"].double()
    weight = inputs["weight"].double() + (1.0 if _gemma(definition) else 0.0)
    length = (x * x).sum(dim=-1, keepdim=True) / x.shape[-1]
    return x / (length + _epsilon(definition)).sqrt() * weight


def _assert_close(actual: torch.Tensor, expected: torch.Tensor) -> None:
    # One unit in the last place of the output: it is rounded once, or twice on the way.
    unit = torch.finfo(actual.dtype).eps
    torch.testing.assert_close(actual.double(), expected, rtol=unit, atol=1e-5)


def rows_of_every_magnitude_agree_with_float64(
    run: Run, definition: Definition, case: Case, device: torch.device, generator: torch.Generator
) -> None:
    """The formula, evaluated in float64, gives the same up to rounding of the output."""
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
    """Rows whose mean square equals epsilon, is far smaller, and zero."""
    hidden, eps = _hidden_size(definition), _epsilon(definition)
    row = torch.randn(1, hidden, generator=generator)
    size = torch.tensor([[1.0], [0.01], [0.0], [3.0]])
    values = {
        "hidden_states": math.sqrt(eps) * size * row,
        "residual": torch.zeros(4, hidden),
        "weight": torch.ones(hidden),
    }
    inputs = _cast(definition, values, device)
    _assert_close(run(*inputs.values()), _expected(definition, inputs))


def no_row_is_off_as_a_whole(
    run: Run, definition: Definition, case: Case, device: torch.device, generator: torch.Generator
) -> None:
    """A row's scale is right far more exactly than any of its elements, which are rounded once.

    Rounding errors of single elements average out; a mean square or a root that was kept in the
    activations' dtype would move a whole row.
    """
    hidden, rows = _hidden_size(definition), 64
    values = {
        "hidden_states": 30.0 * torch.randn(rows, hidden, generator=generator) + 20.0,
        "residual": 30.0 * torch.randn(rows, hidden, generator=generator),
        # Many different values, so that roundings are independent of each other.
        "weight": torch.randn(hidden, generator=generator),
    }
    inputs = _cast(definition, values, device)
    output, expected = run(*inputs.values()).double(), _expected(definition, inputs)
    scale = (output * expected).sum(dim=-1) / (expected * expected).sum(dim=-1)
    off = float((scale - 1.0).square().mean().sqrt())
    # Rounding to nearest leaves about half a unit in the last place over the root of hidden_size;
    # a factor of the row that was rounded to that dtype moves it by 0.1 to 0.2 units.
    unit = torch.finfo(inputs["hidden_states"].dtype).eps
    limit = unit / math.sqrt(hidden) + 2e-5
    assert off < limit, f"rows are off by {off:.2e} as a whole, more than {limit:.2e}"
    # Half a unit is what one rounding takes; that of a factor before, 1 + weight say, adds to it.
    if unit > 1e-4:  # float32 has no room for its own errors
        least = torch.finfo(inputs["hidden_states"].dtype).tiny
        error = float(((output - expected).abs() / expected.abs().clamp(min=least)).max())
        assert error < 0.51 * unit, f"an element is off by {error / unit:.3f} units"


def rows_do_not_mix(
    run: Run, definition: Definition, case: Case, device: torch.device, generator: torch.Generator
) -> None:
    """NaN in a row stays there; the other rows come out as they do alone; no rows give no rows."""
    inputs = make_inputs(definition, {"batch_size": 5}, device, generator)
    inputs["hidden_states"][2] = math.nan
    output = run(*inputs.values())
    assert bool(output[2].isnan().all())
    kept = [0, 1, 3, 4]
    alone = {n: v if n == "weight" else v[kept] for n, v in inputs.items()}
    unit = torch.finfo(output.dtype).eps
    torch.testing.assert_close(output[kept], run(*alone.values()), rtol=unit, atol=1e-6)
    none = {n: v if n == "weight" else v[:0] for n, v in inputs.items()}
    assert run(*none.values()).shape == (0, _hidden_size(definition))


PROPERTIES = [
    rows_of_every_magnitude_agree_with_float64,
    epsilon_is_added_below_the_root,
    no_row_is_off_as_a_whole,
    rows_do_not_mix,
]
