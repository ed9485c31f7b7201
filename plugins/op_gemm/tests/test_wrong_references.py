"""The properties of the test template against plausible mistakes."""

from __future__ import annotations

from typing import Any

import pytest

from fibcore.plugin import Quantization
from fibcore.testing.templates import CRASHES, load_run
from fibcore.testing.wrong_references import (
    Mistake,
    assert_rejected,
    assert_wrong_ones_rejected,
    parameters,
)
from fibcore_op_gemm import fibcore_implementations

torch = pytest.importorskip("torch")

FP8_BLOCK = Quantization("fp8", "float8_e4m3fn", "block", block=(128, 128), activation="dynamic")
CASES = [{"id": "M9", "M": 9}]


PLAIN, FP8 = (None,), (FP8_BLOCK,)
BOTH = (None, FP8_BLOCK)
SCALE_OF_A = "a = scaled(A[rows], A_scale[rows])"
SCALE_OF_B = "b = scaled(B[columns], of_columns[: N - first_n])"
# Plausible mistakes in a square layer: name, text of the reference, text in its place, formats.
MISTAKES = [
    ("B not transposed", "a @ b.T", "(a @ b)", BOTH),
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
    ("last element of K missing", "a @ b.T", "(a[:, :-1] @ b[:, :-1].T)", BOTH),
    ("first element of K missing", "a @ b.T", "(a[:, 1:] @ b[:, 1:].T)", BOTH),
    ("last block of K missing", "a @ b.T", "(a[:, :-128] @ b[:, :-128].T)", BOTH),
    ("divided by the root of K", "a @ b.T", "(a @ b.T / K**0.5)", BOTH),
    ("last column of C missing", "return output", "output[:, -1] = 0; return output", BOTH),
    ("scales of A ignored", SCALE_OF_A, "a = A[rows].to(torch.float32)", FP8),
    ("scales of B ignored", SCALE_OF_B, "b = B[columns].to(torch.float32)", FP8),
    ("divided by the scales", ".mul_(scale", ".div_(scale", FP8),
    ("scales of B transposed", "B_scale[blocks]", "B_scale.T[blocks]", FP8),
    (
        "scales repeated as a whole",
        "scale.repeat_interleave(BLOCK, dim=1)",
        "scale.repeat(1, BLOCK)",
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


# What only a GPU runs, with a product that gives float32 as torch.mm there does: a CPU's has none.
SPLIT = "A.is_cuda and m >= SPLIT_ROWS"
HALVES = [
    ("low half of A lost", "(a_high, a_high, a_low)", "(a_high, a_high, a_low * 0)"),
    ("low half of B lost", "(b_high, b_low, b_high)", "(b_high, b_low * 0, b_high)"),
    ("high halves twice", "(b_high, b_low, b_high)", "(b_high, b_high, b_high)"),
    ("low half of the sum", "x.sub_(high)", "x.add_(high)"),
]


def split_error(made: Any, inputs: dict[str, Any], right: str = "", wrong: str = "") -> float:
    """The largest difference of the split product to float32's, as a part of the largest element.

    C is given in float32, for its rounding would hide what the halves lose.
    """
    unrounded = made.reference.replace(
        "dtype=torch.bfloat16, device", "dtype=torch.float32, device"
    )
    assert right in unrounded
    expected = load_run(unrounded)(**inputs)
    actual = load_run(unrounded.replace(SPLIT, "True").replace(right, wrong))(**inputs)
    return float((actual - expected).abs().max() / expected.abs().max())


def test_halves_multiply_as_float32_does(
    definition: Any, make_inputs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mm(a: Any, b: Any, *, out_dtype: Any) -> Any:
        return a.to(out_dtype) @ b.to(out_dtype)

    made = definition(384, 384, FP8_BLOCK)
    inputs = make_inputs(made, 9)
    mm.__doc__ = torch.mm.__doc__ or "out_dtype"
    monkeypatch.setattr(torch, "mm", mm)
    assert SPLIT in made.reference
    assert 0 < split_error(made, inputs) < 2**-16
    for name, right, wrong in HALVES:
        assert split_error(made, inputs, right, wrong) > 2**-13, name


@pytest.mark.parametrize("quantization", BOTH, ids=BY_FORMAT)
def test_wrong_implementations_are_rejected(
    definition: Any, template: Any, quantization: Any
) -> None:
    made = definition(384, 384, quantization)
    assert_wrong_ones_rejected(template, made, fibcore_implementations(made))
