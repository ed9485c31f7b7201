"""Sizes, inputs and properties for the reference tests of embeddings."""

import math
from collections.abc import Callable
from typing import Any

import torch

Run = Callable[..., torch.Tensor]
Definition = dict[str, Any]
Case = dict[str, Any]
Inputs = dict[str, Any]

# Larger tables are made of rows that overlap: they differ all the same, and take no memory.
DENSE_ELEMENTS = 1048576


def cases(definition: Definition) -> list[Case]:
    """One token, an odd number of them, and many; the first, a middle and the last rank's part."""
    del definition
    sizes = ((1, 1), (7, 0), (130, 1), (300, 2))
    return [
        {"id": f"tokens{tokens}_rank{rank}", "num_tokens": tokens, "rank": rank}
        for tokens, rank in sizes
    ]


def make_inputs(
    definition: Definition, case: Case, device: torch.device, generator: torch.Generator
) -> Inputs:
    """Tokens of the whole vocabulary, which three ranks share where the table is a part.

    Returns input_ids, weight and for a part vocab_start_index, in the definition's order.
    """
    rows, part = _size(definition, "vocab_size"), "vocab_start_index" in definition["inputs"]
    start = case["rank"] * rows if part else 0
    total = 3 * rows if part else rows
    ids = torch.randint(0, total, (case["num_tokens"],), generator=generator)
    # The first and the last row, and the tokens beside them; with one token, a row that is there.
    edges = torch.tensor([start, start + rows - 1, start - 1, start + rows, start]) % total
    ids[: len(edges)] = edges[: len(ids)]
    values: Inputs = {"input_ids": ids, "weight": _table(definition, rows, generator)}
    if part:
        values["vocab_start_index"] = start
    if "embed_scale" in definition["inputs"]:
        # Like most, it is no number of 16 bits.
        values["embed_scale"] = float(torch.tensor(math.sqrt(_size(definition, "hidden_size") + 3)))
    return _cast(definition, values, device)


def _table(definition: Definition, rows: int, generator: torch.Generator) -> torch.Tensor:
    """Normally distributed rows [rows, hidden_size]; in a large table they overlap."""
    hidden = _size(definition, "hidden_size")
    if rows * hidden <= DENSE_ELEMENTS:
        return torch.randn(rows, hidden, generator=generator)
    return torch.randn(rows + hidden, generator=generator).as_strided((rows, hidden), (1, 1))


def _cast(definition: Definition, values: Inputs, device: torch.device) -> Inputs:
    """The values in the definition's order and dtypes; definitions with others are skipped."""
    if list(definition["inputs"]) != list(values):
        import pytest

        pytest.skip(f"no inputs are made for {', '.join(definition['inputs'])}")
    return {
        name: _as(values[name], getattr(torch, spec["dtype"]), device)
        for name, spec in definition["inputs"].items()
    }


def _as(value: Any, dtype: torch.dtype, device: torch.device) -> Any:
    """A tensor in this dtype; rows that overlap still do."""
    if not isinstance(value, torch.Tensor):
        return value
    if value.is_contiguous():
        return value.to(dtype).to(device)
    flat = value.as_strided((sum(value.shape) - 1,), (1,)).to(dtype).to(device)
    return flat.as_strided(value.shape, (1, 1))


def _size(definition: Definition, axis: str) -> int:
    return int(definition["axes"][axis]["value"])


def _expected(inputs: Inputs) -> torch.Tensor:
    """Token by token: its row, or zeros; scaled exactly and rounded once."""
    weight, start = inputs["weight"], inputs.get("vocab_start_index", 0)
    found = [int(one) - start for one in inputs["input_ids"]]
    nothing = torch.zeros_like(weight[0])
    rows = torch.stack([weight[i] if 0 <= i < len(weight) else nothing for i in found])
    if "embed_scale" not in inputs:
        return rows
    return torch.mul(rows.double(), inputs["embed_scale"]).to(weight.dtype)


def _bits(x: torch.Tensor) -> torch.Tensor:
    """The bits of floating-point numbers: zeros have signs, and NaN is equal to NaN."""
    return x.masked_fill(x.isnan(), math.nan).contiguous().view(torch.uint8)


def every_token_has_its_row(
    run: Run, definition: Definition, case: Case, device: torch.device, generator: torch.Generator
) -> None:
    """The same bits as in the table, also of zeros and of what is no number; inputs stay."""
    inputs = make_inputs(definition, case, device, generator)
    row = int(inputs["input_ids"][0]) - inputs.get("vocab_start_index", 0)
    # What is no number in the first row must not reach tokens of other ranks.
    inputs["weight"][0, 0] = math.nan
    if 0 <= row < len(inputs["weight"]):
        for element, value in enumerate((-0.0, math.inf, math.nan, 1e30)):
            inputs["weight"][row, element] = value
    ids, expected = inputs["input_ids"].clone(), _expected(inputs)
    output = run(*inputs.values())
    assert output.shape == (case["num_tokens"], _size(definition, "hidden_size"))
    assert output.dtype == inputs["weight"].dtype
    assert torch.equal(_bits(output), _bits(expected))
    output.fill_(1.0)  # a part of the table itself would show now
    assert torch.equal(_bits(_expected(inputs)), _bits(expected)), "run gives the table away"
    assert torch.equal(inputs["input_ids"], ids), "run changes its input input_ids"


def parts_add_up(
    run: Run, definition: Definition, case: Case, device: torch.device, generator: torch.Generator
) -> None:
    """Every token has a row on one of three ranks alone, and none on a fourth."""
    inputs = make_inputs(definition, case, device, generator)
    if "vocab_start_index" not in inputs:
        return
    rows, hidden = _size(definition, "vocab_size"), _size(definition, "hidden_size")
    inputs["weight"] = torch.ones(1, hidden, device=device).to(inputs["weight"].dtype)
    inputs["weight"] = inputs["weight"].expand(rows, hidden)
    found = []
    for rank in range(4):
        inputs["vocab_start_index"] = rank * rows
        found.append(run(*inputs.values()).float())
    assert not bool(found[3].any())
    assert torch.equal(sum(found[:3]), torch.ones_like(found[0]))  # type: ignore[arg-type]


def tokens_do_not_mix(
    run: Run, definition: Definition, case: Case, device: torch.device, generator: torch.Generator
) -> None:
    """A token comes out as it does alone; no tokens give no rows."""
    inputs = make_inputs(definition, {**case, "num_tokens": 6}, device, generator)
    together = run(*inputs.values())
    for one in range(6):
        alone = {**inputs, "input_ids": inputs["input_ids"][one : one + 1]}
        assert torch.equal(run(*alone.values())[0], together[one])
    none = {**inputs, "input_ids": inputs["input_ids"][:0]}
    assert run(*none.values()).shape == (0, _size(definition, "hidden_size"))


PROPERTIES = [
    every_token_has_its_row,
    parts_add_up,
    tokens_do_not_mix,
]
