"""Sizes, inputs and properties for the reference tests of attention residuals."""

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
    """Few and many tokens; no stream that was kept, one, and several."""
    del definition
    sizes = ((1, 8), (7, 1), (5, 0), (150, 3))
    return [{"id": f"tokens{n}_kept{m}", "num_tokens": n, "num_blocks": m} for n, m in sizes]


def make_inputs(
    definition: Definition, case: Case, device: torch.device, generator: torch.Generator
) -> Inputs:
    """Streams of several sizes, some so small that epsilon matters; scores of a size around 2.

    Returns prefix_sum, blocks, score_weight in the definition's order.
    """
    tokens, kept, hidden = case["num_tokens"], case["num_blocks"], _hidden_size(definition)
    streams = torch.randn(tokens, kept + 1, hidden, generator=generator)
    streams *= 10.0 ** (4 * torch.rand(tokens, kept + 1, 1, generator=generator) - 3)
    values = {
        "prefix_sum": streams[:, -1],
        "blocks": streams[:, :-1],
        "score_weight": 2 * torch.randn(hidden, generator=generator) / math.sqrt(hidden),
    }
    return _cast(definition, values, device)


def _cast(definition: Definition, values: Inputs, device: torch.device) -> Inputs:
    """The values in the definition's order and dtypes; definitions with others are skipped."""
    if set(definition["inputs"]) != set(values):
        import pytest

        pytest.skip(f"no inputs are made for {', '.join(definition['inputs'])}")
    return {
        name: values[name].to(getattr(torch, spec["dtype"])).to(device).contiguous()
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
    """The weighed streams in float64, from the formula."""
    eps, weight = _epsilon(definition), inputs["score_weight"].double()
    x = torch.cat((inputs["prefix_sum"][:, None], inputs["blocks"]), 1).double()
    scores = (x * weight).sum(-1) / ((x * x).sum(-1) / x.shape[-1] + eps).sqrt()
    powers = (scores - scores.amax(-1, keepdim=True)).exp()
    shares = powers / powers.sum(-1, keepdim=True)
    return (shares[..., None] * x).sum(1)


def _assert_close(actual: torch.Tensor, expected: torch.Tensor, inputs: Inputs) -> None:
    # The output is rounded once. Streams may cancel, up to float32's errors of their shares.
    largest = max(float(v.abs().max()) if v.numel() else 0.0 for v in list(inputs.values())[:2])
    unit = 0.51 * torch.finfo(actual.dtype).eps
    torch.testing.assert_close(actual.double(), expected, rtol=unit, atol=2e-6 * largest)


def streams_are_weighed_as_in_float64(
    run: Run, definition: Definition, case: Case, device: torch.device, generator: torch.Generator
) -> None:
    """The formula, evaluated in float64, gives the same up to rounding; inputs stay as they are."""
    inputs = make_inputs(definition, case, device, generator)
    before = {name: value.clone() for name, value in inputs.items()}
    output = run(*inputs.values())
    assert output.shape == inputs["prefix_sum"].shape
    assert output.dtype == getattr(torch, definition["outputs"]["output"]["dtype"])
    _assert_close(output, _expected(definition, inputs), inputs)
    for name, value in inputs.items():
        assert torch.equal(value, before[name]), f"run changes its input {name}"


def epsilon_is_added_below_the_root(
    run: Run, definition: Definition, case: Case, device: torch.device, generator: torch.Generator
) -> None:
    """Streams whose mean square equals epsilon, is far smaller, and zero."""
    hidden, eps = _hidden_size(definition), _epsilon(definition)
    size = torch.tensor([1.0, 0.1, 0.0])[None, :, None]
    values = {
        "prefix_sum": math.sqrt(eps) * torch.randn(4, hidden, generator=generator),
        "blocks": math.sqrt(eps) * size * torch.randn(4, 3, hidden, generator=generator),
        "score_weight": 2 * torch.randn(hidden, generator=generator) / math.sqrt(hidden),
    }
    inputs = _cast(definition, values, device)
    _assert_close(run(*inputs.values()), _expected(definition, inputs), inputs)


def large_scores_choose_one_stream(
    run: Run, definition: Definition, case: Case, device: torch.device, generator: torch.Generator
) -> None:
    """Scores whose exponentials overflow float32 give what float64 gives."""
    inputs = make_inputs(definition, {"num_tokens": 6, "num_blocks": 4}, device, generator)
    inputs["score_weight"] = inputs["score_weight"] * 60
    _assert_close(run(*inputs.values()), _expected(definition, inputs), inputs)


def tokens_do_not_mix(
    run: Run, definition: Definition, case: Case, device: torch.device, generator: torch.Generator
) -> None:
    """NaN in a token's stream stays there; others come out as alone; no tokens give no rows."""
    inputs = make_inputs(definition, {"num_tokens": 5, "num_blocks": 2}, device, generator)
    inputs["blocks"][2, 1] = math.nan
    output = run(*inputs.values())
    assert bool(output[2].isnan().all())
    for kept in ([0, 1, 3, 4], []):
        alone = {n: v if n == "score_weight" else v[kept] for n, v in inputs.items()}
        unit = torch.finfo(output.dtype).eps
        torch.testing.assert_close(output[kept], run(*alone.values()), rtol=unit, atol=1e-5)


PROPERTIES = [
    streams_are_weighed_as_in_float64,
    epsilon_is_added_below_the_root,
    large_scores_choose_one_stream,
    tokens_do_not_mix,
]
