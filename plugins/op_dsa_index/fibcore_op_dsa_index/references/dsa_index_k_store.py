"""Normalises index keys, turns their first elements, and writes them to a paged cache in fp8.

Of a page all keys stand first, in float8_e4m3fn, then all their scales, in float32.
"""

import torch

HEAD_DIM = 128
ROPE_DIM = 64
PAGE_SIZE = 64
KV_CACHE_NUM_HEADS = 1
HEAD_DIM_WITH_SCALE = 132
EPS = 1e-06

FP8_MAX = 448.0
# The least number that stands for the largest one of a row.
LEAST = 1e-4


def rotated(x: torch.Tensor, cos_sin: torch.Tensor) -> torch.Tensor:
    """Rows [..., d] whose first elements turn in pairs; cosines, then sines [..., rope]."""
    pairs = x[..., :ROPE_DIM].reshape(*x.shape[:-1], ROPE_DIM // 2, 2)
    (one, other), (cos, sin) = pairs.unbind(-1), cos_sin.chunk(2, -1)
    turned = torch.stack((one * cos - other * sin, one * sin + other * cos), -1).flatten(-2)
    return torch.cat((turned, x[..., ROPE_DIM:]), -1)


def quantised(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows in float8_e4m3fn, and the scale [...] of each."""
    scale = x.abs().amax(-1).clamp(min=LEAST) / FP8_MAX
    scaled = (x * (1 / scale)[..., None]).clamp(-FP8_MAX, FP8_MAX)
    return scaled.to(torch.float8_e4m3fn), scale


@torch.no_grad()
def run(
    k: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    cos_sin_cache: torch.Tensor,
    positions: torch.Tensor,
    out_loc: torch.Tensor,
    k_index_cache_fp8: torch.Tensor,
) -> torch.Tensor:
    """A copy of the cache with the keys in it."""
    num_tokens = k.shape[0]
    assert k.shape == (num_tokens, HEAD_DIM)
    assert weight.shape == bias.shape == (HEAD_DIM,)
    assert cos_sin_cache.shape[1] == ROPE_DIM
    assert positions.shape == out_loc.shape == (num_tokens,)
    assert k_index_cache_fp8.shape[1:] == (PAGE_SIZE, KV_CACHE_NUM_HEADS, HEAD_DIM_WITH_SCALE)
    updated = k_index_cache_fp8.clone()
    keys = torch.nn.functional.layer_norm(k.float(), (HEAD_DIM,), weight, bias, EPS)
    values, scales = quantised(rotated(keys, cos_sin_cache[positions]))
    page, place = out_loc // PAGE_SIZE, out_loc % PAGE_SIZE
    pages = updated.view(updated.shape[0], PAGE_SIZE * HEAD_DIM_WITH_SCALE)
    end = PAGE_SIZE * HEAD_DIM
    pages[:, :end].view(-1, PAGE_SIZE, HEAD_DIM)[page, place] = values.view(torch.int8)
    bytes_of_scales = scales[:, None].view(torch.int8)
    pages[:, end:].view(-1, PAGE_SIZE, 4)[page, place] = bytes_of_scales
    return updated
