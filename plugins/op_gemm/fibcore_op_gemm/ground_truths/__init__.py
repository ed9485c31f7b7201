"""Chooses the implementations that a GEMM definition is compared with."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from fibcore.plugin import Definition, GroundTruth
from fibcore_op_gemm.formats import FP8_BLOCK, PLAIN, of_definition
from fibcore_op_gemm.names import OP_TYPE


def choose(definition: Definition) -> tuple[GroundTruth, ...]:
    """Torch in float64 and cuBLAS for plain matrices; FlashInfer, SGLang and torch for fp8 ones.

    Empty where the definition has other tensors, and for another plugin's op types.
    """
    if definition.op_type != OP_TYPE or list(definition.outputs) != ["C"]:
        return ()
    matrices = of_definition(definition)
    if matrices == PLAIN:
        return (
            _truth("torch_gemm", "torch float64 matmul", "torch"),
            _truth("cublas_gemm", "cuBLAS through torch", "torch", device="cuda"),
        )
    if matrices == FP8_BLOCK and definition.inputs["A"].dtype == matrices.dtype:
        return (
            _truth(
                "flashinfer_fp8_groupwise",
                "flashinfer.gemm.gemm_fp8_nt_groupwise",
                "flashinfer",
                device="cuda",
                min_capability=(10, 0),
                max_capability=(10, 3),
                packages=("flashinfer",),
            ),
            _truth(
                "flashinfer_fp8_blockscale_sm90",
                "flashinfer.gemm.fp8_blockscale_gemm_sm90",
                "flashinfer",
                device="cuda",
                min_capability=(9, 0),
                max_capability=(9, 0),
                packages=("flashinfer",),
            ),
            _truth("sglang_gemm_fp8_block_scale", "sglang block_quant_dequant, matmul", "sglang"),
            _truth("torch_gemm_fp8_block_scale", "torch float64, scaled by block", "torch"),
        )
    return ()


def _truth(entry: str, name: str, kind: str, **needs: Any) -> GroundTruth:
    source = (files(__package__) / f"{entry}.py").read_text(encoding="utf-8")
    return GroundTruth(name=name, kind=kind, entry=entry, source=source, **needs)
