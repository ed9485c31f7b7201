"""Normalises queries, head by head and without a weight, and turns their last elements."""

import torch

from fibcore_op_dsv4.references.dsv4_index_k_store import normalised, rotated

NUM_HEADS = 8
HEAD_DIM = 512
ROPE_DIM = 64
EPS = 1e-06


@torch.no_grad()
def run(q: torch.Tensor, cos_sin_cache: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """The queries [num_tokens, heads, head_dim]."""
    num_tokens = q.shape[0]
    assert q.shape == (num_tokens, NUM_HEADS, HEAD_DIM)
    assert cos_sin_cache.shape[1] == ROPE_DIM
    assert positions.shape == (num_tokens,)
    cos_sin = cos_sin_cache[positions.long()][:, None]
    return rotated(normalised(q), cos_sin).to(q.dtype)
