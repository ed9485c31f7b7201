"""GEMM of fp8 matrices by SGLang: its product for scales that no kernel takes, then the scales."""

from collections.abc import Callable
from typing import Any

import torch


def sglang_scaled_mm(
    load_sglang: Callable[..., Any],
    A: torch.Tensor,
    A_scale: torch.Tensor,
    B: torch.Tensor,
    B_scale: torch.Tensor,
) -> torch.Tensor:
    """C [M, N] in float32."""
    (m, k), n = A.shape, B.shape[0]
    if A.is_cuda and (n % 16 or k % 16):
        raise NotImplementedError(f"it needs N and K in multiples of 16, not {n} and {k}")
    multiply, _ = load_sglang.several(  # type: ignore[attr-defined]
        "srt/layers/quantization/fp8_utils.py",
        "_apply_fallback_scaled_mm",
        "_process_scaled_mm_output",
        TORCH_DEVICE_IDENTITY=None,
    )
    a_scale = A_scale.expand(m)[:, None]  # 0.5.9 cuts it to the rows of A
    b_scale = B_scale if B_scale.numel() == 1 else B_scale[:, None]
    output: torch.Tensor = multiply(A, B.t(), a_scale, b_scale, (m, k), [m, n], None, torch.float32)
    return output
