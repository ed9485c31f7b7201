# only: weights_alone: """C = A · Bᵀ for activations in bfloat16 and weights of few bits, groups of which have scales.
"""C = A · Bᵀ for matrices of few bits, of which groups of elements along K have scales.  # except: weights_alone

# only: weights_alone: An element of B stands for B[n, k] * B_scale[n, k // BLOCK].
An element of A stands for A[m, k] * A_scale[m, k // BLOCK], one of B likewise.  # except: weights_alone
# only: weights_alone: A byte of B holds two numbers e2m1, the first in its four lower bits.
A byte of A or B holds two numbers e2m1, the first in its four lower bits.  # only: packed_a
# only: powers: A byte b of the scales, read without a sign, stands for 2^(b - 127), 255 for NaN.
Products and sums are taken in float32; C is rounded once.
Before, alpha multiplies the sums.  # only: alpha
"""

import torch

N = 4096
K = 4096
PACKED_K = 2048  # only: packed
NUM_K_BLOCKS = 256
BLOCK = 16
# Rows of A and of B are taken in chunks of about this many elements: the scaled copies and the
# products stay small however large M and N are.
CHUNK_ELEMENTS = 33554432
# Numbers e2m1 by their four bits.  # only: packed
E2M1 = (0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6)  # only: packed


def scaled(x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """What rows stand for, [n, K]: on a GPU in bfloat16, which holds such products exactly."""
    dtype = torch.bfloat16 if x.is_cuda else torch.float32
    one = torch.tensor(E2M1, dtype=dtype, device=x.device)  # only: packed
    pairs = torch.stack((one.repeat(16), one.repeat_interleave(16)), dim=1)  # only: packed
    index = x.view(torch.uint8).to(torch.int32)  # only: packed
    values = torch.nn.functional.embedding(index, pairs)  # only: packed
    # except: packed: values = x.to(dtype)
    factors = scale.to(dtype)  # except: powers
    # only: powers: # The bits of bfloat16, which has as many exponents: a byte of 0 is subnormal.
    # only: powers: bits = scale.view(torch.uint8).to(torch.int16)
    # only: powers: powers = (bits << 7).clamp(min=64) + ((bits == 255).to(torch.int16) << 6)
    # only: powers: factors = powers.view(torch.bfloat16).to(dtype)
    values = values.view(x.shape[0], NUM_K_BLOCKS, BLOCK)
    return (values * factors[:, :, None]).view(x.shape[0], K)


def product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The product a · bᵀ in float32."""
    if a.is_cuda and "out_dtype" in (torch.mm.__doc__ or ""):
        # Tensor cores multiply bfloat16 exactly and sum in float32.
        return torch.mm(a, b.T, out_dtype=torch.float32)
    return a.to(torch.float32) @ b.to(torch.float32).T


@torch.no_grad()
def run(
    A: torch.Tensor,
    A_scale: torch.Tensor,  # except: weights_alone
    B: torch.Tensor,
    B_scale: torch.Tensor,
    alpha: torch.Tensor,  # only: alpha
) -> torch.Tensor:
    """C [M, N] in bfloat16 of A and B, whose rows are M and N."""
    m, k = A.shape
    assert k == PACKED_K  # only: packed_a
    # except: packed_a: assert k == K
    assert A_scale.shape == (m, NUM_K_BLOCKS)  # except: weights_alone
    assert B.shape == (N, k)  # except: weights_alone
    # only: weights_alone: assert B.shape == (N, PACKED_K)
    assert B_scale.shape == (N, NUM_K_BLOCKS)
    assert alpha.shape == (1,)  # only: alpha

    output = torch.empty((m, N), dtype=torch.bfloat16, device=A.device)
    at_once = max(1, CHUNK_ELEMENTS // max(K, 4096))
    for first_m in range(0, m, at_once):
        rows = slice(first_m, first_m + at_once)
        a = scaled(A[rows], A_scale[rows])  # except: weights_alone
        # only: weights_alone: a = A[rows]
        chunk = max(1, CHUNK_ELEMENTS // max(K, a.shape[0]))
        for first_n in range(0, N, chunk):
            columns = slice(first_n, first_n + chunk)
            sums = product(a, scaled(B[columns], B_scale[columns]))
            output[rows, columns] = sums * alpha  # only: alpha
            # except: alpha: output[rows, columns] = sums
    return output
