"""Sizes, inputs and properties for the reference tests of lightning attention."""

import math
from collections.abc import Callable
from typing import Any

import torch

Outputs = tuple[torch.Tensor, torch.Tensor]
Run = Callable[..., Outputs]
Data = dict[str, Any]  # a definition, or a case
Inputs = dict[str, Any]

DECODE = ("q", "k", "v", "state", "slope", "state_batch_indices", "scale")
PREFILL = ("q", "k", "v", "state", "slope", "cu_seqlens", "scale")
FORMS = {DECODE: "decode", PREFILL: "prefill"}
ROWS = ("q", "k", "v")


def _form(definition: Data) -> str:
    """Which form it is, by its inputs; definitions with others are skipped."""
    form = FORMS.get(tuple(definition["inputs"]))
    if form is None:
        import pytest

        pytest.skip(f"no inputs are made for {', '.join(definition['inputs'])}")
    return form


def cases(definition: Data) -> list[Data]:
    """One sequence and many; prompts of one token, of a chunk, of a chunk and more."""
    if FORMS.get(tuple(definition["inputs"])) == "prefill":
        lengths = ([1], [64], [1, 70, 16, 17], [3, 140])
        return [{"id": f"tokens{'_'.join(map(str, n))}", "lengths": n} for n in lengths]
    sizes = ((1, 1), (7, 9), (33, 40))
    return [{"id": f"batch{n}", "batch_size": n, "state_cache_size": places} for n, places in sizes]


def make_inputs(
    definition: Data, case: Data, device: torch.device, generator: torch.Generator
) -> Inputs:
    """Heads that forget within a token, and hardly at all.

    Returns the inputs in the definition's order; scale is a float.
    """
    form, (heads, dim) = _form(definition), _sizes(definition)
    rows = sum(case["lengths"]) if form == "prefill" else case["batch_size"]
    states = len(case["lengths"]) if form == "prefill" else case["state_cache_size"]
    values: Inputs = {name: torch.randn(rows, heads, dim, generator=generator) for name in ROWS}
    values["state"] = torch.randn(states, heads, dim, dim, generator=generator)
    values["slope"] = 2.0 ** (4.0 * torch.randn(heads, generator=generator) - 3.0)
    if form == "prefill":
        values["cu_seqlens"] = torch.tensor([0, *case["lengths"]]).cumsum(0)
    else:
        values["state_batch_indices"] = torch.randperm(states, generator=generator)[:rows]
    cast: Inputs = {
        name: values[name].to(getattr(torch, spec["dtype"])).to(device)
        for name, spec in definition["inputs"].items()
        if name != "scale"
    }
    return {**cast, "scale": 0.7 / math.sqrt(dim)}


def _sizes(definition: Data) -> tuple[int, int]:
    axes = definition["axes"]
    return int(axes["num_heads"]["value"]), int(axes["head_dim"]["value"])


def _expected(inputs: Inputs, lengths: list[int]) -> Outputs:
    """What the recurrence gives, token by token, in float64.

    Returns the output [rows, heads, D] and states [sequences or places, heads, D, D].
    """
    value = {name: x.double().cpu() for name, x in inputs.items() if name != "scale"}
    states, output = value["state"], torch.zeros_like(value["q"])
    decode = "state_batch_indices" in inputs
    places = inputs["state_batch_indices"].tolist() if decode else list(range(len(lengths)))
    faded, row = 1.0 / value["slope"].exp()[:, None, None], 0
    for place, length in zip(places, lengths, strict=True):
        for t in range(row, row + length if place >= 0 else row):
            q, k, v = (value[name][t] for name in ROWS)
            states[place] = faded * states[place] + k[:, :, None] * v[:, None, :]
            output[t] = inputs["scale"] * (q[:, :, None] * states[place]).sum(dim=1)
        row += length
    return output, states


def _assert_close(actual: torch.Tensor, expected: torch.Tensor, scale: float) -> None:
    """Up to one rounding to the dtype, and float32 sums of numbers as large as `scale`, or more.

    Sums of large numbers may come out small: what they are off by is held against the largest.
    """
    largest = float(expected.nan_to_num().abs().max()) if expected.numel() else 0.0
    torch.testing.assert_close(
        actual.double().cpu(),
        expected,
        rtol=max(0.52 * torch.finfo(actual.dtype).eps, 2e-6),
        atol=max(1e-6 * scale, 2e-6 * largest),
        equal_nan=True,
    )


def _lengths(case: Data) -> list[int]:
    """Tokens of each sequence."""
    return list(case["lengths"]) if "lengths" in case else [1] * int(case["batch_size"])


def _agrees(run: Run, definition: Data, inputs: Inputs, lengths: list[int]) -> None:
    tensors = {name: value for name, value in inputs.items() if name != "scale"}
    before = {name: value.clone() for name, value in tensors.items()}
    output, states = run(*inputs.values())
    assert output.shape == inputs["q"].shape
    assert states.shape == inputs["state"].shape
    for tensor, spec in zip((output, states), definition["outputs"].values(), strict=True):
        assert tensor.dtype == getattr(torch, spec["dtype"]), f"an output is {tensor.dtype}"
    for name, value in tensors.items():
        assert torch.equal(value.nan_to_num(), before[name].nan_to_num()), f"run changes {name}"
    wanted, behind = _expected(inputs, lengths)
    _assert_close(output, wanted, 1.0)
    _assert_close(states, behind, 1.0)


def tokens_follow_the_recurrence(
    run: Run, definition: Data, case: Data, device: torch.device, generator: torch.Generator
) -> None:
    """The recurrence in float64 gives the same up to rounding; inputs stay as they are."""
    inputs = make_inputs(definition, case, device, generator)
    _agrees(run, definition, inputs, _lengths(case))


def _is_another(definition: Data, case: Data) -> bool:
    """Whether a property with sizes of its own has run for the first case."""
    return bool(case["id"] != cases(definition)[0]["id"])


def _small(definition: Data) -> Data:
    if _form(definition) == "prefill":
        return {"lengths": [21, 5, 70]}
    return {"batch_size": 5, "state_cache_size": 8}


def slopes_of_every_size_agree(
    run: Run, definition: Data, case: Data, device: torch.device, generator: torch.Generator
) -> None:
    """Slopes under which a token's trace is gone at once, and stays for good."""
    if _is_another(definition, case):
        return
    for slope in (0.0, 1e-4, 3.0, 90.0):
        small = _small(definition)
        inputs = make_inputs(definition, small, device, generator)
        inputs["slope"] = torch.full_like(inputs["slope"], slope)
        _agrees(run, definition, inputs, _lengths(small))


def sequences_and_heads_do_not_mix(
    run: Run, definition: Data, case: Data, device: torch.device, generator: torch.Generator
) -> None:
    """NaN in a head of one sequence stays there."""
    if _is_another(definition, case):
        return
    small = _small(definition)
    lengths = _lengths(small)
    for name in ("k", "v", "q"):
        inputs = make_inputs(definition, small, device, generator)
        inputs[name][lengths[0], -1, 0] = math.nan
        wanted, _ = _expected(inputs, lengths)
        assert bool(wanted.isnan().any())
        _agrees(run, definition, inputs, lengths)


def a_step_goes_on_where_the_last_one_ended(
    run: Run, definition: Data, case: Data, device: torch.device, generator: torch.Generator
) -> None:
    """Sequences without tokens keep their state; no sequences give nothing."""
    if _form(definition) != "prefill" or _is_another(definition, case):
        return
    inputs = make_inputs(definition, {"lengths": [9, 6]}, device, generator)
    wanted, _ = _expected(inputs, [9, 6])
    for starts, picked in (([0, 9, 9], slice(9)), ([0, 0, 6], slice(9, None))):
        some = {n: v[picked] if n in ROWS else v for n, v in inputs.items()}
        some["cu_seqlens"] = torch.tensor(starts, device=device)
        output, state = run(*some.values())
        _assert_close(output, wanted[picked], 1.0)
        for sequence in range(2):
            if starts[sequence] == starts[sequence + 1]:
                assert torch.equal(state[sequence], inputs["state"][sequence])
    none = {n: v[:0] if n in (*ROWS, "state") else v for n, v in inputs.items()}
    none["cu_seqlens"] = inputs["cu_seqlens"][:1]
    assert [len(out) for out in run(*none.values())] == [0, 0]


def places_without_a_sequence_stay(
    run: Run, definition: Data, case: Data, device: torch.device, generator: torch.Generator
) -> None:
    """Of a cache, states of nobody keep their bits; the output of padding is 0."""
    if _form(definition) != "decode" or _is_another(definition, case):
        return
    inputs = make_inputs(definition, {"batch_size": 4, "state_cache_size": 6}, device, generator)
    places = torch.tensor([4, -1, 0, 2]).to(inputs["state_batch_indices"])
    inputs["state_batch_indices"] = places
    inputs["state"][[1, 3, 5]] = math.nan
    wanted, _ = _expected(inputs, [1] * 4)
    assert not bool(wanted.isnan().any())
    _agrees(run, definition, inputs, [1] * 4)
    rows = (*ROWS, "state_batch_indices")
    none = {name: value[:0] if name in rows else value for name, value in inputs.items()}
    output, state = run(*none.values())
    assert len(output) == 0
    assert torch.equal(state.isnan(), inputs["state"].isnan())


PROPERTIES = [
    tokens_follow_the_recurrence,
    slopes_of_every_size_agree,
    sequences_and_heads_do_not_mix,
    a_step_goes_on_where_the_last_one_ended,
    places_without_a_sequence_stay,
]
