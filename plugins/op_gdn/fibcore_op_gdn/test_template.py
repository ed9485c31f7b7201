"""Sizes, inputs and properties for the reference tests of gated delta rules."""

import math
import re
from collections.abc import Callable
from typing import Any

import torch

Outputs = tuple[torch.Tensor, torch.Tensor]
Run = Callable[..., Outputs]
Data = dict[str, Any]  # a definition, or a case
Inputs = dict[str, Any]

# FlashInfer's prefill kernel multiplies in bfloat16 what a chunk computes on the way, its state
# among that. The properties hold float32 to what float32 can say.
TOLERANCES = {"output": (2e-2, 1e-2), "new_state": (2e-2, 2e-2), "final_state": (1e-3, 1e-3)}

DECODE = ("q", "k", "v", "state", "A_log", "a", "dt_bias", "b", "scale")
MTP = (
    *("q", "k", "v", "initial_state", "initial_state_indices", "A_log", "a", "dt_bias", "b"),
    *("scale", "intermediate_states_buffer"),
)
PREFILL = (*DECODE[:-1], "cu_seqlens", "scale")
FORMS = {DECODE: "decode", MTP: "mtp", PREFILL: "prefill"}


def _form(definition: Data) -> str:
    """Which form it is, by its inputs; definitions with others are skipped."""
    form = FORMS.get(tuple(definition["inputs"]))
    if form is None:
        import pytest

        pytest.skip(f"no inputs are made for {', '.join(definition['inputs'])}")
    return form


def cases(definition: Data) -> list[Data]:
    """One sequence and many; prompts of one token, of a chunk, of a chunk and a token, and more."""
    form = FORMS.get(tuple(definition["inputs"]))
    if form == "prefill":
        lengths = ([1], [64], [1, 70, 16, 17], [3, 140])
        return [{"id": f"tokens{'_'.join(map(str, n))}", "lengths": n} for n in lengths]
    if form == "mtp":
        sizes = ((1, 4, 1), (3, 2, 5), (6, 8, 9))
        return [
            {"id": f"batch{n}_tokens{t}", "batch_size": n, "seq_len": t, "pool_size": pool}
            for n, t, pool in sizes
        ]
    return [{"id": f"batch{n}", "batch_size": n} for n in (1, 7, 33)]


def make_inputs(
    definition: Data, case: Data, device: torch.device, generator: torch.Generator
) -> Inputs:
    """Keys of length about 1, queries too; gates that forget at once, and hardly at all.

    States can be told in bfloat16. Returns the inputs in the definition's order.
    """
    form, sizes = _form(definition), _sizes(definition)
    lengths = _lengths(case)
    tokens, heads, size = sum(lengths), sizes["num_v_heads"], sizes["head_size"]
    channels = _is_kda(definition)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    # A rule that brings them to length 1 is given others, some so short that epsilon shows.
    lengths_of = torch.rand(2, tokens, 1, 1, generator=generator)
    lengths_of = 10.0 ** (4 * lengths_of - 3) if channels else 0.5 + 0.6 * lengths_of
    queries, keys = (
        each
        * torch.nn.functional.normalize(normal(tokens, sizes[f"num_{name}_heads"], size), dim=-1)
        for name, each in zip("qk", lengths_of, strict=True)
    )
    gate = (size,) if channels else ()
    values: Inputs = {
        "q": queries,
        "k": keys,
        "v": normal(tokens, heads, size),
        "state": normal(_states(case), heads, size, size).bfloat16(),
        "A_log": 1.5 * normal(heads) - 1.0,
        "a": 2.0 * normal(tokens, heads, *gate),
        "dt_bias": normal(heads, *gate) - 1.0,
        "b": 2.0 * normal(tokens, heads),
        # A model's is the root of the size, which would leave outputs as small as tolerances.
        "scale": 0.75,
    }
    if form == "mtp":
        values["initial_state"] = values["state"]
        order = torch.randperm(case["pool_size"], generator=generator)
        values["initial_state_indices"] = order[: case["batch_size"]]
        buffer = (case["pool_size"], case["seq_len"], heads, size, size)
        values["intermediate_states_buffer"] = torch.zeros(buffer)
    if form == "prefill":
        values["cu_seqlens"] = torch.tensor([0, *lengths]).cumsum(0)
    else:
        for name in ("q", "k", "v", "a", "b"):
            values[name] = values[name].unflatten(0, (len(lengths), -1))
    return {
        name: float(values[name])
        if spec["shape"] is None
        else values[name].to(getattr(torch, spec["dtype"])).to(device)
        for name, spec in definition["inputs"].items()
    }


def _lengths(case: Data) -> tuple[int, ...]:
    """Tokens of each sequence."""
    if "lengths" in case:
        return tuple(map(int, case["lengths"]))
    return (int(case.get("seq_len", 1)),) * int(case["batch_size"])


def _states(case: Data) -> int:
    return int(case.get("pool_size", len(_lengths(case))))


def _sizes(definition: Data) -> dict[str, int]:
    axes = definition["axes"].items()
    return {name: int(axis["value"]) for name, axis in axes if axis["type"] == "const"}


def _is_kda(definition: Data) -> bool:
    return len(definition["inputs"]["dt_bias"]["shape"]) == 2


def _constant(definition: Data, name: str) -> float | None:
    found = re.search(rf"^{name} = (\S+)$", definition["reference"], flags=re.MULTILINE)
    return None if found is None else float(found[1])


def _gates(definition: Data, inputs: Inputs) -> tuple[torch.Tensor, torch.Tensor]:
    """Alpha [..., heads, K or 1] and beta [..., heads] in float64, by 1 / (1 + exp(x))."""
    channels = _is_kda(definition)
    names = ("A_log", "a", "dt_bias", "b")
    A_log, a, dt_bias, b = (inputs[name].double().cpu() for name in names)
    x = a + dt_bias
    rate = A_log.exp()[:, None] if channels else A_log.exp()
    bound = _constant(definition, "LOWER_BOUND")
    # exp(-softplus(x)) = 1 / (1 + exp(x))
    alpha = (1 + x.exp()) ** -rate if bound is None else (bound / (1 + (-rate * x).exp())).exp()
    return alpha if channels else alpha[..., None], 1 / (1 + (-b).exp())


def _heads(definition: Data, x: torch.Tensor) -> torch.Tensor:
    """Queries or keys of each value head in float64: head i has those of i // group."""
    heads, x = _sizes(definition)["num_v_heads"], x.double().cpu()
    if _is_kda(definition):
        epsilon = _constant(definition, "EPSILON")
        x = x / (x.pow(2).sum(-1, keepdim=True) + (1e-6 if epsilon is None else epsilon)).sqrt()
    group = heads // x.shape[-2]
    return x[..., [head // group for head in range(heads)], :]


def _expected(definition: Data, inputs: Inputs, lengths: tuple[int, ...]) -> Outputs:
    """What the recurrence gives, token by token, in float64.

    Returns the output [tokens, heads, V] and states [sequences or places, heads, V, K].
    """
    form = _form(definition)
    flat = 0 if form == "prefill" else 1

    def tokens_of(x: torch.Tensor) -> torch.Tensor:
        return x.flatten(0, flat)

    alpha, beta = (tokens_of(x) for x in _gates(definition, inputs))
    # Columns of one element: [tokens, heads, size, 1].
    q, k = (tokens_of(_heads(definition, inputs[name]))[..., None] for name in "qk")
    v = tokens_of(inputs["v"]).double().cpu()[..., None]
    states = inputs["initial_state" if form == "mtp" else "state"].double().cpu()
    places = range(len(lengths))
    if form == "mtp":
        places = inputs["initial_state_indices"].tolist()
    output, token = torch.zeros_like(v), 0
    for place, length in zip(places, lengths, strict=True):
        for t in range(token, token + length if place >= 0 else token):
            S = states[place] * alpha[t, :, None, :]
            error = beta[t, :, None, None] * (v[t] - S @ k[t])
            S = S + error @ k[t].transpose(-1, -2)
            output[t] = S @ q[t]
            states[place] = S
        token += length
    return inputs["scale"] * output[..., 0], states


def _assert_close(actual: torch.Tensor, expected: torch.Tensor) -> None:
    """Up to rounding, and to float32 sums of numbers about 1."""
    assert actual.dtype in (torch.bfloat16, torch.float32), f"an output is {actual.dtype}"
    narrow = actual.dtype == torch.bfloat16
    rtol = 0.52 * torch.finfo(torch.bfloat16).eps if narrow else 1e-5
    torch.testing.assert_close(
        actual.double().cpu(), expected, rtol=rtol, atol=1e-5, equal_nan=True
    )


def _agrees(run: Run, definition: Data, inputs: Inputs, lengths: tuple[int, ...]) -> None:
    before = {n: v.clone() if isinstance(v, torch.Tensor) else v for n, v in inputs.items()}
    output, states = run(*inputs.values())
    assert output.dtype == inputs["v"].dtype
    assert states.dtype == torch.float32
    assert output.shape == inputs["v"].shape
    for name, value in inputs.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, before[name]), f"run changes its input {name}"
    wanted, behind = _expected(definition, inputs, lengths)
    _assert_close(output.flatten(0, output.dim() - 3), wanted)
    _assert_close(states, behind)


def tokens_follow_the_recurrence(
    run: Run, definition: Data, case: Data, device: torch.device, generator: torch.Generator
) -> None:
    """The recurrence in float64 gives the same up to rounding; inputs stay as they are."""
    inputs = make_inputs(definition, case, device, generator)
    _agrees(run, definition, inputs, _lengths(case))


def _is_another(definition: Data, case: Data) -> bool:
    """Whether a property with sizes of its own has run for the first case."""
    return bool(case["id"] != cases(definition)[0]["id"])


def _small(definition: Data, batch: int = 3) -> Data:
    form = _form(definition)
    if form == "prefill":
        return {"lengths": [21, 5, 38][:batch]}
    if form == "mtp":
        return {"batch_size": batch, "seq_len": 3, "pool_size": 2 * batch + 1}
    return {"batch_size": batch}


def gates_of_every_size_agree(
    run: Run, definition: Data, case: Data, device: torch.device, generator: torch.Generator
) -> None:
    """Heads that forget all at once, or nothing; corrections that are whole, or none; no scale."""
    if _is_another(definition, case):
        return
    small = _small(definition)
    inputs = make_inputs(definition, small, device, generator)
    heads = torch.arange(_sizes(definition)["num_v_heads"], device=device)
    inputs["A_log"] = torch.where(heads % 2 == 0, 4.0, -9.0).to(inputs["A_log"])
    # Sums of many that are large, and of few that are small.
    inputs["a"] = torch.where(inputs["a"] > 0, 40.0, inputs["a"] - 6.0).to(inputs["a"])
    inputs["b"] = torch.where(inputs["b"] > 0, 30.0, -30.0).to(inputs["b"])
    inputs["scale"] = 0.375
    _agrees(run, definition, inputs, _lengths(small))


def sequences_do_not_mix(
    run: Run, definition: Data, case: Data, device: torch.device, generator: torch.Generator
) -> None:
    """NaN in a value head of one sequence stays there."""
    if _is_another(definition, case):
        return
    small = _small(definition)
    inputs = make_inputs(definition, small, device, generator)
    form, head = _form(definition), _sizes(definition)["num_v_heads"] - 1
    first = _lengths(small)[0]
    place: Any = (1, 0) if form != "prefill" else first
    inputs["v"][(*place, head) if isinstance(place, tuple) else (place, head)] = math.nan
    output, states = run(*inputs.values())
    wanted, behind = _expected(definition, inputs, _lengths(small))
    assert bool(wanted.isnan().any())
    _assert_close(output.flatten(0, output.dim() - 3), wanted)
    _assert_close(states, behind)


def a_step_goes_on_where_the_last_one_ended(
    run: Run, definition: Data, case: Data, device: torch.device, generator: torch.Generator
) -> None:
    """Tokens of sequences in two calls come out as in one; sequences without tokens stay."""
    if _form(definition) != "prefill" or _is_another(definition, case):
        return
    inputs = make_inputs(definition, {"lengths": [37, 20]}, device, generator)
    rows = ("q", "k", "v", "a", "b")
    whole, behind = run(*inputs.values())
    parts, state = [], inputs["state"]
    for picked, starts in (
        ([*range(37)], [0, 37, 37]),
        ([*range(37, 57)], [0, 0, 20]),
        ([], [0, 0, 0]),
    ):
        some = {n: v[picked] if n in rows else v for n, v in inputs.items()}
        some["state"], some["cu_seqlens"] = state, torch.tensor(starts, device=device)
        before = state.clone()
        output, state = run(*some.values())
        parts.append(output)
        for sequence in range(2):
            if starts[sequence] == starts[sequence + 1]:
                assert torch.equal(state[sequence], before[sequence])
    nobody = {n: v[:0] if n in (*rows, "state") else v for n, v in inputs.items()}
    nobody["cu_seqlens"] = inputs["cu_seqlens"][:1]
    output, none = run(*nobody.values())
    assert (len(output), len(none)) == (0, 0)
    torch.testing.assert_close(torch.cat(parts).float(), whole.float(), rtol=8e-3, atol=1e-5)
    torch.testing.assert_close(state, behind, rtol=1e-5, atol=1e-5)


def places_without_a_sequence_stay(
    run: Run, definition: Data, case: Data, device: torch.device, generator: torch.Generator
) -> None:
    """Of a pool, states of nobody keep their bits; a row that is padding comes out as 0."""
    if _form(definition) != "mtp" or _is_another(definition, case):
        return
    small = {"batch_size": 4, "seq_len": 3, "pool_size": 6}
    inputs = make_inputs(definition, small, device, generator)
    inputs["initial_state_indices"][1] = -1
    inputs["intermediate_states_buffer"].fill_(math.nan)
    inputs["k"][1], inputs["a"][1] = math.nan, math.nan
    output, pool = run(*inputs.values())
    assert bool((output[1] == 0).all())
    used = set(inputs["initial_state_indices"].tolist())
    for place in set(range(6)) - used:
        assert torch.equal(pool[place], inputs["initial_state"][place])
    inputs["k"][1], inputs["a"][1] = 0.0, 0.0
    _agrees(
        run,
        definition,
        {
            **inputs,
            "intermediate_states_buffer": pool.new_zeros(
                inputs["intermediate_states_buffer"].shape
            ),
        },
        _lengths(small),
    )


PROPERTIES = [
    tokens_follow_the_recurrence,
    gates_of_every_size_agree,
    sequences_do_not_mix,
    a_step_goes_on_where_the_last_one_ended,
    places_without_a_sequence_stay,
]
