"""GEMM of bfloat16 and MXFP4 weights with SGLang's own MXFP4QuantizeUtil.dequantize."""

from collections.abc import Callable
from typing import Any

import torch

SGLANG_GEMM_W4A16_MXFP4_ROWS = 2048


class SGLANG_GEMM_W4A16_MXFP4_TABLE:  # noqa: N801 - its names begin with the entry's
    """What stands for the class whose method it is."""

    E2M1_values = (0, 0.5, 1, 1.5, 2, 3, 4, 6)


def sglang_gemm_w4a16_mxfp4(
    load_sglang: Callable[..., Any],
    A: torch.Tensor,
    B: torch.Tensor,
    B_scale: torch.Tensor,
) -> torch.Tensor:
    """C [M, N] in float32; rows of B are dequantised a part at a time."""
    dequantise = load_sglang(
        "srt/layers/quantization/mxfp4_tensor.py", "MXFP4QuantizeUtil.dequantize"
    )
    a, step, parts = A.float(), SGLANG_GEMM_W4A16_MXFP4_ROWS, []
    for first in range(0, B.shape[0], step):
        rows = slice(first, first + step)
        weights: torch.Tensor = dequantise(
            SGLANG_GEMM_W4A16_MXFP4_TABLE,
            B[rows].view(torch.uint8),
            torch.float32,
            B_scale[rows].contiguous().view(torch.uint8),
            [32],
        )
        parts.append(a @ weights.t())
    return torch.cat(parts, dim=1)
