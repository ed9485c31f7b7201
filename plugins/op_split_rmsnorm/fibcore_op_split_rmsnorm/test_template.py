"""Sizes, inputs and properties for the reference tests of norms of rows that ranks share."""

import math
import re
from collections.abc import Callable
from typing import Any

import torch

Run = Callable[..., Any]
Data = dict[str, Any]  # a definition, or a case
Inputs = dict[str, torch.Tensor]

SUMS = ("q", "k")
APPLY = ("q", "k", "q_weight", "k_weight", "sums")


def cases(definition: Data) -> list[Data]:
    """One token, an odd number of them, and more than a GPU has multiprocessors."""
    del definition
    return [{"id": f"tokens{tokens}", "num_tokens": tokens} for tokens in (1, 7, 300)]


def make_inputs(
    definition: Data, case: Data, device: torch.device, generator: torch.Generator
) -> Inputs:
    """Rows of many magnitudes; sums that are not those of these rows, as other ranks add to them.

    Returns the inputs in the definition's order.
    """
    if tuple(definition["inputs"]) not in (SUMS, APPLY):
        import pytest

        pytest.skip(f"no inputs are made for {', '.join(definition['inputs'])}")
    tokens, q_size, k_size = case["num_tokens"], *_sizes(definition)
    magnitude = 10.0 ** (4.5 * torch.rand(2, tokens, 1, generator=generator) - 3.5)
    scale = torch.tensor([[q_size], [k_size]]) * _constant(definition, "RANKS")
    values = {
        "q": magnitude[0] * torch.randn(tokens, q_size, generator=generator),
        "k": magnitude[1] * torch.randn(tokens, k_size, generator=generator),
        "q_weight": 1.0 + 0.3 * torch.randn(q_size, generator=generator),
        "k_weight": 1.2 + 0.3 * torch.randn(k_size, generator=generator),
        "sums": scale * magnitude[..., 0] ** 2 * (0.5 + torch.rand(2, tokens, generator=generator)),
    }
    return {
        name: values[name].to(getattr(torch, spec["dtype"])).to(device)
        for name, spec in definition["inputs"].items()
    }


def _sizes(definition: Data) -> tuple[int, int]:
    axes = definition["axes"]
    return int(axes["q_size"]["value"]), int(axes["k_size"]["value"])


def _constant(definition: Data, name: str) -> float:
    """A constant of the reference; 1 where the sums alone are made."""
    found = re.search(rf"^{name} = ([\d.eE+-]+)$", definition["reference"], re.MULTILINE)
    if found is None and tuple(definition["inputs"]) == APPLY:
        import pytest

        pytest.skip(f"the reference does not say its {name}")
    return 1.0 if found is None else float(found[1])


def _expected(definition: Data, inputs: Inputs) -> list[torch.Tensor]:
    """The outputs in float64, from the formulas."""
    rows = [inputs[name].double().cpu() for name in ("q", "k")]
    if "sums" not in inputs:
        return [torch.stack([(x * x).sum(dim=-1) for x in rows])]
    found = []
    for x, sums, weight in zip(rows, inputs["sums"], ("q_weight", "k_weight"), strict=True):
        mean = sums.double().cpu() / (x.shape[1] * _constant(definition, "RANKS"))
        factor = 1.0 / (mean + _constant(definition, "EPSILON")).sqrt()
        found.append(x * factor[:, None] * inputs[weight].double().cpu())
    return found


def _agrees(run: Run, definition: Data, inputs: Inputs) -> None:
    before = {name: value.clone() for name, value in inputs.items()}
    outputs = run(*inputs.values())
    outputs = [outputs] if isinstance(outputs, torch.Tensor) else list(outputs)
    for out, wanted, (name, spec) in zip(
        outputs, _expected(definition, inputs), definition["outputs"].items(), strict=True
    ):
        assert out.dtype == getattr(torch, spec["dtype"]), f"{name} is {out.dtype}"
        # Half a unit in the last place, or what float32 sums are off by.
        unit = max(0.51 * torch.finfo(out.dtype).eps, 1e-6)
        torch.testing.assert_close(out.double().cpu(), wanted, rtol=unit, atol=1e-9, equal_nan=True)
    for name, value in inputs.items():
        assert torch.equal(value.nan_to_num(), before[name].nan_to_num()), f"run changes {name}"


def rows_of_every_magnitude_agree_with_float64(
    run: Run, definition: Data, case: Data, device: torch.device, generator: torch.Generator
) -> None:
    """The formulas, evaluated in float64, give the same up to rounding."""
    _agrees(run, definition, make_inputs(definition, case, device, generator))


def epsilon_is_added_below_the_root(
    run: Run, definition: Data, case: Data, device: torch.device, generator: torch.Generator
) -> None:
    """Sums whose mean equals epsilon, is far smaller, and zero."""
    inputs = make_inputs(definition, {"num_tokens": 4}, device, generator)
    if "sums" in inputs:
        elements = torch.tensor([list(_sizes(definition))]).t() * _constant(definition, "RANKS")
        size = _constant(definition, "EPSILON") * torch.tensor([1.0, 0.01, 0.0, 3.0])
        inputs["sums"] = (elements * size).to(inputs["sums"])
    _agrees(run, definition, inputs)


def rows_do_not_mix(
    run: Run, definition: Data, case: Data, device: torch.device, generator: torch.Generator
) -> None:
    """NaN in a row stays there; no tokens give none."""
    inputs = make_inputs(definition, {"num_tokens": 5}, device, generator)
    inputs["q"][2, 0], inputs["k"][4, -1] = math.nan, math.nan
    _agrees(run, definition, inputs)
    none = {
        name: value[:, :0] if name == "sums" else value[:0] if name in ("q", "k") else value
        for name, value in inputs.items()
    }
    outputs = run(*none.values())
    outputs = [outputs] if isinstance(outputs, torch.Tensor) else outputs
    assert all(0 in out.shape for out in outputs)


PROPERTIES = [
    rows_of_every_magnitude_agree_with_float64,
    epsilon_is_added_below_the_root,
    rows_do_not_mix,
]
