"""Ground truths of GEMMs: which there are, and that the references agree with them."""

from __future__ import annotations

import ast
import sys
from types import ModuleType
from typing import Any

import attrs
import pytest

import fibcore_op_gemm as plugin
from fibcore.plugin import Definition, GroundTruth, Quantization, tensor
from fibcore.testing.harness import harness
from fibcore.testing.templates import load_run

torch = pytest.importorskip("torch")

FP8_BLOCK = Quantization("fp8", "float8_e4m3fn", "block", block=(128, 128), activation="dynamic")

SHAPES = [(256, 256), (384, 640), (1, 64), (200, 72), (576, 320)]


def truth(made: Definition, entry: str) -> GroundTruth:
    (found,) = (t for t in plugin.fibcore_ground_truths(made) or () if t.entry == entry)
    return found


def run_truth(one: GroundTruth, *first: Any, **inputs: Any) -> Any:
    namespace: dict[str, Any] = {"__name__": "ground_truth"}
    exec(one.source, namespace)  # noqa: S102 - the ground truth is what is tested
    return namespace[one.entry](*first, **inputs)


def test_no_ground_truths_for_other_op_types(definition: Any) -> None:
    other = attrs.evolve(definition(8, 8), op_type="moe")
    assert plugin.fibcore_ground_truths(other) == ()


def test_ground_truths_in_order_of_preference(definition: Any) -> None:
    plain = plugin.fibcore_ground_truths(definition(64, 64)) or ()
    assert [(t.kind, t.device) for t in plain] == [("torch", "any"), ("torch", "cuda")]
    fp8 = plugin.fibcore_ground_truths(definition(64, 64, FP8_BLOCK)) or ()
    assert [t.kind for t in fp8] == ["flashinfer", "flashinfer", "sglang", "torch"]
    assert (fp8[0].min_capability, fp8[0].max_capability) == ((10, 0), (10, 3))
    assert (fp8[1].min_capability, fp8[1].max_capability) == ((9, 0), (9, 0))
    for truth in (*plain, *fp8):
        parsed = ast.parse(truth.source)
        assert [n.name for n in parsed.body if isinstance(n, ast.FunctionDef)] == [truth.entry]
        for node in parsed.body:
            if isinstance(node, ast.Assign):
                assert isinstance(node.targets[0], ast.Name)
                assert node.targets[0].id.lower().startswith(truth.entry)


def test_other_tensors_have_no_ground_truth(definition: Any) -> None:
    ours = definition(64, 64)
    biased = attrs.evolve(
        ours,
        inputs={**ours.inputs, "bias": tensor("N", "float16")},
        reference="def run(A, B, bias):\n    return A @ B.T + bias\n",
    )
    assert plugin.fibcore_ground_truths(biased) == ()


@pytest.mark.parametrize(("n", "k"), SHAPES)
def test_agrees_with_torch_in_float64(definition: Any, make_inputs: Any, n: int, k: int) -> None:
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
def test_agrees_with_sglang(definition: Any, make_inputs: Any, n: int, k: int) -> None:
    package, reason = harness().find_sglang(None)
    if package is None:
        pytest.skip(reason)
    made = definition(n, k, FP8_BLOCK)
    inputs = make_inputs(made, 7)
    loader = harness().SGLangSource(package)
    expected = run_truth(truth(made, "sglang_gemm_fp8_block_scale"), loader, **inputs)
    actual = load_run(made.reference)(*inputs.values()).float()
    torch.testing.assert_close(actual, expected, rtol=1e-2, atol=8e-3)


def test_cublas_source_works_on_any_device(definition: Any, make_inputs: Any) -> None:
    made = definition(200, 72)
    inputs = make_inputs(made, 7)
    before = torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction
    result = run_truth(truth(made, "cublas_gemm"), **inputs)
    assert torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction == before
    actual = load_run(made.reference)(*inputs.values())
    torch.testing.assert_close(actual, result, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("entry", ["flashinfer_fp8_groupwise", "flashinfer_fp8_blockscale_sm90"])
def test_flashinfer_gets_the_layout_that_it_reads(
    definition: Any, make_inputs: Any, entry: str, monkeypatch: pytest.MonkeyPatch
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
