"""GEMM of MXFP8 matrices by FlashInfer on Blackwell: flashinfer.gemm.mm_mxfp8."""

import torch


def flashinfer_mm_mxfp8(
    A: torch.Tensor, A_scale: torch.Tensor, B: torch.Tensor, B_scale: torch.Tensor
) -> torch.Tensor:
    """C [M, N] in bfloat16."""
    from flashinfer.gemm import mm_mxfp8

    n, k = B.shape
    if n < 128 or k < 128 or n % 32:
        raise NotImplementedError(f"it needs N and K of 128 and more, not {n} and {k}")
    output: torch.Tensor = mm_mxfp8(
        A,
        B.t(),
        flashinfer_mm_mxfp8_tiles(A_scale),
        flashinfer_mm_mxfp8_tiles(B_scale),
        out_dtype=torch.bfloat16,
    )
    return output


def flashinfer_mm_mxfp8_tiles(scale: torch.Tensor) -> torch.Tensor:
    """Scales as the kernels read them, its layout 128x4: tiles of 128 rows and 4 columns.

    In a tile the rows i, i + 32, i + 64 and i + 96 stand one after the other. A vector of bytes.
    """
    rows, columns = -(-scale.shape[0] // 128) * 128, -(-scale.shape[1] // 4) * 4
    padded = torch.zeros(rows, columns, dtype=torch.uint8, device=scale.device)
    padded[: scale.shape[0], : scale.shape[1]] = scale.view(torch.uint8)
    tiles = padded.view(rows // 128, 4, 32, columns // 4, 4).permute(0, 3, 2, 1, 4)
    return tiles.reshape(-1)
