"""Costs of matrix products, counted by hand."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from fibcore.plugin import Cost, Definition, Quantization, scalar
from fibcore_op_gemm import fibcore_cost

FP8 = Quantization("fp8", "float8_e4m3fn", "block", block=(128, 128), activation="dynamic")


def test_plain(definition: Callable[..., Definition]) -> None:
    # A 16 x 4096, B 6144 x 4096 and C 16 x 6144, two bytes an element.
    found = fibcore_cost(definition(6144, 4096), {"M": 16}, {})
    assert found == Cost(805_306_368, "float16", 131_072 + 50_331_648, 196_608)


def test_block_scaled(definition: Callable[..., Definition]) -> None:
    # A 3 x 700 and B 320 x 700 of one byte, 3 x 6 and 3 x 6 scales of four, C 3 x 320 of two.
    found = fibcore_cost(definition(320, 700, FP8), {"M": 3}, {})
    assert found == Cost(1_344_000, "float8_e4m3fn", 2_100 + 224_000 + 72 + 72, 1_920)


def test_products_of_others_are_not_guessed(definition: Callable[..., Definition]) -> None:
    one = definition(64, 32)
    inputs = {**one.inputs, "bias": scalar("float32")}
    reference = "def run(A, B, bias):\n    pass\n"
    assert fibcore_cost(attrs.evolve(one, inputs=inputs, reference=reference), {"M": 1}, {}) is None
