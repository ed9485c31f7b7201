"""C = A · Bᵀ for fp8 matrices whose blocks have scales.

An element of A stands for A[m, k] * A_scale[m, k // 128], one of B for
B[n, k] * B_scale[n // 128, k // 128]. Products and sums are taken in float32; C is rounded once.
"""

import torch

N = 4096
K = 4096
NUM_K_BLOCKS = 32
NUM_N_BLOCKS = 32
BLOCK = 128
# Rows of A and of B are taken in chunks of about this many elements, 2048 rows at most: the float32
# copies and products stay small however large M and N are.
CHUNK_ELEMENTS = 4194304


@torch.no_grad()
def run(
    A: torch.Tensor,
    A_scale: torch.Tensor,
    B: torch.Tensor,
    B_scale: torch.Tensor,
) -> torch.Tensor:
    """C [M, N] in bfloat16 of A [M, K] and B [N, K] in float8_e4m3fn."""
    m, k = A.shape
    assert k == K
    assert A_scale.shape == (m, NUM_K_BLOCKS)
    assert B.shape == (N, K)
    assert B_scale.shape == (NUM_N_BLOCKS, NUM_K_BLOCKS)

    output = torch.empty((m, N), dtype=torch.bfloat16, device=A.device)
    # Whole blocks of B; the last block of N or K may be cut off.
    chunk = max(1, CHUNK_ELEMENTS // max(K, 2048) // BLOCK) * BLOCK
    for first_m in range(0, m, chunk):
        rows = slice(first_m, first_m + chunk)
        a = A[rows].to(torch.float32)
        a *= A_scale[rows].repeat_interleave(BLOCK, dim=1)[:, :K]
        for first_n in range(0, N, chunk):
            columns = slice(first_n, first_n + chunk)
            blocks = slice(first_n // BLOCK, (first_n + chunk) // BLOCK)
            b = B[columns].to(torch.float32)
            of_columns = B_scale[blocks].repeat_interleave(BLOCK, dim=0)[: b.shape[0]]
            b *= of_columns.repeat_interleave(BLOCK, dim=1)[:, :K]
            output[rows, columns] = (a @ b.T).to(output.dtype)
    return output
