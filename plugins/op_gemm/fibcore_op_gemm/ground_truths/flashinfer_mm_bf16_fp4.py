"""GEMM of bfloat16 and NVFP4 weights by FlashInfer on Blackwell: flashinfer.gemm.mm_bf16_fp4."""

import torch


def flashinfer_mm_bf16_fp4(
    A: torch.Tensor, B: torch.Tensor, B_scale: torch.Tensor, alpha: torch.Tensor
) -> torch.Tensor:
    """C [M, N] in bfloat16, by the backend that is written in CuTe DSL."""
    from flashinfer.gemm import mm_bf16_fp4, prepare_bf16_fp4_weights

    n, k = B.shape[0], 2 * B.shape[1]
    if n % 128 or k % 128:
        raise NotImplementedError(f"it needs N and K in multiples of 128, not {n} and {k}")
    prepared = prepare_bf16_fp4_weights(
        B.view(torch.uint8), flashinfer_mm_bf16_fp4_tiles(B_scale), alpha, backend="cute-dsl"
    )
    output: torch.Tensor = mm_bf16_fp4(A, *prepared, backend="cute-dsl")
    return output


def flashinfer_mm_bf16_fp4_tiles(scale: torch.Tensor) -> torch.Tensor:
    """Scales in its layout 128x4: tiles of 128 rows and 4 columns, a vector of bytes.

    In a tile the rows i, i + 32, i + 64 and i + 96 stand one after the other.
    """
    rows, columns = -(-scale.shape[0] // 128) * 128, -(-scale.shape[1] // 4) * 4
    padded = torch.zeros(rows, columns, dtype=torch.uint8, device=scale.device)
    padded[: scale.shape[0], : scale.shape[1]] = scale.view(torch.uint8)
    tiles = padded.view(rows // 128, 4, 32, columns // 4, 4).permute(0, 3, 2, 1, 4)
    return tiles.reshape(-1)
