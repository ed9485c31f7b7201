"""Turns the first elements of index queries, and quantises them.

Scales of queries become a part of the weights, by which a head's scores count.
"""

import torch

from fibcore_op_dsa_index.references.dsa_index_k_store import quantised, rotated

NUM_HEADS = 32
HEAD_DIM = 128
ROPE_DIM = 64

FP8_MAX = 448.0
# The least number that stands for the largest one of a row.
LEAST = 1e-4


@torch.no_grad()
def run(
    q: torch.Tensor,
    weights: torch.Tensor,
    weight_scale: float | torch.Tensor,
    cos_sin_cache: torch.Tensor,
    positions: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Queries in fp8 [num_tokens, heads, head_dim], and weights [num_tokens, heads]."""
    num_tokens = q.shape[0]
    assert q.shape == (num_tokens, NUM_HEADS, HEAD_DIM)
    assert weights.shape == (num_tokens, NUM_HEADS)
    assert cos_sin_cache.shape[1] == ROPE_DIM
    assert positions.shape == (num_tokens,)
    q_fp8, scale = quantised(rotated(q.float(), cos_sin_cache[positions][:, None]))
    return q_fp8, weights.float() * float(weight_scale) * scale
