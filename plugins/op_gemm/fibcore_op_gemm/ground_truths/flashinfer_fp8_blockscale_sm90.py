"""Block-scaled fp8 GEMM by FlashInfer on Hopper: flashinfer.gemm.fp8_blockscale_gemm_sm90."""

import torch


def flashinfer_fp8_blockscale_sm90(
    A: torch.Tensor, A_scale: torch.Tensor, B: torch.Tensor, B_scale: torch.Tensor
) -> torch.Tensor:
    """C [M, N] in bfloat16."""
    from flashinfer.gemm import fp8_blockscale_gemm_sm90

    (m, k), n = A.shape, B.shape[0]
    if n % 64 or k % 128:
        raise NotImplementedError(f"it needs N in multiples of 64 and K of 128, not {n} and {k}")
    # The kernel reads the scales of A block by block, each block's rows padded to a multiple of 4
    # (its TMA descriptor in deep_gemm/fp8_gemm.cuh).
    scale = torch.zeros(k // 128, (m + 3) // 4 * 4, dtype=torch.float32, device=A.device)
    scale[:, :m] = A_scale.t()
    output: torch.Tensor = fp8_blockscale_gemm_sm90(
        A, B, input_scale=scale, weight_scale=B_scale, out_dtype=torch.bfloat16
    )
    return output
