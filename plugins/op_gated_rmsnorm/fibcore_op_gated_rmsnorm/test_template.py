"""Sizes, inputs and properties for the reference tests of gated norms."""

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
    """Rows of many magnitudes, some so small that epsilon matters; gates of both signs.

    Returns hidden_states, gate, weight in the definition's order.
    """
    rows, hidden = case["batch_size"], _hidden_size(definition)
    # Mean squares from about 1e-7 to 1e2, another one in each group.
    shape = (rows, _num_groups(definition), 1)
    magnitude = 10.0 ** (4.5 * torch.rand(shape, generator=generator) - 3.5)
    # A row's mean is not zero either: RMSNorm does not subtract it.
    offset = torch.randn(shape, generator=generator)
    drawn = torch.randn(rows, hidden, generator=generator).view(*shape[:2], -1)
    values = {
        "hidden_states": (magnitude * (drawn + offset)).view(rows, hidden),
        "gate": 3.0 * torch.randn(rows, hidden, generator=generator),
        "weight": 1.0 + 0.3 * torch.randn(hidden, generator=generator),
    }
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


def _num_groups(definition: Definition) -> int:
    size = definition["axes"].get("group_size", definition["axes"]["hidden_size"])["value"]
    return _hidden_size(definition) // int(size)


def _epsilon(definition: Definition) -> float:
    """What the description says, or else the constant of the reference."""
    said = re.search(
        r"[Ee]psilon\D*?(\d[\d.]*(?:[eE][-+]?\d+)?)", definition.get("description") or ""
    )
    found = said or re.search(r"\b(?:EPSILON|EPS|eps) = ([\d.eE+-]+)", definition["reference"])
    if found is None:
        import pytest

        pytest.skip("the definition does not say its epsilon")
    return float(found[1].rstrip("."))


def _factor(definition: Definition, gate: torch.Tensor) -> torch.Tensor:
    """The activation that the reference has, in float64: SiLU where it is called, else sigmoid."""
    code = definition["reference"].partition("import torch")[2]
    logistic = 1.0 / (1.0 + (-gate.double()).exp())
    return gate.double() * logistic if re.search(r"\b(silu|swish)\(", code) else logistic


def _gate_first(definition: Definition) -> bool:
    """Whether the last factor of the gate stands before the norm in the reference."""
    code = definition["reference"].partition("def run(")[2]
    gates = list(re.finditer(r"\b(silu|swish|sigmoid|gated)\(", code))
    norm = re.search(r"\b(rms_norm|rsqrt|sqrt)\(", code)
    if not gates or norm is None:
        import pytest

        pytest.skip("the reference does not say whether the gate comes before the norm")
    return gates[-1].start() < norm.start()


def _expected(definition: Definition, inputs: Inputs) -> torch.Tensor:
    """The output in float64, from the formula."""
    x, factor = inputs["hidden_states"].double(), _factor(definition, inputs["gate"])
    first = _gate_first(definition)
    if first:
        x = x * factor
    groups = x.view(len(x), _num_groups(definition), -1)
    length = (groups * groups).sum(dim=-1, keepdim=True) / groups.shape[-1]
    output = (groups / (length + _epsilon(definition)).sqrt()).view(x.shape)
    output = output * inputs["weight"].double()
    return output if first else output * factor


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
    assert output.shape == inputs["hidden_states"].shape
    assert output.dtype == getattr(torch, definition["outputs"]["output"]["dtype"])
    _assert_close(output, _expected(definition, inputs))
    for name, value in inputs.items():
        assert torch.equal(value, before[name]), f"run changes its input {name}"


def epsilon_is_added_below_the_root(
    run: Run, definition: Definition, case: Case, device: torch.device, generator: torch.Generator
) -> None:
    """Rows whose mean square equals epsilon, is far smaller, zero, and larger."""
    hidden, eps = _hidden_size(definition), _epsilon(definition)
    row = torch.randn(1, hidden, generator=generator)
    size = torch.tensor([[1.0], [0.01], [0.0], [3.0]])
    values = {
        "hidden_states": math.sqrt(eps) * size * row,
        "gate": torch.full((4, hidden), 1.5),
        "weight": torch.ones(hidden),
    }
    inputs = _cast(definition, values, device)
    _assert_close(run(*inputs.values()), _expected(definition, inputs))


def gates_far_from_zero_open_or_close(
    run: Run, definition: Definition, case: Case, device: torch.device, generator: torch.Generator
) -> None:
    """Gates of large size, at which exponentials overflow float32, give what float64 gives."""
    hidden = _hidden_size(definition)
    values = {
        "hidden_states": torch.randn(6, hidden, generator=generator),
        "gate": torch.tensor([[-200.0], [-95.0], [-20.0], [20.0], [95.0], [200.0]]).repeat(
            1, hidden
        ),
        "weight": torch.ones(hidden),
    }
    inputs = _cast(definition, values, device)
    _assert_close(run(*inputs.values()), _expected(definition, inputs))


def rows_and_groups_do_not_mix(
    run: Run, definition: Definition, case: Case, device: torch.device, generator: torch.Generator
) -> None:
    """NaN stays in its group; other rows come out as they do alone; no rows give no rows."""
    inputs = make_inputs(definition, {"batch_size": 5}, device, generator)
    inputs["hidden_states"][2, -1] = math.nan
    output = run(*inputs.values())
    size = _hidden_size(definition) // _num_groups(definition)
    assert bool(output[2, -size:].isnan().all())
    assert not bool(output[2, :-size].isnan().any())
    kept = [0, 1, 3, 4]
    alone = {n: v if n == "weight" else v[kept] for n, v in inputs.items()}
    unit = torch.finfo(output.dtype).eps
    torch.testing.assert_close(output[kept], run(*alone.values()), rtol=unit, atol=1e-6)
    none = {n: v if n == "weight" else v[:0] for n, v in inputs.items()}
    assert run(*none.values()).shape == (0, _hidden_size(definition))


PROPERTIES = [
    rows_of_every_magnitude_agree_with_float64,
    epsilon_is_added_below_the_root,
    gates_far_from_zero_open_or_close,
    rows_and_groups_do_not_mix,
]
