"""The formats of a GEMM's matrices: one record each, in one table.

A new one is a record here, the file below `references/` that has its name, and its ground truths.
"""

from __future__ import annotations

from typing import Literal

import attrs

from fibcore.plugin import Definition, Quantization

BLOCK = 128
"""Rows and columns of a weight block, and columns of an activation's, that one scale covers."""


@attrs.frozen
class Format:
    """How the matrices of a GEMM are stored.

    Attributes:
        name: What the names of its kernels begin with, and the file below `references/`.
        inputs: Names of the inputs, in order.
        dtype: Dtype of A and B.
        output_dtype: Dtype of C.
        block_scaled: Whether A has a scale for `BLOCK` elements of a row, B one for `BLOCK` x
            `BLOCK`.
        weight_dtype: Dtype of the weights as `Quantization` says it; None where there is none.
        activation: How activations are quantised, likewise.
        tags: Tags of its kernels.
    """

    name: str
    inputs: tuple[str, ...]
    dtype: str
    output_dtype: str
    block_scaled: bool = False
    weight_dtype: str | None = None
    activation: Literal["dynamic", "static"] | None = None
    tags: tuple[str, ...] = ()

    def is_of(self, quantization: Quantization) -> bool:
        """Whether a layer with this quantisation multiplies matrices of the format."""
        return (
            self.block_scaled
            and (self.weight_dtype, self.activation)
            == (quantization.weight_dtype, quantization.activation)
            and (quantization.scheme, quantization.block) == ("block", (BLOCK, BLOCK))
        )


# The dataset has GEMMs of unquantised layers in float16, whatever the model's own dtype.
PLAIN = Format(name="gemm", inputs=("A", "B"), dtype="float16", output_dtype="float16")
# Activations are quantised on the fly.
FP8_BLOCK = Format(
    name="gemm_fp8_block_scale",
    inputs=("A", "A_scale", "B", "B_scale"),
    dtype="float8_e4m3fn",
    output_dtype="bfloat16",
    block_scaled=True,
    weight_dtype="float8_e4m3fn",
    activation="dynamic",
    tags=(
        "quantization:float8_e4m3fn",
        "fi_api:flashinfer.gemm.gemm_fp8_nt_groupwise",
        "fi_api:flashinfer.gemm.fp8_blockscale_gemm_sm90",
    ),
)

FORMATS = (PLAIN, FP8_BLOCK)


def of_quantization(quantization: Quantization | None) -> Format | None:
    """The format of a layer; None where no record has it."""
    if quantization is None:
        return PLAIN
    return next((one for one in FORMATS if one.is_of(quantization)), None)


def of_definition(definition: Definition) -> Format | None:
    """The format that the inputs of a definition show; None where no record has it."""
    names = tuple(definition.inputs)
    return next((one for one in FORMATS if one.inputs == names), None)


def quantization_words(quantization: Quantization) -> str:
    """A quantisation for people: "float8_e4m3fn weights (fp8), one scale per tensor"."""
    if quantization.scheme == "format":
        return f"weights in the format {quantization.method}"
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
