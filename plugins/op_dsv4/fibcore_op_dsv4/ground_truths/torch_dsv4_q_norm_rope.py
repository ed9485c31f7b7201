"""Queries normalised by head and turned in float64."""

import torch

EPS = 1e-06


def torch_dsv4_q_norm_rope(
    q: torch.Tensor, cos_sin_cache: torch.Tensor, positions: torch.Tensor
) -> torch.Tensor:
    """Complex numbers turn."""
    rope = cos_sin_cache.shape[1]
    x = q.double()
    x = x / (x.pow(2).mean(-1, keepdim=True) + EPS).sqrt()
    angles = torch.view_as_complex(cos_sin_cache.double().view(len(cos_sin_cache), -1, 2))
    tail = x[..., -rope:].reshape(*x.shape[:-1], -1, 2)
    turned = torch.view_as_complex(tail) * angles[positions.long()][:, None]
    x[..., -rope:] = torch.view_as_real(turned).flatten(-2)
    return x.to(q.dtype)
