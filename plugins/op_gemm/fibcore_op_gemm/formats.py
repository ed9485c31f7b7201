"""What a layer's quantisation makes of its GEMM."""

from __future__ import annotations

from fibcore.plugin import Quantization

BLOCK = 128
"""Rows and columns of a weight block, and columns of an activation's, that one scale covers."""


def is_fp8_block_scale(quantization: Quantization) -> bool:
    """Whether weights and activations are float8_e4m3fn with a scale per block of 128.

    Weights have one scale for 128 x 128 elements; activations are quantised on the fly, one scale
    for 128 elements of a token.
    """
    return (
        quantization.weight_dtype == "float8_e4m3fn"
        and quantization.scheme == "block"
        and quantization.block == (BLOCK, BLOCK)
        and quantization.activation == "dynamic"
    )


def describe(quantization: Quantization) -> str:
    """A format in words: "float8_e4m3fn weights (fp8), one scale per tensor"."""
    scale = quantization.scheme
    if quantization.scheme == "block" and quantization.block is not None:
        scale = "block of {} x {}".format(*quantization.block)
    elif quantization.scheme == "group" and quantization.group_size is not None:
        scale = f"group of {quantization.group_size}"
    words = [
        f"{quantization.weight_dtype} weights ({quantization.method})",
        f"one scale per {scale}",
    ]
    if quantization.activation is not None:
        words.append(f"{quantization.activation} activations")
    return ", ".join(words)
