"""Costs of matrix products, counted by hand."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest

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


@pytest.mark.parametrize(
    ("kind", "dtype", "a", "b"),
    [
        # One byte an element, and four for each scale.
        ("gemm_fp8_per_channel", "float8_e4m3fn", 3 * 704 + 3 * 4, 320 * 704 + 320 * 4),
        ("gemm_fp8_per_tensor", "float8_e4m3fn", 3 * 704 + 4, 320 * 704 + 4),
        ("gemm_int8_per_channel", "int8", 3 * 704 + 3 * 4, 320 * 704 + 320 * 4),
        # A scale is a byte; of four bits an element has half of one.
        ("gemm_mxfp8", "float8_e4m3fn", 3 * (704 + 22), 320 * (704 + 22)),
        ("gemm_nvfp4", "float4_e2m1", 3 * (352 + 44) + 4, 320 * (352 + 44)),
        ("gemm_mxfp4", "float4_e2m1", 3 * (352 + 22), 320 * (352 + 22)),
        # Tensor cores multiply bfloat16; what is read of the weights is a quarter of it.
        ("gemm_w4a16_nvfp4", "bfloat16", 3 * 704 * 2 + 4, 320 * (352 + 44)),
        ("gemm_w4a16_mxfp4", "bfloat16", 3 * 704 * 2, 320 * (352 + 22)),
    ],
)
def test_formats(
    definition_of: Callable[..., Definition], kind: str, dtype: str, a: int, b: int
) -> None:
    found = fibcore_cost(definition_of(kind, 320, 704), {"M": 3}, {})
    assert found == Cost(2 * 3 * 320 * 704, dtype, a + b, 3 * 320 * 2)


def test_batches(definition_of: Callable[..., Definition]) -> None:
    made = definition_of("bmm_bf16", 512, 128)
    found = fibcore_cost(made, {"batch_size": 16, "M": 3}, {})
    read = 16 * (3 * 128 + 128 * 512) * 2
    assert found == Cost(2 * 16 * 3 * 512 * 128, "bfloat16", read, 16 * 3 * 512 * 2)


def test_products_of_others_are_not_guessed(definition: Callable[..., Definition]) -> None:
    one = definition(64, 32)
    inputs = {**one.inputs, "bias": scalar("float32")}
    reference = "def run(A, B, bias):\n    pass\n"
    assert fibcore_cost(attrs.evolve(one, inputs=inputs, reference=reference), {"M": 1}, {}) is None
