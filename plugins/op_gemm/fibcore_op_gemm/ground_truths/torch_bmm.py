"""A batch of matrix products by torch in float64; the scales of fp8 matrices multiply them."""

import torch


def torch_bmm(
    A: torch.Tensor,
    B: torch.Tensor,
    A_scale: torch.Tensor | None = None,
    B_scale: torch.Tensor | None = None,
) -> torch.Tensor:
    """C [batch_size, M, N] in float64, one matrix after the other."""
    pairs = zip(A, B, strict=True)
    product = torch.stack([a.float().double() @ b.float().double() for a, b in pairs])
    if A_scale is None or B_scale is None:
        return product
    return product * A_scale.double() * B_scale.double()
