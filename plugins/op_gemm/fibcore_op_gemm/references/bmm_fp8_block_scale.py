"""C[b] = A[b] · B[b]ᵀ for batches of fp8 matrices whose blocks have scales.

An element of A stands for A[b, m, k] * A_scale[b, m, k // 128], one of B for
B[b, n, k] * B_scale[b, n // 128, k // 128]. Products and sums are taken in float32; C is rounded
once.
"""

import torch

N = 1024
K = 4096
NUM_K_BLOCKS = 32
NUM_N_BLOCKS = 8
BLOCK = 128
# Rows of A and of B are taken in chunks of about this many elements, one matrix after the other:
# the scaled copies and the products stay small however many and large the matrices are.
CHUNK_ELEMENTS = 33554432


def scaled(x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Rows [n, K] of fp8 numbers times their scales [n, NUM_K_BLOCKS], in float32."""
    return x.to(torch.float32).mul_(scale.repeat_interleave(BLOCK, dim=1)[:, :K])


def halves(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Two bfloat16 parts whose sum is x to 16 bits; x is overwritten."""
    high = x.to(torch.bfloat16)
    return high, x.sub_(high).to(torch.bfloat16)


def product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The product a · bᵀ in float32; a and b are overwritten."""
    if not (a.is_cuda and "out_dtype" in (torch.mm.__doc__ or "")):
        return a @ b.T
    # One product of bfloat16 halves side by side, which tensor cores multiply exactly and sum in
    # float32. That of the two low halves is smaller than what float32 rounds away from a sum.
    a_high, a_low = halves(a)
    b_high, b_low = halves(b)
    left = torch.cat((a_high, a_high, a_low), dim=1)
    right = torch.cat((b_high, b_low, b_high), dim=1)
    return torch.mm(left, right.T, out_dtype=torch.float32)


@torch.no_grad()
def run(
    A: torch.Tensor,
    A_scale: torch.Tensor,
    B: torch.Tensor,
    B_scale: torch.Tensor,
) -> torch.Tensor:
    """C [batch_size, M, N] in bfloat16 of A [batch_size, M, K] and B [batch_size, N, K]."""
    batch_size, m, k = A.shape
    assert k == K
    assert A_scale.shape == (batch_size, m, NUM_K_BLOCKS)
    assert B.shape == (batch_size, N, K)
    assert B_scale.shape == (batch_size, NUM_N_BLOCKS, NUM_K_BLOCKS)

    output = torch.empty((batch_size, m, N), dtype=torch.bfloat16, device=A.device)
    chunk = max(1, CHUNK_ELEMENTS // max(K, 4096))
    for index in range(batch_size):
        of_rows = B_scale[index].repeat_interleave(BLOCK, dim=0)[:N]
        for first_n in range(0, N, chunk):
            columns = slice(first_n, first_n + chunk)
            for first_m in range(0, m, chunk):
                rows = slice(first_m, first_m + chunk)
                a = scaled(A[index, rows], A_scale[index, rows])
                b = scaled(B[index, columns], of_rows[columns])
                output[index, rows, columns] = product(a, b)
    return output
