"""RMSNorm of a rank's part of queries and keys, by sums of squares of all ranks.

    out = x / sqrt(sum / (elements * RANKS) + EPSILON) * weight

(Zhang and Sennrich 2019, arXiv:1910.07467)
"""

import torch

Q_SIZE = 1536
K_SIZE = 256
NUM_ROWS = 2
RANKS = 4
EPSILON = 1e-06
# Tokens are taken in chunks of about this many elements: the float32 copies stay small however
# many tokens there are.
CHUNK_ELEMENTS = 33554432


def normalised(x: torch.Tensor, weight: torch.Tensor, sums: torch.Tensor) -> torch.Tensor:
    """Rows of x [tokens, elements] by their sums [tokens], in float32."""
    root = torch.rsqrt(sums / (x.shape[1] * RANKS) + EPSILON)
    return x.to(torch.float32) * root[:, None] * weight.to(torch.float32)


@torch.no_grad()
def run(
    q: torch.Tensor,
    k: torch.Tensor,
    q_weight: torch.Tensor,
    k_weight: torch.Tensor,
    sums: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Normalise q [num_tokens, Q_SIZE] and k [num_tokens, K_SIZE]."""
    num_tokens = q.shape[0]
    assert q.shape == (num_tokens, Q_SIZE)
    assert k.shape == (num_tokens, K_SIZE)
    assert q_weight.shape == (Q_SIZE,)
    assert k_weight.shape == (K_SIZE,)
    assert sums.shape == (NUM_ROWS, num_tokens)

    q_out, k_out = torch.empty_like(q), torch.empty_like(k)
    chunk = max(1, CHUNK_ELEMENTS // (Q_SIZE + K_SIZE))
    for first in range(0, num_tokens, chunk):
        tokens = slice(first, first + chunk)
        q_out[tokens] = normalised(q[tokens], q_weight, sums[0, tokens])
        k_out[tokens] = normalised(k[tokens], k_weight, sums[1, tokens])
    return q_out, k_out
