"""Costs of writes to paged caches, counted by hand."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest

from fibcore.plugin import Cost, Definition, var
from fibcore_op_move import fibcore_cost

Make = Callable[..., Definition]

AXES = {
    "nnz_kv": 7,
    "num_pages": 50,
    "page_size": 4,
    "batch_size": 3,
    "batch_size_plus_1": 4,
    "num_kv_indices": 20,
}


@pytest.mark.parametrize(("layout", "row"), [("kv", 2 * 2 * 8 * 2), ("mla", (16 + 8) * 2)])
def test_what_is_appended_is_read_and_written_once(definition: Make, layout: str, row: int) -> None:
    table = 7 * 4 * 2 + 7 * 4 + 4 * 4  # where tokens are, a page of each, where three begin
    found = fibcore_cost(definition(layout), AXES, {})
    assert found == Cost(0, "bfloat16", 7 * row + table, 7 * row)


@pytest.mark.parametrize(("layout", "row", "each"), [("kv_fp8", 2 * 2 * 8, 2), ("mla_fp8", 24, 1)])
def test_fp8_is_written_in_half_the_bytes(
    definition: Make, layout: str, row: int, each: int
) -> None:
    table = 7 * 4 * 2 + 7 * 4 + 4 * 4
    found = fibcore_cost(definition(layout), AXES, {})
    assert found == Cost(each * 7 * row, "float32", 7 * row * 2 + table, 7 * row)


def test_scales_are_written_besides(definition: Make) -> None:
    table = 7 * 4 * 2 + 7 * 4 + 4 * 4
    found = fibcore_cost(definition("mla_block_scale"), AXES, {})
    row = 256 + 2 * 4 + 2 * 8
    assert found == Cost(2 * 7 * 256, "float32", 7 * (256 + 8) * 2 + table, 7 * row)


def test_keys_and_values_of_two_sizes(definition: Make) -> None:
    found = fibcore_cost(definition("kv_widths"), AXES, {})
    assert found is not None
    assert (found.flops, found.bytes_written) == (0, 7 * 2 * (8 + 6) * 2)


def test_no_more_than_the_cache_is_written(definition: Make) -> None:
    found = fibcore_cost(definition(), {**AXES, "num_pages": 1}, {})
    assert found is not None
    assert found.bytes_written == 4 * 64


def test_definitions_of_others_are_not_guessed(definition: Make) -> None:
    made = definition()
    axes = {**made.axes, "head_dim": var()}
    assert fibcore_cost(attrs.evolve(made, axes=axes), {**AXES, "head_dim": 8}, {}) is None
