"""Block-scaled fp8 GEMM by torch in float64: one product for each block of K, scaled afterwards."""

import torch

TORCH_GEMM_FP8_BLOCK_SCALE_BLOCK = 128
TORCH_GEMM_FP8_BLOCK_SCALE_ROWS = 8192


def torch_gemm_fp8_block_scale(
    A: torch.Tensor, A_scale: torch.Tensor, B: torch.Tensor, B_scale: torch.Tensor
) -> torch.Tensor:
    """C [M, N] in float64; rows of B are taken a part at a time."""
    block, step = TORCH_GEMM_FP8_BLOCK_SCALE_BLOCK, TORCH_GEMM_FP8_BLOCK_SCALE_ROWS
    (m, k), n = A.shape, B.shape[0]
    output = torch.zeros(m, n, dtype=torch.float64, device=A.device)
    for first in range(0, n, step):
        last = min(first + step, n)
        block_of_column = torch.arange(first, last, device=A.device) // block
        for index in range(A_scale.shape[1]):
            part = slice(index * block, min((index + 1) * block, k))
            a = A[:, part].float().double()
            b = B[first:last, part].float().double()
            scale = A_scale[:, index, None].double() * B_scale[block_of_column, index].double()
            output[:, first:last] += (a @ b.t()) * scale
    return output
