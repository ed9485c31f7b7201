"""The properties of the test template against plausible mistakes."""

from __future__ import annotations

from typing import Any

import attrs
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
from fibcore_op_gemm.formats import FORMATS, Format

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


PRODUCT = "sums = product(A[rows], B[columns])"
ROW_MISTAKES = [
    ("last element of K missing", PRODUCT, "sums = product(A[rows, :-1], B[columns, :-1])"),
    ("last column of C missing", "return output", "output[:, -1] = 0; return output"),
    ("scales of A ignored", "sums.mul_(of_rows)", "sums"),
    ("scales of B ignored", ".mul_(of_columns)", ""),
    ("divided by the scales", "mul_(of_columns)", "div_(of_columns)"),
    ("scales of B are those of A", ".mul_(of_columns)", ".mul_(of_rows)"),
    (
        "sums rounded before",
        "sums.mul_",
        "sums.to(torch.bfloat16).to(torch.float8_e5m2).float().mul_",
    ),
    (
        "partial sums kept in the dtype of C",
        PRODUCT,
        "sums = sum(product(A[rows, i::64], B[columns, i::64]).half() for i in range(64)).float()",
    ),
]
SCALES_OF_ROWS = [
    ("one scale for all of A", "A_scale[rows, None]", "A_scale.mean()"),
    ("one scale for all of B", "B_scale[columns]", "B_scale.mean()"),
    ("scales of the column before", "B_scale[columns]", "B_scale.roll(1)[columns]"),
    ("scales of the row before", "A_scale[rows, None]", "A_scale.roll(1)[rows, None]"),
    (
        "scales rounded to powers of two",
        "B_scale[columns]",
        "B_scale[columns].log2().ceil().exp2()",
    ),
]
A_OF, B_OF = "scaled(A[rows], A_scale[rows])", "scaled(B[columns], B_scale[columns])"
GROUP_MISTAKES = [
    ("last element of K missing", "a.to(torch.float32)", "(a * (torch.arange(K) < K - 1)).float()"),
    ("first element of K missing", "a.to(torch.float32)", "(a * (torch.arange(K) > 0)).float()"),
    ("last column of C missing", "return output", "output[:, -1] = 0; return output"),
    ("scales of A those of a row", A_OF, "scaled(A[rows], A_scale[:1].expand(m, -1))"),
    ("scales of B those of a row", B_OF, "scaled(B[columns], B_scale[:1].expand(N, -1))"),
    (
        "scales of B those of a group",
        B_OF,
        "scaled(B[columns], B_scale[:, :1].expand(N, K // BLOCK))",
    ),
    ("scales left out", "values * factors[:, :, None]", "values"),
    (
        "scales repeated as a whole",
        "factors[:, :, None]",
        "factors.repeat(1, BLOCK).view(values.shape)",
    ),
    ("divided by the scales", "values * factors", "values / factors"),
]
# Of A and B together, halves of bytes may change places: the same elements meet.
PACKED_MISTAKES = [
    ("first halves before second ones", "(index, pairs)", "(index, pairs).mT.contiguous()"),
    ("no sign", "index, pairs)", "index, pairs.abs())"),
    ("bits read as numbers", "one = torch.tensor(E2M1", "one = torch.tensor(range(16)"),
    (
        "two's complement",
        "one = torch.tensor(E2M1",
        "one = torch.tensor([*E2M1[:8], *range(-8, 0)]",
    ),
    ("no 1.5", "0.5, 1, 1.5, 2", "0.5, 1, 1, 2"),
]
# Of B alone they may not.
BESIDE_MISTAKES = [
    *(one for one in GROUP_MISTAKES if one[1] != A_OF),
    *PACKED_MISTAKES,
    (
        "second halves first",
        "(one.repeat(16), one.repeat_interleave(16))",
        "(one.repeat_interleave(16), one.repeat(16))",
    ),
    ("A rounded to eight bits", "a = A[rows]", "a = A[rows].to(torch.float8_e4m3fn)"),
    ("the first half of K after the second", "a = A[rows]", "a = A[rows].roll(K // 2, 1)"),
]
POWER_MISTAKES = [
    ("scales are numbers", "powers.view(torch.bfloat16)", "scale.to(torch.bfloat16)"),
    ("another bias", "bits << 7", "(bits + 1) << 7"),
    ("no NaN", "(bits == 255)", "(bits == 256)"),
    ("no subnormal scale", ".clamp(min=64)", ""),
    ("with a sign", "scale.view(torch.uint8).to", "scale.to"),
]
ALPHA_MISTAKES = [
    ("alpha left out", "sums * alpha", "sums"),
    ("divided by alpha", "sums * alpha", "sums / alpha"),
    ("alpha twice", "sums * alpha", "sums * alpha * alpha"),
]
BMM_OF_A = "A[matrices, rows].to(torch.float32)"
BMM_MISTAKES = [
    ("the first matrix of B for all", "b = B[matrices]", "b = B[:1].expand_as(B)[matrices]"),
    ("last element of K missing", f"{BMM_OF_A}, b", f"{BMM_OF_A}[..., :-1], b[:, :-1]"),
    ("last column of C missing", "return output", "output[..., -1] = 0; return output"),
    ("last matrix missing", "return output", "output[-1] = 0; return output"),
    ("divided by the root of K", f"({BMM_OF_A}, b)", f"({BMM_OF_A}, b) / K**0.5"),
    (
        "partial sums kept in the dtype of C",
        f"torch.bmm({BMM_OF_A}, b)",
        "sum((A[matrices, rows, i::64].float() @ b[:, i::64]).bfloat16() for i in range(64))",
    ),
    ("B transposed", "b = B[matrices]", "b = B[matrices].mT"),
]
BMM_FP8_MISTAKES = [
    ("the first matrix of B for all", "B[matrices])", "B[:1].expand_as(B)[matrices])"),
    ("last column of C missing", "return output", "output[..., -1] = 0; return output"),
    ("last matrix missing", "return output", "output[-1] = 0; return output"),
    ("scale of A ignored", ".mul_(A_scale)", ""),
    ("scale of B ignored", ".mul_(B_scale)", ""),
    ("divided by the scale", ".mul_(B_scale)", ".div_(B_scale)"),
    ("last element of K missing", "rows], B[matrices])", "rows, :-1], B[matrices, :-1])"),
    ("B transposed", "B[matrices])", "B[matrices].mT)"),
]
BMM_BLOCK_MISTAKES = [
    ("the first matrix of B for all", "B[index, columns]", "B[0, columns]"),
    ("the first scales of A for all", "A_scale[index, rows]", "A_scale[0, rows]"),
    ("the first scales of B for all", "B_scale[index]", "B_scale[0]"),
    (
        "scales of A ignored",
        "scaled(A[index, rows], A_scale[index, rows])",
        "A[index, rows].float()",
    ),
    (
        "scales of B ignored",
        "scaled(B[index, columns], of_rows[columns])",
        "B[index, columns].float()",
    ),
    ("last column of C missing", "return output", "output[..., -1] = 0; return output"),
    ("last matrix missing", "return output", "output[-1] = 0; return output"),
    ("last element of K missing", "a @ b.T", "a[:, :-1] @ b[:, :-1].T"),
    ("scales repeated as a whole", "repeat_interleave(BLOCK, dim=0)", "repeat(BLOCK, 1)"),
]
OTHERS = {
    "bmm_bf16": BMM_MISTAKES,
    "bmm_fp8": BMM_FP8_MISTAKES,
    "bmm_fp8_block_scale": BMM_BLOCK_MISTAKES,
    "gemm_mxfp8": [*GROUP_MISTAKES, *POWER_MISTAKES],
    "gemm_nvfp4": [*GROUP_MISTAKES, *PACKED_MISTAKES, *ALPHA_MISTAKES],
    "gemm_mxfp4": [*GROUP_MISTAKES, *PACKED_MISTAKES, *POWER_MISTAKES],
    "gemm_w4a16_nvfp4": [*BESIDE_MISTAKES, *ALPHA_MISTAKES],
    "gemm_w4a16_mxfp4": [*BESIDE_MISTAKES, *POWER_MISTAKES],
    "gemm_fp8_per_channel": [*ROW_MISTAKES, *SCALES_OF_ROWS],
    "gemm_fp8_per_tensor": ROW_MISTAKES,
    "gemm_int8_per_channel": [*ROW_MISTAKES, *SCALES_OF_ROWS],
}


@pytest.mark.parametrize(
    ("kind", "mistake"),
    parameters({kind: [Mistake.of(*one) for one in listed] for kind, listed in OTHERS.items()}),
)
def test_wrong_references_of_other_formats_are_rejected(
    definition_of: Any, template: Any, case: Any, kind: str, mistake: Mistake
) -> None:
    made = definition_of(kind, 384, 384)
    assert_rejected(template, made, mistake, cases=[case(made, 9)], crashes=CRASHES)


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
ON_GPU = ("A.is_cuda and m >= SPLIT_ROWS", "a.is_cuda", "x.is_cuda")
HALVES = [
    ("low half of A lost", "(a_high, a_high, a_low)", "(a_high, a_high, a_low * 0)"),
    ("low half of B lost", "(b_high, b_low, b_high)", "(b_high, b_low * 0, b_high)"),
    ("high halves twice", "(b_high, b_low, b_high)", "(b_high, b_high, b_high)"),
    ("low half of the sum", "x.sub_(high)", "x.add_(high)"),
]


def error_on_gpu(made: Any, inputs: dict[str, Any], right: str = "", wrong: str = "") -> float:
    """The largest difference of a GPU's product to float32's, as a part of the largest element.

    C is given in float32, for its rounding would hide what is lost.
    """
    unrounded = made.reference.replace(
        "dtype=torch.bfloat16, device=A", "dtype=torch.float32, device=A"
    )
    assert right in unrounded
    expected = load_run(unrounded)(**inputs)
    changed = unrounded
    for condition in ON_GPU:
        changed = changed.replace(condition, "True")
    assert changed != unrounded
    actual = load_run(changed.replace(right, wrong))(**inputs)
    return float((actual - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize(
    "one", [one for one in FORMATS if one.scales is not None], ids=lambda one: one.name
)
def test_a_gpu_multiplies_as_float32_does(
    definition_of: Any, make_inputs: Any, monkeypatch: pytest.MonkeyPatch, one: Format
) -> None:
    def product(a: Any, b: Any, *, out_dtype: Any) -> Any:
        assert (a.dtype, b.dtype, out_dtype) == (torch.bfloat16, torch.bfloat16, torch.float32)
        return a.to(out_dtype) @ b.to(out_dtype)

    made = definition_of(one.name, 384, 384)
    inputs = make_inputs(made, 9)
    product.__doc__ = "out_dtype"
    monkeypatch.setattr(torch, "mm", product)
    monkeypatch.setattr(torch, "bmm", product)
    if one.name == "bmm_fp8":  # its product of a CPU is torch.bmm as well
        whole = made.reference.replace("torch.bmm(a.to(torch.float32)", "torch.matmul(a.float()")
        made = attrs.evolve(made, reference=whole)
    halved = one.scales == "block"
    assert (0 if halved else -1) < error_on_gpu(made, inputs) < 2**-16
    for name, right, wrong in HALVES if halved else ():
        assert error_on_gpu(made, inputs, right, wrong) > 2**-13, name


@pytest.mark.parametrize("one", FORMATS, ids=lambda one: one.name)
def test_wrong_implementations_are_rejected(definition_of: Any, template: Any, one: Format) -> None:
    made = definition_of(one.name, 384, 384)
    assert_wrong_ones_rejected(template, made, fibcore_implementations(made))
