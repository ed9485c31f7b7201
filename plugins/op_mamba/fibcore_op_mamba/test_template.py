"""Sizes, inputs and properties for the reference tests of selective state spaces."""

import math
from collections.abc import Callable
from typing import Any

import torch

Outputs = tuple[torch.Tensor, torch.Tensor]
Run = Callable[..., Outputs]
Data = dict[str, Any]  # a definition, or a case
Inputs = dict[str, torch.Tensor]

DECODE = ("state", "x", "dt", "A", "B", "C", "D", "dt_bias", "state_batch_indices")
PREFILL = ("x", "dt", "A", "B", "C", "D", "dt_bias", "state", "cu_seqlens")
FORMS = {DECODE: "decode", PREFILL: "prefill"}


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
    """Heads that forget at once, and hardly at all; numbers of a head that A, D and steps share.

    A decode step has them for each channel: views, as servers make them. Returns the inputs in
    the definition's order.
    """
    form, sizes = _form(definition), _sizes(definition)
    heads, dim, dstate = sizes["nheads"], sizes["head_dim"], sizes["dstate"]
    rows = sum(case["lengths"]) if form == "prefill" else case["batch_size"]
    states = len(case["lengths"]) if form == "prefill" else case["state_cache_size"]

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    values = {
        "state": normal(states, heads, dim, dstate),
        "x": normal(rows, heads, dim),
        "dt": normal(rows, heads),
        "A": -(2.0 * normal(heads) - 1.0).exp(),
        "B": normal(rows, sizes["ngroups"], dstate),
        "C": normal(rows, sizes["ngroups"], dstate),
        "D": normal(heads),
        "dt_bias": normal(heads) - 1.0,
    }
    if form == "prefill":
        values["cu_seqlens"] = torch.tensor([0, *case["lengths"]]).cumsum(0)
    else:
        order = torch.randperm(states, generator=generator)
        values["state_batch_indices"] = order[:rows]
    cast = {
        name: values[name].to(getattr(torch, spec["dtype"])).to(device)
        for name, spec in definition["inputs"].items()
    }
    if form == "decode":
        cast["A"] = cast["A"][:, None, None].expand(-1, dim, dstate)
        for name in ("dt", "D", "dt_bias"):
            cast[name] = cast[name][..., None].expand(*cast[name].shape, dim)
    return cast


def _sizes(definition: Data) -> dict[str, int]:
    axes = definition["axes"].items()
    return {name: int(axis["value"]) for name, axis in axes if axis["type"] == "const"}


def _expected(definition: Data, inputs: Inputs, lengths: list[int]) -> Outputs:
    """What the recurrence gives, token by token, in float64.

    Returns the output [rows, heads, D] and states [sequences or places, heads, D, N].
    """
    form, sizes = _form(definition), _sizes(definition)
    value = {name: x.double().cpu() for name, x in inputs.items()}
    if form == "prefill":  # numbers of heads become numbers of channels
        value["A"] = value["A"][:, None, None]
        for name in ("dt", "D", "dt_bias"):
            value[name] = value[name][..., None]
    group = sizes["nheads"] // sizes["ngroups"]
    picked = [head // group for head in range(sizes["nheads"])]
    B, C = value["B"][:, picked], value["C"][:, picked]
    step = torch.log1p((value["dt"] + value["dt_bias"]).exp())
    x, states = value["x"], value["state"]
    decode = form == "decode"
    places = inputs["state_batch_indices"].tolist() if decode else list(range(len(lengths)))
    output, row = torch.zeros_like(x), 0
    for place, length in zip(places, lengths, strict=True):
        S = states[place] if place >= 0 else torch.zeros_like(states[0])
        for t in range(row, row + length):
            S = (step[t, ..., None] * value["A"]).exp() * S
            S = S + (step[t] * x[t])[..., None] * B[t, :, None]
            output[t] = (S @ C[t, ..., None])[..., 0] + value["D"] * x[t]
        if place >= 0:
            states[place] = S
        row += length
    return output, states


def _assert_close(actual: torch.Tensor, expected: torch.Tensor, scale: float) -> None:
    """Up to one rounding to bfloat16, and to float32 sums of numbers as large as `scale`, or more.

    Sums of large numbers may come out small: what they are off by is held against the largest.
    """
    assert actual.dtype == torch.bfloat16, f"an output is {actual.dtype}"
    largest = float(expected.nan_to_num().abs().max()) if expected.numel() else 0.0
    torch.testing.assert_close(
        actual.double().cpu(),
        expected,
        rtol=0.52 * torch.finfo(torch.bfloat16).eps,
        atol=max(1e-5 * scale, 1e-6 * largest),
        equal_nan=True,
    )


def _lengths(case: Data) -> list[int]:
    """Tokens of each sequence."""
    return list(case["lengths"]) if "lengths" in case else [1] * int(case["batch_size"])


def _agrees(run: Run, definition: Data, inputs: Inputs, lengths: list[int]) -> None:
    before = {name: value.clone() for name, value in inputs.items()}
    output, states = run(*inputs.values())
    assert output.shape == inputs["x"].shape
    assert states.shape == inputs["state"].shape
    for name, value in inputs.items():
        assert torch.equal(value, before[name]), f"run changes its input {name}"
    wanted, behind = _expected(definition, inputs, lengths)
    _assert_close(output, wanted, math.sqrt(_sizes(definition)["dstate"]))
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
        return {"lengths": [21, 5, 38]}
    return {"batch_size": 5, "state_cache_size": 8}


def steps_of_every_size_agree(
    run: Run, definition: Data, case: Data, device: torch.device, generator: torch.Generator
) -> None:
    """Steps that are large, and hardly any; channels whose numbers are not those of their head."""
    if _is_another(definition, case):
        return
    small = _small(definition)
    inputs = make_inputs(definition, small, device, generator)
    inputs["dt"] = torch.where(inputs["dt"] > 0, 30.0, inputs["dt"] - 5.0).to(inputs["dt"].dtype)
    if _form(definition) == "decode":
        for name in ("A", "dt", "D", "dt_bias"):
            factor = 0.5 + torch.rand(inputs[name].shape, generator=generator)
            inputs[name] = (inputs[name] * factor.to(device)).to(inputs[name].dtype)
    _agrees(run, definition, inputs, _lengths(small))


def sequences_do_not_mix(
    run: Run, definition: Data, case: Data, device: torch.device, generator: torch.Generator
) -> None:
    """NaN in a head of one sequence stays there."""
    if _is_another(definition, case):
        return
    small = _small(definition)
    inputs = make_inputs(definition, small, device, generator)
    lengths = _lengths(small)
    inputs["x"][lengths[0], -1, 0] = math.nan
    output, states = run(*inputs.values())
    wanted, behind = _expected(definition, inputs, lengths)
    assert bool(wanted.isnan().any())
    _assert_close(output, wanted, math.sqrt(_sizes(definition)["dstate"]))
    _assert_close(states, behind, 1.0)


def a_step_goes_on_where_the_last_one_ended(
    run: Run, definition: Data, case: Data, device: torch.device, generator: torch.Generator
) -> None:
    """Sequences without tokens keep their state; no sequences give nothing."""
    if _form(definition) != "prefill" or _is_another(definition, case):
        return
    inputs = make_inputs(definition, {"lengths": [9, 6]}, device, generator)
    rows = ("x", "dt", "B", "C")
    wanted, _ = _expected(definition, inputs, [9, 6])
    for starts, picked in (([0, 9, 9], slice(9)), ([0, 0, 6], slice(9, None))):
        some = {n: v[picked] if n in rows else v for n, v in inputs.items()}
        some["cu_seqlens"] = torch.tensor(starts, device=device)
        output, state = run(*some.values())
        _assert_close(output, wanted[picked], math.sqrt(_sizes(definition)["dstate"]))
        for sequence in range(2):
            if starts[sequence] == starts[sequence + 1]:
                assert torch.equal(state[sequence], inputs["state"][sequence])
    none = {n: v[:0] if n in (*rows, "state") else v for n, v in inputs.items()}
    none["cu_seqlens"] = inputs["cu_seqlens"][:1]
    assert [len(out) for out in run(*none.values())] == [0, 0]


def places_without_a_sequence_stay(
    run: Run, definition: Data, case: Data, device: torch.device, generator: torch.Generator
) -> None:
    """Of a cache, states of nobody keep their bits; a row that is padding begins with nothing."""
    if _form(definition) != "decode" or _is_another(definition, case):
        return
    inputs = make_inputs(definition, {"batch_size": 4, "state_cache_size": 6}, device, generator)
    places = torch.tensor([4, -1, 0, 2]).to(inputs["state_batch_indices"])
    inputs["state_batch_indices"] = places
    inputs["state"][[1, 3, 5]] = math.nan
    _agrees_with_nan(run, definition, inputs)
    rows = ("x", "dt", "B", "C", "state_batch_indices")
    none = {name: value[:0] if name in rows else value for name, value in inputs.items()}
    output, state = run(*none.values())
    assert len(output) == 0
    assert torch.equal(state.isnan(), inputs["state"].isnan())


def _agrees_with_nan(run: Run, definition: Data, inputs: Inputs) -> None:
    output, states = run(*inputs.values())
    wanted, behind = _expected(definition, inputs, [1] * 4)
    assert not bool(wanted.isnan().any())
    _assert_close(output, wanted, math.sqrt(_sizes(definition)["dstate"]))
    _assert_close(states, behind, 1.0)


PROPERTIES = [
    tokens_follow_the_recurrence,
    steps_of_every_size_agree,
    sequences_do_not_mix,
    a_step_goes_on_where_the_last_one_ended,
    places_without_a_sequence_stay,
]
