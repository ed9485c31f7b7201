"""The references against float64, SGLang's dequantisation and plausible mistakes."""

from __future__ import annotations

import re
import sys
from types import ModuleType
from typing import Any

import pytest

import fibcore_op_gemm as plugin
from fibcore.plugin import Definition, GroundTruth, Quantization, Serving
from fibcore.testing.harness import harness
from fibcore.testing.templates import CRASHES, Template, load_run
from fibcore.testing.trees import module, tree
from fibcore.testing.wrong_references import Mistake, assert_rejected, parameters

torch = pytest.importorskip("torch")
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402 - torch may be missing

FP8_BLOCK = Quantization("fp8", "float8_e4m3fn", "block", block=(128, 128), activation="dynamic")
CPU = torch.device("cpu")


TEMPLATE = Template.of(plugin, "gemm", seed=7)
CASES = [{"id": "M9", "M": 9}]


def definition(n: int, k: int, quantization: Quantization | None = None) -> Definition:
    sizes = {"input_size": k, "output_size": n}
    cls = "sglang.srt.layers.linear.ReplicatedLinear"
    node = module("n", cls, sizes, quantization=quantization)
    (kernel,) = plugin.fibcore_extract(tree(node), Serving()).kernels
    made = plugin.fibcore_reference(kernel)
    assert made is not None
    return made


def make_inputs(made: Definition, m: int) -> dict[str, Any]:
    return TEMPLATE.module.make_inputs(
        made.to_dict(), {"M": m}, CPU, torch.Generator().manual_seed(5)
    )


def failures(source: str, made: Definition) -> list[str]:
    """The properties that reject a reference."""
    return list(TEMPLATE.rejected(made, load_run(source), CASES, crashes=CRASHES))


SHAPES = [(256, 256), (384, 640), (1, 64), (200, 72), (576, 320)]


@pytest.mark.parametrize("quantization", [None, FP8_BLOCK], ids=["plain", "fp8"])
@pytest.mark.parametrize(("n", "k"), SHAPES)
def test_the_right_references_have_the_properties(
    n: int, k: int, quantization: Quantization | None
) -> None:
    made = definition(n, k, quantization)
    assert failures(made.reference, made) == []


@pytest.mark.parametrize("quantization", [None, FP8_BLOCK], ids=["plain", "fp8"])
@pytest.mark.parametrize("m", [1, 130, 300])
def test_chunks_leave_no_seam(m: int, quantization: Quantization | None) -> None:
    made = definition(576, 320, quantization)
    # 100 rows a chunk; the fp8 reference never takes less than a block of 128.
    small = re.sub(r"CHUNK_ELEMENTS = \d+", "CHUNK_ELEMENTS = 204800", made.reference)
    assert small != made.reference
    inputs = make_inputs(made, m)
    whole = load_run(made.reference)(*inputs.values())
    torch.testing.assert_close(load_run(small)(*inputs.values()), whole, rtol=1e-3, atol=1e-3)
    assert failures(small, made) == []


class Largest(TorchDispatchMode):
    """Notes the largest float32 tensor that is made."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.dtype == torch.float32:
            self.elements = max(self.elements, result.numel())
        return result


@pytest.mark.parametrize("quantization", [None, FP8_BLOCK], ids=["plain", "fp8"])
@pytest.mark.parametrize(("m", "n", "k"), [(5000, 5000, 8), (700, 130, 8000)])
def test_memory_does_not_grow_with_m_and_n(
    m: int, n: int, k: int, quantization: Quantization | None
) -> None:
    made = definition(n, k, quantization)
    inputs = make_inputs(made, m)
    with Largest() as largest:
        load_run(made.reference)(*inputs.values())
    # A chunk of rows, or a product of two chunks; fp8 scales are expanded to whole blocks of 128.
    bound = 2**22 if quantization is None else 2**22 + 128 * 128
    assert 0 < largest.elements <= bound < max(m * n, m * k)


def test_sizes_are_checked() -> None:
    plain, fp8 = definition(200, 72), definition(200, 72, FP8_BLOCK)
    a, b = make_inputs(plain, 3).values()
    run = load_run(plain.reference)
    for wrong in ((a[:, :-1], b[:, :-1]), (a, b[:-1]), (a, b.T)):
        with pytest.raises(AssertionError):
            run(*wrong)
    a, a_scale, b, b_scale = make_inputs(fp8, 3).values()
    run = load_run(fp8.reference)
    for wrong in (
        (a, a_scale.T, b, b_scale),
        (a, a_scale, b, b_scale[:1]),
        (a, a_scale[:2], b, b_scale),
    ):
        with pytest.raises(AssertionError):
            run(*wrong)


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
def test_wrong_references_are_rejected(kind: str, mistake: Mistake) -> None:
    made = definition(384, 384, FP8_BLOCK if kind == "fp8" else None)
    assert_rejected(TEMPLATE, made, mistake, cases=CASES, crashes=CRASHES)


# --- ground truths -----------------------------------------------------------------------------


def truth(made: Definition, entry: str) -> GroundTruth:
    (found,) = (t for t in plugin.fibcore_ground_truths(made) or () if t.entry == entry)
    return found


def run_truth(one: GroundTruth, *first: Any, **inputs: Any) -> Any:
    namespace: dict[str, Any] = {"__name__": "ground_truth"}
    exec(one.source, namespace)  # noqa: S102 - the ground truth is what is tested
    return namespace[one.entry](*first, **inputs)


@pytest.mark.parametrize(("n", "k"), SHAPES)
def test_agrees_with_torch_in_float64(n: int, k: int) -> None:
    for quantization, entry, tolerance in (
        (None, "torch_gemm", (1e-3, 1e-3)),
        (FP8_BLOCK, "torch_gemm_fp8_block_scale", (1e-2, 8e-3)),
    ):
        made = definition(n, k, quantization)
        inputs = make_inputs(made, 7)
        expected = run_truth(truth(made, entry), **inputs)
        assert expected.dtype == torch.float64
        actual = load_run(made.reference)(*inputs.values()).double()
        torch.testing.assert_close(actual, expected, rtol=tolerance[0], atol=tolerance[1])


@pytest.mark.parametrize(("n", "k"), [(2304, 128), (576, 320)])
def test_agrees_with_sglang(n: int, k: int) -> None:
    package, reason = harness().find_sglang(None)
    if package is None:
        pytest.skip(reason)
    made = definition(n, k, FP8_BLOCK)
    inputs = make_inputs(made, 7)
    loader = harness().SGLangSource(package)
    expected = run_truth(truth(made, "sglang_gemm_fp8_block_scale"), loader, **inputs)
    actual = load_run(made.reference)(*inputs.values()).float()
    torch.testing.assert_close(actual, expected, rtol=1e-2, atol=8e-3)


def test_cublas_source_works_on_any_device() -> None:
    made = definition(200, 72)
    inputs = make_inputs(made, 7)
    before = torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction
    result = run_truth(truth(made, "cublas_gemm"), **inputs)
    assert torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction == before
    actual = load_run(made.reference)(*inputs.values())
    torch.testing.assert_close(actual, result, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("entry", ["flashinfer_fp8_groupwise", "flashinfer_fp8_blockscale_sm90"])
def test_flashinfer_gets_the_layout_that_it_reads(
    entry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for FlashInfer that reads its arguments as the kernels do."""

    def product(a: Any, b: Any, a_scale: Any, b_scale: Any) -> Any:
        a = a.float() * a_scale.repeat_interleave(128, 1)
        b = b.float() * b_scale.repeat_interleave(128, 0).repeat_interleave(128, 1)
        return (a @ b.T).bfloat16()

    def groupwise(a: Any, b: Any, a_scale: Any, b_scale: Any, **named: Any) -> Any:
        assert a.shape[0] % 4 == 0
        assert named == {"scale_major_mode": "K", "out_dtype": torch.bfloat16}
        return product(a, b, a_scale, b_scale)

    def blockscale(a: Any, b: Any, *, input_scale: Any, weight_scale: Any, out_dtype: Any) -> Any:
        assert out_dtype == torch.bfloat16
        assert input_scale.is_contiguous()
        assert input_scale.shape[1] % 4 == 0
        return product(a, b, input_scale[:, : a.shape[0]].T, weight_scale)

    stand_in = ModuleType("flashinfer.gemm")
    stand_in.gemm_fp8_nt_groupwise = groupwise  # type: ignore[attr-defined]
    stand_in.fp8_blockscale_gemm_sm90 = blockscale  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "flashinfer", ModuleType("flashinfer"))
    monkeypatch.setitem(sys.modules, "flashinfer.gemm", stand_in)
    made = definition(256, 384, FP8_BLOCK)
    inputs = make_inputs(made, 7)
    expected = run_truth(truth(made, entry), **inputs)
    actual = load_run(made.reference)(*inputs.values())
    torch.testing.assert_close(actual, expected, rtol=1e-2, atol=8e-3)
    cut = make_inputs(definition(200, 72, FP8_BLOCK), 3)
    with pytest.raises(NotImplementedError, match="N"):
        run_truth(truth(made, entry), **cut)


def test_a_definition_with_other_tensors_is_skipped() -> None:
    data = definition(64, 64).to_dict()
    data["inputs"]["bias"] = {"shape": ["N"], "dtype": "float16"}
    with pytest.raises(pytest.skip.Exception, match="bias"):
        TEMPLATE.module.make_inputs(data, {"M": 1}, CPU, torch.Generator())


def test_cases_stay_affordable() -> None:
    for n, k in ((128, 64), (4096, 4096), (128256, 4096), (129280, 7168)):
        cases = TEMPLATE.cases(definition(n, k))
        assert {case["M"] for case in cases} >= {1}
        assert max(case["M"] for case in cases) >= 8
        assert sum(case["M"] for case in cases) * n * k < 2**35
