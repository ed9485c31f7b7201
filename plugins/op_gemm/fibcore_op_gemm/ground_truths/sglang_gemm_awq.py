"""GEMM of AWQ's weights with SGLang's own dequantisation, awq_dequantize_decomposition."""

from typing import Any

import torch

SGLANG_GEMM_AWQ_COLUMNS = 2048
SGLANG_GEMM_AWQ_FILES = (
    "kernels/ops/quantization/awq_triton.py",
    "srt/layers/quantization/awq/awq_triton.py",
    "srt/layers/quantization/awq_triton.py",
)


def sglang_gemm_awq(
    load_sglang: Any,
    A: torch.Tensor,
    B: torch.Tensor,
    B_scale: torch.Tensor,
    B_zeros: torch.Tensor,
) -> torch.Tensor:
    """C [M, N] in float32; columns of B are dequantised a part at a time."""
    name, files = "awq_dequantize_decomposition", SGLANG_GEMM_AWQ_FILES
    file = next((one for one in files if load_sglang.has(one, name)), files[0])
    dequantise = load_sglang(file, name)
    # Words may begin anywhere in memory as bytes, and nowhere as integers of 32 bits.
    words, zeros = (x.contiguous().view(torch.int32) for x in (B, B_zeros))
    a, parts = A.float(), []
    for first in range(0, B_scale.shape[1], SGLANG_GEMM_AWQ_COLUMNS):
        last = first + SGLANG_GEMM_AWQ_COLUMNS
        some = slice(first // 8, last // 8)
        scale = B_scale[:, first:last].float()
        part, middle = words[:, some].contiguous(), zeros[:, some].contiguous()
        parts.append(a @ dequantise(part, scale, middle))
    return torch.cat(parts, dim=1)
