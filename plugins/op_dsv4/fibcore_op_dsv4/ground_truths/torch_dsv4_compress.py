"""Latent vectors of windows in float64, token by token."""

import torch


def torch_dsv4_compress(
    kv_score_input: torch.Tensor,
    kv_score_buffer: torch.Tensor,
    ape: torch.Tensor,
    window_indices: torch.Tensor,
    write_indices: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sums of exponentials over the tokens of each window."""
    window, head_dim = ape.shape
    overlaps = kv_score_input.shape[1] == 4 * head_dim
    tokens = torch.cat((kv_score_buffer, kv_score_input)).double()
    sums = torch.zeros(len(window_indices), head_dim, dtype=torch.float64, device=ape.device)
    total = torch.zeros_like(sums)
    for place in range(window):
        index = window_indices[:, place].long()
        own = tokens[index.clamp(min=0)]
        second = overlaps and place >= window // 2
        start = head_dim if second else 0
        numbers = own[:, start : start + head_dim]
        start += own.shape[1] // 2
        weight = torch.exp(own[:, start : start + head_dim] + ape[place].double())
        weight = weight * (index >= 0)[:, None]
        sums += weight * numbers
        total += weight
    updated = kv_score_buffer.clone()
    for row, place in enumerate(write_indices.tolist()):
        if place >= 0:
            updated[place] = kv_score_input[row]
    return (sums / total).float(), updated
