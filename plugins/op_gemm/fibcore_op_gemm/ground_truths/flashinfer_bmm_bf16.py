"""A batch of bfloat16 matrix products by FlashInfer, through cuDNN: flashinfer.gemm.bmm_bf16."""

import torch


def flashinfer_bmm_bf16(A: torch.Tensor, B: torch.Tensor) -> torch.Tensor:
    """C [batch_size, M, N] in bfloat16."""
    from flashinfer.gemm import bmm_bf16

    k, n = B.shape[1:]
    if n % 8 or k % 8:
        raise NotImplementedError(f"it needs N and K in multiples of 8, not {n} and {k}")
    # Columns of B one after the other.
    output: torch.Tensor = bmm_bf16(A, B.mT.contiguous().mT, out_dtype=torch.bfloat16)
    return output
