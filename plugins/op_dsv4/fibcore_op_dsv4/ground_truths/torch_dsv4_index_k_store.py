"""Index keys normalised, turned, transformed and written, in float64 until they are fp8."""

import torch

EPS = 1e-06


def torch_dsv4_index_k_store(
    kv: torch.Tensor,
    weight: torch.Tensor,
    cos_sin_cache: torch.Tensor,
    positions: torch.Tensor,
    out_loc: torch.Tensor,
    k_index_cache_fp8: torch.Tensor,
) -> torch.Tensor:
    """Complex numbers turn; the transform is made step by step."""
    page_size, rope = k_index_cache_fp8.shape[1], cos_sin_cache.shape[1]
    updated = k_index_cache_fp8.clone()
    for token, place in enumerate(out_loc.tolist()):
        if place < 0:
            continue
        row = kv[token].double()
        row = row / (row.pow(2).mean() + EPS).sqrt() * weight.double()
        angles = torch.view_as_complex(cos_sin_cache[int(positions[token])].double().view(-1, 2))
        tail = torch.view_as_complex(row[-rope:].reshape(-1, 2)) * angles
        row = butterflies(torch.cat((row[:-rope], torch.view_as_real(tail).flatten())))
        scale = (row.abs().max().clamp(min=1e-4) / 448).float()
        values = (row / scale.double()).clamp(-448, 448).float().to(torch.float8_e4m3fn)
        page = updated[place // page_size].view(-1)
        begin = place % page_size * len(row)
        page[begin : begin + len(row)] = values.view(torch.int8)
        begin = page_size * len(row) + place % page_size * 4
        page[begin : begin + 4] = scale.view(1).view(torch.int8)
    return updated


def butterflies(x: torch.Tensor) -> torch.Tensor:
    """A fast Hadamard transform that keeps the length of a vector."""
    step = 1
    while step < len(x):
        pairs = x.view(-1, 2, step)
        x = torch.stack((pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]), 1).flatten()
        step *= 2
    return x.div(len(x) ** 0.5)
