"""MXFP8 and NVFP4 by FlashInfer's CUDA kernels, with scales in plain rows."""

import torch


def flashinfer_mxfp8_quantize(input: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Give quantized [M, K] in float8_e4m3fn, scales [M, K / 32]: exponents plus 127, in int8."""
    from flashinfer import mxfp8_quantize

    quantized, scales = mxfp8_quantize(input, is_sf_swizzled_layout=False)
    rows, columns = input.shape
    return quantized, scales.view(torch.int8).reshape(rows, columns // 32)


def flashinfer_nvfp4_quantize(
    a: torch.Tensor, a_global_sf: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Give quantized [M, K / 2], two numbers e2m1 a byte, scales [M, K / 16] in float8_e4m3fn."""
    from flashinfer import SfLayout, nvfp4_quantize

    quantized, scales = nvfp4_quantize(a, a_global_sf, sfLayout=SfLayout.layout_linear)
    rows, columns = a.shape
    scales = scales.view(torch.float8_e4m3fn).reshape(rows, columns // 16)
    return quantized.view(torch.int8), scales
