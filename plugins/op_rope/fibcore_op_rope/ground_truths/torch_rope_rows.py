"""Rotary position embedding by sums of whole heads, in torch."""

import torch


def torch_rope_rows(
    q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The turned q and k [num_tokens, heads, head_size]."""
    half = q.shape[-1] // 2
    # What an element gets of its partner: the first half of the second, with the other sign.
    signed = torch.cat((-sin[:, :half], sin[:, half:]), dim=-1)[:, None].float()
    found = [
        (x.float() * cos[:, None].float() + x.float().roll(half, dims=-1) * signed).to(x.dtype)
        for x in (q, k)
    ]
    return found[0], found[1]
