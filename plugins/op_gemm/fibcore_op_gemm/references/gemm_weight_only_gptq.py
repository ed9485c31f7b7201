"""C = A · Bᵀ for activations in bfloat16 and integer weights, as GPTQ packs them.

A weight q stands for (q - z - 1) * B_scale, z being its zero point.  # only: zeros
# except: zeros: A weight q stands for (q - MIDDLE) * B_scale.
Element k of a row is in group g_idx[k].  # only: act_order
# except: act_order: Neighbours along K are in one group.
Weights come in 32-bit words as bytes, the lowest bits first; a word holds neighbours along K.
Zero points come likewise, with neighbours along N.  # only: zeros
Products and sums are taken in float32; C is rounded once.
"""

import torch

N = 4096
K = 4096
K_WORDS = 512
N_WORD_BYTES = 16384
N_BYTES = 2048  # only: zeros
NUM_K_BLOCKS = 32
MIDDLE = 8  # only: middle4
# only: middle8: MIDDLE = 128
# Rows of A and columns of C are taken in chunks of about this many elements: the copies and the
# products stay small however large M and N are.
CHUNK_ELEMENTS = 33554432


def integers(x: torch.Tensor) -> torch.Tensor:
    """The integers of rows of bytes, as they lie there."""
    values = x.view(torch.uint8)
    return torch.stack((values & 15, values >> 4), dim=-1).flatten(1)  # only: bits4
    # only: bits8: return values


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
    B_zeros: torch.Tensor,  # only: zeros
    g_idx: torch.Tensor,  # only: act_order
) -> torch.Tensor:
    """C [M, N] in bfloat16 of A [M, K] and the weights, which stand for [N, K]."""
    m, k = A.shape
    assert k == K
    assert B.shape == (K_WORDS, N_WORD_BYTES)
    assert B_scale.shape == (NUM_K_BLOCKS, N)
    assert B_zeros.shape == (NUM_K_BLOCKS, N_BYTES)  # only: zeros
    assert g_idx.shape == (K,)  # only: act_order

    output = torch.empty((m, N), dtype=torch.bfloat16, device=A.device)
    groups = g_idx.to(torch.int64)  # only: act_order
    # except: act_order: groups = torch.arange(K, device=A.device) // (K // NUM_K_BLOCKS)
    at_once = max(1, CHUNK_ELEMENTS // max(K, 4096))
    chunk = max(8, CHUNK_ELEMENTS // max(K, min(m, at_once)) // 8 * 8)
    for first in range(0, N, chunk):
        last = min(N, first + chunk)
        words = integers(B[:, 4 * first : 4 * last]).reshape(K_WORDS, last - first, -1)
        q = words.transpose(1, 2).reshape(K, last - first).to(torch.float32)
        packed = slice(first * N_BYTES // N, last * N_BYTES // N)  # only: zeros
        q -= integers(B_zeros[:, packed]).to(torch.float32)[groups] + 1  # only: zeros
        # except: zeros: q -= MIDDLE
        b = (q * B_scale[groups, first:last].to(torch.float32)).T
        for first_m in range(0, m, at_once):
            rows = slice(first_m, first_m + at_once)
            output[rows, first:last] = product(A[rows], b)
    return output
