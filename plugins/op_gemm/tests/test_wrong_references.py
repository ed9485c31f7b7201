"""The properties of the test template against plausible mistakes."""

from __future__ import annotations

from typing import Any

import pytest

from fibcore.plugin import Quantization
from fibcore.testing.templates import CRASHES
from fibcore.testing.wrong_references import Mistake, assert_rejected, parameters

torch = pytest.importorskip("torch")

FP8_BLOCK = Quantization("fp8", "float8_e4m3fn", "block", block=(128, 128), activation="dynamic")
CASES = [{"id": "M9", "M": 9}]


PLAIN, FP8 = (None,), (FP8_BLOCK,)
BOTH = (None, FP8_BLOCK)
SCALE_OF_A = "a *= A_scale[rows].repeat_interleave(BLOCK, dim=1)[:, :K]"
SCALE_OF_B = "b *= of_columns.repeat_interleave(BLOCK, dim=1)[:, :K]"
# Plausible mistakes in a square layer: name, text of the reference, text in its place, formats.
MISTAKES = [
    ("B not transposed", "(a @ b.T)", "(a @ b)", BOTH),
    ("B transposed before", "b = B[columns]", "b = B.T[columns]", PLAIN),
    ("A and B swapped", "a = A[rows]", "a = A[rows].flip(1)", PLAIN),
    ("inputs rounded to bfloat16", ".to(torch.float32)", ".to(torch.bfloat16)", PLAIN),
    (
        "sums rounded to bfloat16",
        "(a @ b.T).to(output.dtype)",
        "(a @ b.T).to(torch.bfloat16).to(output.dtype)",
        PLAIN,
    ),
    (
        "partial sums kept in the dtype of C",
        "(a @ b.T).to(output.dtype)",
        "sum((a[:, i::64] @ b[:, i::64].T).to(output.dtype) for i in range(64))",
        PLAIN,
    ),
    ("last element of K missing", "(a @ b.T)", "(a[:, :-1] @ b[:, :-1].T)", BOTH),
    ("first element of K missing", "(a @ b.T)", "(a[:, 1:] @ b[:, 1:].T)", BOTH),
    ("last block of K missing", "(a @ b.T)", "(a[:, :-128] @ b[:, :-128].T)", BOTH),
    ("divided by the root of K", "(a @ b.T)", "(a @ b.T / K**0.5)", BOTH),
    ("last column of C missing", "return output", "output[:, -1] = 0; return output", BOTH),
    ("scales of A ignored", SCALE_OF_A, "pass", FP8),
    ("scales of B ignored", SCALE_OF_B, "pass", FP8),
    ("divided by the scales", "b *= of_columns", "b /= of_columns", FP8),
    ("scales of B transposed", "B_scale[blocks]", "B_scale.T[blocks]", FP8),
    (
        "scales repeated as a whole",
        "A_scale[rows].repeat_interleave(BLOCK, dim=1)",
        "A_scale[rows].repeat(1, BLOCK)",
        FP8,
    ),
    (
        "scales of B repeated as a whole",
        "B_scale[blocks].repeat_interleave(BLOCK, dim=0)",
        "B_scale[blocks].repeat(BLOCK, 1)",
        FP8,
    ),
    ("one scale for all of B", "B_scale[blocks]", "B_scale[blocks].mean().expand(3, 3)", FP8),
    ("one scale for a row of A", "A_scale[rows]", "A_scale[rows][:, :1].expand(-1, 3)", FP8),
    ("scales of the block before", "B_scale[blocks]", "B_scale.roll(1, 0)[blocks]", FP8),
    (
        "scales rounded to powers of two",
        "B_scale[blocks]",
        "B_scale[blocks].log2().ceil().exp2()",
        FP8,
    ),
]


BY_FORMAT = {
    "fp8" if quantization else "plain": [
        Mistake.of(name, right, wrong)
        for name, right, wrong, formats in MISTAKES
        if quantization in formats
    ]
    for quantization in BOTH
}


@pytest.mark.parametrize(("kind", "mistake"), parameters(BY_FORMAT))
def test_wrong_references_are_rejected(
    definition: Any, template: Any, kind: str, mistake: Mistake
) -> None:
    made = definition(384, 384, FP8_BLOCK if kind == "fp8" else None)
    assert_rejected(template, made, mistake, cases=CASES, crashes=CRASHES)
