"""Sizes, inputs and properties for the reference tests of rotary position embeddings."""

import math
import re
from collections.abc import Callable
from typing import Any

import torch

Outputs = tuple[torch.Tensor, torch.Tensor]
Run = Callable[..., Outputs]
Definition = dict[str, Any]
Case = dict[str, Any]
Inputs = dict[str, torch.Tensor]


def cases(definition: Definition) -> list[Case]:
    """One token, an odd number of them, and more than a GPU has multiprocessors; one key head."""
    del definition
    sizes = ((1, 4, 1, 1), (7, 8, 2, 40), (130, 5, 3, 300), (33, 16, 1, 64))
    return [
        {
            "id": f"tokens{tokens}_h{queries}_kv{keys}",
            "num_tokens": tokens,
            "num_qo_heads": queries,
            "num_kv_heads": keys,
            "max_seq_len": rows,
        }
        for tokens, queries, keys, rows in sizes
    ]


def make_inputs(
    definition: Definition, case: Case, device: torch.device, generator: torch.Generator
) -> Inputs:
    """Any numbers in the table: sines are no cosines' partners, and lengths are not 1.

    Positions come in no order, and some more than once; the table's first and last are among them.
    Returns q, k, cos_sin_cache, positions in the definition's order.
    """
    tokens, rows = case["num_tokens"], case["max_seq_len"]
    if _gives_angles(definition):
        positions = torch.randint(0, 100 * rows, (tokens,), generator=generator)
        positions[-1] = 0
        frequencies = torch.rand(_size(definition, "num_pairs"), generator=generator)
        values = {"positions": positions, "inv_freq": frequencies, "attention_scaling": 1.3}
        return _in_order(definition, values, device)
    if _is_given_rows(definition):
        heads = _heads(definition, case, generator)
        row = (tokens, _size(definition, "head_size"))
        values = {name: torch.randn(row, generator=generator) for name in ("cos", "sin")}
        return _in_order(definition, {**heads, **values}, device)
    shape = (3, tokens) if _sections(definition) else (tokens,)
    positions = torch.randint(0, rows, shape, generator=generator)
    positions[..., -1], positions[..., 0] = 0, rows - 1
    table = torch.randn(rows, _size(definition, "rotary_dim"), generator=generator)
    return _cast(definition, _heads(definition, case, generator), table, positions, device)


def _heads(definition: Definition, case: Case, generator: torch.Generator) -> Inputs:
    """Queries and keys [num_tokens, heads, head_size], normally distributed."""
    tokens, head_size = case["num_tokens"], _size(definition, "head_size")
    return {
        name: torch.randn(tokens, case[heads], head_size, generator=generator)
        for name, heads in (("q", "num_qo_heads"), ("k", "num_kv_heads"))
    }


def _cast(
    definition: Definition,
    heads: Inputs,
    table: torch.Tensor,
    positions: torch.Tensor,
    device: torch.device,
) -> Inputs:
    """The values in the definition's order and dtypes; definitions with others are skipped."""
    if _is_given_rows(definition):
        rows = table[positions]
        half = rows.shape[-1] // 2
        cos, sin = rows[:, :half].repeat(1, 2), rows[:, half:].repeat(1, 2)
        return _in_order(definition, {**heads, "cos": cos, "sin": sin}, device)
    values = {**heads, "cos_sin_cache": table, "positions": positions}
    return _in_order(definition, values, device)


def _is_given_rows(definition: Definition) -> bool:
    """Whether every token's cosines and sines are inputs, instead of a table and positions."""
    return list(definition["inputs"]) == ["q", "k", "cos", "sin"]


def _gives_angles(definition: Definition) -> bool:
    """Whether cosines and sines are what it gives."""
    return list(definition["inputs"]) == ["positions", "inv_freq", "attention_scaling"]


def _in_order(definition: Definition, values: Any, device: torch.device) -> Inputs:
    if set(definition["inputs"]) != set(values):
        import pytest

        pytest.skip(f"no inputs are made for {', '.join(definition['inputs'])}")
    return {
        name: values[name].to(getattr(torch, spec["dtype"])).to(device)
        if isinstance(values[name], torch.Tensor)
        else values[name]
        for name, spec in definition["inputs"].items()
    }


def _size(definition: Definition, axis: str) -> int:
    if axis == "rotary_dim" and _is_given_rows(definition):
        axis = "head_size"  # all of it is turned
    return int(definition["axes"][axis]["value"])


def _sections(definition: Definition) -> list[int]:
    """Pairs that each of a token's positions turns, as the name says; empty for one position."""
    found = re.search(r"_s(\d+)_(\d+)_(\d+)", definition["name"])
    return [int(part) for part in found.groups()] if found else []


def _axes(definition: Definition) -> list[int]:
    """The position that turns each pair, as the name says."""
    sections = _sections(definition)
    if not definition["name"].endswith("_interleaved"):
        return [axis for axis, size in enumerate(sections) for _ in range(size)]
    axes = [0] * sum(sections)
    for axis in (1, 2):
        for pair in range(axis, min(3 * sections[axis], len(axes)), 3):
            axes[pair] = axis
    return axes


def _pairs(definition: Definition) -> torch.Tensor:
    """Places [rotary_dim / 2, 2] of the elements of each pair, as the name says."""
    half = _size(definition, "rotary_dim") // 2
    index = torch.arange(half)
    if "gptj" in definition["name"]:
        return torch.stack((2 * index, 2 * index + 1), dim=1)
    return torch.stack((index, index + half), dim=1)


def _expected(definition: Definition, inputs: Inputs, name: str) -> torch.Tensor:
    """The turned q or k: a pair is a complex number times cos + i sin, in float64."""
    x, half = inputs[name].double().cpu(), _size(definition, "rotary_dim") // 2
    if _is_given_rows(definition):
        cos, sin = (inputs[n].double().cpu()[:, None] for n in ("cos", "sin"))
        partner = torch.cat((-x[..., half:], x[..., :half]), dim=-1)
        return (x * cos + partner * sin).to(inputs[name].device)
    rows = inputs["cos_sin_cache"].double().cpu()[inputs["positions"].cpu()]
    if _sections(definition):
        axes = torch.tensor(_axes(definition) * 2)
        rows = rows[axes, :, torch.arange(2 * half)].T
    turn = torch.complex(rows[:, :half].contiguous(), rows[:, half:].contiguous())
    pairs = _pairs(definition)
    turned = torch.view_as_complex(x[..., pairs]) * turn[:, None]
    out = x.clone()
    out[..., pairs] = torch.view_as_real(turned)
    return out.to(inputs[name].device)


def _assert_close(actual: torch.Tensor, expected: torch.Tensor) -> None:
    # Half a unit in the last place: the output is rounded once, from float32.
    unit = 0.51 * torch.finfo(actual.dtype).eps
    torch.testing.assert_close(actual.double(), expected, rtol=unit, atol=1e-5)


def _turned(run: Run, inputs: Inputs) -> Outputs:
    """What `run` makes of q and k; shapes, dtypes and inputs are looked at as well."""
    before = {name: value.clone() for name, value in inputs.items()}
    q, k = run(*inputs.values())
    for out, name in ((q, "q"), (k, "k")):
        assert out.shape == inputs[name].shape, f"{name} comes out as {list(out.shape)}"
        assert out.dtype == inputs[name].dtype, f"{name} comes out as {out.dtype}"
    for name, value in inputs.items():
        assert torch.equal(value, before[name]), f"run changes its input {name}"
    return q, k


def every_pair_is_turned(
    run: Run, definition: Definition, case: Case, device: torch.device, generator: torch.Generator
) -> None:
    """The formula, evaluated in float64, gives the same up to rounding; inputs stay as they are."""
    if _gives_angles(definition):
        return
    inputs = make_inputs(definition, case, device, generator)
    q, k = _turned(run, inputs)
    _assert_close(q, _expected(definition, inputs, "q"))
    _assert_close(k, _expected(definition, inputs, "k"))


def what_is_not_turned_stays(
    run: Run, definition: Definition, case: Case, device: torch.device, generator: torch.Generator
) -> None:
    """Elements after the first rotary_dim are the same bits, and all are where the angle is 0."""
    if _gives_angles(definition):
        return
    inputs = make_inputs(definition, case, device, generator)
    rotary_dim = _size(definition, "rotary_dim")
    inputs["q"][..., -1], inputs["k"][0] = 1e30, -1e30
    for out, name in zip(_turned(run, inputs), "qk", strict=True):
        assert torch.equal(out[..., rotary_dim:], inputs[name][..., rotary_dim:])
    if _is_given_rows(definition):
        inputs["cos"].fill_(1.0)
        inputs["sin"].fill_(0.0)
    else:
        inputs["cos_sin_cache"][:, : rotary_dim // 2] = 1.0
        inputs["cos_sin_cache"][:, rotary_dim // 2 :] = 0.0
    for out, name in zip(_turned(run, inputs), "qk", strict=True):
        assert torch.equal(out, inputs[name])


def products_depend_on_the_distance_alone(
    run: Run, definition: Definition, case: Case, device: torch.device, generator: torch.Generator
) -> None:
    """A query times a key is the same at positions (5, 2) and (5 + s, 2 + s)."""
    if _gives_angles(definition):
        return
    rotary_dim = _size(definition, "rotary_dim")
    inputs = make_inputs(definition, {**case, "num_tokens": 2}, device, generator)
    base = 10000.0 ** (-torch.arange(0, rotary_dim, 2) / rotary_dim)
    angles = torch.arange(40)[:, None] * base
    table = torch.cat((angles.cos(), angles.sin()), dim=1)
    heads = {"q": inputs["q"].cpu(), "k": inputs["k"].cpu()}
    products = []
    for shift in (0, 1, 32):
        positions = torch.tensor([5, 2]) + shift
        positions = positions.expand(3, -1) if _sections(definition) else positions
        q, k = run(*_cast(definition, heads, table, positions, device).values())
        products.append((q[0].double()[:, None] * k[1].double()).sum(-1))
    # Each element is off by half a unit of its last place, in q and in k.
    unit = torch.finfo(inputs["q"].dtype).eps
    length = inputs["q"][0].double().norm(dim=-1)[:, None] * inputs["k"][1].double().norm(dim=-1)
    for product in products[1:]:
        assert bool(((product - products[0]).abs() <= unit * length).all())


def tokens_do_not_mix(
    run: Run, definition: Definition, case: Case, device: torch.device, generator: torch.Generator
) -> None:
    """A token comes out as it does alone, NaN stays in its head; no tokens give no tokens."""
    if _gives_angles(definition):
        return
    sizes = {"num_tokens": 5, "num_qo_heads": 3, "num_kv_heads": 2, "max_seq_len": 9}
    inputs = make_inputs(definition, sizes, device, generator)
    inputs["q"][2, 1] = math.nan
    inputs["k"][3, 0] = math.nan
    q, k = run(*inputs.values())
    assert bool(q[2, 1].isnan().all())
    assert bool(k[3, 0].isnan().all())
    assert int(q.isnan().any(-1).sum()) == int(k.isnan().any(-1).sum()) == 1
    tokens = ("q", "k", "positions", "cos", "sin")
    for one in range(5):
        some = slice(one, one + 1)
        alone = {n: _some(n, v, some) if n in tokens else v for n, v in inputs.items()}
        for out, whole in zip(run(*alone.values()), (q, k), strict=True):
            torch.testing.assert_close(out[0], whole[one], equal_nan=True)
    none = {n: _some(n, v, slice(0)) if n in tokens else v for n, v in inputs.items()}
    for out, name in zip(run(*none.values()), "qk", strict=True):
        assert out.shape == none[name].shape


def _some(name: str, value: torch.Tensor, tokens: slice) -> torch.Tensor:
    """The part of an input that some tokens have."""
    return value[..., tokens] if name == "positions" else value[tokens]


def angles_are_positions_times_frequencies(
    run: Run, definition: Definition, case: Case, device: torch.device, generator: torch.Generator
) -> None:
    """Cosines and sines of angles that are rounded to float32, each token's as it has it alone."""
    if not _gives_angles(definition):
        return
    inputs = make_inputs(definition, case, device, generator)
    before = {n: v.clone() for n, v in inputs.items() if isinstance(v, torch.Tensor)}
    found = run(*inputs.values())
    angles = inputs["positions"][:, None].float() * inputs["inv_freq"]
    angles = angles.double().repeat(1, 2)
    for one, right in zip(found, (angles.cos(), angles.sin()), strict=True):
        assert one.dtype == getattr(torch, definition["outputs"]["cos"]["dtype"])
        assert one.shape == right.shape, f"it has shape {tuple(one.shape)}"
        _assert_close(one, right * inputs["attention_scaling"])
    for name, value in before.items():
        assert torch.equal(inputs[name], value), f"run changes its input {name}"
    none = run(inputs["positions"][:0], inputs["inv_freq"], 1.0)
    assert [tuple(one.shape) for one in none] == [(0, _size(definition, "head_size"))] * 2


PROPERTIES = [
    every_pair_is_turned,
    what_is_not_turned_stays,
    products_depend_on_the_distance_alone,
    tokens_do_not_mix,
    angles_are_positions_times_frequencies,
]
