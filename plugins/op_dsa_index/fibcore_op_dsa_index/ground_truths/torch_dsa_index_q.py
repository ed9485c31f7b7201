"""Index queries turned and quantised, in float64 until they are fp8."""

import torch


def torch_dsa_index_q(
    q: torch.Tensor,
    weights: torch.Tensor,
    weight_scale: float | torch.Tensor,
    cos_sin_cache: torch.Tensor,
    positions: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Complex numbers turn."""
    half = cos_sin_cache.shape[1] // 2
    table = cos_sin_cache.double()[positions][:, None]
    angles = torch.complex(table[..., :half].contiguous(), table[..., half:].contiguous())
    x = q.double()
    head = torch.view_as_complex(x[..., : 2 * half].reshape(*x.shape[:-1], -1, 2)) * angles
    x = torch.cat((torch.view_as_real(head).flatten(-2), x[..., 2 * half :]), -1)
    scale = (x.abs().amax(-1).clamp(min=1e-4) / 448).float()
    values = (x / scale.double()[..., None]).clamp(-448, 448).float().to(torch.float8_e4m3fn)
    return values, (weights.double() * float(weight_scale) * scale.double()).float()
