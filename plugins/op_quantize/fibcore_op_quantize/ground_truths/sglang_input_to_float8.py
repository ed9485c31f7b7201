"""Quantisation with one scale for all rows by SGLang's PyTorch function, input_to_float8."""

from typing import Any

import torch


def sglang_input_to_float8(
    load_sglang: Any, input: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Give quantized [M, K] in float8_e4m3fn, scales [1]."""
    function = load_sglang(
        "srt/layers/quantization/fp8_utils.py",
        "input_to_float8",
        fp8_dtype=torch.float8_e4m3fn,
        fp8_max=448.0,
        fp8_min=-448.0,
        _is_fp8_fnuz=False,
    )
    quantized, scale = function(input.to(torch.float32))
    return quantized, scale.reshape(1)
