"""C = A · Bᵀ for matrices of 8 bits a number.

An element of A stands for A[m, k] * A_scale[m], one of B for B[n, k] * B_scale[n].  # except: whole
# only: whole: An element of A stands for A[m, k] * A_scale[0], one of B for B[n, k] * B_scale[0].
Products and sums are taken in float32, the scales multiply the sums; C is rounded once.
"""

import torch

N = 4096
K = 4096
# Rows of A and of B are taken in chunks of about this many elements: the copies and the products
# stay small however large M and N are.
CHUNK_ELEMENTS = 33554432


def product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The product a · bᵀ in float32."""
    if a.is_cuda and "out_dtype" in (torch.mm.__doc__ or ""):
        # Numbers of 8 bits are exact in bfloat16, and products of two in float32, in which tensor
        # cores sum.
        return torch.mm(a.to(torch.bfloat16), b.to(torch.bfloat16).T, out_dtype=torch.float32)
    return a.to(torch.float32) @ b.to(torch.float32).T


@torch.no_grad()
def run(
    A: torch.Tensor,
    A_scale: torch.Tensor,
    B: torch.Tensor,
    B_scale: torch.Tensor,
) -> torch.Tensor:
    """C [M, N] in bfloat16 of A [M, K] and B [N, K]."""
    m, k = A.shape
    assert k == K
    assert B.shape == (N, K)
    assert A_scale.shape == (m,)  # except: whole
    assert B_scale.shape == (N,)  # except: whole
    # only: whole: assert A_scale.shape == (1,)
    # only: whole: assert B_scale.shape == (1,)

    output = torch.empty((m, N), dtype=torch.bfloat16, device=A.device)
    at_once = max(1, CHUNK_ELEMENTS // max(K, 4096))
    for first_m in range(0, m, at_once):
        rows = slice(first_m, first_m + at_once)
        of_rows = A_scale[rows, None]  # except: whole
        # only: whole: of_rows = A_scale
        chunk = max(1, CHUNK_ELEMENTS // max(K, min(m, at_once)))
        for first_n in range(0, N, chunk):
            columns = slice(first_n, first_n + chunk)
            of_columns = B_scale[columns]  # except: whole
            # only: whole: of_columns = B_scale
            sums = product(A[rows], B[columns])
            output[rows, columns] = sums.mul_(of_rows).mul_(of_columns)
    return output
