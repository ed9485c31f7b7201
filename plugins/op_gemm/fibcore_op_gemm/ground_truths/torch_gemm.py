"""GEMM by torch in float64."""

import torch

TORCH_GEMM_ROWS = 1024


def torch_gemm(A: torch.Tensor, B: torch.Tensor) -> torch.Tensor:
    """C [M, N] in float64; rows of B are converted a part at a time."""
    a = A.double()
    starts = range(0, B.shape[0], TORCH_GEMM_ROWS)
    parts = [a @ B[first : first + TORCH_GEMM_ROWS].double().t() for first in starts]
    return torch.cat(parts, dim=1)
