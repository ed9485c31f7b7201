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
from fibcore_op_gemm.formats import FORMATS, Format

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


TOLERANCES = {"float16": (1e-3, 1e-3), "bfloat16": (1e-2, 8e-3)}
EACH = pytest.mark.parametrize("one", FORMATS, ids=lambda one: one.name)


@EACH
@pytest.mark.parametrize(("n", "k"), SHAPES)
def test_agrees_with_torch_on_any_device(
    definition_of: Any, make_inputs: Any, n: int, k: int, one: Format
) -> None:
    made = definition_of(one.name, n, k if one.scales != "group" else -(-k // 32) * 32)
    inputs = make_inputs(made, 7)
    actual = load_run(made.reference)(*inputs.values()).double()
    rtol, atol = TOLERANCES[one.output_dtype]
    dtypes = set()
    for each in plugin.fibcore_ground_truths(made) or ():
        if each.kind == "torch" and each.device == "any":
            expected = run_truth(each, **inputs)
            torch.testing.assert_close(actual, expected.double(), rtol=rtol, atol=atol)
            dtypes.add(expected.dtype)
    assert torch.float64 in dtypes


@EACH
@pytest.mark.parametrize(("n", "k"), [(2304, 128), (576, 320)])
def test_agrees_with_sglang(
    definition_of: Any, make_inputs: Any, n: int, k: int, one: Format
) -> None:
    package, reason = harness().find_sglang(None)
    if package is None:
        pytest.skip(reason)
    made = definition_of(one.name, n, k)
    inputs = make_inputs(made, 7)
    actual = load_run(made.reference)(*inputs.values()).float()
    for each in plugin.fibcore_ground_truths(made) or ():
        if each.kind == "sglang":
            try:
                expected = run_truth(each, harness().SGLangSource(package), **inputs)
            except LookupError as error:
                pytest.skip(str(error))
            torch.testing.assert_close(actual, expected.float(), rtol=1e-2, atol=8e-3)


@EACH
def test_every_format_has_ground_truths_everywhere(definition_of: Any, one: Format) -> None:
    """One that runs on a CPU, and one that a Hopper GPU runs."""
    found = plugin.fibcore_ground_truths(definition_of(one.name, 64, 64)) or ()
    assert any(each.device == "any" for each in found)
    assert any((each.min_capability or (9, 0)) <= (9, 0) for each in found)
    for each in found:
        named = (ast.FunctionDef, ast.ClassDef)
        tops = [n.name for n in ast.parse(each.source).body if isinstance(n, named)]
        assert each.entry in tops
        assert all(name.lower().startswith(each.entry) for name in tops)


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


def test_flashinfer_multiplies_one_matrix_of_a_batch(
    definition_of: Any, make_inputs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for `bmm_fp8` that takes what cuBLAS does: B with columns one after the other."""

    def bmm_fp8(a: Any, b: Any, a_scale: Any, b_scale: Any, dtype: Any) -> Any:
        assert a.is_contiguous()
        assert b.mT.is_contiguous()
        assert a_scale.numel() == b_scale.numel() == 1
        return ((a.float() @ b.float()) * a_scale * b_scale).to(dtype)

    stand_in = ModuleType("flashinfer")
    stand_in.bmm_fp8 = bmm_fp8  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "flashinfer", stand_in)
    made = definition_of("gemm_fp8_per_tensor", 256, 384)
    inputs = make_inputs(made, 7)
    one = truth(made, "flashinfer_bmm_fp8_gemm")
    actual = load_run(made.reference)(*inputs.values())
    torch.testing.assert_close(run_truth(one, **inputs), actual, rtol=1e-2, atol=8e-3)
    with pytest.raises(NotImplementedError, match="N"):
        run_truth(one, **make_inputs(definition_of("gemm_fp8_per_tensor", 200, 72), 3))


def tiled(scale: Any, rows: int, columns: int) -> Any:
    """Scales out of the layout 128x4, as its offsets are given: [rows, columns]."""
    flat, wide = scale.reshape(-1), -(-columns // 4)
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    tile = (row // 128) * wide + column // 4
    return flat[tile * 512 + (row % 32) * 16 + (row % 128) // 32 * 4 + column % 4]


def test_flashinfer_prepares_weights_that_alone_are_quantised(
    definition_of: Any, make_inputs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stand-ins for `prepare_bf16_fp4_weights` and `mm_bf16_fp4`, which read the layout 128x4."""
    made = definition_of("gemm_w4a16_nvfp4", 256, 384)
    inputs = make_inputs(made, 7)

    def prepare(b: Any, scale: Any, alpha: Any, *, backend: str) -> Any:
        assert backend == "cute-dsl"
        assert b.dtype == scale.dtype == torch.uint8
        assert alpha.shape == (1,)
        plain = tiled(scale, 256, 24).view(torch.float8_e4m3fn)
        return b.view(torch.int8).flip(0), plain.view(torch.uint8).flip(0), alpha

    def mm_bf16_fp4(a: Any, b: Any, scale: Any, alpha: Any, *, backend: str) -> Any:
        assert backend == "cute-dsl"
        plain = scale.flip(0).view(torch.float8_e4m3fn)
        return load_run(made.reference)(a, b.flip(0), plain, alpha)

    stand_in = ModuleType("flashinfer.gemm")
    stand_in.prepare_bf16_fp4_weights = prepare  # type: ignore[attr-defined]
    stand_in.mm_bf16_fp4 = mm_bf16_fp4  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "flashinfer", ModuleType("flashinfer"))
    monkeypatch.setitem(sys.modules, "flashinfer.gemm", stand_in)
    one = truth(made, "flashinfer_mm_bf16_fp4")
    assert one.min_capability == (10, 0)
    torch.testing.assert_close(run_truth(one, **inputs), load_run(made.reference)(**inputs))
    narrow = make_inputs(definition_of("gemm_w4a16_nvfp4", 72, 64), 3)
    with pytest.raises(NotImplementedError, match="N"):
        run_truth(one, **narrow)


@pytest.mark.parametrize("kind", ["gemm_mxfp8", "gemm_nvfp4", "gemm_mxfp4"])
def test_flashinfer_gets_scales_in_tiles(
    definition_of: Any, make_inputs: Any, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Stand-ins that read scales by the offsets of the layout of blocks of 128 x 4."""
    made = definition_of(kind, 160, 384)
    inputs, blocks = make_inputs(made, 7), made.const_axes["num_k_blocks"]
    expected = load_run(made.reference)(*inputs.values())

    def product(a: Any, b: Any, a_scale: Any, b_scale: Any, alpha: Any = None) -> Any:
        assert b.mT.is_contiguous()
        given = {"A": a, "A_scale": tiled(a_scale, 7, blocks), "B": b.mT}
        given["B_scale"] = tiled(b_scale, 160, blocks)
        for name, value in given.items():
            given[name] = value.contiguous().view(inputs[name].dtype)
        return load_run(made.reference)(**given, **({} if alpha is None else {"alpha": alpha}))

    def mm_mxfp8(a: Any, b: Any, a_scale: Any, b_scale: Any, *, out_dtype: Any) -> Any:
        assert out_dtype == torch.bfloat16
        assert a_scale.dtype == b_scale.dtype == torch.uint8
        assert (a_scale.numel(), b_scale.numel()) == (128 * 12, 256 * 12)
        return product(a, b, a_scale, b_scale)

    def mm_fp4(
        a: Any, b: Any, a_scale: Any, b_scale: Any, alpha: Any, dtype: Any, **named: Any
    ) -> Any:
        assert a.dtype == b.dtype == torch.uint8
        assert dtype == torch.bfloat16
        size = 16 if kind == "gemm_nvfp4" else 32
        assert named == {"block_size": size, "use_nvfp4": size == 16}
        assert b_scale.mT.is_contiguous()
        return product(a, b, a_scale, b_scale.mT, alpha)

    stand_in = ModuleType("flashinfer.gemm")
    stand_in.mm_fp4 = mm_fp4  # type: ignore[attr-defined]
    stand_in.mm_mxfp8 = mm_mxfp8  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "flashinfer", ModuleType("flashinfer"))
    monkeypatch.setitem(sys.modules, "flashinfer.gemm", stand_in)
    (one,) = (t for t in plugin.fibcore_ground_truths(made) or () if t.kind == "flashinfer")
    torch.testing.assert_close(run_truth(one, **inputs), expected)
    narrow = make_inputs(definition_of(kind, 72, 64), 3)
    with pytest.raises(NotImplementedError, match="N"):
        run_truth(one, **narrow)
