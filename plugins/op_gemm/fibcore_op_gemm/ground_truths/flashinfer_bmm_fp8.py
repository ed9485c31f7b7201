"""A batch of fp8 matrix products with one scale for each side by FlashInfer: flashinfer.bmm_fp8."""

import torch


def flashinfer_bmm_fp8(
    A: torch.Tensor, B: torch.Tensor, A_scale: torch.Tensor, B_scale: torch.Tensor
) -> torch.Tensor:
    """C [batch_size, M, N] in bfloat16."""
    from flashinfer import bmm_fp8

    k, n = B.shape[1:]
    if n % 16 or k % 16:
        raise NotImplementedError(f"it needs N and K in multiples of 16, not {n} and {k}")
    # Columns of B one after the other.
    columns = B.view(torch.uint8).mT.contiguous().view(B.dtype).mT
    output: torch.Tensor = bmm_fp8(A, columns, A_scale, B_scale, torch.bfloat16)
    return output
