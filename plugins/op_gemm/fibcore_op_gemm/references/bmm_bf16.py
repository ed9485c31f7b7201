"""C[b] = A[b] · B[b]: every matrix of a batch times one of its own, as heads multiply.

Sums are taken in float32 and C is rounded once, at the end. A product of two bfloat16 numbers is
exact in float32, so tensor cores, which sum in float32, do that by themselves.
"""

import torch

N = 512
K = 128
# On a CPU, matrices and rows of A are taken in chunks whose float32 copies and products have about
# this many elements, however many and large they are.
CHUNK_ELEMENTS = 4194304


def on_tensor_cores(A: torch.Tensor, B: torch.Tensor) -> torch.Tensor:
    """A · B by one batch of matrix products of the GPU."""
    flags = torch.backends.cuda.matmul
    before = flags.allow_bf16_reduced_precision_reduction
    # Where K is split over blocks of threads, their sums are added in float32, not rounded before.
    flags.allow_bf16_reduced_precision_reduction = False
    try:
        return torch.bmm(A, B)
    finally:
        flags.allow_bf16_reduced_precision_reduction = before


@torch.no_grad()
def run(A: torch.Tensor, B: torch.Tensor) -> torch.Tensor:
    """C [batch_size, M, N] of A [batch_size, M, K] and B [batch_size, K, N]."""
    batch_size, m, k = A.shape
    assert k == K
    assert B.shape == (batch_size, K, N)
    if A.is_cuda:
        return on_tensor_cores(A, B)

    output = torch.empty((batch_size, m, N), dtype=A.dtype, device=A.device)
    chunk = max(1, CHUNK_ELEMENTS // max(K, N))
    at_once = max(1, chunk // max(K, min(m, chunk)))
    for first in range(0, batch_size, at_once):
        matrices = slice(first, first + at_once)
        b = B[matrices].to(torch.float32)
        for first_m in range(0, m, chunk):
            rows = slice(first_m, first_m + chunk)
            output[matrices, rows] = torch.bmm(A[matrices, rows].to(torch.float32), b)
    return output
