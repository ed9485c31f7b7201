"""Turns the last elements of attention's output back, by the angles of each token's position."""

import torch

from fibcore_op_dsv4.references.dsv4_index_k_store import rotated

NUM_HEADS = 8
ROPE_DIM = 64


@torch.no_grad()
def run(x: torch.Tensor, cos_sin_cache: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """The elements [num_tokens, heads, rope_dim], turned the other way."""
    num_tokens = x.shape[0]
    assert x.shape == (num_tokens, NUM_HEADS, ROPE_DIM)
    assert cos_sin_cache.shape[1] == ROPE_DIM
    assert positions.shape == (num_tokens,)
    # The other way is by angles with the other sign: cos, -sin.
    cos_sin = cos_sin_cache[positions.long()].clone()
    cos_sin[:, 1::2].neg_()
    return rotated(x.float(), cos_sin[:, None]).to(x.dtype)
