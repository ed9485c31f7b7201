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
# Rows of A and of B are taken in chunks of about this many elements: the scaled copies and the
# products stay small however large M and N are.
CHUNK_ELEMENTS = 33554432
SPLIT_ROWS = 256  # of A: with fewer, splitting B costs more time than it saves


def scaled(x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Rows [n, K] of fp8 numbers times their scales [n, NUM_K_BLOCKS], in float32."""
    return x.to(torch.float32).mul_(scale.repeat_interleave(BLOCK, dim=1)[:, :K])


def halves(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Two bfloat16 parts whose sum is x to 16 bits; x is overwritten."""
    high = x.to(torch.bfloat16)
    return high, x.sub_(high).to(torch.bfloat16)


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

    # On a GPU a · bᵀ is one product of bfloat16 halves side by side, which tensor cores multiply
    # exactly and sum in float32: high · high + high · low + low · high. That of the two low halves is
    # smaller than what float32 rounds away from a sum.
    split = A.is_cuda and m >= SPLIT_ROWS and "out_dtype" in (torch.mm.__doc__ or "")
    output = torch.empty((m, N), dtype=torch.bfloat16, device=A.device)
    at_once = max(1, CHUNK_ELEMENTS // max(K, 4096))
    for first_m in range(0, m, at_once):
        rows = slice(first_m, first_m + at_once)
        a = scaled(A[rows], A_scale[rows])
        # Whole blocks of B; the last block of N or K may be cut off.
        chunk = max(1, CHUNK_ELEMENTS // max(K, a.shape[0]) // BLOCK) * BLOCK
        if split:
            a_high, a_low = halves(a)
            a = torch.cat((a_high, a_high, a_low), dim=1)
        for first_n in range(0, N, chunk):
            columns = slice(first_n, first_n + chunk)
            blocks = slice(first_n // BLOCK, (first_n + chunk) // BLOCK)
            of_columns = B_scale[blocks].repeat_interleave(BLOCK, dim=0)
            b = scaled(B[columns], of_columns[: N - first_n])
            if split:
                b_high, b_low = halves(b)
                b = torch.cat((b_high, b_low, b_high), dim=1)
                output[rows, columns] = torch.mm(a, b.T, out_dtype=torch.float32)
            else:
                output[rows, columns] = a @ b.T
    return output
