"""Elements turned back in float64."""

import torch


def torch_dsv4_inverse_rope(
    x: torch.Tensor, cos_sin_cache: torch.Tensor, positions: torch.Tensor
) -> torch.Tensor:
    """Complex numbers turn by the conjugates."""
    angles = torch.view_as_complex(cos_sin_cache.double().view(len(cos_sin_cache), -1, 2))
    pairs = torch.view_as_complex(x.double().reshape(*x.shape[:-1], -1, 2))
    turned = pairs * angles[positions.long()][:, None].conj()
    return torch.view_as_real(turned).flatten(-2).to(x.dtype)
