"""Normalises latent vectors, turns their last elements, and writes them to a paged cache.

A latent vector has its first elements in float8_e4m3fn with a power of two as the scale of 64 of
them, and its last ones, which are turned, in bfloat16. Of a page all vectors stand first, then all
their scales, a byte (the exponent + 127) each.
"""

import torch

from fibcore_op_dsv4.references.dsv4_index_k_store import normalised, rotated

HEAD_DIM = 512
ROPE_DIM = 64
PAGE_SIZE = 256
KV_PAD_DIM = 1
KV_DIM = 584
EPS = 1e-06

TILE = 64
FP8_MAX = 448.0
# The least number that stands for the largest one of a tile.
LEAST = 1e-4
SCALE_BYTES = 8


@torch.no_grad()
def run(
    kv: torch.Tensor,
    weight: torch.Tensor,
    cos_sin_cache: torch.Tensor,
    positions: torch.Tensor,
    out_loc: torch.Tensor,
    kv_cache: torch.Tensor,
) -> torch.Tensor:
    """A copy of the cache with the vectors in it; rows with -1 for a place are left out."""
    num_tokens = kv.shape[0]
    assert kv.shape == (num_tokens, HEAD_DIM)
    assert weight.shape == (HEAD_DIM,)
    assert cos_sin_cache.shape[1] == ROPE_DIM
    assert positions.shape == out_loc.shape == (num_tokens,)
    assert kv_cache.shape[1:] == (PAGE_SIZE, KV_PAD_DIM, KV_DIM)
    updated = kv_cache.clone()
    kept = out_loc >= 0
    latent = normalised(kv[kept]) * weight.float()
    latent = rotated(latent, cos_sin_cache[positions[kept].long()])
    tiles = latent[:, :-ROPE_DIM].reshape(latent.shape[0], -1, TILE)
    bits = (tiles.abs().amax(-1).clamp(min=LEAST) / FP8_MAX).view(torch.int32)
    exponent = (bits >> 23) + ((bits & 0x7FFFFF) != 0)  # rounded up
    inverse = ((254 - exponent) << 23).view(torch.float32)
    scaled = (tiles * inverse[..., None]).clamp(-FP8_MAX, FP8_MAX).to(torch.float8_e4m3fn)
    rope = latent[:, -ROPE_DIM:].bfloat16().view(torch.uint8)
    rows = torch.cat((scaled.view(torch.uint8).flatten(1), rope), 1)
    page, place = out_loc[kept].long() // PAGE_SIZE, out_loc[kept].long() % PAGE_SIZE
    pages = updated.view(torch.uint8).view(updated.shape[0], PAGE_SIZE * KV_DIM)
    end = PAGE_SIZE * (KV_DIM - SCALE_BYTES)
    pages[:, :end].view(-1, PAGE_SIZE, KV_DIM - SCALE_BYTES)[page, place] = rows
    scales = pages[:, end:].view(-1, PAGE_SIZE, SCALE_BYTES)
    scales[..., : exponent.shape[1]][page, place] = exponent.to(torch.uint8)
    return updated
