"""C = A · Bᵀ for activations in bfloat16 and weights of 4 bits, as AWQ packs them.

A weight q stands for (q - z) * B_scale, z being the zero point of its group along K. Weights and
zero points come in 32-bit words as bytes, the lowest bits first; of eight neighbours along N a
word holds those at 0, 2, 4, 6, 1, 3, 5, 7. Products and sums are taken in float32; C is rounded
once.
"""

import torch

N = 4096
K = 4096
N_BYTES = 2048
NUM_K_BLOCKS = 32
# Rows of A and columns of C are taken in chunks of about this many elements: the copies and the
# products stay small however large M and N are.
CHUNK_ELEMENTS = 33554432
# Where in a word each of eight neighbours is.
PLACES = (0, 4, 1, 5, 2, 6, 3, 7)


def integers(x: torch.Tensor) -> torch.Tensor:
    """The integers of rows of words, in the order of N."""
    values = x.view(torch.uint8)
    placed = torch.stack((values & 15, values >> 4), dim=-1).view(x.shape[0], -1, 8)
    return placed[:, :, list(PLACES)].flatten(1)


def product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The product a · bᵀ in float32."""
    if a.is_cuda and "out_dtype" in (torch.mm.__doc__ or ""):
        # Tensor cores multiply bfloat16 exactly and sum in float32. A weight has 16 bits at most,
        # which are those of two such numbers.
        high = b.to(torch.bfloat16)
        low = (b - high).to(torch.bfloat16)
        sums = torch.mm(a, high.T, out_dtype=torch.float32)
        return sums + torch.mm(a, low.T, out_dtype=torch.float32)
    return a.to(torch.float32) @ b.T


@torch.no_grad()
def run(
    A: torch.Tensor,
    B: torch.Tensor,
    B_scale: torch.Tensor,
    B_zeros: torch.Tensor,
) -> torch.Tensor:
    """C [M, N] in bfloat16 of A [M, K] and the weights, which stand for [N, K]."""
    m, k = A.shape
    assert k == K
    assert B.shape == (K, N_BYTES)
    assert B_scale.shape == (NUM_K_BLOCKS, N)
    assert B_zeros.shape == (NUM_K_BLOCKS, N_BYTES)

    output = torch.empty((m, N), dtype=torch.bfloat16, device=A.device)
    at_once = max(1, CHUNK_ELEMENTS // max(K, 4096))
    chunk = max(8, CHUNK_ELEMENTS // max(K, min(m, at_once)) // 8 * 8)
    for first in range(0, N, chunk):
        last = min(N, first + chunk)
        packed = slice(first // 2, last // 2)
        zero = integers(B_zeros[:, packed]).to(torch.float32)
        q = integers(B[:, packed]).to(torch.float32).view(NUM_K_BLOCKS, -1, last - first)
        scale = B_scale[:, first:last].to(torch.float32)
        b = ((q - zero[:, None]) * scale[:, None]).flatten(0, 1).T
        for first_m in range(0, m, at_once):
            rows = slice(first_m, first_m + at_once)
            output[rows, first:last] = product(A[rows], b)
    return output
