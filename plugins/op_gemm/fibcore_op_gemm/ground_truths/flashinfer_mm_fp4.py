"""GEMM of NVFP4 or MXFP4 matrices by FlashInfer on Blackwell: flashinfer.gemm.mm_fp4."""

import torch


def flashinfer_mm_fp4(
    A: torch.Tensor,
    A_scale: torch.Tensor,
    B: torch.Tensor,
    B_scale: torch.Tensor,
    alpha: torch.Tensor | None = None,
) -> torch.Tensor:
    """C [M, N] in bfloat16; NVFP4 where there is an alpha."""
    from flashinfer.gemm import mm_fp4

    n, k = B.shape[0], 2 * B.shape[1]
    if n % 32 or k % 128:
        raise NotImplementedError(f"it needs N in multiples of 32 and K of 128, not {n} and {k}")
    output: torch.Tensor = mm_fp4(
        A.view(torch.uint8),
        B.view(torch.uint8).t(),
        flashinfer_mm_fp4_tiles(A_scale),
        flashinfer_mm_fp4_tiles(B_scale).t(),
        alpha,
        torch.bfloat16,
        block_size=32 if alpha is None else 16,
        use_nvfp4=alpha is not None,
    )
    return output


def flashinfer_mm_fp4_tiles(scale: torch.Tensor) -> torch.Tensor:
    """Scales as the kernels read them, its layout 128x4: tiles of 128 rows and 4 columns.

    In a tile the rows i, i + 32, i + 64 and i + 96 stand one after the other. [rows, columns] of
    whole tiles, in bytes.
    """
    rows, columns = -(-scale.shape[0] // 128) * 128, -(-scale.shape[1] // 4) * 4
    padded = torch.zeros(rows, columns, dtype=torch.uint8, device=scale.device)
    padded[: scale.shape[0], : scale.shape[1]] = scale.view(torch.uint8)
    tiles = padded.view(rows // 128, 4, 32, columns // 4, 4).permute(0, 3, 2, 1, 4)
    return tiles.reshape(rows, columns)
