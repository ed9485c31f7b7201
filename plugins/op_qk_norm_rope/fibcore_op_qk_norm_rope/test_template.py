"""Sizes, inputs and properties for the reference tests of norms fused with rotary embeddings."""

import math
import re
from collections.abc import Callable
from typing import Any

import torch

Run = Callable[..., tuple[torch.Tensor, ...]]
Data = dict[str, Any]  # a definition, or a case
Inputs = dict[str, torch.Tensor]


def cases(definition: Data) -> list[Data]:
    """One token, an odd number of them, more than a GPU has multiprocessors; one key head."""
    del definition
    sizes = ((1, 4, 1, 1), (7, 8, 2, 40), (130, 5, 3, 300))
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
    definition: Data, case: Data, device: torch.device, generator: torch.Generator
) -> Inputs:
    """Heads of many magnitudes, some so small that epsilon matters; any numbers in the table.

    Positions come in no order, and some more than once; the table's first and last are among them.
    Returns the inputs in the definition's order.
    """
    tokens, rows = case["num_tokens"], case["max_seq_len"]
    head, pairs = _size(definition, "head_size"), _size(definition, "rotary_dim") // 2

    def heads(count: int) -> torch.Tensor:
        size = (tokens, count, 1)
        magnitude = 10.0 ** (4.5 * torch.rand(size, generator=generator) - 3.5)
        offset = torch.randn(size, generator=generator)
        return magnitude * (torch.randn(tokens, count, head, generator=generator) + offset)

    queries = heads(case["num_qo_heads"])
    positions = torch.randint(0, rows, (3, tokens), generator=generator)
    positions[:, -1], positions[:, 0] = 0, rows - 1
    axis_map = torch.randint(0, 3, (pairs,), generator=generator)
    values = {
        "q": queries,
        "q_gate": torch.cat((queries, torch.randn(queries.shape, generator=generator)), dim=-1),
        "k": heads(case["num_kv_heads"]),
        "q_weight": 0.3 * torch.randn(head, generator=generator),
        "k_weight": 0.3 * torch.randn(head, generator=generator) - 0.2,
        "cos_sin_cache": torch.randn(rows, 2 * pairs, generator=generator),
        "positions": positions if "axis_map" in definition["inputs"] else positions[0],
        "axis_map": axis_map,
    }
    return _cast(definition, values, device)


def _cast(definition: Data, values: Inputs, device: torch.device) -> Inputs:
    """The values in the definition's order and dtypes; definitions with others are skipped."""
    unknown = set(definition["inputs"]) - set(values)
    if unknown or "k" not in definition["inputs"]:
        import pytest

        pytest.skip(f"no inputs are made for {', '.join(definition['inputs'])}")
    return {
        name: values[name].to(getattr(torch, spec["dtype"])).to(device)
        for name, spec in definition["inputs"].items()
    }


def _size(definition: Data, axis: str) -> int:
    return int(definition["axes"][axis]["value"])


def _epsilon(definition: Data) -> float:
    """What the description says, or else the constant of the reference."""
    said = re.search(
        r"[Ee]psilon\D*?(\d[\d.]*(?:[eE][-+]?\d+)?)", definition.get("description") or ""
    )
    found = said or re.search(r"\b(?:EPSILON|EPS|eps) = ([\d.eE+-]+)", definition["reference"])
    if found is None:
        import pytest

        pytest.skip("the definition does not say its epsilon")
    return float(found[1].rstrip("."))


def _angles(definition: Data, inputs: Inputs) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines [tokens, pairs] in float64, pair by pair."""
    table, positions = inputs["cos_sin_cache"].double().cpu(), inputs["positions"].cpu()
    pairs = _size(definition, "rotary_dim") // 2
    axes = inputs["axis_map"].tolist() if "axis_map" in inputs else None
    rows = [positions if axes is None else positions[axes[pair]] for pair in range(pairs)]
    cos = torch.stack([table[row, pair] for pair, row in enumerate(rows)], dim=-1)
    sin = torch.stack([table[row, pair + pairs] for pair, row in enumerate(rows)], dim=-1)
    return cos, sin


def _expected(definition: Data, inputs: Inputs) -> list[torch.Tensor]:
    """The outputs in float64, from the formulas."""
    head, pairs = _size(definition, "head_size"), _size(definition, "rotary_dim") // 2
    cos, sin = (angle[:, None] for angle in _angles(definition, inputs))
    queries = inputs["q_gate"][..., :head] if "q_gate" in inputs else inputs["q"]
    found = []
    for x, weight in ((queries, inputs["q_weight"]), (inputs["k"], inputs["k_weight"])):
        x = x.double().cpu()
        length = (x * x).sum(dim=-1, keepdim=True) / head + _epsilon(definition)
        x = x / length.sqrt() * (weight.double().cpu() + 1.0)
        out = x.clone()
        out[..., :pairs] = x[..., :pairs] * cos - x[..., pairs : 2 * pairs] * sin
        out[..., pairs : 2 * pairs] = x[..., pairs : 2 * pairs] * cos + x[..., :pairs] * sin
        found.append(out)
    if "q_gate" in inputs:
        found.append(inputs["q_gate"][..., head:].double().cpu())
    return found


def _assert_close(definition: Data, run: Run, inputs: Inputs) -> None:
    """The outputs are those of float64 up to one rounding; inputs stay as they are."""
    before = {name: value.clone() for name, value in inputs.items()}
    outputs = run(*inputs.values())
    expected = _expected(definition, inputs)
    assert len(outputs) == len(expected) == len(definition["outputs"])
    for out, wanted, (name, spec) in zip(
        outputs, expected, definition["outputs"].items(), strict=True
    ):
        assert out.dtype == getattr(torch, spec["dtype"]), f"{name} is {out.dtype}"
        unit = 0.51 * torch.finfo(out.dtype).eps
        torch.testing.assert_close(out.double().cpu(), wanted, rtol=unit, atol=2e-6, equal_nan=True)
    for name, value in inputs.items():
        assert torch.equal(value.nan_to_num(), before[name].nan_to_num()), f"run changes {name}"


def heads_are_normalised_and_turned(
    run: Run, definition: Data, case: Data, device: torch.device, generator: torch.Generator
) -> None:
    """The formulas, evaluated in float64, give the same up to rounding."""
    _assert_close(definition, run, make_inputs(definition, case, device, generator))


def epsilon_is_added_below_the_root(
    run: Run, definition: Data, case: Data, device: torch.device, generator: torch.Generator
) -> None:
    """Heads whose mean square equals epsilon, is far smaller, and zero."""
    inputs = make_inputs(definition, {**case, "num_tokens": 4}, device, generator)
    root = math.sqrt(_epsilon(definition))
    head = _size(definition, "head_size")
    for name in ("q", "q_gate", "k"):
        if name in inputs:
            row = torch.randn(inputs[name].shape[1:], generator=generator)
            size = root * torch.tensor([1.0, 0.01, 0.0, 3.0])[:, None, None]
            inputs[name][..., :head] = (size * row)[..., :head].to(inputs[name])
    _assert_close(definition, run, inputs)


def heads_do_not_mix(
    run: Run, definition: Data, case: Data, device: torch.device, generator: torch.Generator
) -> None:
    """NaN in a head stays there; no tokens give none."""
    inputs = make_inputs(definition, {**case, "num_tokens": 3}, device, generator)
    queries = "q_gate" if "q_gate" in inputs else "q"
    inputs[queries][1, 0, 0] = math.nan
    inputs["k"][2, -1, 0] = math.nan
    _assert_close(definition, run, inputs)
    none = {
        name: value[..., :0]
        if name == "positions"
        else value[:0]
        if name in ("q", "q_gate", "k")
        else value
        for name, value in inputs.items()
    }
    assert [len(out) for out in run(*none.values())] == [0] * len(definition["outputs"])


PROPERTIES = [
    heads_are_normalised_and_turned,
    epsilon_is_added_below_the_root,
    heads_do_not_mix,
]
