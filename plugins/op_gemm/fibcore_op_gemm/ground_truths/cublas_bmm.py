"""A batch of bfloat16 matrix products by cuBLAS through torch: float32 sums, bfloat16 out."""

import torch


def cublas_bmm(A: torch.Tensor, B: torch.Tensor) -> torch.Tensor:
    """C [batch_size, M, N] in the dtype of A."""
    flags = torch.backends.cuda.matmul
    before = flags.allow_bf16_reduced_precision_reduction
    # Partial sums must not be rounded to bfloat16 in between.
    flags.allow_bf16_reduced_precision_reduction = False
    try:
        return torch.matmul(A, B)
    finally:
        flags.allow_bf16_reduced_precision_reduction = before
