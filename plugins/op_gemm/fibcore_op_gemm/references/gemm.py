"""C = A · Bᵀ: every row of A times every row of B, as a linear layer multiplies.

Sums are taken in float32 and C is rounded once, at the end. A product of two bfloat16 or float16
numbers is exact in float32, so tensor cores, which sum in float32, do that by themselves.
"""

import torch

N = 4096
K = 4096
# On a CPU, rows of A and of B are taken in chunks of about this many elements, 2048 rows at most:
# the float32 copies and products stay small however large M and N are.
CHUNK_ELEMENTS = 4194304


def on_tensor_cores(A: torch.Tensor, B: torch.Tensor) -> torch.Tensor:
    """A · Bᵀ by one matrix product of the GPU."""
    flags = torch.backends.cuda.matmul
    before = (
        flags.allow_bf16_reduced_precision_reduction,
        flags.allow_fp16_reduced_precision_reduction,
    )
    # Where K is split over blocks of threads, their sums are added in float32, not rounded before.
    flags.allow_bf16_reduced_precision_reduction = False
    flags.allow_fp16_reduced_precision_reduction = False
    try:
        return A @ B.T
    finally:
        flags.allow_bf16_reduced_precision_reduction = before[0]
        flags.allow_fp16_reduced_precision_reduction = before[1]


@torch.no_grad()
def run(A: torch.Tensor, B: torch.Tensor) -> torch.Tensor:
    """C [M, N] of A [M, K] and B [N, K]."""
    m, k = A.shape
    assert k == K
    assert B.shape == (N, K)
    if A.is_cuda:
        return on_tensor_cores(A, B)

    output = torch.empty((m, N), dtype=A.dtype, device=A.device)
    chunk = max(1, CHUNK_ELEMENTS // max(K, 2048))
    for first_m in range(0, m, chunk):
        rows = slice(first_m, first_m + chunk)
        a = A[rows].to(torch.float32)
        for first_n in range(0, N, chunk):
            columns = slice(first_n, first_n + chunk)
            b = B[columns].to(torch.float32)
            output[rows, columns] = (a @ b.T).to(output.dtype)
    return output
