"""GEMM of 8-bit matrices by torch in float64; the scales multiply the product."""

import torch

TORCH_GEMM_ROW_SCALE_ROWS = 1024


def torch_gemm_row_scale(
    A: torch.Tensor, A_scale: torch.Tensor, B: torch.Tensor, B_scale: torch.Tensor
) -> torch.Tensor:
    """C [M, N] in float64; rows of B are converted a part at a time."""
    a = A.float().double()
    step = TORCH_GEMM_ROW_SCALE_ROWS
    parts = [a @ B[i : i + step].float().double().t() for i in range(0, B.shape[0], step)]
    product = torch.cat(parts, dim=1)
    return product * A_scale.double()[:, None] * B_scale.double()[None, :]
