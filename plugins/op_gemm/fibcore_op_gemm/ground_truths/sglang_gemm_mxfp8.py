"""GEMM of MXFP8 matrices with SGLang's own dequantisation, dequant_mxfp8_2d_to_bf16."""

from collections.abc import Callable
from typing import Any

import torch

SGLANG_GEMM_MXFP8_ROWS = 2048


def sglang_gemm_mxfp8(
    load_sglang: Callable[..., Any],
    A: torch.Tensor,
    A_scale: torch.Tensor,
    B: torch.Tensor,
    B_scale: torch.Tensor,
) -> torch.Tensor:
    """C [M, N] in float32; rows of B are dequantised a part at a time."""
    dequantise, _ = load_sglang.several(  # type: ignore[attr-defined]
        "srt/layers/quantization/mxfp8_block_convert.py",
        "dequant_mxfp8_2d_to_bf16",
        "_ue8m0_to_fp32",
        MXFP8_BLOCK_SIZE=32,
    )
    a, step = dequantise(A, A_scale.view(torch.uint8)).float(), SGLANG_GEMM_MXFP8_ROWS
    parts = []
    for first in range(0, B.shape[0], step):
        scale = B_scale[first : first + step].view(torch.uint8)
        parts.append(a @ dequantise(B[first : first + step], scale).float().t())
    return torch.cat(parts, dim=1)
