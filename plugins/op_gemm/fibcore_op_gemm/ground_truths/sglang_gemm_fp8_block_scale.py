"""Block-scaled fp8 GEMM with SGLang's own dequantisation, block_quant_dequant, in float32."""

from collections.abc import Callable
from typing import Any

import torch

SGLANG_GEMM_FP8_BLOCK_SCALE_BLOCK = 128
SGLANG_GEMM_FP8_BLOCK_SCALE_ROWS = 2048


def sglang_gemm_fp8_block_scale(
    load_sglang: Callable[..., Any],
    A: torch.Tensor,
    A_scale: torch.Tensor,
    B: torch.Tensor,
    B_scale: torch.Tensor,
) -> torch.Tensor:
    """C [M, N] in float32; whole row blocks of B are dequantised a part at a time."""
    dequantise = load_sglang("srt/layers/quantization/fp8_utils.py", "block_quant_dequant")
    block, step = SGLANG_GEMM_FP8_BLOCK_SCALE_BLOCK, SGLANG_GEMM_FP8_BLOCK_SCALE_ROWS
    a = dequantise(A, A_scale, [1, block], torch.float32)
    parts = []
    for first in range(0, B.shape[0], step):
        scale = B_scale[first // block : (first + step) // block]
        b = dequantise(B[first : first + step], scale, [block, block], torch.float32)
        parts.append(a @ b.t())
    return torch.cat(parts, dim=1)
