"""GEMM of bfloat16 activations and weights e2m1 with scales for groups, by torch in float64."""

import torch

TORCH_GEMM_E2M1_WEIGHTS_ROWS = 1024


def torch_gemm_e2m1_weights(
    A: torch.Tensor,
    B: torch.Tensor,
    B_scale: torch.Tensor,
    alpha: torch.Tensor | None = None,
) -> torch.Tensor:
    """C [M, N] in float64; rows of B are converted a part at a time."""
    a, step = A.double(), TORCH_GEMM_E2M1_WEIGHTS_ROWS
    whole = 1.0 if alpha is None else alpha.double()
    parts = []
    for first in range(0, B.shape[0], step):
        rows = slice(first, first + step)
        parts.append(a @ (torch_gemm_e2m1_weights_values(B[rows], B_scale[rows]) * whole).t())
    return torch.cat(parts, dim=1)


def torch_gemm_e2m1_weights_values(x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """What rows of weights stand for, [n, K], by the fields of their bits.

    A number e2m1 is a sign, two bits of an exponent with the bias 1, and a bit behind the point;
    without an exponent the bit is a half. In int8 a scale is the bits of an exponent (e8m0).
    """
    byte = x.view(torch.uint8).to(torch.int32)
    code = torch.empty(x.shape[0], 2 * x.shape[1], dtype=torch.int32, device=x.device)
    code[:, 0::2], code[:, 1::2] = byte % 16, byte // 16
    sign = 1.0 - 2.0 * (code // 8).double()
    exponent, fraction = (code // 2 % 4).double(), (code % 2).double() / 2
    normal = (1.0 + fraction) * torch.exp2(exponent - 1.0)
    values = sign * torch.where(exponent == 0, fraction, normal)
    if scale.dtype == torch.int8:
        bits = scale.view(torch.uint8).double()
        factors = torch.where(bits == 255, torch.nan, torch.exp2(bits - 127.0))
    else:
        factors = scale.float().double()
    groups = values.view(*scale.shape, -1)
    return (groups * factors[:, :, None]).flatten(1)
