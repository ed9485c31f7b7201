"""Turns, transforms and quantises index queries; their scales become a part of the weights.

The transform is a Hadamard one, which changes no product of a query and a key that both go through
it.
"""

import torch

from fibcore_op_dsv4.references.dsv4_index_k_store import quantised, rotated, transformed

NUM_HEADS = 64
HEAD_DIM = 128
ROPE_DIM = 64

FP8_MAX = 448.0
# The least number that stands for the largest one of a query.
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
    turned = rotated(q.float(), cos_sin_cache[positions.long()][:, None])
    q_fp8, scale = quantised(transformed(turned))
    return q_fp8, weights.float() * float(weight_scale) * scale
