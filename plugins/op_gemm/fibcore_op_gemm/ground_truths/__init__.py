"""Chooses the implementations that a GEMM definition is compared with."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from fibcore.plugin import Definition, GroundTruth
from fibcore_op_gemm.formats import of_definition
from fibcore_op_gemm.names import OP_TYPE
from fibcore_op_gemm.weight_only import WeightOnly


def choose(definition: Definition) -> tuple[GroundTruth, ...]:
    """FlashInfer's kernels, SGLang's own functions and torch, as the format has them.

    Empty where the definition has other tensors, and for another plugin's op types.
    """
    if definition.op_type != OP_TYPE or list(definition.outputs) != ["C"]:
        return ()
    matrices = of_definition(definition)
    if isinstance(matrices, WeightOnly):
        return _of_weight_only()[matrices.packing.name]
    return _truths()[matrices.name] if matrices is not None else ()


def _truth(entry: str, name: str, kind: str, **needs: Any) -> GroundTruth:
    source = (files(__package__) / f"{entry}.py").read_text(encoding="utf-8")
    return GroundTruth(name=name, kind=kind, entry=entry, source=source, **needs)


def _flashinfer(
    entry: str,
    function: str,
    lowest: tuple[int, int],
    *,
    also: tuple[str, ...] = (),
    **needs: Any,
) -> GroundTruth:
    return _truth(
        entry,
        f"flashinfer.{function}",
        "flashinfer",
        device="cuda",
        min_capability=lowest,
        packages=("flashinfer", *also),
        **needs,
    )


@functools.cache
def _of_weight_only() -> Mapping[str, tuple[GroundTruth, ...]]:
    """By the packing's name, the preferred one first."""
    exact = _truth("torch_gemm_weight_only", "torch float64, unpacked and scaled", "torch")
    unpacked = _truth("sglang_gemm_unpack_cols", "sglang unpack_cols, matmul", "sglang")
    dequantised = _truth("sglang_gemm_awq", "sglang awq_dequantize_decomposition, matmul", "sglang")
    return {
        "awq": (dequantised, exact),
        "gptq": (unpacked, exact),
        "pack_quantized": (unpacked, exact),
    }


@functools.cache
def _truths() -> Mapping[str, tuple[GroundTruth, ...]]:
    """By the format's name, the preferred one first."""
    scaled_mm = _truth("sglang_scaled_mm", "sglang _apply_fallback_scaled_mm", "sglang")
    mm_fp4 = _flashinfer("flashinfer_mm_fp4", "gemm.mm_fp4", (10, 0), max_capability=(10, 3))
    bmm = _truth("torch_bmm", "torch float64 matmul of each", "torch")
    group_scales = _truth("torch_gemm_group_scale", "torch float64, scaled by group", "torch")
    of_weights = _truth("torch_gemm_e2m1_weights", "torch float64, weights dequantised", "torch")
    row_scales = _truth("torch_gemm_row_scale", "torch float64, scaled by row", "torch")
    return {
        "gemm": (
            _truth("torch_gemm", "torch float64 matmul", "torch"),
            _truth("cublas_gemm", "cuBLAS through torch", "torch", device="cuda"),
        ),
        "gemm_fp8_block_scale": (
            _flashinfer(
                "flashinfer_fp8_groupwise",
                "gemm.gemm_fp8_nt_groupwise",
                (10, 0),
                max_capability=(10, 3),
            ),
            _flashinfer(
                "flashinfer_fp8_blockscale_sm90",
                "gemm.fp8_blockscale_gemm_sm90",
                (9, 0),
                max_capability=(9, 0),
            ),
            _truth("sglang_gemm_fp8_block_scale", "sglang block_quant_dequant, matmul", "sglang"),
            _truth("torch_gemm_fp8_block_scale", "torch float64, scaled by block", "torch"),
        ),
        "gemm_fp8_per_channel": (
            _truth(
                "torch_scaled_mm_row",
                "torch._scaled_mm, scaled by row",
                "torch",
                device="cuda",
                min_capability=(9, 0),
            ),
            scaled_mm,
            row_scales,
        ),
        "gemm_fp8_per_tensor": (
            _flashinfer("flashinfer_bmm_fp8_gemm", "bmm_fp8", (8, 9)),
            scaled_mm,
            row_scales,
        ),
        "gemm_int8_per_channel": (
            _truth("torch_int_mm", "torch._int_mm", "torch"),
            row_scales,
        ),
        "gemm_mxfp8": (
            _flashinfer("flashinfer_mm_mxfp8", "gemm.mm_mxfp8", (10, 0), max_capability=(10, 3)),
            _truth("sglang_gemm_mxfp8", "sglang dequant_mxfp8_2d_to_bf16, matmul", "sglang"),
            group_scales,
        ),
        "gemm_nvfp4": (
            mm_fp4,
            _truth("sglang_gemm_nvfp4", "sglang dequantize_nvfp4, matmul", "sglang"),
            group_scales,
        ),
        "gemm_mxfp4": (
            mm_fp4,
            _truth("sglang_gemm_mxfp4", "sglang MXFP4QuantizeUtil.dequantize, matmul", "sglang"),
            group_scales,
        ),
        "gemm_w4a16_nvfp4": (
            _flashinfer(
                "flashinfer_mm_bf16_fp4", "gemm.mm_bf16_fp4", (10, 0), max_capability=(10, 3)
            ),
            _truth("sglang_gemm_w4a16_nvfp4", "sglang dequantize_nvfp4, matmul", "sglang"),
            of_weights,
        ),
        "gemm_w4a16_mxfp4": (
            _truth(
                "sglang_gemm_w4a16_mxfp4",
                "sglang MXFP4QuantizeUtil.dequantize, matmul",
                "sglang",
            ),
            of_weights,
        ),
        "bmm_bf16": (
            _flashinfer("flashinfer_bmm_bf16", "gemm.bmm_bf16", (8, 0), also=("cudnn",)),
            bmm,
            _truth("cublas_bmm", "cuBLAS through torch", "torch", device="cuda"),
        ),
        "bmm_fp8": (_flashinfer("flashinfer_bmm_fp8", "bmm_fp8", (8, 9)), bmm),
        "bmm_fp8_block_scale": (
            _flashinfer(
                "flashinfer_bmm_fp8_blockscale_sm90",
                "gemm.fp8_blockscale_gemm_sm90",
                (9, 0),
                max_capability=(9, 0),
            ),
            _truth("sglang_bmm_fp8_block_scale", "sglang block_quant_dequant, matmul", "sglang"),
            _truth("torch_bmm_fp8_block_scale", "torch float64, scaled by block", "torch"),
        ),
    }
