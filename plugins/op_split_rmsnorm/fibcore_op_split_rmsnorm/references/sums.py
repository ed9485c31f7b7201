"""Sums of the squares of a rank's part of queries and keys, which ranks add up.

sums[0] = sum(q^2),  sums[1] = sum(k^2)
"""

import torch

Q_SIZE = 1536
K_SIZE = 256
NUM_ROWS = 2
# Tokens are taken in chunks of about this many elements: the float32 copies stay small however
# many tokens there are.
CHUNK_ELEMENTS = 33554432


@torch.no_grad()
def run(q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    """The sums [NUM_ROWS, num_tokens] of q [num_tokens, Q_SIZE] and k [num_tokens, K_SIZE]."""
    num_tokens = q.shape[0]
    assert q.shape == (num_tokens, Q_SIZE)
    assert k.shape == (num_tokens, K_SIZE)

    sums = torch.empty(NUM_ROWS, num_tokens, dtype=torch.float32, device=q.device)
    chunk = max(1, CHUNK_ELEMENTS // (Q_SIZE + K_SIZE))
    for first in range(0, num_tokens, chunk):
        tokens = slice(first, first + chunk)
        for row, x in zip(sums, (q, k), strict=True):
            row[tokens] = x[tokens].to(torch.float32).square().sum(dim=-1)
    return sums
