"""Normalises index keys, turns and transforms them, and writes them to a paged cache in fp8.

Of a page all keys stand first, in float8_e4m3fn, then all their scales, in float32. The transform
is a Hadamard one, which changes no product of a query and a key that both go through it.
"""

import torch

HEAD_DIM = 128
ROPE_DIM = 64
PAGE_SIZE = 64
KV_CACHE_NUM_HEADS = 1
HEAD_DIM_WITH_SCALE = 132
EPS = 1e-06

FP8_MAX = 448.0
# The least number that stands for the largest one of a key.
LEAST = 1e-4


def normalised(x: torch.Tensor) -> torch.Tensor:
    """Rows divided by their root mean square, in float32."""
    x = x.float()
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + EPS)


def rotated(x: torch.Tensor, cos_sin: torch.Tensor) -> torch.Tensor:
    """Rows [..., d] whose last elements are turned in pairs; cos and sin [..., rope] by turns."""
    pairs = x[..., -ROPE_DIM:].reshape(*x.shape[:-1], ROPE_DIM // 2, 2)
    (one, other), (cos, sin) = pairs.unbind(-1), (cos_sin[..., 0::2], cos_sin[..., 1::2])
    turned = torch.stack((one * cos - other * sin, one * sin + other * cos), -1).flatten(-2)
    return torch.cat((x[..., :-ROPE_DIM], turned), -1)


def transformed(x: torch.Tensor) -> torch.Tensor:
    """Rows of float32 numbers after a Hadamard transform that keeps their length."""
    matrix = x.new_ones(1, 1)
    while matrix.shape[0] < HEAD_DIM:
        matrix = torch.cat((torch.cat((matrix, matrix), 1), torch.cat((matrix, -matrix), 1)))
    return torch.matmul(x, matrix).mul_(HEAD_DIM**-0.5)


def quantised(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows in float8_e4m3fn, and the scale [...] of each."""
    scale = x.abs().amax(-1).clamp(min=LEAST) / FP8_MAX
    scaled = (x * (1 / scale)[..., None]).clamp(-FP8_MAX, FP8_MAX)
    return scaled.to(torch.float8_e4m3fn), scale


@torch.no_grad()
def run(
    kv: torch.Tensor,
    weight: torch.Tensor,
    cos_sin_cache: torch.Tensor,
    positions: torch.Tensor,
    out_loc: torch.Tensor,
    k_index_cache_fp8: torch.Tensor,
) -> torch.Tensor:
    """A copy of the cache with the keys in it; rows with -1 for a place are left out."""
    num_tokens = kv.shape[0]
    assert kv.shape == (num_tokens, HEAD_DIM)
    assert weight.shape == (HEAD_DIM,)
    assert cos_sin_cache.shape[1] == ROPE_DIM
    assert positions.shape == out_loc.shape == (num_tokens,)
    assert k_index_cache_fp8.shape[1:] == (PAGE_SIZE, KV_CACHE_NUM_HEADS, HEAD_DIM_WITH_SCALE)
    updated = k_index_cache_fp8.clone()
    kept = out_loc >= 0
    keys = normalised(kv[kept]) * weight.float()
    values, scales = quantised(transformed(rotated(keys, cos_sin_cache[positions[kept].long()])))
    page, place = out_loc[kept].long() // PAGE_SIZE, out_loc[kept].long() % PAGE_SIZE
    pages = updated.view(updated.shape[0], PAGE_SIZE * HEAD_DIM_WITH_SCALE)
    end = PAGE_SIZE * HEAD_DIM
    pages[:, :end].view(-1, PAGE_SIZE, HEAD_DIM)[page, place] = values.view(torch.int8)
    bytes_of_scales = scales[:, None].view(torch.int8)
    pages[:, end:].view(-1, PAGE_SIZE, 4)[page, place] = bytes_of_scales
    return updated
