"""Block-scaled fp8 products with SGLang's own dequantisation, block_quant_dequant, in float32."""

from collections.abc import Callable
from typing import Any

import torch

SGLANG_BMM_FP8_BLOCK_SCALE_BLOCK = 128


def sglang_bmm_fp8_block_scale(
    load_sglang: Callable[..., Any],
    A: torch.Tensor,
    A_scale: torch.Tensor,
    B: torch.Tensor,
    B_scale: torch.Tensor,
) -> torch.Tensor:
    """C [batch_size, M, N] in float32, one matrix after the other."""
    dequantise = load_sglang("srt/layers/quantization/fp8_utils.py", "block_quant_dequant")
    block = SGLANG_BMM_FP8_BLOCK_SCALE_BLOCK
    products = []
    for index in range(A.shape[0]):
        a = dequantise(A[index], A_scale[index], [1, block], torch.float32)
        b = dequantise(B[index], B_scale[index], [block, block], torch.float32)
        products.append(a @ b.t())
    return torch.stack(products)
