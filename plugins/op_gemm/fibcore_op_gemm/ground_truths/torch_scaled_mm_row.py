"""GEMM of fp8 matrices whose rows have scales, by torch on Hopper and later: torch._scaled_mm."""

import torch


def torch_scaled_mm_row(
    A: torch.Tensor, A_scale: torch.Tensor, B: torch.Tensor, B_scale: torch.Tensor
) -> torch.Tensor:
    """C [M, N] in bfloat16."""
    n, k = B.shape
    if n % 16 or k % 16:
        raise NotImplementedError(f"it needs N and K in multiples of 16, not {n} and {k}")
    output: torch.Tensor = torch._scaled_mm(
        A,
        B.t(),
        scale_a=A_scale[:, None],
        scale_b=B_scale[None, :],
        out_dtype=torch.bfloat16,
        use_fast_accum=False,
    )
    return output
