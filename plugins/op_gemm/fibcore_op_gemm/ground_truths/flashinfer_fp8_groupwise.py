"""Block-scaled fp8 GEMM by FlashInfer on Blackwell: flashinfer.gemm.gemm_fp8_nt_groupwise."""

import torch


def flashinfer_fp8_groupwise(
    A: torch.Tensor, A_scale: torch.Tensor, B: torch.Tensor, B_scale: torch.Tensor
) -> torch.Tensor:
    """C [M, N] in bfloat16."""
    from flashinfer.gemm import gemm_fp8_nt_groupwise

    (m, k), n = A.shape, B.shape[0]
    if n % 128 or k % 128:
        raise NotImplementedError(f"its blocks of 128 do not divide N {n} and K {k}")
    # The kernel takes a number of rows that 4 divides.
    rows = (m + 3) // 4 * 4
    a = torch.zeros(rows, k, dtype=torch.uint8, device=A.device)
    a[:m] = A.view(torch.uint8)
    scale = torch.ones(rows, k // 128, dtype=torch.float32, device=A.device)
    scale[:m] = A_scale
    output: torch.Tensor = gemm_fp8_nt_groupwise(
        a.view(A.dtype),
        B,
        scale,
        B_scale,
        scale_major_mode="K",
        out_dtype=torch.bfloat16,
    )
    return output[:m]
