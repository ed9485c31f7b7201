"""GEMM of bfloat16 and NVFP4 weights with SGLang's own dequantisation, dequantize_nvfp4."""

from collections.abc import Callable
from typing import Any

import torch

SGLANG_GEMM_W4A16_NVFP4_ROWS = 2048
# Numbers e2m1 by their bits, as that function has them in a table of its module.
SGLANG_GEMM_W4A16_NVFP4_NUMBERS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)


def sglang_gemm_w4a16_nvfp4(
    load_sglang: Callable[..., Any],
    A: torch.Tensor,
    B: torch.Tensor,
    B_scale: torch.Tensor,
    alpha: torch.Tensor,
) -> torch.Tensor:
    """C [M, N] in float32; rows of B are dequantised a part at a time."""
    positive = torch.tensor(SGLANG_GEMM_W4A16_NVFP4_NUMBERS)
    dequantise = load_sglang(
        "srt/layers/quantization/dequantization.py",
        "dequantize_nvfp4",
        NVFP4_BLOCK_SIZE=16,
        _FP4_E2M1_LUT=torch.cat((positive, -positive)),
    )
    a, step, parts = A.float(), SGLANG_GEMM_W4A16_NVFP4_ROWS, []
    for first in range(0, B.shape[0], step):
        rows = slice(first, first + step)
        packed = B[rows].view(torch.uint8)
        parts.append(a @ dequantise(packed, B_scale[rows], alpha, torch.float32).t())
    return torch.cat(parts, dim=1)
