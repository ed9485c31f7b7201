"""C = A · Bᵀ: every row of A times every row of B, as a linear layer multiplies.

Products and sums are taken in float32; C is rounded once, at the end.
"""

import torch

N = 4096
K = 4096
# Rows of A and of B are taken in chunks of about this many elements, 2048 rows at most: the float32
# copies and products stay small however large M and N are.
CHUNK_ELEMENTS = 4194304


@torch.no_grad()
def run(A: torch.Tensor, B: torch.Tensor) -> torch.Tensor:
    """C [M, N] of A [M, K] and B [N, K]."""
    m, k = A.shape
    assert k == K
    assert B.shape == (N, K)

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
