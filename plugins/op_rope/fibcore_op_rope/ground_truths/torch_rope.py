"""Rotary position embedding by torch's complex numbers."""

import torch

IS_NEOX = True


def torch_rope(
    q: torch.Tensor, k: torch.Tensor, cos_sin_cache: torch.Tensor, positions: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The turned q and k [num_tokens, heads, head_size]."""
    half = cos_sin_cache.shape[-1] // 2
    rows = cos_sin_cache[positions].float()
    turn = torch.complex(rows[:, :half].contiguous(), rows[:, half:].contiguous())[:, None]
    return turned(q, turn), turned(k, turn)


def turned(x: torch.Tensor, turn: torch.Tensor) -> torch.Tensor:
    """The pairs of x [num_tokens, heads, head_size], times turn [num_tokens, 1, pairs]."""
    count = turn.shape[-1]
    shape, last = ((2, count), -2) if IS_NEOX else ((count, 2), -1)
    pairs = x[..., : 2 * count].float().reshape(*x.shape[:-1], *shape).movedim(last, -1)
    turned = torch.view_as_real(torch.view_as_complex(pairs.contiguous()) * turn)
    flat = turned.movedim(-1, last).flatten(-2)
    return torch.cat((flat.to(x.dtype), x[..., 2 * count :]), dim=-1)
