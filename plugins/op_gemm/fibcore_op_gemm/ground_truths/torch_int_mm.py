"""GEMM of int8 matrices by torch with exact sums in int32: torch._int_mm."""

import torch


def torch_int_mm(
    A: torch.Tensor, A_scale: torch.Tensor, B: torch.Tensor, B_scale: torch.Tensor
) -> torch.Tensor:
    """C [M, N] in float32."""
    (m, k), n = A.shape, B.shape[0]
    if A.is_cuda and (n % 8 or k % 8):
        raise NotImplementedError(f"it needs N and K in multiples of 8, not {n} and {k}")
    a = torch.zeros(max(m, 17), k, dtype=torch.int8, device=A.device)  # more than 16 rows on CUDA
    a[:m] = A
    sums = torch._int_mm(a, B.t())[:m]
    return sums.float() * A_scale[:, None] * B_scale[None, :]
