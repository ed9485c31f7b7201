"""Sizes, inputs and properties for the reference tests of causal convolutions."""

import math
from collections.abc import Callable
from typing import Any

import torch

Outputs = tuple[torch.Tensor, torch.Tensor]
Run = Callable[..., Outputs]
Data = dict[str, Any]  # a definition, or a case
Inputs = dict[str, torch.Tensor]

FORMS = {"conv_state_indices": "update", "cu_seqlens": "prefill"}


def _form(definition: Data) -> str:
    """Which form it is, by its inputs; definitions with others are skipped."""
    first, last = list(definition["inputs"])[:3], list(definition["inputs"])[3:]
    form = FORMS.get(last[-1] if last else "")
    if form is None or first != ["x", "conv_state", "weight"] or last[:-1] not in ([], ["bias"]):
        import pytest

        pytest.skip(f"no inputs are made for {', '.join(definition['inputs'])}")
    return form


def cases(definition: Data) -> list[Data]:
    """One sequence and many; prompts that are shorter than a state, and longer ones."""
    if "cu_seqlens" in definition["inputs"]:
        lengths = ([1], [300], [1, 2, 130, 3, 17])
        return [{"id": f"tokens{'_'.join(map(str, n))}", "lengths": n} for n in lengths]
    sizes = ((1, 1), (7, 9), (150, 160))
    return [{"id": f"batch{n}", "batch_size": n, "state_cache_size": places} for n, places in sizes]


def make_inputs(
    definition: Data, case: Data, device: torch.device, generator: torch.Generator
) -> Inputs:
    """Random tokens, states, weights and biases; places in no order.

    Returns the inputs in the definition's order.
    """
    form, sizes = _form(definition), _sizes(definition)
    lengths = _lengths(case)
    states = case.get("state_cache_size", len(lengths))

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    values = {
        "x": normal(sum(lengths), sizes["dim"]),
        "conv_state": normal(states, sizes["dim"], sizes["state_len"]),
        "weight": normal(sizes["dim"], sizes["width"]),
        "bias": normal(sizes["dim"]),
    }
    if form == "prefill":
        values["cu_seqlens"] = torch.tensor([0, *lengths]).cumsum(0)
    else:
        order = torch.randperm(states, generator=generator)
        values["conv_state_indices"] = order[: len(lengths)]
    return {
        name: values[name].to(getattr(torch, spec["dtype"])).to(device)
        for name, spec in definition["inputs"].items()
    }


def _lengths(case: Data) -> list[int]:
    """Tokens of each sequence."""
    return list(case["lengths"]) if "lengths" in case else [1] * int(case["batch_size"])


def _sizes(definition: Data) -> dict[str, int]:
    axes = definition["axes"].items()
    return {name: int(axis["value"]) for name, axis in axes if axis["type"] == "const"}


def _expected(definition: Data, inputs: Inputs, lengths: list[int]) -> Outputs:
    """Sums over the last tokens, one sequence after the other, in float64."""
    value = {name: x.double().cpu() for name, x in inputs.items()}
    width, form = _sizes(definition)["width"], _form(definition)
    states, output, row = value["conv_state"], torch.zeros_like(value["x"]), 0
    places = list(range(len(lengths)))
    if form == "update":
        places = inputs["conv_state_indices"].tolist()
    for place, length in zip(places, lengths, strict=True):
        if place >= 0 and length:
            tokens = torch.cat((states[place].t(), value["x"][row : row + length]))
            for t in range(length):
                seen = tokens[t : t + width]
                output[row + t] = (seen * value["weight"].t()).sum(0) + value.get("bias", 0.0)
            if "silu" in definition["name"]:
                own = output[row : row + length]
                output[row : row + length] = own / (1 + (-own).exp())
            states[place] = tokens[length:].t()
        row += length
    return output, states


def _agrees(run: Run, definition: Data, inputs: Inputs, lengths: list[int]) -> None:
    before = {name: value.clone() for name, value in inputs.items()}
    output, states = run(*inputs.values())
    assert output.dtype == states.dtype == torch.bfloat16
    assert output.shape == inputs["x"].shape
    for name, value in inputs.items():
        same = torch.equal(value.nan_to_num(7.0), before[name].nan_to_num(7.0))
        assert same, f"run changes its input {name}"
    wanted, behind = _expected(definition, inputs, lengths)
    torch.testing.assert_close(
        output.double().cpu(),
        wanted,
        rtol=0.52 * torch.finfo(torch.bfloat16).eps,
        atol=2e-6,
        equal_nan=True,
    )
    # Tokens are kept as they are.
    torch.testing.assert_close(states.double().cpu(), behind, rtol=0, atol=0, equal_nan=True)


def last_tokens_are_summed(
    run: Run, definition: Data, case: Data, device: torch.device, generator: torch.Generator
) -> None:
    """The sums in float64 are the same up to rounding; states bit for bit; inputs stay."""
    _agrees(run, definition, make_inputs(definition, case, device, generator), _lengths(case))


def sequences_and_channels_do_not_mix(
    run: Run, definition: Data, case: Data, device: torch.device, generator: torch.Generator
) -> None:
    """NaN in a channel of one sequence stays there, and in its state."""
    prefill = _form(definition) == "prefill"
    small = {"lengths": [5, 4, 6]} if prefill else {"batch_size": 5, "state_cache_size": 8}
    inputs = make_inputs(definition, small, device, generator)
    inputs["x"][_lengths(small)[0] + 2 if prefill else 1, -1] = math.nan
    assert bool(run(*inputs.values())[0].isnan().any())
    _agrees(run, definition, inputs, _lengths(small))


def sequences_without_tokens_stay(
    run: Run, definition: Data, case: Data, device: torch.device, generator: torch.Generator
) -> None:
    """A sequence without tokens keeps its state; no sequences give nothing."""
    if _form(definition) != "prefill":
        return
    for lengths in ([0, 3, 0], [2, 0], [0]):
        inputs = make_inputs(definition, {"lengths": lengths}, device, generator)
        _agrees(run, definition, inputs, lengths)
    none = {
        **inputs,
        "conv_state": inputs["conv_state"][:0],
        "cu_seqlens": inputs["cu_seqlens"][:1],
    }
    assert [len(out) for out in run(*none.values())] == [0, 0]


def places_without_a_sequence_stay(
    run: Run, definition: Data, case: Data, device: torch.device, generator: torch.Generator
) -> None:
    """Of a cache, states of nobody keep their bits; a row that is padding comes out as 0."""
    if _form(definition) != "update":
        return
    inputs = make_inputs(definition, {"batch_size": 4, "state_cache_size": 6}, device, generator)
    places = torch.tensor([4, -1, 0, 2]).to(inputs["conv_state_indices"])
    inputs["conv_state_indices"] = places
    inputs["conv_state"][[1, 3, 5]] = math.nan
    inputs["x"][1] = math.nan
    output, _ = run(*inputs.values())
    assert bool((output[1] == 0).all())
    _agrees(run, definition, inputs, [1] * 4)


PROPERTIES = [
    last_tokens_are_summed,
    sequences_and_channels_do_not_mix,
    sequences_without_tokens_stay,
    places_without_a_sequence_stay,
]
