"""GEMM of fp8 matrices with one scale each by FlashInfer: flashinfer.bmm_fp8 of one matrix."""

import torch


def flashinfer_bmm_fp8_gemm(
    A: torch.Tensor, A_scale: torch.Tensor, B: torch.Tensor, B_scale: torch.Tensor
) -> torch.Tensor:
    """C [M, N] in bfloat16."""
    from flashinfer import bmm_fp8

    n, k = B.shape
    if n % 16 or k % 16:
        raise NotImplementedError(f"it needs N and K in multiples of 16, not {n} and {k}")
    output: torch.Tensor = bmm_fp8(A[None], B[None].mT, A_scale, B_scale, torch.bfloat16)
    return output[0]
