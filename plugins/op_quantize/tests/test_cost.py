"""Costs, counted by hand."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest

from fibcore.plugin import Cost, Definition
from fibcore_op_quantize import fibcore_cost

Make = Callable[..., Definition]


@pytest.mark.parametrize(
    ("kind", "operations", "read", "written"),
    [
        # Of 7 rows of 4096: 2 bytes an element are read, 1 written, 4 for each of 32 scales.
        ("per_token_group_quant_fp8_g128", 5, 57_344, 28_672 + 896),
        ("per_token_quant_fp8", 5, 57_344, 28_672 + 28),
        ("static_quant_fp8", 3, 57_344 + 4, 28_672),
        # Half a byte an element, one for each of 256 scales.
        ("nvfp4_quantize", 5, 57_344 + 4, 14_336 + 1_792),
    ],
)
def test_all_is_moved_once(
    definition: Make, kind: str, operations: int, read: int, written: int
) -> None:
    found = fibcore_cost(definition(kind), {"M": 7}, {})
    assert found == Cost(operations * 7 * 4096, "float32", read, written)


def test_definitions_of_others_are_not_guessed(definition: Make) -> None:
    made = definition("per_token_quant_fp8")
    outputs = {**made.outputs, "scales": attrs.evolve(made.outputs["scales"], dtype="bfloat16")}
    assert fibcore_cost(attrs.evolve(made, outputs=outputs), {"M": 1}, {}) is None
