"""Latent vectors normalised, turned and written, token by token, in float64 until they are fp8."""

import math

import torch

EPS = 1e-06


def torch_dsv4_k_store(
    kv: torch.Tensor,
    weight: torch.Tensor,
    cos_sin_cache: torch.Tensor,
    positions: torch.Tensor,
    out_loc: torch.Tensor,
    kv_cache: torch.Tensor,
) -> torch.Tensor:
    """Complex numbers turn; scales are powers of two by their logarithm."""
    page_size, size = kv_cache.shape[1], kv_cache.shape[-1]
    rope, updated = cos_sin_cache.shape[1], kv_cache.clone()
    for token, place in enumerate(out_loc.tolist()):
        if place < 0:
            continue
        row = kv[token].double()
        row = row / (row.pow(2).mean() + EPS).sqrt() * weight.double()
        angles = torch.view_as_complex(cos_sin_cache[int(positions[token])].double().view(-1, 2))
        tail = torch.view_as_complex(row[-rope:].reshape(-1, 2)) * angles
        found = []
        exponents = []
        for tile in row[:-rope].view(-1, 64):
            least = max(float(tile.abs().max()), 1e-4) / 448
            exponent = math.ceil(math.log2(least))
            found.append((tile / 2.0**exponent).float().to(torch.float8_e4m3fn).view(torch.uint8))
            exponents.append(exponent + 127)
        found.append(torch.view_as_real(tail).flatten().bfloat16().view(torch.uint8))
        data = torch.cat(found)
        page = updated[place // page_size].view(-1).view(torch.uint8)
        begin = place % page_size * len(data)
        page[begin : begin + len(data)] = data
        begin = page_size * len(data) + place % page_size * (size - len(data))
        page[begin : begin + len(exponents)] = torch.tensor(exponents, device=page.device).byte()
    return updated
