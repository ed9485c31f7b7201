"""Block-scaled fp8 products by FlashInfer on Hopper, each by fp8_blockscale_gemm_sm90."""

import torch


def flashinfer_bmm_fp8_blockscale_sm90(
    A: torch.Tensor, A_scale: torch.Tensor, B: torch.Tensor, B_scale: torch.Tensor
) -> torch.Tensor:
    """C [batch_size, M, N] in bfloat16."""
    from flashinfer.gemm import fp8_blockscale_gemm_sm90

    batch_size, m, k = A.shape
    n = B.shape[1]
    if n % 64 or k % 128:
        raise NotImplementedError(f"it needs N in multiples of 64 and K of 128, not {n} and {k}")
    products = []
    for index in range(batch_size):
        # The kernel reads the scales of A block by block, each block's rows padded to a multiple
        # of 4 (its TMA descriptor in deep_gemm/fp8_gemm.cuh).
        scale = torch.zeros(k // 128, (m + 3) // 4 * 4, dtype=torch.float32, device=A.device)
        scale[:, :m] = A_scale[index].t()
        one = fp8_blockscale_gemm_sm90(
            A[index],
            B[index],
            input_scale=scale,
            weight_scale=B_scale[index],
            out_dtype=torch.bfloat16,
        )
        products.append(one)
    return torch.stack(products)
