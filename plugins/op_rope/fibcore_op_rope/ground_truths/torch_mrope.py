"""Rotary position embedding with several positions a token, by torch's complex numbers."""

import torch

IS_NEOX = True
SECTIONS = (16, 24, 24)
INTERLEAVED = False


def torch_mrope(
    q: torch.Tensor, k: torch.Tensor, cos_sin_cache: torch.Tensor, positions: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The turned q and k [num_tokens, heads, head_size]."""
    half = cos_sin_cache.shape[-1] // 2
    cos, sin = cos_sin_cache[:, :half].float(), cos_sin_cache[:, half:].float()
    of_pairs = torch.complex(cos.contiguous(), sin.contiguous())
    turn = of_pairs[positions[0]].clone()
    first = SECTIONS[0]
    for axis in (1, 2):
        size = SECTIONS[axis]
        own = slice(axis, 3 * size, 3) if INTERLEAVED else slice(first, first + size)
        turn[:, own] = of_pairs[positions[axis]][:, own]
        first += size
    return torch_mrope_turned(q, turn[:, None]), torch_mrope_turned(k, turn[:, None])


def torch_mrope_turned(x: torch.Tensor, turn: torch.Tensor) -> torch.Tensor:
    """The pairs of x [num_tokens, heads, head_size], times turn [num_tokens, 1, pairs]."""
    count = turn.shape[-1]
    shape, last = ((2, count), -2) if IS_NEOX else ((count, 2), -1)
    pairs = x[..., : 2 * count].float().reshape(*x.shape[:-1], *shape).movedim(last, -1)
    turned = torch.view_as_real(torch.view_as_complex(pairs.contiguous()) * turn)
    flat = turned.movedim(-1, last).flatten(-2)
    return torch.cat((flat.to(x.dtype), x[..., 2 * count :]), dim=-1)
