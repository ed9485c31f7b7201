"""Index keys normalised, turned and written, in float64 until they are fp8."""

import torch

EPS = 1e-06


def torch_dsa_index_k_store(
    k: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    cos_sin_cache: torch.Tensor,
    positions: torch.Tensor,
    out_loc: torch.Tensor,
    k_index_cache_fp8: torch.Tensor,
) -> torch.Tensor:
    """Token by token; complex numbers turn."""
    page_size, half = k_index_cache_fp8.shape[1], cos_sin_cache.shape[1] // 2
    updated = k_index_cache_fp8.clone()
    for token, place in enumerate(out_loc.tolist()):
        row = k[token].double()
        row = row - row.mean()
        row = row / (row.pow(2).mean() + EPS).sqrt() * weight.double() + bias.double()
        angles = cos_sin_cache[int(positions[token])].double()
        head = torch.view_as_complex(row[: 2 * half].reshape(-1, 2))
        head = head * torch.complex(angles[:half], angles[half:])
        row = torch.cat((torch.view_as_real(head).flatten(), row[2 * half :]))
        scale = (row.abs().max().clamp(min=1e-4) / 448).float()
        values = (row / scale.double()).clamp(-448, 448).float().to(torch.float8_e4m3fn)
        page = updated[place // page_size].view(-1)
        begin = place % page_size * len(row)
        page[begin : begin + len(row)] = values.view(torch.int8)
        begin = page_size * len(row) + place % page_size * 4
        page[begin : begin + 4] = scale.view(1).view(torch.int8)
    return updated
