"""GEMM of MXFP4 matrices with SGLang's own dequantisation, MXFP4QuantizeUtil.dequantize."""

from collections.abc import Callable
from typing import Any

import torch

SGLANG_GEMM_MXFP4_ROWS = 2048


class SGLANG_GEMM_MXFP4_TABLE:  # noqa: N801 - its names begin with the entry's
    """What stands for the class whose method it is."""

    E2M1_values = (0, 0.5, 1, 1.5, 2, 3, 4, 6)


def sglang_gemm_mxfp4(
    load_sglang: Callable[..., Any],
    A: torch.Tensor,
    A_scale: torch.Tensor,
    B: torch.Tensor,
    B_scale: torch.Tensor,
) -> torch.Tensor:
    """C [M, N] in float32; rows of B are dequantised a part at a time."""
    method = load_sglang("srt/layers/quantization/mxfp4_tensor.py", "MXFP4QuantizeUtil.dequantize")

    def dequantise(x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        values: torch.Tensor = method(
            SGLANG_GEMM_MXFP4_TABLE,
            x.view(torch.uint8),
            torch.float32,
            scale.contiguous().view(torch.uint8),
            [32],
        )
        return values

    a, step = dequantise(A, A_scale), SGLANG_GEMM_MXFP4_ROWS
    parts = []
    for first in range(0, B.shape[0], step):
        rows = slice(first, first + step)
        parts.append(a @ dequantise(B[rows], B_scale[rows]).t())
    return torch.cat(parts, dim=1)
