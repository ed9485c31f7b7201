"""C[b] = A[b] · B[b] for batches of fp8 matrices: every matrix times one of its own.

An element of A stands for A[b, m, k] * A_scale[0], one of B for B[b, k, n] * B_scale[0].
Products and sums are taken in float32, the scales multiply the sums; C is rounded once.
"""

import torch

N = 512
K = 128
# Matrices, and rows of A, are taken in chunks whose copies and products have about this many
# elements, however many and large they are.
CHUNK_ELEMENTS = 33554432


def product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The products a · b in float32."""
    if a.is_cuda and "out_dtype" in (torch.bmm.__doc__ or ""):
        # Numbers of 8 bits are exact in bfloat16, and products of two in float32, in which tensor
        # cores sum.
        return torch.bmm(a.to(torch.bfloat16), b.to(torch.bfloat16), out_dtype=torch.float32)
    return torch.bmm(a.to(torch.float32), b.to(torch.float32))


@torch.no_grad()
def run(
    A: torch.Tensor,
    B: torch.Tensor,
    A_scale: torch.Tensor,
    B_scale: torch.Tensor,
) -> torch.Tensor:
    """C [batch_size, M, N] in bfloat16 of A [batch_size, M, K] and B [batch_size, K, N]."""
    batch_size, m, k = A.shape
    assert k == K
    assert B.shape == (batch_size, K, N)
    assert A_scale.shape == (1,)
    assert B_scale.shape == (1,)

    output = torch.empty((batch_size, m, N), dtype=torch.bfloat16, device=A.device)
    chunk = max(1, CHUNK_ELEMENTS // max(K, N))
    at_once = max(1, chunk // max(K, min(m, chunk)))
    for first in range(0, batch_size, at_once):
        matrices = slice(first, first + at_once)
        for first_m in range(0, m, chunk):
            rows = slice(first_m, first_m + chunk)
            sums = product(A[matrices, rows], B[matrices])
            output[matrices, rows] = sums.mul_(A_scale).mul_(B_scale)
    return output
