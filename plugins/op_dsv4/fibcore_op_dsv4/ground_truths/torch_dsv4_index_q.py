"""Index queries turned, transformed and quantised, in float64 until they are fp8."""

import torch


def torch_dsv4_index_q(
    q: torch.Tensor,
    weights: torch.Tensor,
    weight_scale: float | torch.Tensor,
    cos_sin_cache: torch.Tensor,
    positions: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Complex numbers turn; the transform is made step by step."""
    rope = cos_sin_cache.shape[1]
    angles = torch.view_as_complex(cos_sin_cache.double().view(len(cos_sin_cache), -1, 2))
    x = q.double()
    tail = torch.view_as_complex(x[..., -rope:].reshape(*x.shape[:-1], -1, 2))
    turned = torch.view_as_real(tail * angles[positions.long()][:, None]).flatten(-2)
    x = torch.cat((x[..., :-rope], turned), -1)
    step = 1
    while step < x.shape[-1]:
        pairs = x.reshape(*x.shape[:-1], -1, 2, step)
        both = (pairs[..., 0, :] + pairs[..., 1, :], pairs[..., 0, :] - pairs[..., 1, :])
        x = torch.stack(both, -2).flatten(-3)
        step *= 2
    x = x / x.shape[-1] ** 0.5
    scale = (x.abs().amax(-1).clamp(min=1e-4) / 448).float()
    values = (x / scale.double()[..., None]).clamp(-448, 448).float().to(torch.float8_e4m3fn)
    return values, (weights.double() * float(weight_scale) * scale.double()).float()
