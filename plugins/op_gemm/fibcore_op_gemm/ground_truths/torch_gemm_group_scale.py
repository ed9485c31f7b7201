"""GEMM of matrices whose groups along K have scales, by torch in float64."""

import torch

TORCH_GEMM_GROUP_SCALE_ROWS = 1024
TORCH_GEMM_GROUP_SCALE_MAGNITUDES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)


def torch_gemm_group_scale(
    A: torch.Tensor,
    A_scale: torch.Tensor,
    B: torch.Tensor,
    B_scale: torch.Tensor,
    alpha: torch.Tensor | None = None,
) -> torch.Tensor:
    """C [M, N] in float64; rows of B are converted a part at a time."""
    a, step = torch_gemm_group_scale_values(A, A_scale), TORCH_GEMM_GROUP_SCALE_ROWS
    parts = [
        a @ torch_gemm_group_scale_values(B[i : i + step], B_scale[i : i + step]).t()
        for i in range(0, B.shape[0], step)
    ]
    product = torch.cat(parts, dim=1)
    return product if alpha is None else product * alpha.double()


def torch_gemm_group_scale_values(x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """What rows stand for, [n, K]; int8 holds pairs of e2m1, in scales exponents."""
    if x.dtype == torch.int8:
        table = torch.tensor(TORCH_GEMM_GROUP_SCALE_MAGNITUDES, dtype=torch.float64)
        bits = x.view(torch.uint8)
        halves = torch.stack((bits & 15, bits >> 4), dim=-1).flatten(-2)
        values = table.to(x.device)[(halves & 7).long()]
        values = torch.where(halves > 7, -values, values)
    else:
        values = x.float().double()
    if scale.dtype == torch.int8:
        factors = torch.exp2(scale.view(torch.uint8).double() - 127)
    else:
        factors = scale.float().double()
    return values * factors.repeat_interleave(values.shape[1] // scale.shape[1], dim=1)
