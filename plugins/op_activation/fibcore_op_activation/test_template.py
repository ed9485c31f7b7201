"""Sizes, inputs and properties for the reference tests of activations."""

import math
import re
from collections.abc import Callable
from typing import Any

import torch

Run = Callable[..., torch.Tensor]
Definition = dict[str, Any]
Case = dict[str, Any]
Inputs = dict[str, Any]
Formula = Callable[..., torch.Tensor]


def _silu(x: torch.Tensor) -> torch.Tensor:
    return x / (1.0 + torch.exp(-x))


def _gelu(x: torch.Tensor) -> torch.Tensor:
    return 0.5 * x * torch.erfc(-x / math.sqrt(2.0))


def _gelu_tanh(x: torch.Tensor) -> torch.Tensor:
    # 1 + tanh(u) = 2 / (1 + exp(-2u)), which keeps its digits where tanh is near -1.
    return x / (1.0 + torch.exp(-math.sqrt(8.0 / math.pi) * x * (1.0 + 0.044715 * x * x)))


def _situ(gate: torch.Tensor, up: torch.Tensor, beta: float, linear_beta: float) -> torch.Tensor:
    bounded = beta * torch.tanh(gate / beta) / (1.0 + torch.exp(-gate))
    return bounded * linear_beta * torch.tanh(up / linear_beta)


def _clamped(gate: torch.Tensor, up: torch.Tensor, limit: float) -> torch.Tensor:
    return _silu(gate.clamp(max=limit)) * up.clamp(-limit, limit)


def _swiglu_oai(gate: torch.Tensor, up: torch.Tensor, alpha: float, limit: float) -> torch.Tensor:
    gate = gate.clamp(max=limit)
    return gate / (1.0 + torch.exp(-alpha * gate)) * (up.clamp(-limit, limit) + 1.0)


# Name without sizes to the formula, on float64 tensors: the halves of rows where it is gated.
FORMULAS: dict[str, Formula] = {
    "silu_and_mul": lambda gate, up: _silu(gate) * up,
    "gelu_and_mul": lambda gate, up: _gelu(gate) * up,
    "gelu_tanh_and_mul": lambda gate, up: _gelu_tanh(gate) * up,
    "situ_and_mul": _situ,
    "silu_and_mul_clamp": _clamped,
    "swiglu_oai_and_mul": _swiglu_oai,
    "silu": _silu,
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "quick_gelu": lambda x: x / (1.0 + torch.exp(-1.702 * x)),
    "relu": lambda x: x.clamp(min=0.0),
    "relu2": lambda x: x.clamp(min=0.0) ** 2,
}


def cases(definition: Definition) -> list[Case]:
    """One row, an odd number of rows, and more rows than a GPU has multiprocessors."""
    del definition
    return [{"id": f"tokens{rows}", "num_tokens": rows} for rows in (1, 7, 300)]


def make_inputs(
    definition: Definition, case: Case, device: torch.device, generator: torch.Generator
) -> Inputs:
    """Rows of many magnitudes; scalars at which bounds matter."""
    rows, width = case["num_tokens"], _width(definition)
    # From about 0.03 to 30: nearly linear, curved, and saturated.
    magnitude = 10.0 ** (3.0 * torch.rand(rows, 1, generator=generator) - 1.5)
    return _inputs(definition, magnitude * torch.randn(rows, width, generator=generator), device)


def _inputs(definition: Definition, values: torch.Tensor, device: torch.device) -> Inputs:
    """The input in the definition's dtype, and the scalars."""
    scalars = {"beta": 3.0, "linear_beta": 7.0, "alpha": 1.5, "limit": 5.0}
    if not set(definition["inputs"]) <= {"input", *scalars}:
        import pytest

        pytest.skip(f"no inputs are made for an activation of {', '.join(definition['inputs'])}")
    dtype = getattr(torch, definition["inputs"]["input"]["dtype"])
    given = {"input": values.to(dtype).to(device), **scalars}
    return {name: given[name] for name in definition["inputs"]}


def _width(definition: Definition) -> int:
    spec = definition["inputs"]["input"]
    return int(definition["axes"][spec["shape"][-1]]["value"])


def _gated(definition: Definition) -> bool:
    return "hidden_div_2" in definition["axes"]


def _expected(definition: Definition, inputs: Inputs) -> torch.Tensor:
    """The formula in float64; a definition of an unknown name is skipped."""
    formula = FORMULAS.get(re.sub(r"_[hi]\d+$", "", definition["name"]))
    if formula is None:
        import pytest

        pytest.skip(f"the formula of {definition['name']} is not known")
    x = inputs["input"].double()
    parts = x.chunk(2, dim=-1) if _gated(definition) else (x,)
    return formula(*parts, *(value for name, value in inputs.items() if name != "input"))


def _assert_close(actual: torch.Tensor, expected: torch.Tensor) -> None:
    # Half a unit in the last place: the output is rounded once, and nothing before it. What is
    # far below 1 has to be as exact as the rest, down to what float64 leaves of 1 + erf(x).
    unit = 0.51 * torch.finfo(actual.dtype).eps
    torch.testing.assert_close(actual.double(), expected, rtol=unit, atol=1e-12)


def rows_of_every_magnitude_agree_with_float64(
    run: Run, definition: Definition, case: Case, device: torch.device, generator: torch.Generator
) -> None:
    """The formula, evaluated in float64, gives the same up to rounding; inputs stay as they are."""
    inputs = make_inputs(definition, case, device, generator)
    before = inputs["input"].clone()
    output = run(*inputs.values())
    expected = _expected(definition, inputs)
    assert output.shape == expected.shape
    assert output.dtype == getattr(torch, definition["outputs"]["output"]["dtype"])
    _assert_close(output, expected)
    assert torch.equal(inputs["input"], before), "run changes its input"


def every_element_from_minus_12_to_12_agrees(
    run: Run, definition: Definition, case: Case, device: torch.device, generator: torch.Generator
) -> None:
    """Small steps through the range where activations bend; the other half is not one number."""
    width = _width(definition)
    columns = width // 2 if _gated(definition) else width
    rows = -(-2048 // columns)
    values = torch.linspace(-12.0, 12.0, rows * columns).reshape(rows, columns)
    if _gated(definition):
        values = torch.cat([values, 9.0 * torch.randn(rows, columns, generator=generator)], dim=-1)
    inputs = _inputs(definition, values, device)
    _assert_close(run(*inputs.values()), _expected(definition, inputs))


def elements_do_not_mix(
    run: Run, definition: Definition, case: Case, device: torch.device, generator: torch.Generator
) -> None:
    """NaN reaches one element of the output alone; zeros give zeros; no rows give no rows."""
    width = _width(definition)
    inputs = make_inputs(definition, {"num_tokens": 5}, device, generator)
    clean = run(*inputs.values())
    columns = clean.shape[-1]
    for column in {0, columns - 1, width - columns, width - 1}:
        spoiled = {**inputs, "input": inputs["input"].clone()}
        spoiled["input"][2, column] = math.nan
        output = run(*spoiled.values())
        wrong = torch.zeros_like(output, dtype=torch.bool)
        wrong[2, column % columns] = True
        assert torch.equal(output.isnan(), wrong)
        assert torch.equal(output[~wrong], clean[~wrong])
    nothing = run(*{**inputs, "input": torch.zeros_like(inputs["input"])}.values())
    assert not bool(nothing.any())
    none = {**inputs, "input": inputs["input"][:0]}
    assert run(*none.values()).shape == (0, columns)


PROPERTIES = [
    rows_of_every_magnitude_agree_with_float64,
    every_element_from_minus_12_to_12_agrees,
    elements_do_not_mix,
]
